//! Looking at every session, a few at a time and without a lock.
//!
//! What a caller looks for may take long to find out: the value of an attribute is JSON, and a cold
//! session is unpacked first. A shard is locked only while the sessions of a slice are copied.

use std::borrow::Cow;

use super::{Store, hot::HotSession, lock, residency::Residency, shard::Shard};
use crate::session::{PackedSession, SessionKey, SessionState, ValuePath};

/// A walk over all sessions in the order of their keys. A session that is held all the time comes
/// up once; one that is created or dropped meanwhile may come up or not.
#[derive(Debug)]
struct Scan<'a> {
    store: &'a Store,
    /// The digest shard in which it goes on, of all of the store's.
    digest: usize,
    /// The last key of it that was looked at.
    after: Option<SessionKey>,
}

/// A copy of a session, which is still packed when the session is cold.
#[derive(Debug)]
enum Snapshot {
    Hot(SessionState),
    Cold(PackedSession),
}

impl Store {
    /// Returns the keys of the sessions for which `pick` holds. No lock is held while it is called.
    pub(crate) fn select(&self, mut pick: impl FnMut(&SessionState) -> bool) -> Vec<SessionKey> {
        let scan = Scan {
            store: self,
            digest: 0,
            after: None,
        };
        let mut keys = Vec::new();
        for slice in scan {
            let picked = slice.into_iter().filter(|(_, copy)| pick(&copy.state()));
            keys.extend(picked.map(|(key, _)| key));
        }
        keys
    }

    /// Returns the keys of the sessions that may have a value by the index, `None` when there is none
    /// of this path.
    pub(crate) fn candidates(
        &self,
        context: &str,
        path: &ValuePath,
        json: &[u8],
    ) -> Option<Vec<SessionKey>> {
        let index = self.index.as_deref()?;
        index.candidates(context, path, json)
    }

    /// Returns whether the index has what the sessions call for, and nothing else.
    #[cfg(test)]
    pub(crate) fn index_is_in_step(&self) -> bool {
        let scan = Scan {
            store: self,
            digest: 0,
            after: None,
        };
        let copies = scan
            .flatten()
            .map(|(key, copy)| (key, copy.state().into_owned()));
        let sessions: Vec<_> = copies.collect();
        self.index
            .as_ref()
            .is_none_or(|index| index.is_of(&sessions))
    }

    /// Returns a copy of a session.
    pub(crate) fn copy(&self, key: &SessionKey) -> Option<HotSession> {
        let shard = self.shard(key);
        shard.view(key).map(Cow::into_owned)
    }

    /// Returns copies of the sessions of a context behind a key, in the order of keys.
    pub(crate) fn copies_after(
        &self,
        context: &str,
        after: Option<SessionKey>,
    ) -> impl Iterator<Item = (SessionKey, HotSession)> {
        let first = after.map_or(0, |key| self.digest_shard(&key) as usize);
        let mut place = (first, after);
        let more = move || {
            let (digest, after) = place;
            let shard = lock(self.shards.get(digest / self.digests_per_shard)?);
            let copies = shard.copies_after(digest % self.digests_per_shard, context, after);
            place = match copies.last() {
                Some((last, _)) => (digest, Some(*last)),
                None => (digest + 1, None),
            };
            Some(copies)
        };
        std::iter::from_fn(more).flatten()
    }
}

impl Iterator for Scan<'_> {
    type Item = Vec<(SessionKey, Snapshot)>;

    /// Locks a shard and copies some of its sessions.
    fn next(&mut self) -> Option<Self::Item> {
        let shard = self.digest / self.store.digests_per_shard;
        let shard = lock(self.store.shards.get(shard)?);
        let slice = shard.slice(
            self.digest % self.store.digests_per_shard,
            self.after.as_ref(),
        );
        drop(shard);
        self.after = slice.last().map(|(key, _)| *key);
        if self.after.is_none() {
            self.digest += 1;
        }
        Some(slice)
    }
}

impl Shard {
    /// Returns copies of the next sessions of a digest shard, none when there are no more.
    fn slice(&self, digest: usize, after: Option<&SessionKey>) -> Vec<(SessionKey, Snapshot)> {
        let mut bytes = 0;
        let mut slice = Vec::new();
        for (key, session) in self.sessions_after(digest, after).take(SLICE) {
            if bytes >= SLICE_BYTES {
                break;
            }
            let copy = match &session.residency {
                Residency::Hot(hot) => Snapshot::Hot(hot.state.clone()),
                Residency::Cold(cold) => Snapshot::Cold(cold.packed()),
            };
            bytes += match &copy {
                // Values are shared, not copied.
                Snapshot::Hot(_) => 0,
                Snapshot::Cold(packed) => packed.body.len(),
            };
            slice.push((*key, copy));
        }
        slice
    }

    /// Returns copies of the next sessions of a context in a digest shard, none when there are no
    /// more.
    fn copies_after(
        &self,
        digest: usize,
        context: &str,
        after: Option<SessionKey>,
    ) -> Vec<(SessionKey, HotSession)> {
        let sessions = self.sessions_after(digest, after.as_ref());
        let of_context =
            sessions.filter(|(_, session)| *session.residency.meta().context == *context);
        let keys: Vec<SessionKey> = of_context.take(SLICE).map(|(key, _)| *key).collect();
        let copies = keys.into_iter().filter_map(|key| {
            let copy = self.view(&key)?;
            Some((key, copy.into_owned()))
        });
        copies.collect()
    }
}

impl Snapshot {
    fn state(&self) -> Cow<'_, SessionState> {
        match self {
            Self::Hot(state) => Cow::Borrowed(state),
            Self::Cold(packed) => Cow::Owned(packed.unpack()),
        }
    }
}

/// Sessions that are copied at most while a shard is locked. Tests want many slices.
const SLICE: usize = if cfg!(test) { 2 } else { 16 };
/// Bytes of cold sessions after which no further one is copied.
const SLICE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use crate::{
        config::{Expiry, Limits, Shape},
        replica::{Observer, Replica, Replicate},
        session::fixtures::{NOW, after, boot, key, meta, secret},
    };

    /// Returns a replica with nine sessions in one digest shard, of which some are cold.
    fn replica() -> Replica {
        let shape = Shape {
            lock_shards: 1,
            digests_per_lock: 1,
            log_records: 64,
        };
        let replica = Replica::new(boot(1), Limits::default(), &shape, NOW);
        for number in 1..=9 {
            let created = replica.create(
                meta(Expiry::default()),
                key(number),
                secret(1).hash(),
                0,
                NOW,
            );
            created.expect("there is room");
            replica.release(&key(number), Replicate::Now, NOW);
        }
        replica.sweep(after(2_000), &mut Observer::new(false));
        assert_eq!(replica.store.hot_count(), 0);
        replica.read(&key(4), |_| ()).expect("it is there");
        replica
    }

    #[test]
    fn every_session_is_looked_at_once() {
        let replica = replica();
        let mut looked = 0;
        let keys = replica.select(|_| {
            looked += 1;
            true
        });
        assert_eq!(looked, 9);
        assert_eq!(keys, (1..=9).map(key).collect::<Vec<_>>());
        assert!(replica.select(|_| false).is_empty());
    }

    #[test]
    fn no_lock_is_held_while_a_session_is_looked_at() {
        let replica = replica();
        let shards = replica.store.shards.iter();
        let found = replica.select(|_| shards.clone().all(|shard| shard.try_lock().is_ok()));
        assert_eq!(found.len(), 9);
    }

    #[test]
    fn search_goes_on_behind_a_session_that_is_dropped_meanwhile() {
        let replica = replica();
        let mut looked = 0;
        replica.select(|_| {
            looked += 1;
            for number in [2, 3, 9] {
                replica.destroy(&key(number), NOW);
            }
            true
        });
        assert_eq!(looked, 7, "the first two were copied before they went");
    }
}
