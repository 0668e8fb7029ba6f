//! The sessions of a node in locked shards.

pub(super) mod apply;
pub(super) mod cold;
mod counts;
mod expiry;
pub(super) mod hot;
pub(super) mod missing;
pub(super) mod offer;
pub(super) mod quota;
mod residency;
pub(super) mod shard;
mod sorted_map;
mod sweep;
pub(super) mod writer;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use self::{counts::Counts, hot::Replicate, shard::Shard, writer::SessionWriter};
use super::{
    change::{Change, ChangeKind},
    log::{Log, Position},
};
use crate::{
    config::{Limits, Shape},
    session::{
        Access, BootId, Now, SecretHash, SessionError, SessionKey, SessionMeta, SessionSecret,
        SessionState, Stamp, Tag, Tombstone,
    },
};

/// Every session this node holds. Each method locks one shard for a moment; none hands a lock out.
#[derive(Debug)]
pub(crate) struct Store {
    pub(in crate::replica) limits: Limits,
    /// A shard's lock guards all it holds; a key's first bits choose the shard.
    pub(in crate::replica) shards: Box<[Mutex<Shard>]>,
    pub(in crate::replica) digests_per_shard: usize,
    /// Sessions and tombstones of one digest shard that are taken in at most.
    max_listed: usize,
    lock_shift: u32,
    pub(in crate::replica) counts: Arc<Counts>,
    /// Whether requests have asked for sessions, or created some, between the last two sweeps.
    pub(in crate::replica) in_use: AtomicBool,
    /// Guards the births that sessions share, few as layers are few.
    metas: Mutex<SharedMetas>,
}

impl Store {
    pub(in crate::replica) fn new(boot: BootId, limits: Limits, shape: &Shape) -> Self {
        let locks = shape.lock_shards.next_power_of_two();
        let digests = shape.digests_per_lock.next_power_of_two();
        let lock_shift = 32 - locks.ilog2();
        let digest_shift = lock_shift - digests.ilog2();
        let max_listed = limits.max_listed(locks * digests);
        let counts = Arc::<Counts>::default();
        let shard = || Shard::new(boot, Arc::clone(&counts), digests, digest_shift);
        Self {
            limits,
            max_listed,
            shards: (0..locks).map(|_| Mutex::new(shard())).collect(),
            digests_per_shard: digests,
            lock_shift,
            counts,
            in_use: AtomicBool::new(false),
            metas: Mutex::default(),
        }
    }

    /// Looks up what a request presents; use is recorded unless its shipping is `Deferred`.
    pub(crate) fn open(
        &self,
        context: &str,
        key: &SessionKey,
        secret: &SessionSecret,
        replicate: Replicate,
        now: Now,
    ) -> Access {
        let hash = secret.hash();
        let mut shard = self.shard(key);
        shard.in_use = true;
        let Some(entry) = shard.entry(key) else {
            return Access::Unknown;
        };
        let live = &mut *entry.live;
        if *live.state.meta().context != *context || !live.is_open(now) {
            return Access::Unknown;
        }
        let access = live.state.secrets().presented(&hash, now);
        if access == Access::Alive {
            live.pins = live.pins.saturating_add(1);
            if replicate == Replicate::Now && live.use_at(now) {
                entry.reindex(key, now);
            }
        }
        access
    }

    /// One holder less: a request or handle that opened or created the session is done. What it
    /// has not shipped, use worth telling included, gets a record. Returns as `commit` does.
    pub(in crate::replica) fn release(
        &self,
        key: &SessionKey,
        replicate: Replicate,
        log: &Log,
        now: Now,
    ) -> Position {
        let mut shard = self.shard(key);
        let Some(entry) = shard.entry(key) else {
            return commit_tombstone(&mut shard, key, log, now);
        };
        let used = entry.live.unpin(replicate, now);
        let position = entry.live.commit(key, log, now);
        if used {
            entry.reindex(key, now);
        }
        position
    }

    /// One holder less, and nothing shipped.
    #[cfg(test)]
    pub(crate) fn unpin(&self, key: &SessionKey, replicate: Replicate, now: Now) {
        if let Some(entry) = self.shard(key).entry(key)
            && entry.live.unpin(replicate, now)
        {
            entry.reindex(key, now);
        }
    }

    /// Creates a session, in use until released.
    pub(crate) fn create(
        &self,
        meta: Arc<SessionMeta>,
        key: SessionKey,
        secret: SecretHash,
        now: Now,
    ) -> Result<(), SessionError> {
        if self.counts.tombstones() >= self.limits.max_tombstones() {
            return Err(SessionError::Full);
        }
        let stamp = Stamp::ZERO.next(now).ok_or(SessionError::Exhausted)?;
        let counted = self.counts.add_session_below(self.limits.max_sessions);
        let counted = counted.ok_or(SessionError::Full)?;
        let meta = self.shared_meta(meta);
        let mut shard = self.shard(&key);
        shard.in_use = true;
        let origin = shard.next_origin();
        let state = SessionState::new(meta, secret, Tag { stamp, origin }, now);
        shard.insert_counted(counted, key, state, now);
        if let Some(live) = shard.live(&key) {
            live.pins = 1;
            live.dirty = true;
            live.written = stamp;
        }
        Ok(())
    }

    /// `Err(Destroyed)` when the session is no longer there.
    pub(crate) fn read<R>(
        &self,
        key: &SessionKey,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        let mut shard = self.shard(key);
        let live = shard.live(key).ok_or(SessionError::Destroyed)?;
        Ok(read(&live.state))
    }

    /// Runs `write` under the shard's lock: keep it short and do not use the store inside. With
    /// `collect`, the second part of the result says what changed.
    pub(crate) fn write<R>(
        &self,
        key: &SessionKey,
        replicate: Replicate,
        collect: bool,
        now: Now,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<(R, Vec<Change>), SessionError> {
        let mut shard = self.shard(key);
        let mut entry = shard.entry(key).ok_or(SessionError::Destroyed)?;
        entry.renew_origin(now);
        let live = &mut *entry.live;
        let mut writer = SessionWriter::new(live, &self.limits, collect, now);
        let result = write(&mut writer);
        let written = writer.finish();
        let changed = |what| live.change(key, what);
        let changes: Vec<Change> = match collect {
            true => written.what.into_iter().map(changed).collect(),
            false => Vec::new(),
        };
        if written.any {
            live.written = live.state.vector().of(live.own);
            live.dirty |= replicate == Replicate::Now || written.must_ship;
            entry.reindex(key, now);
        }
        Ok((result?, changes))
    }

    /// Destroys a session for good. `None` when it is not there.
    pub(crate) fn destroy(&self, key: &SessionKey, now: Now) -> Option<Change> {
        let mut shard = self.shard(key);
        let live = shard.view(key)?;
        let tombstone = Tombstone::new(live.state.expiry(), now.mono_ms);
        let change = live.change(key, ChangeKind::Destroyed);
        shard.delete(*key, tombstone);
        if let Some(grave) = shard.tombstone_mut(key) {
            grave.dirty = true;
        }
        Some(change)
    }

    /// Appends a record of what this session has not shipped. Returns the position whose
    /// acknowledgement covers every change made here, 0 for none.
    pub(in crate::replica) fn commit(&self, key: &SessionKey, log: &Log, now: Now) -> Position {
        let mut shard = self.shard(key);
        match shard.entry(key) {
            Some(entry) => entry.live.commit(key, log, now),
            None => commit_tombstone(&mut shard, key, log, now),
        }
    }

    /// Keys of live sessions for which `pick` holds.
    pub(crate) fn select(&self, mut pick: impl FnMut(&SessionState) -> bool) -> Vec<SessionKey> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let picked = shard.views().filter(|(_, live)| pick(&live.state));
            keys.extend(picked.map(|(key, _)| *key));
        }
        keys
    }

    pub(in crate::replica) fn is_empty(&self) -> bool {
        self.sessions() == 0 && self.tombstones() == 0
    }

    /// Drops everything without a trace. Returns how many sessions there were.
    pub(in crate::replica) fn clear(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).clear()).sum()
    }

    /// Sessions and tombstones of one digest shard that are taken in at most.
    pub(in crate::replica) const fn max_listed(&self) -> usize {
        self.max_listed
    }

    /// Live sessions held.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.sessions()
    }

    /// Whether the session is known to be destroyed.
    #[cfg(test)]
    pub(crate) fn is_buried(&self, key: &SessionKey) -> bool {
        self.shard(key).grave(key).is_some()
    }

    /// Whether requests have asked for sessions, or created some, between the last two sweeps.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Remembered destroyed sessions.
    pub(crate) fn tombstones(&self) -> usize {
        self.counts.tombstones()
    }

    pub(in crate::replica) fn shard(&self, key: &SessionKey) -> MutexGuard<'_, Shard> {
        let at = key.prefix().checked_shr(self.lock_shift).unwrap_or(0);
        lock(&self.shards[at as usize])
    }

    /// The birth that equal ones share, so that a million sessions hold one.
    pub(in crate::replica) fn shared_meta(&self, meta: Arc<SessionMeta>) -> Arc<SessionMeta> {
        let mut metas = self.metas.lock().unwrap_or_else(PoisonError::into_inner);
        metas.shared(meta)
    }

    /// Sessions that are not at rest.
    #[cfg(test)]
    pub(in crate::replica) fn hot_count(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).hot_count())
            .sum()
    }
}

fn commit_tombstone(shard: &mut Shard, key: &SessionKey, log: &Log, now: Now) -> Position {
    let Some(grave) = shard.tombstone_mut(key) else {
        return 0;
    };
    if grave.dirty {
        grave.dirty = false;
        grave.position = log.append(*key, Stamp::ZERO, false, now);
    }
    grave.position
}

/// Births, each of them once.
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
                if self.all.len() >= MAX_SHARED_BIRTHS {
                    // Those of sessions that are gone, so that whoever sent many does not stay in
                    // the way.
                    self.all.retain(|meta| Arc::strong_count(meta) > 1);
                }
                if self.all.len() >= MAX_SHARED_BIRTHS {
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

/// A panic inside the lock can only be a defect of this crate; the state stays mergeable.
pub(in crate::replica) fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Births beyond this many are not shared, only correct.
const MAX_SHARED_BIRTHS: usize = 4096;
