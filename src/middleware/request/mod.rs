//! The session of one request under one layer.
//!
//! It knows which session the request works on, what the client must be told, and what is still to
//! be committed. The slot, the handles and the response future share it.

mod finish;
mod lifetime;
mod load;
pub(super) mod outside;
mod read_your_writes;
mod state;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use self::state::{CookieAction, Phase, RequestState, SessionSource, WriteTarget};
use super::{cookie::request_cookies::RequestCookies, layer_config::LayerConfig};
use crate::{
    config::{Ack, Expiry, Limits},
    node::Node,
    replica::{Replicate, SessionWriter},
    session::{
        Access, AttributeChange, Changes, CookieValue, Now, SessionError, SessionInfo, SessionKey,
        SessionMeta, SessionState, Stamp,
    },
};

pub(crate) struct RequestSession {
    pub(crate) config: Arc<LayerConfig>,
    pub(crate) cookies: RequestCookies,
    /// Deferred for a filtered request: its attribute writes wait for the session's next commit.
    pub(crate) replicate: Replicate,
    /// The time of loading in monotonic milliseconds, `u64::MAX` before. What the request writes
    /// may be based on what it read then.
    pub(crate) loaded_ms: AtomicU64,
    /// Whether it is too late for a cookie. It is set under the lock of `state`, so that whoever
    /// holds that is done before the request commits. Whoever writes without the lock looks here
    /// afterwards, and commits by itself.
    pub(crate) head_sent: AtomicBool,
    /// Whether this request has changed the session that is held, and replicates the change.
    pub(crate) changed: AtomicBool,
    /// Guards which session the request works on, so that its handles create and destroy it once.
    /// Taken before the store's locks, never across an await.
    pub(crate) state: Mutex<RequestState>,
}

impl RequestSession {
    pub(crate) fn new(
        config: Arc<LayerConfig>,
        cookies: RequestCookies,
        replicate: Replicate,
    ) -> Self {
        Self {
            config,
            cookies,
            replicate,
            loaded_ms: AtomicU64::new(u64::MAX),
            head_sent: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> &LayerConfig {
        &self.config
    }

    /// Returns whether the client sent a cookie of our name at all.
    pub(crate) fn presents_cookie(&self) -> bool {
        !self.cookies.is_empty(&self.config.cookie)
    }

    /// Returns the session that was alive when it was loaded or created.
    pub(crate) fn key(&self) -> Option<SessionKey> {
        self.state().key()
    }

    /// Reads the session; the output is `None` when there is none.
    pub(crate) fn read<R>(
        &self,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<Option<R>, SessionError> {
        match self.key() {
            Some(key) => self.node().read(&key, read).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the session that [`RequestSession::write`] has to write to, `None` if it may create
    /// it.
    pub(crate) fn writable(&self) -> Result<Option<SessionKey>, SessionError> {
        match self.write_target(&self.state()) {
            WriteTarget::Superseded => Err(SessionError::Superseded),
            WriteTarget::TooLate => Err(SessionError::HeadersSent),
            WriteTarget::Held(key) => Ok(Some(key)),
            WriteTarget::Absent => Ok(None),
        }
    }

    /// Changes the session, which is created if need be.
    ///
    /// `weight` is what the change adds to the size of a new session: one that would not take it is
    /// not created at all.
    pub(crate) fn write<R>(
        &self,
        weight: usize,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let key = self.held_or_created(|limits| {
            SessionError::unless_within("bytes", weight, limits.max_session_bytes)?;
            Ok(weight)
        })?;
        self.write_to(&key, write)
    }

    /// Decides whether the session, or the one that would be created, may get a value. Returns the
    /// stamp that the write must come after.
    ///
    /// # Errors
    ///
    /// When as many others have it as may.
    pub(crate) fn admit_value(&self, name: &str, json: &[u8]) -> Result<Stamp, SessionError> {
        let node = self.node();
        let context = self.config.context();
        let (key, now) = (|| self.key(), || node.now());
        node.replica().admit_value(context, key, name, json, now)
    }

    /// [Admits](Self::admit_value) all values that changes write.
    fn admit_values_of(&self, changes: &Changes) -> Result<Stamp, SessionError> {
        let mut last = Stamp::ZERO;
        for (name, change) in changes.attributes() {
            if let AttributeChange::Set(json) = change {
                last = last.max(self.admit_value(name, json)?);
            }
        }
        Ok(last)
    }

    /// Makes several changes as one. The session is created if they leave anything in it.
    pub(crate) fn change_all(&self, changes: &Changes) -> Result<(), SessionError> {
        let last = self.admit_values_of(changes)?;
        let write = |writer: &mut SessionWriter<'_>| {
            writer.come_after(last);
            writer.change(changes)?;
            Ok(changes.expiry().is_some() && self.is_persistent_in(writer.state()))
        };
        let changed = if changes.write_any() {
            let key = self.held_or_created(|limits| changes.weight_within(limits))?;
            self.write_to(&key, write).map(Some)
        } else {
            self.change(write)
        };
        match (changed?, changes.expiry()) {
            (None, Some(expiry)) => self.state().expiry = Some(expiry),
            // The cookie's end has changed with it.
            (Some(true), _) => self.send_cookie(),
            (None | Some(false), _) => {}
        }
        Ok(())
    }

    /// Changes the session if there is one.
    pub(crate) fn change<R>(
        &self,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<Option<R>, SessionError> {
        let write_target = self.write_target(&self.state());
        match write_target {
            WriteTarget::Superseded => Err(SessionError::Superseded),
            WriteTarget::TooLate | WriteTarget::Absent => Ok(None),
            WriteTarget::Held(key) => self.write_to(&key, write).map(Some),
        }
    }

    pub(crate) fn set_expiry(&self, expiry: Expiry) -> Result<(), SessionError> {
        if expiry.has_zero_limit() {
            return Err(SessionError::ZeroLimit);
        }
        let changed = self.change(|writer| {
            writer.set_expiry(expiry)?;
            Ok(self.is_persistent_in(writer.state()))
        })?;
        match changed {
            None => self.state().expiry = Some(expiry),
            // The cookie's end has changed with it.
            Some(true) => self.send_cookie(),
            Some(false) => {}
        }
        Ok(())
    }

    pub(crate) fn set_persistent(&self, persistent: bool) -> Result<(), SessionError> {
        if self.has_sent_head() {
            return Err(SessionError::HeadersSent);
        }
        match self.change(|writer| writer.set_persistent(persistent))? {
            None => self.state().persistent = Some(persistent),
            Some(()) => self.send_cookie(),
        }
        Ok(())
    }

    /// Returns whether the cookie of the session outlives the browser, or that of one that would be
    /// created.
    pub(crate) fn is_persistent(&self) -> Result<bool, SessionError> {
        let held = self.read(|state| self.is_persistent_in(state))?;
        let layers = self.config.cookie.is_persistent();
        Ok(held.unwrap_or_else(|| self.state().persistent.unwrap_or(layers)))
    }

    pub(crate) fn is_persistent_in(&self, session: &SessionState) -> bool {
        match session.persistent() {
            Some(said) => said,
            None => self.config.cookie.is_persistent(),
        }
    }

    fn send_cookie(&self) {
        let mut state = self.state();
        if state.cookie == CookieAction::Nothing {
            state.cookie = CookieAction::Id;
        }
    }

    /// Returns the limits of the session, or those it would be created with.
    pub(crate) fn expiry(&self) -> Result<Expiry, SessionError> {
        let held = self.read(SessionState::expiry)?;
        Ok(held.unwrap_or_else(|| self.state().expiry.unwrap_or(self.config.meta.expiry)))
    }

    pub(crate) fn cycle_id(&self) -> Result<(), SessionError> {
        let mut state = self.state();
        if self.has_sent_head() {
            return Err(SessionError::HeadersSent);
        }
        state.logs_in = true;
        match &mut state.phase {
            // The client asks for another id than the dead one, and gets it with its next write.
            Phase::Superseded => state.phase = Phase::Absent,
            // A flood of made-up ids keeps nobody from logging in: what is written from now on is in
            // a session of another id anyway.
            Phase::Unread | Phase::Absent => match self.destroy_elsewhere(&mut state) {
                Ok(()) | Err(SessionError::Busy) => {}
                Err(error) => return Err(error),
            },
            Phase::Held { key, secret, .. } => {
                let fresh = self.fresh_id().secret;
                self.node().cycle(key, &fresh)?;
                *secret = Some(fresh);
                state.cookie = CookieAction::Id;
                self.changed.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Destroys the session, and every other living one that the client presents: the next request
    /// would find one of them. It succeeds also when another request was first: the session is
    /// gone, as wanted.
    pub(crate) fn destroy(&self) -> Result<(), SessionError> {
        let mut state = self.state();
        let now = self.node().now();
        let held = state.key();
        let presented = self.cookies.candidates(&self.config.cookie);
        let others = presented
            .map(|candidate| candidate.cookie)
            .filter(|cookie| Some(cookie.key) != held && self.is_alive(cookie, now))
            .map(|cookie| cookie.key);
        for key in held.into_iter().chain(others) {
            match self.node().destroy(&key) {
                Ok(()) | Err(SessionError::Destroyed) => {}
                Err(error) => return Err(error),
            }
            state.destroyed.push(key);
        }
        state.phase = Phase::Absent;
        self.changed.store(false, Ordering::Relaxed);
        // Before the cookie is removed, so that a client whom this fails can try again.
        self.destroy_elsewhere(&mut state)?;
        state.expiry = None;
        state.persistent = None;
        state.cookie = match self.presents_cookie() {
            true => CookieAction::Removal,
            false => CookieAction::Nothing,
        };
        if self.has_sent_head() {
            for key in state.keys() {
                self.node().commit(&key);
            }
        }
        Ok(())
    }

    /// Opens the session of a cookie, to be released with those that were destroyed.
    fn is_alive(&self, cookie: &CookieValue, now: Now) -> bool {
        self.open(cookie, now, |_| ()) == Access::Alive
    }

    /// Has other nodes destroy the sessions of those presented ids that are not known here.
    fn destroy_elsewhere(&self, state: &mut RequestState) -> Result<(), SessionError> {
        for candidate in self.cookies.candidates(&self.config.cookie) {
            let context = &self.config.meta.context;
            let ordered = self.node().destroy_elsewhere(context, &candidate.cookie)?;
            state.ordered = state.ordered.max(ordered);
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> Option<String> {
        let key = self.key()?;
        self.read(|state| state.public_id(&key)).ok().flatten()
    }

    /// Returns whether the client has yet to learn of the session.
    pub(crate) fn is_new(&self) -> bool {
        match &self.state().phase {
            Phase::Unread | Phase::Absent => true,
            Phase::Superseded => false,
            Phase::Held { source, .. } => *source == SessionSource::Created,
        }
    }

    /// Commits what is not committed and waits until peers hold it.
    pub(crate) async fn acknowledged(&self, ack: Ack) -> usize {
        match self.commit() {
            None => 0,
            position => self.node().acknowledged(position, ack).await,
        }
    }

    /// Counts as use of the session, if there is one.
    pub(crate) fn touch(&self) -> Result<(), SessionError> {
        self.key().map_or(Ok(()), |key| self.node().touch(&key))
    }

    pub(crate) fn info(&self) -> Result<Option<SessionInfo>, SessionError> {
        let info = |key| self.node().replica().info(&key, self.node().now());
        self.key().map(info).transpose()
    }

    /// Returns what differs after each change, `None` when there is no session.
    pub(crate) fn version(&self) -> Option<u64> {
        let key = self.key()?;
        self.node().read(&key, |state| state.version(&key)).ok()
    }

    pub(crate) async fn ended(&self) {
        if let Some(key) = self.key() {
            self.node().ended(&key).await;
        }
    }

    fn held_or_created(
        &self,
        fits: impl FnOnce(&Limits) -> Result<usize, SessionError>,
    ) -> Result<SessionKey, SessionError> {
        let mut state = self.state();
        match self.write_target(&state) {
            WriteTarget::Held(key) => return Ok(key),
            WriteTarget::Superseded => return Err(SessionError::Superseded),
            WriteTarget::TooLate => return Err(SessionError::HeadersSent),
            WriteTarget::Absent => {}
        }
        let weight = fits(&self.node().settings().limits)?;
        let cookie = state.given.take();
        let cookie = cookie.unwrap_or_else(|| self.fresh_id());
        self.node()
            .create(&self.meta(state.expiry), &cookie, weight)?;
        let key = cookie.key;
        state.phase = Phase::held(cookie, SessionSource::Created);
        state.cookie = CookieAction::Id;
        self.changed.store(true, Ordering::Relaxed);
        if state.logs_in {
            // Whoever has shown a password is no bot, and may read for a while before the next request.
            self.node().touch(&key)?;
        }
        if let Some(persistent) = state.persistent {
            self.write_to(&key, |writer| writer.set_persistent(persistent))?;
        }
        Ok(key)
    }

    /// Returns an id that nobody has, for this client.
    fn fresh_id(&self) -> CookieValue {
        self.cookies.bound(self.node().fresh_id())
    }

    fn meta(&self, expiry: Option<Expiry>) -> Arc<SessionMeta> {
        match expiry {
            None => Arc::clone(&self.config.meta),
            Some(expiry) => Arc::new(SessionMeta {
                expiry,
                ..(*self.config.meta).clone()
            }),
        }
    }

    /// Changes the session with this key.
    pub(crate) fn write_to<R>(
        &self,
        key: &SessionKey,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let mut has_written = false;
        let loaded_ms = self.loaded_ms.load(Ordering::Relaxed);
        let result = self.node().write(key, self.replicate, loaded_ms, |writer| {
            let result = write(writer);
            has_written = writer.has_written();
            result
        });
        if has_written && self.replicate == Replicate::Now {
            self.changed.store(true, Ordering::Relaxed);
        }
        if self.has_sent_head() {
            self.node().commit(key);
        }
        result
    }

    pub(crate) fn has_sent_head(&self) -> bool {
        self.head_sent.load(Ordering::Acquire)
    }

    fn write_target(&self, state: &RequestState) -> WriteTarget {
        match &state.phase {
            Phase::Held { key, .. } => WriteTarget::Held(*key),
            Phase::Superseded => WriteTarget::Superseded,
            Phase::Unread | Phase::Absent if self.has_sent_head() => WriteTarget::TooLate,
            Phase::Unread | Phase::Absent => WriteTarget::Absent,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, RequestState> {
        // The state is whole after each statement that may panic, so a poisoned lock is as good as
        // any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        self.config.node()
    }
}

impl fmt::Debug for RequestSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSession")
            .field("context", &self.config.context())
            .field("session", &self.key())
            .finish_non_exhaustive()
    }
}
