//! Limits of how many sessions may have one value at a time.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::entries::ValueHash;
use crate::config::AtLimit;

/// The limits of a node's contexts, and the values of which more sessions are here than there may
/// be.
#[derive(Debug, Default)]
pub(crate) struct ValueLimits {
    /// Guards the limits, few as layers are few. Taken inside the lock of a shard.
    all: Mutex<Vec<ValueLimit>>,
    /// Whether there is a limit, so that nothing is locked where there is none.
    exist: AtomicBool,
    /// Guards the values to be looked at. Each is there at most as often as a session has got it, and
    /// none for longer than a tick. Taken inside the lock of a shard.
    crowded: Mutex<Vec<Crowded>>,
    /// Whether there is such a value.
    is_crowded: AtomicBool,
}

/// How many sessions of a context may have the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueLimit {
    pub(crate) context: Arc<str>,
    /// The number of the path that leads to the value.
    pub(super) path: usize,
    pub(crate) most: usize,
    pub(crate) at_limit: AtLimit,
}

/// A value that too many sessions may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crowded {
    pub(super) limit: ValueLimit,
    pub(super) hash: ValueHash,
}

/// The answer to a layer that wants to set a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitClaim {
    New,
    Granted,
    /// Another layer of the context has set another one.
    Differs,
    /// There is no index of the name.
    NotIndexed,
}

impl ValueLimits {
    /// Sets a limit, if no other one was set.
    pub(super) fn claim(&self, limit: ValueLimit) -> LimitClaim {
        let mut all = self.all();
        let mut alike = all
            .iter()
            .filter(|held| held.is_of(&limit.context, limit.path));
        match alike.next() {
            Some(held) if *held == limit => LimitClaim::Granted,
            Some(_) => LimitClaim::Differs,
            None => {
                all.push(limit);
                self.exist.store(true, Ordering::Release);
                LimitClaim::New
            }
        }
    }

    pub(super) fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    /// Returns the limit of a value's path, if there is one.
    pub(super) fn of(&self, context: &str, path: usize) -> Option<ValueLimit> {
        if !self.exist() {
            return None;
        }
        let all = self.all();
        all.iter().find(|held| held.is_of(context, path)).cloned()
    }

    /// Notes that more sessions may have a value than may.
    pub(super) fn note(&self, limit: ValueLimit, hash: ValueHash) {
        self.crowded().push(Crowded { limit, hash });
        self.is_crowded.store(true, Ordering::Release);
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Acquire)
    }

    /// Has the value looked at again with the next tick.
    pub(super) fn note_for_later(&self, crowded: Crowded) {
        self.crowded().push(crowded);
    }

    /// Returns the values to be looked at, each once.
    pub(super) fn take_crowded(&self) -> Vec<Crowded> {
        self.is_crowded.store(false, Ordering::Release);
        let mut crowded = std::mem::take(&mut *self.crowded());
        crowded.sort_unstable_by_key(|crowded| crowded.hash.0);
        crowded.dedup();
        crowded
    }

    fn all(&self) -> MutexGuard<'_, Vec<ValueLimit>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crowded(&self) -> MutexGuard<'_, Vec<Crowded>> {
        self.crowded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ValueLimit {
    fn is_of(&self, context: &str, path: usize) -> bool {
        self.path == path && *self.context == *context
    }
}
