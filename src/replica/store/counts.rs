//! How many sessions and tombstones a store holds, the bytes of these sessions, and for how long
//! there is room for tombstones.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::session::{Now, Retention, Tombstone};

/// The numbers of sessions and tombstones in all shards. Only shards change them, where they insert
/// and remove, so that none is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sessions: AtomicUsize,
    tombstones: AtomicUsize,
    bytes: AtomicUsize,
    max_tombstones: usize,
    /// How often the shortest retention is doubled.
    retention: AtomicU8,
    /// Tombstones that gave way to newer ones before their time.
    lost_tombstones: AtomicU64,
    /// How many tombstones there are by the time of their destruction. Taken inside the lock of a
    /// shard.
    by_time: Mutex<BTreeMap<u64, usize>>,
}

/// The proof that a session was counted, which a shard asks for with each one it takes in.
#[derive(Debug)]
#[must_use = "a session that is counted must be inserted"]
pub(crate) struct Counted(());

impl Counts {
    pub(crate) fn new(max_tombstones: usize) -> Self {
        Self {
            max_tombstones,
            retention: AtomicU8::new(Retention::UNBOUNDED.doublings()),
            ..Self::default()
        }
    }

    pub(crate) fn add_session(&self) -> Counted {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Counted(())
    }

    /// Counts one more session unless there are `most`, in one step, so that two creations cannot
    /// share the last place.
    pub(crate) fn add_session_below(&self, most: usize) -> Option<Counted> {
        let more = |held| (held < most).then_some(held + 1);
        let counted = self
            .sessions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.ok().map(|_| Counted(()))
    }

    /// Counts that a session which took `before` bytes of memory takes `after`.
    pub(super) fn resize(&self, before: usize, after: usize) {
        // Most changes leave the size as it is, and touch nothing that all processors share.
        if before != after {
            self.bytes
                .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    pub(super) fn remove_sessions(&self, number: usize) {
        self.sessions.fetch_sub(number, Ordering::Relaxed);
    }

    pub(crate) fn add_tombstone(&self, tombstone: &Tombstone) {
        self.tombstones.fetch_add(1, Ordering::Relaxed);
        *self.by_time().entry(slot(tombstone)).or_default() += 1;
    }

    pub(super) fn remove_tombstone(&self, tombstone: &Tombstone) {
        self.tombstones.fetch_sub(1, Ordering::Relaxed);
        let mut by_time = self.by_time();
        if let Some(number) = by_time.get_mut(&slot(tombstone)) {
            *number -= 1;
            if *number == 0 {
                by_time.remove(&slot(tombstone));
            }
        }
    }

    /// Notes that a tombstone has given way to a newer one.
    pub(super) fn note_lost_tombstone(&self) {
        self.lost_tombstones.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the bytes of memory that sessions take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones.load(Ordering::Relaxed)
    }

    pub(crate) const fn max_tombstones(&self) -> usize {
        self.max_tombstones
    }

    /// Returns how long tombstones are remembered at most.
    pub(crate) fn retention(&self) -> Retention {
        Retention::from_doublings(self.retention.load(Ordering::Relaxed))
            .unwrap_or(Retention::UNBOUNDED)
    }

    /// Sets how long tombstones are remembered at most. Returns whether that is shorter than it was.
    pub(super) fn set_retention(&self, retention: Retention) -> bool {
        let doublings = retention.doublings();
        self.retention.swap(doublings, Ordering::Relaxed) > doublings
    }

    pub(crate) fn lost_tombstones(&self) -> u64 {
        self.lost_tombstones.load(Ordering::Relaxed)
    }

    /// Returns the longest retention within which `most` were destroyed at most, the shortest one if
    /// there were more even then.
    pub(crate) fn retention_of(&self, most: usize, now: Now) -> Retention {
        let by_time = self.by_time();
        let mut newest_first = by_time.iter().rev().peekable();
        let mut number = 0;
        let mut longest = Retention::SHORTEST;
        for retention in Retention::all() {
            let since_ms = now.mono_ms.saturating_sub(retention.ms());
            while let Some((_, some)) = newest_first.next_if(|(slot, _)| **slot >= since_ms >> SLOT)
            {
                number += some;
            }
            if number > most {
                break;
            }
            longest = retention;
        }
        longest
    }

    fn by_time(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.by_time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn slot(tombstone: &Tombstone) -> u64 {
    tombstone.destroyed_ms >> SLOT
}

/// Times are counted together that differ in so many of the last bits: eight seconds.
const SLOT: u32 = 13;
