//! What requests do to sessions.

use std::sync::Arc;

use super::{
    Replica,
    change::{Change, ChangeKind},
    log::{Log, Position},
    store::{hot::Replicate, shard::Shard, writer::SessionWriter},
};
use crate::session::{
    Access, Now, SecretHash, SessionError, SessionKey, SessionMeta, SessionSecret, SessionState,
    Stamp, Tag, Tombstone,
};

impl Replica {
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
        let mut shard = self.store.shard(key);
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
    pub(crate) fn release(&self, key: &SessionKey, replicate: Replicate, now: Now) -> Position {
        let mut shard = self.store.shard(key);
        let Some(entry) = shard.entry(key) else {
            return commit_tombstone(&mut shard, key, &self.log, now);
        };
        let used = entry.live.unpin(replicate, now);
        let position = entry.live.commit(key, &self.log, now);
        if used {
            entry.reindex(key, now);
        }
        position
    }

    /// One holder less, and nothing shipped.
    #[cfg(test)]
    pub(crate) fn unpin(&self, key: &SessionKey, replicate: Replicate, now: Now) {
        if let Some(entry) = self.store.shard(key).entry(key)
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
        if self.store.counts.tombstones() >= self.store.limits.max_tombstones() {
            return Err(SessionError::Full);
        }
        let stamp = Stamp::ZERO.next(now).ok_or(SessionError::Exhausted)?;
        let counted = self
            .store
            .counts
            .add_session_below(self.store.limits.max_sessions);
        let counted = counted.ok_or(SessionError::Full)?;
        let meta = self.store.shared_meta(meta);
        let mut shard = self.store.shard(&key);
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
        let mut shard = self.store.shard(key);
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
        let mut shard = self.store.shard(key);
        let mut entry = shard.entry(key).ok_or(SessionError::Destroyed)?;
        entry.renew_origin(now);
        let live = &mut *entry.live;
        let mut writer = SessionWriter::new(live, &self.store.limits, collect, now);
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
        let mut shard = self.store.shard(key);
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
    pub(crate) fn commit(&self, key: &SessionKey, now: Now) -> Position {
        let mut shard = self.store.shard(key);
        match shard.entry(key) {
            Some(entry) => entry.live.commit(key, &self.log, now),
            None => commit_tombstone(&mut shard, key, &self.log, now),
        }
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
