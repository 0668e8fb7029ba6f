//! Sessions whose clients have not come back. When a node is full, the oldest of them make room.

use std::{collections::VecDeque, sync::atomic::AtomicU64};

use crate::session::{Now, SessionKey};

/// The sessions of a shard that were unconfirmed when they came, in the order in which they did, with
/// the instant of the last access. Some are confirmed or gone by now.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(VecDeque<Candidate>);

/// A session that may make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) accessed_ms: u64,
    pub(crate) key: SessionKey,
}

/// What was evicted.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    pub(super) evicted: AtomicU64,
    /// The latest access of one that was.
    pub(super) upto_ms: AtomicU64,
    /// Nothing is to be found before that instant.
    pub(super) not_before_ms: AtomicU64,
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is confirmed, or gone.
    Settled,
    /// A request or handle uses it, and may confirm it.
    InUse,
    Unconfirmed,
}

impl Unconfirmed {
    pub(super) fn push(&mut self, accessed_ms: u64, key: SessionKey) {
        self.0.push_back(Candidate { accessed_ms, key });
    }

    /// Returns the oldest session that is still unconfirmed, old enough and not in use. It stays at
    /// the front.
    pub(super) fn oldest(
        &mut self,
        now: Now,
        standing: impl Fn(&SessionKey) -> Standing,
    ) -> Option<Candidate> {
        for _ in 0..self.0.len() {
            let candidate = *self.0.front()?;
            if now.mono_ms.saturating_sub(candidate.accessed_ms) < YOUNG_MS {
                return None;
            }
            match standing(&candidate.key) {
                Standing::Unconfirmed => return Some(candidate),
                Standing::Settled => {
                    self.0.pop_front();
                }
                Standing::InUse => self.0.rotate_left(1),
            }
        }
        None
    }

    /// Returns the bytes that the queue takes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Candidate>()
    }

    pub(super) fn forget_before(&mut self, accessed_ms: u64) {
        while (self.0.front()).is_some_and(|first| first.accessed_ms < accessed_ms) {
            self.0.pop_front();
        }
        if self.0.capacity() / 4 > self.0.len() {
            self.0.shrink_to_fit();
        }
    }
}

/// The age from which on a session may make room. A browser that is sent a page asks for what
/// belongs to it, or follows a redirect, within less; a flood of newcomers must not take the sessions
/// of each other before that.
pub(crate) const YOUNG_MS: u64 = 5_000;
