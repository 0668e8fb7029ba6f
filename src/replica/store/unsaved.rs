//! Which sessions and tombstones of a shard are not on disk as they are here.
//!
//! A key is noted once, however often its session changes until it is saved. One that came and went
//! in between leaves nothing: so there are no more keys than sessions here and on disk.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::replica::key_hasher::SessionKeyHash;
use crate::session::SessionKey;

/// The unsaved keys of a shard. It notes none unless it [records](Unsaved::record).
#[derive(Debug, Default)]
pub(crate) struct Unsaved(Option<Box<Changed>>);

/// The numbers of shards that have unsaved keys, so that the others need not be locked to see that
/// they have none.
#[derive(Debug, Default)]
pub(crate) struct ChangedShards(Box<[AtomicU64]>);

#[derive(Debug)]
struct Changed {
    keys: HashMap<SessionKey, OnDisk, SessionKeyHash>,
    shard: usize,
    shards: Arc<ChangedShards>,
}

/// Whether there may be a record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDisk {
    No,
    Maybe,
}

impl Unsaved {
    /// Notes changes from now on. This shard has that number among all.
    pub(crate) fn record(&mut self, shard: usize, shards: &Arc<ChangedShards>) {
        self.0.get_or_insert_with(|| {
            Box::new(Changed {
                keys: HashMap::default(),
                shard,
                shards: Arc::clone(shards),
            })
        });
    }

    /// Notes that something is held now of which nothing was.
    #[inline]
    pub(crate) fn note_arrival(&mut self, key: &SessionKey) {
        if let Some(changed) = &mut self.0 {
            changed.note(key, OnDisk::No);
        }
    }

    /// Notes that what is held has changed.
    #[inline]
    pub(crate) fn note_change(&mut self, key: &SessionKey) {
        if let Some(changed) = &mut self.0 {
            changed.note(key, OnDisk::Maybe);
        }
    }

    /// Notes that nothing is held any more.
    #[inline]
    pub(crate) fn note_departure(&mut self, key: &SessionKey) {
        if let Some(changed) = &mut self.0 {
            changed.note_departure(key);
        }
    }

    /// Notes a key of which there may be a record.
    pub(crate) fn note_unknown(&mut self, key: &SessionKey) {
        if let Some(changed) = &mut self.0 {
            changed.note(key, OnDisk::Maybe);
            changed.keys.insert(*key, OnDisk::Maybe);
        }
    }

    /// Returns the keys, which count as saved from now on.
    pub(crate) fn take(&mut self) -> Vec<SessionKey> {
        let keys = self
            .0
            .as_mut()
            .map(|changed| std::mem::take(&mut changed.keys));
        keys.into_iter().flatten().map(|(key, _)| key).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |changed| changed.keys.len())
    }
}

impl Changed {
    fn note(&mut self, key: &SessionKey, on_disk: OnDisk) {
        let was_empty = self.keys.is_empty();
        self.keys.entry(*key).or_insert(on_disk);
        if was_empty {
            self.shards.note(self.shard);
        }
    }

    fn note_departure(&mut self, key: &SessionKey) {
        match self.keys.entry(*key) {
            Entry::Occupied(entry) if *entry.get() == OnDisk::No => {
                entry.remove();
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(_) => self.note(key, OnDisk::Maybe),
        }
    }
}

impl ChangedShards {
    pub(crate) fn new(shards: usize) -> Self {
        Self(
            (0..shards.div_ceil(BITS))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    pub(crate) fn note(&self, shard: usize) {
        self.0[shard / BITS].fetch_or(1 << (shard % BITS), Ordering::Release);
    }

    /// Returns the shards that were noted. What is noted from now on is there the next time.
    pub(crate) fn take(&self) -> Vec<usize> {
        let mut shards = Vec::new();
        for (word, bits) in self.0.iter().enumerate() {
            let bits = bits.swap(0, Ordering::AcqRel);
            let set = (0..BITS).filter(|bit| bits >> bit & 1 == 1);
            shards.extend(set.map(|bit| word * BITS + bit));
        }
        shards
    }
}

const BITS: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::key;

    fn unsaved() -> (Unsaved, Arc<ChangedShards>) {
        let shards = Arc::new(ChangedShards::new(100));
        let mut unsaved = Unsaved::default();
        unsaved.record(70, &shards);
        (unsaved, shards)
    }

    #[test]
    fn key_is_noted_once_however_often_it_changes() {
        let (mut unsaved, shards) = unsaved();
        unsaved.note_arrival(&key(1));
        for _ in 0..9 {
            unsaved.note_change(&key(1));
        }
        assert_eq!(shards.take(), [70]);
        assert_eq!(unsaved.take(), [key(1)]);
        assert_eq!(unsaved.len(), 0);
        unsaved.note_change(&key(1));
        assert_eq!(shards.take(), [70]);
        assert!(shards.take().is_empty());
    }

    /// Or a disk that fails for long would leave a key for every session there has been.
    #[test]
    fn session_that_comes_and_goes_unsaved_leaves_no_key() {
        let (mut unsaved, _) = unsaved();
        unsaved.note_arrival(&key(1));
        unsaved.note_change(&key(1));
        unsaved.note_departure(&key(1));
        assert_eq!(unsaved.len(), 0);
        // Of one that was held before there is a record, and may be of one that was given back.
        unsaved.note_change(&key(2));
        unsaved.note_departure(&key(2));
        unsaved.note_arrival(&key(3));
        unsaved.note_unknown(&key(3));
        unsaved.note_departure(&key(3));
        unsaved.note_departure(&key(4));
        assert_eq!(unsaved.len(), 3);
    }

    #[test]
    fn node_without_a_directory_notes_nothing() {
        let mut unsaved = Unsaved::default();
        unsaved.note_arrival(&key(1));
        unsaved.note_change(&key(1));
        unsaved.note_unknown(&key(1));
        assert_eq!(unsaved.len(), 0);
    }
}
