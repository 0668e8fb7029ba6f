//! What requests do to sessions: the store's operations with clock, randomness, log and events.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use crate::log::warn;
use crate::node::Node;
use crate::{
    replica::{Change, ChangeKind, Destroyed, Observer, Replica, Replicate, SessionWriter},
    session::{
        Access, CookieValue, Now, SessionError, SessionKey, SessionMeta, SessionSecret,
        SessionState,
    },
    wire::Position,
};

/// On whose behalf a session is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DestroyedBy {
    /// A request or the app, on this node.
    Request,
    /// Another node, which has ordered it.
    Order,
    /// This node, because as many sessions have the value as may have it.
    Limit,
}

impl Node {
    /// Opens the session of a presented id. `Alive` counts as in use until [`Node::release`]; before
    /// that, `look` sees it.
    pub(crate) fn open(
        &self,
        context: &str,
        CookieValue { key, secret }: &CookieValue,
        replicate: Replicate,
        now: Now,
        look: impl FnOnce(&SessionState),
    ) -> Access {
        let before = self.replica().head();
        let access = self
            .replica()
            .open(context, key, secret, replicate, now, look);
        if self.replica().head() != before {
            self.wake_links();
        }
        self.note_presented(key, access);
        access
    }

    /// Opens a session by its key, or by its key and a secret, without counting as use of it.
    pub(crate) fn peek(
        &self,
        context: &str,
        key: &SessionKey,
        secret: Option<&SessionSecret>,
    ) -> Access {
        let access = self.replica().peek(context, key, secret, self.now());
        if secret.is_some() {
            self.note_presented(key, access);
        }
        access
    }

    /// Notes what was found of an id that a client presented, and tells of one that may be stolen or
    /// made up.
    fn note_presented(&self, key: &SessionKey, access: Access) {
        self.monitor.metrics.note_load(access);
        let kind = match access {
            Access::Alive | Access::Superseded | Access::Unknown => return,
            Access::Replaced => ChangeKind::ReplacedIdPresented,
            Access::Forged => ChangeKind::ForgedIdPresented,
        };
        if !self.wants_session_events() {
            return;
        }
        let meta = self.replica().read(key, |state| Arc::clone(state.meta()));
        // Where it has ended meanwhile, there is nothing to tell of.
        if let Ok(meta) = meta {
            self.publish(Change {
                key: *key,
                context: Arc::clone(&meta.context),
                route: meta.route.clone(),
                kind,
            });
        }
    }

    /// Notes that a client presented what no node of this app has written.
    pub(crate) fn note_unreadable_id(&self) {
        let unreadable = &self.monitor.metrics.loads_unreadable;
        unreadable.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts as use of a session.
    ///
    /// # Errors
    ///
    /// When the session is no longer there, or is past its limits.
    pub(crate) fn touch(&self, key: &SessionKey) -> Result<(), SessionError> {
        let before = self.replica().head();
        let touched = self.replica().touch(key, self.now());
        if self.replica().head() != before {
            self.wake_links();
        }
        touched
    }

    /// Returns an id that nobody has.
    pub(crate) fn fresh_id(&self) -> CookieValue {
        CookieValue::new(self.env.random(), self.env.random())
    }

    /// Creates a session that will hold `weight` bytes, in use until [`Node::release`], to be
    /// replicated by [`Node::commit`].
    pub(crate) fn create(
        &self,
        meta: &Arc<SessionMeta>,
        CookieValue { key, secret }: &CookieValue,
        weight: usize,
    ) -> Result<(), SessionError> {
        let metrics = &self.monitor.metrics;
        if !self.may_create() {
            metrics.leaving.fetch_add(1, Ordering::Relaxed);
            return Err(SessionError::Leaving);
        }
        let context = Arc::clone(&meta.context);
        let route = meta.route.clone();
        let now = self.now();
        let hash = secret.hash();
        let create = || {
            let meta = Arc::clone(meta);
            self.replica().create(meta, *key, hash, weight, now)
        };
        let mut created = create();
        while matches!(created, Err(SessionError::Full)) && self.make_room(weight, now) {
            created = create();
        }
        created.inspect_err(|error| self.note_refused(error, now))?;
        metrics.created.fetch_add(1, Ordering::Relaxed);
        if self.wants_session_events() {
            self.publish(Change {
                key: *key,
                context,
                route,
                kind: ChangeKind::Created,
            });
        }
        Ok(())
    }

    /// Lets sessions go whose clients have not come back, if there is no room for one of so many bytes.
    /// Returns whether that has made some.
    fn make_room(&self, weight: usize, now: Now) -> bool {
        let mut observer = Observer::new(self.wants_session_events());
        let has_room = self.replica().make_room(weight, now, &mut observer);
        self.note_ended(observer);
        has_room
    }

    /// Counts and tells of sessions that have ended because time passed, or for want of room.
    pub(crate) fn note_ended(&self, observer: Observer) {
        let metrics = &self.monitor.metrics;
        let expired = observer.expired_ms();
        metrics
            .expired
            .fetch_add(expired.len() as u64, Ordering::Relaxed);
        for age_ms in expired.iter().chain(observer.evicted_ms()) {
            metrics.ages.record_ms(*age_ms);
        }
        for change in observer.into_changes() {
            self.publish(change);
        }
    }

    /// Counts a session of this age that was destroyed here.
    pub(crate) fn note_destroyed(&self, by: DestroyedBy, age_ms: u64) {
        let metrics = &self.monitor.metrics;
        let count = match by {
            DestroyedBy::Request => &metrics.destroyed,
            DestroyedBy::Order => &metrics.destroyed_by_order,
            DestroyedBy::Limit => &metrics.destroyed_by_limit,
        };
        count.fetch_add(1, Ordering::Relaxed);
        metrics.ages.record_ms(age_ms);
    }

    /// Reads a session.
    ///
    /// # Errors
    ///
    /// When it is no longer there, or too old.
    pub(crate) fn read<R>(
        &self,
        key: &SessionKey,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        let read = |state: &SessionState| {
            // Most sessions have no limit of age, and reading them takes no look at the clock.
            let is_over = state.end_of_age_ms().is_some() && state.is_too_old(self.now());
            (!is_over).then(|| read(state))
        };
        self.replica()
            .read(key, read)?
            .ok_or(SessionError::Destroyed)
    }

    /// Waits until the session is no longer there: destroyed here or at a peer, or too old.
    pub(crate) async fn ended(&self, key: &SessionKey) {
        while let Ok(end_of_age_ms) = self.read(key, SessionState::end_of_age_ms) {
            let left_ms = end_of_age_ms.map(|end_ms| end_ms.saturating_sub(self.now().mono_ms));
            let left = Duration::from_millis(left_ms.unwrap_or(u64::MAX));
            sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    /// Waits until something is so, which it looks at every second.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            sleep(LOOK_INTERVAL).await;
        }
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
        self.end_surplus_beside(key, now);
        for change in observer.into_changes() {
            self.publish(change);
        }
        Ok(result)
    }

    /// Replaces the secret; the old one is dead at once, here, and everywhere once committed.
    pub(crate) fn cycle(
        &self,
        key: &SessionKey,
        secret: &SessionSecret,
    ) -> Result<(), SessionError> {
        let hash = secret.hash();
        let now_ms = self.now().mono_ms;
        self.write(key, Replicate::Now, now_ms, |writer| writer.cycle(hash))?;
        let cycled = &self.monitor.metrics.ids_cycled;
        cycled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Destroys a session, as a request or the app wants it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Destroyed`] when somebody else was first.
    pub(crate) fn destroy(&self, key: &SessionKey) -> Result<(), SessionError> {
        self.destroy_for(DestroyedBy::Request, key)
    }

    /// Destroys a session.
    ///
    /// # Errors
    ///
    /// [`SessionError::Destroyed`] when somebody else was first.
    pub(crate) fn destroy_for(
        &self,
        by: DestroyedBy,
        key: &SessionKey,
    ) -> Result<(), SessionError> {
        let now = self.now();
        let destroyed = self.replica().destroy(key, now);
        let Destroyed { change, age_ms } = destroyed.ok_or(SessionError::Destroyed)?;
        self.note_destroyed(by, age_ms);
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

/// How often whoever waits for the end of a session, or a change of a map, looks for it. It takes one
/// look-up, and no list of who waits has to be kept in step with all the ways in which it comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
