//! The sessions of a node in locked shards.

pub(super) mod apply;
pub(super) mod cold;
pub(super) mod counts;
pub(super) mod doubts;
mod evict;
pub(super) mod expiry;
pub(super) mod hot;
pub(super) mod index;
pub(super) mod missing;
pub(super) mod offer;
pub(super) mod place;
pub(super) mod quota;
pub(super) mod residency;
mod scan;
pub(super) mod shard;
mod sorted_map;
pub(super) mod sweep;
mod unconfirmed;
#[cfg(any(test, feature = "durable"))]
pub(super) mod unsaved;
#[cfg(not(any(test, feature = "durable")))]
#[path = "no_unsaved.rs"]
mod unsaved;
pub(super) mod writer;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use self::{
    counts::Counts,
    doubts::{Comparison, Doubts, Place},
    index::Index,
    quota::PeerQuota,
    shard::Shard,
    unconfirmed::Eviction,
};
use crate::{
    config::{Limits, Shape},
    session::{BootId, Now, Retention, SessionKey, SessionMeta, ValuePath},
};

/// Every session this node holds. Each method locks one shard for a moment; none hands a lock out.
#[derive(Debug)]
pub(super) struct Store {
    pub(crate) limits: Limits,
    /// A shard's lock guards all it holds. A key's first bits choose the shard.
    pub(crate) shards: Box<[Mutex<Shard>]>,
    pub(crate) digests_per_shard: usize,
    /// Sessions and tombstones of one digest shard that are taken in at most.
    max_listed: usize,
    lock_shift: u32,
    digest_shift: u32,
    pub(crate) counts: Arc<Counts>,
    /// Whether requests have asked for sessions, or created some, since the last tick.
    used: AtomicBool,
    /// The same for the time between the last two ticks.
    in_use: AtomicBool,
    doubts: Doubts,
    /// Whether there has ever been a link. Nobody else holds anything of a node that never had one.
    has_met_peers: AtomicBool,
    eviction: Eviction,
    /// The shards keep it in step. `None` when sessions are found by nothing but their keys.
    index: Option<Arc<Index>>,
    /// Guards the immutable parts that sessions share, few as layers are few.
    metas: Mutex<SharedMetas>,
}

impl Store {
    pub(crate) fn new(boot: BootId, limits: Limits, shape: &Shape) -> Self {
        let locks = shape.lock_shards.next_power_of_two();
        let digests = shape.digests_per_lock.next_power_of_two();
        let lock_shift = 32 - locks.ilog2();
        let digest_shift = lock_shift - digests.ilog2();
        let max_listed = limits.max_listed(locks * digests);
        let counts = Arc::new(Counts::new(limits.max_tombstones()));
        let unconfirmed_ms = limits.unconfirmed_ms;
        let counted = || Arc::clone(&counts);
        let shard = || Shard::new(boot, unconfirmed_ms, counted(), digests, digest_shift);
        Self {
            limits,
            max_listed,
            shards: (0..locks).map(|_| Mutex::new(shard())).collect(),
            digests_per_shard: digests,
            lock_shift,
            digest_shift,
            counts,
            used: AtomicBool::new(false),
            doubts: Doubts::default(),
            eviction: Eviction::default(),
            in_use: AtomicBool::new(false),
            has_met_peers: AtomicBool::new(false),
            index: None,
            metas: Mutex::default(),
        }
    }

    /// Has sessions found by values, too. Call it before there is a session.
    pub(crate) fn index_by(&mut self, paths: &[ValuePath]) {
        if paths.is_empty() {
            return;
        }
        let index = Arc::new(Index::new(paths, Arc::clone(&self.counts)));
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            shard.index_by(Arc::clone(&index));
        }
        self.index = Some(index);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions() == 0 && self.tombstones() == 0
    }

    /// Doubts all sessions that are older than an instant. End it with [`Store::end_doubts`] when
    /// everything has been compared with the peer.
    pub(crate) fn doubt_older_than(&self, before_ms: u64, now: Now) -> Comparison {
        let shards = self.shards.iter();
        let old = shards.flat_map(|shard| lock(shard).keys_created_before(before_ms));
        self.doubts.begin(old.collect(), now)
    }

    /// Notes that the peer of a comparison holds a session, or a tombstone of it.
    pub(crate) fn confirm(&self, key: &SessionKey, place: Place) {
        self.doubts.confirm(key, place);
    }

    /// Notes that a comparison that ends doubts has come further.
    pub(crate) fn note_progress_of_doubts(&self, now: Now) {
        self.doubts.note_progress(now);
    }

    /// Returns whether sessions are doubted, and that is about to end.
    pub(crate) fn is_settling_doubts(&self, now: Now) -> bool {
        self.doubts.are_being_settled(now)
    }

    /// Returns whether peers must not hear of a session yet.
    pub(crate) fn is_doubted(&self, key: &SessionKey) -> bool {
        self.doubts.contain(key)
    }

    /// Drops the doubted sessions that the peer lacks, and lets go of the others unless another
    /// comparison is to settle them. Returns how many were dropped.
    pub(crate) fn end_doubts(&self, comparison: &Comparison) -> usize {
        let lost = self.doubts.end(comparison).into_iter();
        lost.filter(|key| self.shard(key).drop_session(key).is_some())
            .count()
    }

    /// Returns how many sessions and tombstones of one digest shard are taken in at most.
    pub(crate) const fn max_listed(&self) -> usize {
        self.max_listed
    }

    /// Returns how many sessions are held.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.sessions()
    }

    /// Returns whether the session is known to be destroyed.
    #[cfg(any(test, feature = "status"))]
    pub(crate) fn is_destroyed(&self, key: &SessionKey) -> bool {
        self.shard(key).tombstone(key).is_some()
    }

    /// Notes that there is a link, before anything is sent on it.
    pub(crate) fn meet_peer(&self) {
        self.has_met_peers.store(true, Ordering::SeqCst);
    }

    /// Returns whether a peer may hold what is held here. Call it with the shard's lock held: whatever
    /// a link sends of it is read under that lock, after the peer was met.
    pub(crate) fn has_met_peers(&self) -> bool {
        self.has_met_peers.load(Ordering::SeqCst)
    }

    /// Sets how long tombstones are remembered at most.
    pub(crate) fn set_retention(&self, retention: Retention) {
        if self.counts.set_retention(retention) {
            for shard in &self.shards {
                lock(shard).schedule_all();
            }
        }
    }

    /// Returns whether requests asked for sessions, or created some, between the last two ticks.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Returns how many bytes more sessions of this node may take.
    pub(crate) fn free_bytes(&self) -> usize {
        self.limits.max_bytes.saturating_sub(self.counts.bytes())
    }

    /// Returns how many of these bytes sessions may take whose clients have not come back. The rest is
    /// for those that have: whoever makes up sessions must not stop the writes of others.
    pub(crate) fn free_bytes_of_unconfirmed(&self) -> usize {
        let reserved = self.limits.max_bytes / 16;
        self.free_bytes().saturating_sub(reserved)
    }

    /// Returns how many destroyed sessions are remembered.
    pub(crate) fn tombstones(&self) -> usize {
        self.counts.tombstones()
    }

    pub(crate) fn shard(&self, key: &SessionKey) -> MutexGuard<'_, Shard> {
        let at = key.prefix().checked_shr(self.lock_shift).unwrap_or(0);
        lock(&self.shards[at as usize])
    }

    /// Returns the number of the digest shard of a key, among all of the store's.
    pub(crate) fn digest_shard(&self, key: &SessionKey) -> u32 {
        key.prefix().checked_shr(self.digest_shift).unwrap_or(0)
    }

    /// Returns the version of a session, or of what is left of a destroyed one.
    pub(crate) fn version(&self, key: &SessionKey) -> Option<u64> {
        self.shard(key).version(key)
    }

    /// Returns how much more is taken from peers.
    pub(crate) fn quota_for_peers(&self) -> PeerQuota {
        let hard = |limit: usize| limit.saturating_mul(Limits::HARD);
        PeerQuota {
            sessions: hard(self.limits.max_sessions).saturating_sub(self.sessions()),
            bytes: (self.limits.hard_bytes()).saturating_sub(self.counts.bytes()),
            tombstones: (self.limits.max_tombstones()).saturating_sub(self.tombstones()),
        }
    }

    /// Returns the allocation that equal immutable parts share, so that a million sessions hold
    /// one.
    pub(crate) fn shared_meta(&self, meta: Arc<SessionMeta>) -> Arc<SessionMeta> {
        let mut metas = self.metas.lock().unwrap_or_else(PoisonError::into_inner);
        metas.shared(meta)
    }

    /// Returns the immutable part that was asked for last.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn last_meta(&self) -> Option<Arc<SessionMeta>> {
        let metas = self.metas.lock().unwrap_or_else(PoisonError::into_inner);
        metas.last.clone()
    }

    /// Returns the contexts of the sessions that are held, and of some that are gone.
    pub(crate) fn contexts(&self) -> Vec<Arc<str>> {
        let metas = self.metas.lock().unwrap_or_else(PoisonError::into_inner);
        let all = metas.all.iter();
        all.map(|meta| Arc::clone(&meta.context)).collect()
    }

    /// Returns how many sessions are hot.
    #[cfg(test)]
    pub(crate) fn hot_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).hot_count())
            .sum()
    }
}

/// The immutable parts of sessions, each of them once.
#[derive(Debug, Default)]
struct SharedMetas {
    all: HashSet<Arc<SessionMeta>>,
    /// The one asked for last, which is nearly always asked for next.
    last: Option<Arc<SessionMeta>>,
}

impl SharedMetas {
    fn shared(&mut self, meta: Arc<SessionMeta>) -> Arc<SessionMeta> {
        if let Some(last) = self.last.as_ref().filter(|last| **last == meta) {
            return Arc::clone(last);
        }
        let shared = match self.all.get(&meta) {
            Some(shared) => Arc::clone(shared),
            None => {
                if self.all.len() >= MAX_SHARED_METAS {
                    // Those of sessions that are gone, so that whoever sent many does not stay in
                    // the way.
                    self.all.retain(|meta| Arc::strong_count(meta) > 1);
                }
                if self.all.len() >= MAX_SHARED_METAS {
                    return meta;
                }
                self.all.insert(Arc::clone(&meta));
                meta
            }
        };
        self.last = Some(Arc::clone(&shared));
        shared
    }
}

/// Locks a shard. A panic inside the lock can only be a defect of this crate, and the state stays
/// mergeable.
pub(crate) fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Immutable parts beyond this many are not shared, only correct.
const MAX_SHARED_METAS: usize = 4096;
