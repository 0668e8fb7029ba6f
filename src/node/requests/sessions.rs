//! What requests do to sessions: the store's operations with clock, randomness, log and events.

use std::sync::{Arc, atomic::Ordering};

use crate::log::warn;
use crate::node::Node;
use crate::{
    replica::{Change, ChangeKind, Observer, Replica, Replicate, SessionWriter},
    session::{
        Access, CookieValue, Now, SessionError, SessionKey, SessionMeta, SessionSecret,
        SessionState,
    },
    wire::Position,
};

impl Node {
    /// Opens the session of a presented id. `Alive` counts as in use until [`Node::release`].
    pub(crate) fn open(
        &self,
        context: &str,
        CookieValue { key, secret }: &CookieValue,
        replicate: Replicate,
        now: Now,
    ) -> Access {
        self.replica().open(context, key, secret, replicate, now)
    }

    /// Creates a session, in use until [`Node::release`], to be replicated by [`Node::commit`].
    pub(crate) fn create(&self, meta: Arc<SessionMeta>) -> Result<CookieValue, SessionError> {
        if !self.may_create() {
            return Err(SessionError::Leaving);
        }
        let key = SessionKey::from_bytes(self.env.random());
        let secret = SessionSecret::from_bytes(self.env.random());
        let context = Arc::clone(&meta.context);
        let route = meta.route.clone();
        let now = self.now();
        let created = self.replica().create(meta, key, secret.hash(), now);
        created.inspect_err(|error| self.note_refused(error, now))?;
        if self.wants_session_events() {
            self.publish(Change {
                key,
                context,
                route,
                kind: ChangeKind::Created,
            });
        }
        Ok(CookieValue { key, secret })
    }

    pub(crate) fn read<R>(
        &self,
        key: &SessionKey,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        self.replica().read(key, read)
    }

    /// Writes for a request that loaded its session at `loaded_ms`, monotonic.
    pub(crate) fn write<R>(
        &self,
        key: &SessionKey,
        replicate: Replicate,
        loaded_ms: u64,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let mut observer = Observer::new(self.wants_session_events());
        let now = self.time_of_write(loaded_ms);
        let result = self
            .replica()
            .write(key, replicate, &mut observer, now, write)
            .inspect_err(|error| self.note_refused(error, now))?;
        for change in observer.into_changes() {
            self.publish(change);
        }
        Ok(result)
    }

    /// Replaces the secret; the old one is dead at once, here, and everywhere once committed.
    pub(crate) fn cycle(&self, key: &SessionKey) -> Result<SessionSecret, SessionError> {
        let secret = SessionSecret::from_bytes(self.env.random());
        let hash = secret.hash();
        let now_ms = self.now().mono_ms;
        self.write(key, Replicate::Now, now_ms, |writer| writer.cycle(hash))?;
        Ok(secret)
    }

    /// Destroys a session.
    ///
    /// # Errors
    ///
    /// [`SessionError::Destroyed`] when somebody else was first.
    pub(crate) fn destroy(&self, key: &SessionKey) -> Result<(), SessionError> {
        let destroyed = self.replica().destroy(key, self.now());
        let change = destroyed.ok_or(SessionError::Destroyed)?;
        if self.wants_session_events() {
            self.publish(change);
        }
        Ok(())
    }

    /// Commits the session's changes. Returns the log position to wait for, if any.
    pub(crate) fn commit(&self, key: &SessionKey) -> Option<Position> {
        self.commit_with(|replica, now| replica.commit(key, now))
    }

    /// [Commits](Self::commit) for a user that is done. Use up to now is told to peers, unless the
    /// request was filtered.
    pub(crate) fn release(&self, key: &SessionKey, replicate: Replicate) -> Option<Position> {
        self.commit_with(|replica, now| replica.release(key, replicate, now))
    }

    /// Counts and logs what a limit of this node has refused.
    fn note_refused(&self, error: &SessionError, now: Now) {
        let monitor = &self.monitor;
        let (count, log) = match error {
            SessionError::Full => (&monitor.counters.full, &monitor.full_log),
            SessionError::TooLarge { .. } => (&monitor.counters.too_large, &monitor.too_large_log),
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if log.may_log(now) {
            warn!(node = %self.settings.node, "refused: {error}");
        }
    }

    fn commit_with(
        &self,
        commit: impl FnOnce(&Replica, Now) -> Option<Position>,
    ) -> Option<Position> {
        let before = self.replica().head();
        let position = commit(self.replica(), self.now());
        if self.replica().head() != before {
            self.wake_links();
        }
        position
    }
}
