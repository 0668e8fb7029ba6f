//! One node's replica.

use std::{
    hash::Hasher as _,
    sync::{Mutex, PoisonError},
};

use twox_hash::xxhash3_64;

#[cfg(any(test, feature = "durable"))]
use super::saving::Saving;
use super::{
    applied::AppliedLogs,
    lineage::{LineageTracker, Past},
    log::Log,
    observer::Observer,
    orders::Orders,
    retention::RetentionTracker,
    store::{Store, missing::Missing, sweep::Sweep},
};
#[cfg(test)]
use crate::session::Item;
use crate::{
    config::{Limits, Shape},
    session::{BootId, Now, SessionKey, SessionState, Tag, Token},
    wire::Position,
};

/// One node's replica: its store, its log of changes, and what it has applied of each peer's log.
/// Shared by all requests and links; every method takes `&self` and locks briefly inside.
#[derive(Debug)]
pub(crate) struct Replica {
    boot: BootId,
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) applied: AppliedLogs,
    pub(super) lineage: LineageTracker,
    pub(super) retention: RetentionTracker,
    pub(super) orders: Orders,
    /// Guards the digest root, one for all links' heartbeats.
    root: Mutex<Option<Root>>,
    #[cfg(any(test, feature = "durable"))]
    pub(super) saving: Saving,
}

/// What a node needs for destroyed sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TombstoneUse {
    pub(crate) bytes: usize,
    /// How long one is remembered at most, where there is not room for all.
    pub(crate) retention_ms: Option<u64>,
    /// How many were forgotten before that, because there was no room.
    pub(crate) lost: u64,
}

/// A hash over all digests, and when it was computed.
#[derive(Clone, Copy, Debug)]
struct Root {
    hash: u64,
    at_ms: u64,
}

impl Replica {
    pub(crate) fn new(boot: BootId, limits: Limits, shape: &Shape, now: Now) -> Self {
        Self {
            boot,
            store: Store::new(boot, limits, shape),
            log: Log::new(shape.log_records),
            applied: AppliedLogs::default(),
            lineage: LineageTracker::new(now),
            retention: RetentionTracker::new(now),
            orders: Orders::default(),
            root: Mutex::default(),
            #[cfg(any(test, feature = "durable"))]
            saving: Saving::new(shape),
        }
    }

    pub(crate) const fn boot(&self) -> BootId {
        self.boot
    }

    /// Returns the last position of the log, `None` when nothing was committed yet.
    pub(crate) fn head(&self) -> Option<Position> {
        self.log.head()
    }

    /// Returns the last position of the log that is as old as this, and more.
    pub(crate) fn overdue(&self, age_ms: u64, now: Now) -> Option<Position> {
        self.log.before(now.mono_ms.saturating_sub(age_ms))
    }

    /// Notes that a tick has passed.
    pub(crate) fn note_tick(&self, now: Now) {
        self.store.note_tick();
        self.orders.sweep(now);
        let retention = self.retention.tick(&self.store.counts, now);
        self.store.set_retention(retention);
        self.lineage.record_retention(retention, now);
    }

    /// Takes the next step of a sweep, which takes a fraction of a millisecond: drops what has
    /// expired, of which the observer hears, and tells peers of what is still in use. Begin one every
    /// 100 ms, unless the last one is still under way.
    pub(crate) fn sweep_some(&self, sweep: &mut Sweep, now: Now, observer: &mut Observer) {
        for key in self.store.sweep_some(sweep, now, observer) {
            self.commit(&key, now);
        }
    }

    /// Lets a tick pass, and sweeps all that is due.
    #[cfg(any(test, feature = "__internals"))]
    pub(crate) fn sweep(&self, now: Now, observer: &mut Observer) {
        self.note_tick(now);
        let mut sweep = Sweep::default();
        self.sweep_some(&mut sweep, now, observer);
        while sweep.is_under_way() {
            self.sweep_some(&mut sweep, now, observer);
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

    /// Returns the keys of the sessions for which `pick` holds. No lock is held while it is called, so
    /// a session may have changed when this returns.
    pub(crate) fn select(&self, pick: impl FnMut(&SessionState) -> bool) -> Vec<SessionKey> {
        self.store.select(pick)
    }

    /// Returns how many sessions are held.
    pub(crate) fn sessions(&self) -> usize {
        self.store.sessions()
    }

    /// Returns how many sessions have made room for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.store.evicted()
    }

    /// Returns the bytes of memory that sessions take.
    pub(crate) fn session_bytes(&self) -> usize {
        self.store.counts.bytes()
    }

    /// Returns how many destroyed sessions are remembered.
    pub(crate) fn tombstones(&self) -> usize {
        self.store.tombstones()
    }

    /// Returns what destroyed sessions take, and how long they are remembered.
    pub(crate) fn tombstone_use(&self) -> TombstoneUse {
        let counts = &self.store.counts;
        let retention = counts.retention();
        TombstoneUse {
            bytes: counts.tombstones() * Limits::TOMBSTONE_BYTES,
            retention_ms: retention.is_shortened().then(|| retention.ms()),
            lost: counts.lost_tombstones(),
        }
    }

    /// Returns whether requests asked for sessions, or created some, between the last two ticks.
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

    /// Returns whether this node counts as one that met nobody for longer than tombstones are kept.
    #[cfg(test)]
    pub(crate) fn is_away(&self, now: Now) -> bool {
        self.past(now).lineage.away
    }

    /// Returns whether the session is known to be destroyed.
    #[cfg(any(test, feature = "status"))]
    pub(crate) fn is_destroyed(&self, key: &SessionKey) -> bool {
        self.store.is_destroyed(key)
    }

    /// Returns whether both hold the same sessions, as far as digests tell.
    #[cfg(feature = "test-util")]
    pub(crate) fn holds_the_same_as(&self, other: &Self) -> bool {
        self.store.digests() == other.store.digests()
    }

    /// Returns how this node's data has fared, as peers are told.
    pub(super) fn past(&self, now: Now) -> Past {
        self.lineage
            .describe(!self.store.is_empty(), &self.retention, now)
    }

    /// Returns a hash over all digests, at most [`ROOT_AGE_MS`] old.
    pub(super) fn root(&self, now: Now) -> u64 {
        let mut cached = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Root { hash, at_ms }) = *cached
            && now.mono_ms.saturating_sub(at_ms) < ROOT_AGE_MS
        {
            return hash;
        }
        let (hash, at_ms) = (root_of(&self.store.digests()), now.mono_ms);
        *cached = Some(Root { hash, at_ms });
        hash
    }
}

/// Returns the hash over digests.
pub(super) fn root_of(digests: &[u64]) -> u64 {
    let mut hasher = xxhash3_64::Hasher::new();
    for digest in digests {
        hasher.write(&digest.to_le_bytes());
    }
    hasher.finish()
}

/// The age that the root in a heartbeat may have.
const ROOT_AGE_MS: u64 = 250;
