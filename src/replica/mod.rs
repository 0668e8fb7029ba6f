//! Decisions: the store, the change log, and what a link says next. No I/O, no clock, no
//! randomness.
//!
//! A change goes one way: [`Store::write`] alters the live copy and notes that it is unshipped;
//! [`Replica::commit`] appends a record to the log; each [`Link`] drains the log into batches; the
//! peer's [`Link`] hands them to its store, merges, and acknowledges. What a peer misses all the
//! same, digest repair finds.

mod change;
mod key_hasher;
mod lineage;
mod link;
mod log;
mod mutant;
mod observer;
mod requests;
#[cfg(test)]
mod simulation;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::Hasher as _,
    sync::{Mutex, PoisonError},
};

use twox_hash::xxhash3_64;

pub(crate) use self::{
    change::{Change, ChangeKind},
    link::{Link, LinkAcks, LinkEvent, LinkOptions, Violation},
    observer::Observer,
    store::{hot::Replicate, missing::Missing, writer::SessionWriter},
};
use self::{lineage::LineageTracker, log::Log, store::Store};
#[cfg(test)]
use crate::session::Item;
use crate::{
    config::{Limits, Shape},
    session::{BootId, Now, SessionKey, SessionState, Tag, Token},
    wire::{Position, message::Lineage},
};

/// One node's replica: its store, its log of changes, and what it has applied of each peer's log.
/// Shared by all requests and links; every method takes `&self` and locks briefly inside.
#[derive(Debug)]
pub(crate) struct Replica {
    boot: BootId,
    store: Store,
    log: Log,
    /// What was applied of whose log. Outlives links, so that a reconnect resumes.
    applied: Mutex<HashMap<BootId, Remembered>>,
    lineage: LineageTracker,
    /// The digest root and when it was computed: one for all links' heartbeats.
    root: Mutex<Option<(u64, u64)>>,
}

/// How far a peer's log has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Applied {
    position: Option<Position>,
    /// The peer's log skipped something and no complete round has followed yet.
    owes_round: bool,
}

/// What is remembered of a peer's log, and when it changed last.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    applied: Applied,
    at_ms: u64,
}

impl Replica {
    pub(crate) fn new(boot: BootId, limits: Limits, shape: &Shape, now: Now) -> Self {
        Self {
            boot,
            store: Store::new(boot, limits, shape),
            log: Log::new(shape.log_records),
            applied: Mutex::default(),
            lineage: LineageTracker::new(now),
            root: Mutex::default(),
        }
    }

    pub(crate) const fn boot(&self) -> BootId {
        self.boot
    }

    /// The last position of the log.
    pub(crate) fn head(&self) -> Option<Position> {
        self.log.head()
    }

    /// Drops what has expired, of which the observer hears, and tells peers of what is still in use.
    /// Call it every 100 ms.
    pub(crate) fn sweep(&self, now: Now, observer: &mut Observer) {
        for key in self.store.sweep(now, observer) {
            self.commit(&key, now);
        }
    }

    /// Returns what this node's copy lacks of the writes that a client knows of.
    pub(crate) fn missing(&self, key: &SessionKey, token: &Token) -> Missing {
        self.store.missing(key, token)
    }

    /// Returns this node's last write of a session that has gone to its log.
    pub(crate) fn last_logged(&self, key: &SessionKey) -> Option<Tag> {
        self.store.last_logged(key)
    }

    /// Returns the keys of the sessions for which `pick` holds.
    pub(crate) fn select(&self, pick: impl FnMut(&SessionState) -> bool) -> Vec<SessionKey> {
        self.store.select(pick)
    }

    /// Returns how many sessions are held.
    pub(crate) fn sessions(&self) -> usize {
        self.store.sessions()
    }

    /// Returns how many destroyed sessions are remembered.
    pub(crate) fn tombstones(&self) -> usize {
        self.store.tombstones()
    }

    /// Returns whether requests asked for sessions, or created some, between the last two sweeps.
    pub(crate) fn is_in_use(&self) -> bool {
        self.store.is_in_use()
    }

    /// Returns all there is of a session, for a peer that asks.
    #[cfg(test)]
    pub(crate) fn full(&self, key: &SessionKey, now: Now) -> Item {
        self.store.full(key, now)
    }

    /// Returns the digests of all shards, in the order of their keys.
    #[cfg(test)]
    pub(crate) fn digests(&self) -> Vec<u64> {
        self.store.digests()
    }

    /// Returns whether the session is known to be destroyed.
    #[cfg(test)]
    pub(crate) fn is_destroyed(&self, key: &SessionKey) -> bool {
        self.store.is_destroyed(key)
    }

    /// Whether both hold the same sessions, as far as digests tell.
    #[cfg(feature = "test-util")]
    pub(crate) fn holds_the_same_as(&self, other: &Self) -> bool {
        self.store.digests() == other.store.digests()
    }

    fn lineage(&self, now: Now) -> Lineage {
        self.lineage.describe(!self.store.is_empty(), now)
    }

    /// A hash over all digests, at most [`ROOT_AGE_MS`] old.
    fn root(&self, now: Now) -> u64 {
        let mut cached = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at_ms, root)) = *cached
            && now.mono_ms.saturating_sub(at_ms) < ROOT_AGE_MS
        {
            return root;
        }
        let mut hasher = xxhash3_64::Hasher::new();
        for digest in self.store.digests() {
            hasher.write(&digest.to_le_bytes());
        }
        let root = hasher.finish();
        *cached = Some((now.mono_ms, root));
        root
    }

    fn applied_of(&self, peer: BootId) -> Applied {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = applied.get(&peer);
        remembered.map_or_else(Applied::default, |peer| peer.applied)
    }

    fn set_applied(&self, peer: BootId, applied: Applied, now: Now) {
        let mut all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_BOOTS && !all.contains_key(&peer) {
            let oldest = all.iter().min_by_key(|(_, peer)| peer.at_ms);
            if let Some(oldest) = oldest.map(|(boot, _)| *boot) {
                all.remove(&oldest);
            }
        }
        let at_ms = now.mono_ms;
        all.insert(peer, Remembered { applied, at_ms });
    }
}

/// How old the root in a heartbeat may be.
const ROOT_AGE_MS: u64 = 250;
/// Boots of peers that are remembered; the one not heard of for longest is forgotten first and
/// would have to repair.
const MAX_BOOTS: usize = 1024;
