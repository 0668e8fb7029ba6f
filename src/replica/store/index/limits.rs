//! Limits of how many sessions may have one value at a time.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::entries::ValueHash;
use crate::{config::AtLimit, session::SessionKey};

/// The limits of a node's contexts, and the values of which more sessions are here than there may
/// be.
#[derive(Debug, Default)]
pub(crate) struct ValueLimits {
    /// Guards the limits, few as layers are few. Taken inside the lock of a shard.
    all: Mutex<Vec<ValueLimit>>,
    /// Whether there is a limit, so that nothing is locked where there is none.
    exist: AtomicBool,
    /// Guards what is to be done. Taken inside the lock of a shard.
    due: Mutex<Due>,
    /// Whether there is something to be done.
    is_crowded: AtomicBool,
}

/// Values to be looked at, and what was found.
#[derive(Debug, Default)]
struct Due {
    /// In the order in which they were noted. Those are left out that are not noted any more.
    order: VecDeque<Crowded>,
    noted: HashSet<Crowded>,
    /// To be looked at again with the next tick.
    later: Vec<Crowded>,
    /// Sessions that are to end.
    surplus: VecDeque<SessionKey>,
}

impl Due {
    fn note(&mut self, crowded: Crowded) {
        if self.noted.insert(crowded.clone()) {
            self.order.push_back(crowded);
        }
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty() && self.surplus.is_empty()
    }
}

/// How many sessions of a context may have the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ValueLimit {
    pub(crate) context: Arc<str>,
    /// The number of the path that leads to the value.
    pub(super) path: usize,
    pub(crate) most: usize,
    pub(crate) at_limit: AtLimit,
}

/// A value that too many sessions may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        let mut due = self.due();
        due.note(Crowded { limit, hash });
        self.is_crowded.store(true, Ordering::Release);
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Acquire)
    }

    /// Has the value looked at again with the next tick.
    pub(super) fn note_for_later(&self, crowded: Crowded) {
        self.due().later.push(crowded);
    }

    /// Notes that a tick has passed.
    pub(super) fn note_tick(&self) {
        let mut due = self.due();
        for crowded in std::mem::take(&mut due.later) {
            due.note(crowded);
        }
        self.is_crowded.store(!due.is_empty(), Ordering::Release);
    }

    /// Returns the next value to be looked at.
    pub(super) fn next_crowded(&self) -> Option<Crowded> {
        let mut due = self.due();
        let next = loop {
            let next = due.order.pop_front();
            let Some(crowded) = next else { break None };
            if due.noted.remove(&crowded) {
                break Some(crowded);
            }
        };
        self.is_crowded.store(!due.is_empty(), Ordering::Release);
        next
    }

    /// Returns whether a value is to be looked at, which the caller does now.
    pub(super) fn take_crowded(&self, crowded: &Crowded) -> bool {
        self.due().noted.remove(crowded)
    }

    /// Notes sessions that are to end.
    pub(super) fn note_surplus(&self, keys: Vec<SessionKey>) {
        if keys.is_empty() {
            return;
        }
        let mut due = self.due();
        due.surplus.extend(keys);
        self.is_crowded.store(true, Ordering::Release);
    }

    /// Returns the next sessions that are to end, so many at most.
    pub(super) fn next_surplus(&self, most: usize) -> Vec<SessionKey> {
        let mut due = self.due();
        let count = most.min(due.surplus.len());
        let keys = due.surplus.drain(..count).collect();
        self.is_crowded.store(!due.is_empty(), Ordering::Release);
        keys
    }

    fn all(&self) -> MutexGuard<'_, Vec<ValueLimit>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ValueLimit {
    fn is_of(&self, context: &str, path: usize) -> bool {
        self.path == path && *self.context == *context
    }
}
