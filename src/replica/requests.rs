//! Sessions as requests use them.

use std::sync::Arc;

use super::{
    Replica,
    change::{ChangeKind, Destroyed},
    log::{Log, Record},
    observer::Observer,
    store::{
        hot::Replicate,
        lock,
        shard::Shard,
        writer::{SessionWriter, WriteQuota, Written},
    },
};
use crate::{
    session::{
        Access, Mutant, Now, Proof, SecretHash, SessionError, SessionInfo, SessionKey, SessionMeta,
        SessionSecret, SessionState, Stamp, Tag, Tombstone,
    },
    wire::Position,
};

impl Replica {
    /// Looks up what a request presents. A session that it opens is confirmed and pinned, and its use
    /// is recorded unless that is `Deferred`. Before that, which hides when it was last used, `look` sees it.
    ///
    /// Use worth telling gets a record at once: the request may run for longer than peers keep a copy
    /// that they believe unused. The caller wakes the links when `head()` moved.
    pub(crate) fn open(
        &self,
        context: &str,
        key: &SessionKey,
        secret: &SessionSecret,
        replicate: Replicate,
        now: Now,
        look: impl FnOnce(&SessionState),
    ) -> Access {
        let hash = secret.hash();
        self.store.note_use();
        let mut shard = self.store.shard(key);
        let Some(entry) = shard.entry(key) else {
            return Access::Unknown;
        };
        let hot = &mut *entry.hot;
        if *hot.state.meta().context != *context || !hot.is_open(now) {
            return Access::Unknown;
        }
        let access = hot.state.secrets().presented(&hash, now);
        if access == Access::Alive {
            look(&hot.state);
            hot.pins = hot.pins.saturating_add(1);
            let is_confirmed = hot.confirm(now);
            let is_used = replicate == Replicate::Now && hot.use_at(now);
            if is_confirmed || is_used {
                if !Mutant::TellUseAtEnd.is_on() {
                    hot.commit(key, &self.log, now);
                }
                entry.reindex(key, now);
            }
        }
        access
    }

    /// Looks a session up as [`open`](Self::open) does, but neither pins it nor counts as use. The
    /// key alone opens it when no secret is asked for.
    pub(crate) fn peek(
        &self,
        context: &str,
        key: &SessionKey,
        secret: Option<&SessionSecret>,
        now: Now,
    ) -> Access {
        let hash = secret.map(SessionSecret::hash);
        self.store.note_use();
        let shard = self.store.shard(key);
        match shard.view(key) {
            Some(hot) if *hot.state.meta().context == *context && hot.is_open(now) => hash
                .map_or(Access::Alive, |hash| {
                    hot.state.secrets().presented(&hash, now)
                }),
            Some(_) | None => Access::Unknown,
        }
    }

    /// Counts as use of a session that nobody needs to hold. The caller wakes the links when
    /// `head()` moved.
    ///
    /// # Errors
    ///
    /// When the session is no longer there, or is past its limits.
    pub(crate) fn touch(&self, key: &SessionKey, now: Now) -> Result<(), SessionError> {
        let mut shard = self.store.shard(key);
        let entry = shard.entry(key).filter(|entry| entry.hot.is_open(now));
        let entry = entry.ok_or(SessionError::Destroyed)?;
        let is_confirmed = entry.hot.confirm(now);
        if entry.hot.use_at(now) || is_confirmed {
            entry.hot.commit(key, &self.log, now);
            entry.reindex(key, now);
        }
        Ok(())
    }

    /// Describes a session.
    ///
    /// # Errors
    ///
    /// When the session is no longer there, or is past its limits.
    pub(crate) fn info(&self, key: &SessionKey, now: Now) -> Result<SessionInfo, SessionError> {
        let shard = self.store.shard(key);
        let hot = shard.view(key).filter(|hot| hot.is_open(now));
        let hot = hot.ok_or(SessionError::Destroyed)?;
        Ok(hot.info(key, now))
    }

    /// [Commits](Self::commit) for a request or handle that opened or created the session, and
    /// drops its pin. Use worth telling gets a record, too.
    pub(crate) fn release(
        &self,
        key: &SessionKey,
        replicate: Replicate,
        now: Now,
    ) -> Option<Position> {
        let mut shard = self.store.shard(key);
        let Some(entry) = shard.entry(key) else {
            return commit_tombstone(&mut shard, key, &self.log, now);
        };
        let used = entry.hot.unpin(replicate, now);
        let position = entry.hot.commit(key, &self.log, now);
        if used {
            entry.reindex(key, now);
        }
        position
    }

    /// Drops a pin and commits nothing.
    #[cfg(test)]
    pub(crate) fn unpin(&self, key: &SessionKey, replicate: Replicate, now: Now) {
        if let Some(entry) = self.store.shard(key).entry(key)
            && entry.hot.unpin(replicate, now)
        {
            entry.reindex(key, now);
        }
    }

    /// Creates a session, which is pinned until it is released, and will hold `weight` bytes soon.
    ///
    /// # Errors
    ///
    /// When there are as many sessions or bytes as there may be, or one of this key.
    pub(crate) fn create(
        &self,
        meta: Arc<SessionMeta>,
        key: SessionKey,
        secret: SecretHash,
        weight: usize,
        now: Now,
    ) -> Result<(), SessionError> {
        let mut shard = self.store.shard(&key);
        let is_taken = shard.holds(&key) || shard.tombstone(&key).is_some();
        if is_taken && !Mutant::CreateTwice.is_on() {
            return Err(SessionError::Taken);
        }
        if self.store.free_bytes_of_unconfirmed() <= weight {
            return Err(SessionError::Full);
        }
        let stamp = Stamp::ZERO.next(now).ok_or(SessionError::Exhausted)?;
        let counted = self
            .store
            .counts
            .add_session_below(self.store.limits.max_sessions);
        let counted = counted.ok_or(SessionError::Full)?;
        let meta = self.store.shared_meta(meta);
        self.store.note_use();
        let origin = shard.next_origin();
        let mut state = SessionState::new(meta, secret, Tag { stamp, origin }, now);
        // Nobody comes back to a map.
        if state.meta().is_of_map() && !Mutant::LeaveMapsUnconfirmed.is_on() {
            state.confirm(now);
        }
        shard.insert_counted(counted, key, state, now);
        if let Some(hot) = shard.hot(&key) {
            hot.pins = 1;
            hot.dirty = true;
            hot.written = stamp;
        }
        Ok(())
    }

    /// Makes room for a session of `weight` bytes where there is none, at the cost of those whose
    /// clients have not come back. Returns whether it has made some.
    pub(crate) fn make_room(&self, weight: usize, now: Now, observer: &mut Observer) -> bool {
        self.store.make_room(weight, now, observer)
    }

    /// Reads a session under the shard's lock.
    ///
    /// # Errors
    ///
    /// When the session is no longer there.
    pub(crate) fn read<R>(
        &self,
        key: &SessionKey,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        let mut shard = self.store.shard(key);
        let hot = shard.hot(key).ok_or(SessionError::Destroyed)?;
        Ok(read(&hot.state))
    }

    /// Runs `write` under the shard's lock: keep it short and do not use the replica inside. The
    /// observer is told what changed.
    ///
    /// # Errors
    ///
    /// When the session is no longer there, or too old, and those of `write`. What was written before one of
    /// these stays written.
    pub(crate) fn write<R>(
        &self,
        key: &SessionKey,
        replicate: Replicate,
        observer: &mut Observer,
        now: Now,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let mut shard = self.store.shard(key);
        let mut entry = shard.entry(key).ok_or(SessionError::Destroyed)?;
        if entry.hot.state.is_too_old(now) {
            return Err(SessionError::Destroyed);
        }
        entry.renew_origin(now);
        let limits = &self.store.limits;
        let quota = WriteQuota {
            limits,
            free_bytes: match entry.hot.state.is_confirmed() {
                true => self.store.free_bytes(),
                false => self.store.free_bytes_of_unconfirmed(),
            },
        };
        let mut writer = SessionWriter::new(entry.hot, key, quota, observer, now);
        let result = write(&mut writer);
        let written = writer.finish();
        if written > Written::Nothing {
            let hot = &mut *entry.hot;
            hot.written = hot.state.vector().of(hot.own);
            hot.dirty |= replicate == Replicate::Now || written == Written::Urgent;
            entry.reindex(key, now);
        }
        result
    }

    /// Destroys a session for good. Returns `None` when it is not there, or past its limit of age.
    ///
    /// A tombstone is left, unless this node has never met a peer. Then no copy can be anywhere.
    pub(crate) fn destroy(&self, key: &SessionKey, now: Now) -> Option<Destroyed> {
        self.destroy_if(key, now, |state| !state.is_too_old(now))
    }

    /// Destroys a session if the proof opens it, and commits that. Returns `None` when it is not
    /// there, or the proof opens nothing.
    pub(super) fn destroy_as_ordered(
        &self,
        key: &SessionKey,
        proof: &Option<Proof>,
        now: Now,
    ) -> Option<Destroyed> {
        let is_proven = |state: &SessionState| {
            proof.as_ref().is_none_or(|Proof { context, secret }| {
                state.meta().context == *context
                    && state.secrets().presented(secret, now) == Access::Alive
            })
        };
        let destroyed = self.destroy_if(key, now, is_proven)?;
        self.commit(key, now);
        Some(destroyed)
    }

    /// Returns whether nothing that a peer may hold is to be expected of a presented id: its session
    /// is known to be destroyed or to be another context's, or its secret to be replaced.
    pub(crate) fn is_spent(&self, key: &SessionKey, proof: &Proof) -> bool {
        let shard = self.store.shard(key);
        if shard.tombstone(key).is_some() {
            return true;
        }
        shard.view(key).is_some_and(|hot| {
            let mut secrets = hot.state.secrets().states().iter();
            hot.state.meta().context != proof.context
                || secrets.any(|known| known.hash.is(&proof.secret))
        })
    }

    fn destroy_if(
        &self,
        key: &SessionKey,
        now: Now,
        is_wanted: impl FnOnce(&SessionState) -> bool,
    ) -> Option<Destroyed> {
        let mut shard = self.store.shard(key);
        let hot = shard.view(key)?;
        let may_end = !hot.state.meta().is_of_map() || Mutant::DestroyMaps.is_on();
        if !may_end || !is_wanted(&hot.state) {
            return None;
        }
        let destroyed = Destroyed {
            change: hot.change(key, ChangeKind::Destroyed),
            age_ms: now.mono_ms.saturating_sub(hot.state.created_ms()),
        };
        if !self.store.has_met_peers() {
            shard.drop_session(key);
            return Some(destroyed);
        }
        let tombstone = Tombstone::new(hot.state.expiry(), now.mono_ms);
        shard.delete(*key, tombstone);
        if let Some(tombstone) = shard.tombstone_mut(key) {
            tombstone.dirty = true;
        }
        Some(destroyed)
    }

    /// Appends a record of what is not committed in the session, use worth telling included.
    /// Returns the position whose acknowledgement means that the peer holds every change of the
    /// session made here, `None` when there was none. The caller wakes the links when `head()`
    /// moved.
    pub(crate) fn commit(&self, key: &SessionKey, now: Now) -> Option<Position> {
        let mut shard = self.store.shard(key);
        match shard.entry(key) {
            Some(entry) => entry.hot.commit(key, &self.log, now),
            None => commit_tombstone(&mut shard, key, &self.log, now),
        }
    }

    /// Commits all that was written here and not yet committed: by filtered requests, and by those
    /// under way.
    pub(crate) fn commit_all(&self, now: Now) {
        for shard in &self.store.shards {
            // The lock is let go of in between.
            let uncommitted = lock(shard).uncommitted();
            for key in uncommitted {
                if let Some(entry) = self.store.shard(&key).entry(&key) {
                    entry.hot.dirty = true;
                    entry.hot.commit(&key, &self.log, now);
                }
            }
        }
    }
}

fn commit_tombstone(shard: &mut Shard, key: &SessionKey, log: &Log, now: Now) -> Option<Position> {
    let held = shard.tombstone_mut(key)?;
    if std::mem::replace(&mut held.dirty, false) {
        held.position = Some(log.append(Record {
            key: *key,
            prev: Stamp::ZERO,
            touch: false,
            at_ms: now.mono_ms,
        }));
    }
    held.position
}
