//! Sessions that may have been destroyed elsewhere, and that forgotten.
//!
//! A node that was apart for longer than tombstones are kept cannot know whether the others
//! destroyed what it holds from before. Until a peer that was not apart has been compared with, peers
//! get nothing of these sessions. Then those that the peer lacks are dropped, and no others.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::session::{Mutant, SessionKey};

/// The sessions in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Whether there may be any, for the path of every change.
    exist: AtomicBool,
    /// Short lookups only. Taken inside the lock of a shard.
    doubted: Mutex<Doubted>,
}

#[derive(Debug, Default)]
struct Doubted {
    keys: HashSet<SessionKey>,
    /// Of the links that may answer. Without one, this node's data is all there is to be had.
    comparisons: Weak<()>,
}

/// A comparison that ends doubts. Drop it when the link closes first.
#[derive(Debug)]
pub(crate) struct Comparison {
    _open: Arc<()>,
    /// Sessions that the peer asked for: it lacks them, or sends what it has.
    asked_for: HashSet<SessionKey>,
}

impl Comparison {
    pub(crate) fn record_asked_for(&mut self, keys: &[SessionKey]) {
        self.asked_for.extend(keys);
    }
}

impl Doubts {
    /// Doubts these sessions, beside those that are doubted already.
    pub(super) fn begin(&self, keys: HashSet<SessionKey>) -> Comparison {
        let mut doubted = self.lock();
        let open = doubted.comparisons.upgrade().unwrap_or_default();
        doubted.comparisons = Arc::downgrade(&open);
        doubted.keys.extend(keys);
        self.exist.store(true, Ordering::Release);
        Comparison {
            _open: open,
            asked_for: HashSet::new(),
        }
    }

    /// Doubts a session no more.
    pub(super) fn confirm(&self, key: &SessionKey) {
        if self.exist() && !Mutant::DropConfirmed.is_on() {
            self.lock().keys.remove(key);
        }
    }

    pub(super) fn contain(&self, key: &SessionKey) -> bool {
        self.exist() && self.lock().contains(key)
    }

    /// Doubts nothing any more. Returns the sessions that the peer has asked for and not sent.
    pub(super) fn end(&self, comparison: &Comparison) -> Vec<SessionKey> {
        let doubted = {
            let mut doubted = self.lock();
            self.exist.store(false, Ordering::Release);
            std::mem::take(&mut *doubted).keys
        };
        let is_asked_for = |key: &SessionKey| comparison.asked_for.contains(key);
        let is_lost = |key: &SessionKey| is_asked_for(key) || Mutant::DropConfirmed.is_on();
        doubted.into_iter().filter(is_lost).collect()
    }

    fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Doubted> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubted {
    fn contains(&self, key: &SessionKey) -> bool {
        self.comparisons.strong_count() > 0 && self.keys.contains(key)
    }
}
