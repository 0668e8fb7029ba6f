//! How many sessions and tombstones a store holds, and the bytes of these sessions.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The numbers of sessions and tombstones in all shards. Only shards change them, where they insert
/// and remove, so that none is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sessions: AtomicUsize,
    tombstones: AtomicUsize,
    bytes: AtomicUsize,
}

/// The proof that a session was counted, which a shard asks for with each one it takes in.
#[derive(Debug)]
#[must_use = "a session that is counted must be inserted"]
pub(crate) struct Counted(());

impl Counts {
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

    pub(super) fn add_tombstone(&self) {
        self.tombstones.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_tombstones(&self, number: usize) {
        self.tombstones.fetch_sub(number, Ordering::Relaxed);
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
}
