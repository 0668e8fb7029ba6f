//! Decisions: the store, the change log, and what a link says next. No I/O, no clock, no
//! randomness.
//!
//! A change goes one way: [`Store::write`] alters the live copy and notes that it is unshipped;
//! [`Replica::commit`] appends a record to the log; each [`Link`] drains the log into batches; the
//! peer's [`Link`] hands them to its store, merges, and acknowledges. What a peer misses all the
//! same, digest repair finds.

#[cfg(test)]
mod adversary;
mod change;
mod key_hasher;
mod lineage;
mod link;
mod log;
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
    store::{Replicate, Store, missing::Missing, writer::SessionWriter},
};
use self::{lineage::LineageTracker, log::Log};
use crate::{
    config::{Limits, Shape},
    session::{BootId, Now, SessionKey},
    wire::message::{Lineage, Position},
};

/// One node's replica: its store, its log of changes, and what it has applied of each peer's log.
/// Shared by all requests and links; every method takes `&self` and locks briefly inside.
#[derive(Debug)]
pub(crate) struct Replica {
    boot: BootId,
    store: Store,
    log: Log,
    /// What was applied of whose log. Outlives links, so that a reconnect resumes.
    applied: Mutex<HashMap<BootId, Applied>>,
    memory: LineageTracker,
    /// The digest root and when it was computed: one for all links' heartbeats.
    root: Mutex<Option<(u64, u64)>>,
}

/// How far a peer's log has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Applied {
    position: Position,
    /// The peer's log skipped something and no complete round has followed yet.
    owes_round: bool,
    seen_ms: u64,
}

impl Replica {
    pub(crate) fn new(boot: BootId, limits: Limits, shape: &Shape, now: Now) -> Self {
        Self {
            boot,
            store: Store::new(boot, limits, shape),
            log: Log::new(shape.log_records),
            applied: Mutex::default(),
            memory: LineageTracker::new(now),
            root: Mutex::default(),
        }
    }

    pub(crate) const fn boot(&self) -> BootId {
        self.boot
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The last position of the log.
    pub(crate) fn head(&self) -> Position {
        self.log.head()
    }

    /// Appends a record if the session has unshipped changes (or use worth telling). Returns the
    /// position whose acknowledgement means that every change of this session made here is held
    /// by the acknowledging peer; 0 when there is nothing to wait for. The caller wakes the links
    /// when `head()` moved.
    pub(crate) fn commit(&self, key: &SessionKey, now: Now) -> Position {
        self.store.commit(key, &self.log, now)
    }

    /// [Commits](Self::commit) for a request or handle that uses the session no more.
    pub(crate) fn release(&self, key: &SessionKey, replicate: Replicate, now: Now) -> Position {
        self.store.release(key, replicate, &self.log, now)
    }

    /// Drops what has expired and tells peers of what is still in use. Call it every 100 ms.
    /// Returns the sessions that expired here, when asked to `collect` them.
    pub(crate) fn sweep(&self, now: Now, collect: bool) -> Vec<Change> {
        let (touched, expired) = self.store.sweep(now, collect);
        for key in touched {
            self.commit(&key, now);
        }
        expired
    }

    /// Whether both hold the same sessions, as far as digests tell.
    #[cfg(feature = "test-util")]
    pub(crate) fn holds_the_same_as(&self, other: &Self) -> bool {
        self.store.digests() == other.store.digests()
    }

    fn past(&self, now: Now) -> Lineage {
        self.memory.describe(!self.store.is_empty(), now)
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
        applied.get(&peer).copied().unwrap_or_default()
    }

    fn set_applied(&self, peer: BootId, position: Position, owes_round: bool, now: Now) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if applied.len() >= MAX_BOOTS && !applied.contains_key(&peer) {
            let oldest = applied.iter().min_by_key(|(_, entry)| entry.seen_ms);
            if let Some(oldest) = oldest.map(|(boot, _)| *boot) {
                applied.remove(&oldest);
            }
        }
        applied.insert(
            peer,
            Applied {
                position,
                owes_round,
                seen_ms: now.mono_ms,
            },
        );
    }
}

/// How old the root in a heartbeat may be.
const ROOT_AGE_MS: u64 = 250;
/// Boots of peers that are remembered; the one not heard of for longest is forgotten first and
/// would have to repair.
const MAX_BOOTS: usize = 1024;
