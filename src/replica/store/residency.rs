//! The residency of sessions, hot or cold, and what goes with one when it changes.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use super::{
    cold::ColdSession,
    counts::Counts,
    hot::{HotSession, IDLE_MS},
    index::Index,
    unsaved::Unsaved,
};
use crate::session::{BootId, Now, SessionKey, SessionMeta, Stamp};

/// A session and what can be told of it without unpacking it.
#[derive(Debug)]
pub(crate) struct StoredSession {
    /// The bucket of the schedule in which the session is looked at again.
    pub(crate) due: u64,
    pub(crate) version: u64,
    pub(crate) residency: Residency,
}

impl StoredSession {
    pub(crate) const fn new(version: u64, check_ms: u64, residency: Residency) -> Self {
        Self {
            due: bucket(check_ms),
            version,
            residency,
        }
    }
}

/// A session in fields, or in one piece of bytes.
#[derive(Debug)]
pub(crate) enum Residency {
    Hot(Box<HotSession>),
    Cold(ColdSession),
}

/// What a node's hot sessions have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) boot: BootId,
    pub(crate) unconfirmed_ms: u64,
}

/// A hot session, found once to be looked at and changed.
#[derive(Debug)]
pub(crate) struct HotEntry<'a> {
    pub(crate) hot: &'a mut HotSession,
    pub(crate) counts: &'a Counts,
    pub(crate) index: Option<&'a Index>,
    /// Of the stored session.
    pub(crate) due: &'a mut u64,
    pub(crate) version: &'a mut u64,
    /// Of its digest shard.
    pub(crate) digest: &'a mut u64,
    pub(crate) next_due: &'a mut u64,
    /// Of its shard.
    pub(crate) drops: &'a mut u32,
    pub(crate) unsaved: &'a mut Unsaved,
}

/// The keys of all hot sessions, and of some that are cold again, each with the instant to look at
/// it. The first is the earliest.
#[derive(Debug, Default)]
pub(crate) struct IdleQueue {
    keys: VecDeque<(u64, SessionKey)>,
    /// Of the last sweep.
    now_ms: u64,
}

impl Residency {
    /// Returns the session hot. `idle_queue` gets the key of one that was cold.
    pub(crate) fn make_hot(
        &mut self,
        key: &SessionKey,
        own: Own,
        index: Option<&Index>,
        idle_queue: &mut IdleQueue,
    ) -> Option<&mut HotSession> {
        if let Self::Cold(cold) = self {
            let mut hot = cold.to_hot(own.boot, own.unconfirmed_ms);
            if let Some(index) = index {
                hot.set_places(index.places(&hot.state));
            }
            *self = Self::Hot(Box::new(hot));
            idle_queue.push(*key);
        }
        match self {
            Self::Hot(hot) => Some(hot),
            Self::Cold(_) => None,
        }
    }

    /// Returns the bytes of memory that the session takes beside its place in the sorted map.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Hot(hot) => hot.memory,
            Self::Cold(cold) => cold.length(),
        }
    }

    pub(crate) const fn meta(&self) -> &Arc<SessionMeta> {
        match self {
            Self::Hot(hot) => hot.state.meta(),
            Self::Cold(cold) => cold.meta(),
        }
    }

    /// Lets the index forget the session.
    pub(crate) fn leave(&self, index: &Index, key: &SessionKey) {
        match self {
            Self::Hot(hot) => index.leave_all(key, hot.places()),
            Self::Cold(cold) => index.leave_packed(key, &cold.meta().context, cold.body()),
        }
    }

    pub(crate) fn created_ms(&self) -> u64 {
        match self {
            Self::Hot(hot) => hot.state.created_ms(),
            Self::Cold(cold) => cold.created_ms(),
        }
    }

    /// Returns the session without changing its residency.
    pub(crate) fn view(&self, own: Own) -> Cow<'_, HotSession> {
        match self {
            Self::Hot(hot) => Cow::Borrowed(hot),
            Self::Cold(cold) => Cow::Owned(cold.to_hot(own.boot, own.unconfirmed_ms)),
        }
    }
}

impl HotEntry<'_> {
    /// Gives this node another origin in the session if the present one may soon be forgotten. Call
    /// it before a write.
    ///
    /// Vectors forget origins that have not written for the grace time, and take writes of theirs
    /// for covered. A write under such an origin would reach peers as one they have. At half that
    /// time no copy can have forgotten it. What the former origin has not committed goes with the
    /// next full state, which `lost` brings about.
    pub(crate) fn renew_origin(&mut self, now: Now) {
        let hot = &mut *self.hot;
        if hot.written == Stamp::ZERO {
            return;
        }
        let half = hot.state.meta().gc_grace_ms() / 2;
        let next = hot.state.next_stamp(now);
        if let Some(next) = next.filter(|next| hot.written < next.earlier(half)) {
            *self.drops = self.drops.wrapping_add(1);
            hot.own.epoch = *self.drops;
            hot.logged = Stamp::ZERO;
            hot.written = Stamp::ZERO;
            hot.lost = next;
        }
    }

    /// Brings version, digest, schedule and index up to date. Returns whether anything has changed.
    pub(crate) fn reindex(self, key: &SessionKey, now: Now) -> bool {
        let hot = self.hot;
        let version = hot.version(key);
        if version == *self.version {
            return false;
        }
        hot.changed_ms = now.mono_ms;
        if let Some(index) = self.index {
            index.update(key, &hot.state, &mut hot.places);
        }
        let before = hot.memory;
        hot.measure();
        self.counts.resize(before, hot.memory);
        *self.digest ^= *self.version ^ version;
        *self.version = version;
        self.unsaved.note_change(key);
        *self.due = (*self.due).min(bucket(hot.next_check()));
        *self.next_due = (*self.next_due).min(*self.due);
        true
    }
}

impl IdleQueue {
    /// Begins the sweep of this instant.
    pub(crate) const fn start(&mut self, now: Now) {
        self.now_ms = now.mono_ms;
    }

    pub(crate) fn push(&mut self, key: SessionKey) {
        self.keys.push_back((self.now_ms + LOOK_AFTER_MS, key));
    }

    pub(crate) fn pop_due(&mut self) -> Option<SessionKey> {
        let (look_ms, key) = *self.keys.front()?;
        if self.now_ms < look_ms {
            return None;
        }
        self.keys.pop_front();
        Some(key)
    }

    pub(crate) fn shrink(&mut self) {
        if self.keys.capacity() / 4 > self.keys.len() {
            self.keys.shrink_to_fit();
        }
    }
}

/// A bucket of the schedule is a quarter of a second: nodes drop a session at nearly the same
/// moment.
const BUCKET_SHIFT: u32 = 8;

pub(crate) const fn bucket(at_ms: u64) -> u64 {
    if at_ms == u64::MAX {
        u64::MAX
    } else {
        at_ms >> BUCKET_SHIFT
    }
}

/// The time until a hot session is looked at: as soon as it may be packed after one use, however
/// long the last sweep is ago.
const LOOK_AFTER_MS: u64 = IDLE_MS + IDLE_MS / 8;
