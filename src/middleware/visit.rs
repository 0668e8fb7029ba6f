//! One request's business with one app's sessions: which session it works on, what the client must
//! be told, what is still to be shipped. Shared by the slot, the handles and the response future.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use http::HeaderValue;

use super::{app::App, presented::Presented};
use crate::{
    config::{Ack, Expiry},
    node::{AckWait, Node},
    replica::{Opened, Shipping, Writer},
    session::{self, Birth, CookieValue, Locator, SLOT_OVERHEAD, SessionError, SessionState},
};

pub(super) struct Visit {
    app: Arc<App>,
    presented: Presented,
    /// Attribute writes of a filtered request wait for the session's next commit.
    shipping: Shipping,
    /// Guards which session the request works on, so that its handles create and destroy it once.
    /// Taken before the store's locks, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Whether it is too late for a cookie.
    head_sent: bool,
    /// What `set_expiry` asked for before there was a session.
    expiry: Option<Expiry>,
    cookie: Outgoing,
    /// Sessions this request destroyed, not yet released.
    destroyed: Vec<Locator>,
}

#[derive(Default)]
enum Phase {
    /// Nobody has asked for the session.
    #[default]
    Unread,
    /// The client has none that lives.
    Absent,
    /// The client is a straggler with a replaced secret.
    Superseded,
    /// Open, and counted as in use until this visit ends.
    Held { cookie: CookieValue, origin: Found },
}

/// Where a session that is held came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Presented,
    Created,
}

/// What the response tells the client.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Outgoing {
    #[default]
    Nothing,
    /// The id of the session that is held.
    Id,
    Removal,
}

impl Visit {
    pub(super) fn new(app: Arc<App>, presented: Presented, shipping: Shipping) -> Self {
        Self {
            app,
            presented,
            shipping,
            state: Mutex::default(),
        }
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// Finds the session the client presents, if it lives here or, during a state transfer or after
    /// a pause of this process, at a peer. Dropping this leaves the visit as it was.
    pub(super) async fn load(&self) {
        if self.node().may_be_behind() {
            self.node().catch_up_on(self.presented_keys()).await;
        }
        let missing = self.open_presented();
        if missing.is_empty() || !self.node().awaits_transfer() {
            self.settle();
            return;
        }
        join_all(missing.into_iter().map(|key| self.node().fetch(key))).await;
        self.open_presented();
        self.settle();
    }

    /// What is told about the session; `None` when there is none.
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&SessionState) -> R,
    ) -> Result<Option<R>, SessionError> {
        match self.key() {
            Some(key) => self.node().read(&key, read).map(Some),
            None => Ok(None),
        }
    }

    /// Whether [`Visit::write`] has something to write to, or may create it.
    pub(super) fn check_writable(&self) -> Result<(), SessionError> {
        match (&*self.state()).into() {
            Standing::Superseded => Err(SessionError::Superseded),
            Standing::TooLate => Err(SessionError::HeadersSent),
            Standing::Held(_) | Standing::Absent => Ok(()),
        }
    }

    /// Changes the session, which is created if need be. `weight` is what the change adds to the
    /// size of a new session: one that would not take it is not created at all.
    pub(super) fn write<R>(
        &self,
        weight: usize,
        write: impl FnOnce(&mut Writer<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let key = self.held_or_created(weight)?;
        self.write_to(&key, write)
    }

    /// Changes the session if there is one.
    pub(super) fn change<R>(
        &self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<R, SessionError>,
    ) -> Result<Option<R>, SessionError> {
        match (&*self.state()).into() {
            Standing::Superseded => return Err(SessionError::Superseded),
            Standing::TooLate | Standing::Absent => return Ok(None),
            Standing::Held(_) => {}
        }
        match self.key() {
            Some(key) => self.write_to(&key, write).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn set_expiry(&self, expiry: Expiry) -> Result<(), SessionError> {
        if self.change(|writer| writer.set_expiry(expiry))?.is_none() {
            self.state().expiry = Some(expiry);
            return Ok(());
        }
        let mut state = self.state();
        if self.app.cookie.is_persistent() && state.cookie == Outgoing::Nothing {
            // The cookie's Max-Age has changed with it.
            state.cookie = Outgoing::Id;
        }
        Ok(())
    }

    /// The limits of the session, or those it would be created with.
    pub(super) fn expiry(&self) -> Result<Expiry, SessionError> {
        let held = self.read(SessionState::expiry)?;
        Ok(held.unwrap_or_else(|| self.state().expiry.unwrap_or(self.app.birth.expiry)))
    }

    pub(super) fn cycle_id(&self) -> Result<(), SessionError> {
        let mut state = self.state();
        let head_sent = state.head_sent;
        match &mut state.phase {
            Phase::Superseded => return Err(SessionError::Superseded),
            _ if head_sent => return Err(SessionError::HeadersSent),
            Phase::Unread | Phase::Absent => return Ok(()),
            Phase::Held { cookie, .. } => cookie.secret = self.node().cycle(&cookie.locator)?,
        }
        state.cookie = Outgoing::Id;
        Ok(())
    }

    /// Succeeds also when another request was first: the session is gone, as wanted.
    pub(super) fn destroy(&self) -> Result<(), SessionError> {
        let mut state = self.state();
        let key = match &state.phase {
            Phase::Superseded => return Err(SessionError::Superseded),
            Phase::Unread | Phase::Absent => None,
            Phase::Held { cookie, .. } => Some(cookie.locator),
        };
        if let Some(key) = key {
            match self.node().destroy(&key) {
                Ok(()) | Err(SessionError::Destroyed) => {}
                Err(error) => return Err(error),
            }
            state.phase = Phase::Absent;
            state.destroyed.push(key);
        }
        state.expiry = None;
        state.cookie = match self.presented.is_empty(&self.app.cookie) {
            true => Outgoing::Nothing,
            false => Outgoing::Removal,
        };
        let commit = key.filter(|_| state.head_sent);
        drop(state);
        if let Some(key) = commit {
            self.node().commit(&key);
        }
        Ok(())
    }

    pub(super) fn id(&self) -> Option<String> {
        let key = self.key()?;
        self.read(|state| state.public_id(&key)).ok().flatten()
    }

    /// Whether the client has yet to learn of the session.
    pub(super) fn is_new(&self) -> bool {
        match &self.state().phase {
            Phase::Unread | Phase::Absent => true,
            Phase::Superseded => false,
            Phase::Held { origin, .. } => *origin == Found::Created,
        }
    }

    /// Whether there is a session that was alive when it was loaded or created.
    pub(super) fn is_held(&self) -> bool {
        self.key().is_some()
    }

    /// Ships what is unshipped and waits until all live peers hold it.
    pub(super) async fn replicated(&self) -> usize {
        match self.commit() {
            0 => 0,
            position => self.node().acknowledged(position, Ack::All).await,
        }
    }

    /// From now on no cookie can be sent, and each write is a commit of its own. Ships what has
    /// been written. Returns the log position the response must wait for, 0 for none.
    pub(super) fn close(&self) -> u64 {
        // Set before committing: a parallel write either is in the commit or sees the flag.
        self.state().head_sent = true;
        self.commit()
    }

    /// The wait for peers that the layer's options ask for.
    pub(super) fn acknowledged(&self, position: u64) -> Option<AckWait> {
        (position != 0).then(|| self.node().acknowledged(position, self.app.ack))
    }

    /// Ships what has been written so far. Returns the log position to wait for, 0 for none.
    pub(super) fn commit(&self) -> u64 {
        let keys = self.state().keys();
        keys.iter()
            .map(|key| self.node().commit(key))
            .max()
            .unwrap_or(0)
    }

    /// The `Set-Cookie` field the client needs, if any.
    pub(super) fn set_cookie(&self) -> Option<HeaderValue> {
        let state = self.state();
        match (state.cookie, &state.phase) {
            (Outgoing::Removal, _) => Some(self.app.cookie.removal()),
            (Outgoing::Id, Phase::Held { cookie, .. }) => self.announcement(cookie),
            (Outgoing::Id | Outgoing::Nothing, _) => None,
        }
    }

    /// `None` when the id has been destroyed or replaced meanwhile: the client gets, or has, a
    /// better one from another response, and must not lose it to ours.
    fn announcement(&self, cookie: &CookieValue) -> Option<HeaderValue> {
        let now = self.node().now();
        let hash = cookie.secret.hash();
        let described = self.node().read(&cookie.locator, |state| {
            let alive = state.secrets().presented(&hash, now) == session::Presented::Alive;
            alive.then(|| (Arc::clone(state.birth()), remaining_ms(state, now.mono_ms)))
        });
        let (birth, remaining_ms) = described.ok().flatten()?;
        let max_age = self
            .app
            .cookie
            .is_persistent()
            .then(|| Duration::from_secs(remaining_ms.unwrap_or(u64::MAX).div_ceil(1000)));
        let value = cookie.format(birth.route.as_ref());
        Some(self.app.cookie.set(value, max_age))
    }

    /// Opens the first living session among those the client presents. Returns the ones that are
    /// not held here, which is nothing when one was found.
    fn open_presented(&self) -> Vec<Locator> {
        let mut state = self.state();
        let mut missing = Vec::new();
        if matches!(state.phase, Phase::Held { .. } | Phase::Absent) {
            return missing;
        }
        for cookie in self.presented.candidates(&self.app.cookie) {
            let renewal = self.renewal(&cookie);
            match self.open(&cookie) {
                Opened::Alive => {
                    state.cookie = renewal;
                    let origin = Found::Presented;
                    state.phase = Phase::Held { cookie, origin };
                    return Vec::new();
                }
                Opened::Superseded => state.phase = Phase::Superseded,
                Opened::Unknown { held: false } => missing.push(cookie.locator),
                Opened::Unknown { held: true } => {}
            }
        }
        missing
    }

    fn presented_keys(&self) -> Vec<Locator> {
        let candidates = self.presented.candidates(&self.app.cookie);
        candidates.map(|cookie| cookie.locator).collect()
    }

    fn open(&self, cookie: &CookieValue) -> Opened {
        self.node().open(self.app.context(), cookie, self.shipping)
    }

    fn settle(&self) {
        let mut state = self.state();
        if let Phase::Unread = state.phase {
            state.phase = Phase::Absent;
        }
    }

    /// Whether a persistent cookie is due for renewal, from the session's use before this request.
    fn renewal(&self, cookie: &CookieValue) -> Outgoing {
        if !self.app.cookie.is_persistent() {
            return Outgoing::Nothing;
        }
        let now_ms = self.node().now().mono_ms;
        match self
            .node()
            .read(&cookie.locator, |state| needs_renewal(state, now_ms))
        {
            Ok(true) => Outgoing::Id,
            Ok(false) | Err(_) => Outgoing::Nothing,
        }
    }

    fn held_or_created(&self, weight: usize) -> Result<Locator, SessionError> {
        let mut state = self.state();
        match (&*state).into() {
            Standing::Held(key) => return Ok(key),
            Standing::Superseded => return Err(SessionError::Superseded),
            Standing::TooLate => return Err(SessionError::HeadersSent),
            Standing::Absent => {}
        }
        let limit = self.node().settings().limits.max_session_bytes;
        let would_be = weight.saturating_add(SLOT_OVERHEAD);
        if would_be > limit {
            let what = "bytes";
            return Err(SessionError::TooLarge {
                what,
                would_be,
                limit,
            });
        }
        let cookie = self.node().create(self.birth(state.expiry))?;
        let key = cookie.locator;
        state.phase = Phase::Held {
            cookie,
            origin: Found::Created,
        };
        state.cookie = Outgoing::Id;
        Ok(key)
    }

    fn birth(&self, expiry: Option<Expiry>) -> Arc<Birth> {
        match expiry {
            None => Arc::clone(&self.app.birth),
            Some(expiry) => Arc::new(Birth {
                expiry,
                ..(*self.app.birth).clone()
            }),
        }
    }

    fn write_to<R>(
        &self,
        key: &Locator,
        write: impl FnOnce(&mut Writer<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let written = self.node().write(key, self.shipping, write);
        if self.state().head_sent {
            self.node().commit(key);
        }
        written
    }

    fn key(&self) -> Option<Locator> {
        self.state().key()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after each statement that may panic, so a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> &Arc<Node> {
        self.app.node()
    }
}

/// Ships what handles wrote since the head left, and ends the use of the sessions.
impl Drop for Visit {
    fn drop(&mut self) {
        for key in self.state().keys() {
            self.node().commit(&key);
            self.node().release(&key, self.shipping);
        }
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("context", &self.app.context())
            .field("session", &self.key())
            .finish_non_exhaustive()
    }
}

impl State {
    fn key(&self) -> Option<Locator> {
        match &self.phase {
            Phase::Held { cookie, .. } => Some(cookie.locator),
            Phase::Unread | Phase::Absent | Phase::Superseded => None,
        }
    }

    fn keys(&self) -> Vec<Locator> {
        let mut keys = self.destroyed.clone();
        keys.extend(self.key());
        keys
    }
}

/// What a write may do.
enum Standing {
    Held(Locator),
    Absent,
    Superseded,
    /// Absent, and the head has left.
    TooLate,
}

impl From<&State> for Standing {
    fn from(state: &State) -> Self {
        match &state.phase {
            Phase::Held { cookie, .. } => Self::Held(cookie.locator),
            Phase::Superseded => Self::Superseded,
            Phase::Unread | Phase::Absent if state.head_sent => Self::TooLate,
            Phase::Unread | Phase::Absent => Self::Absent,
        }
    }
}

/// How long the session lives if nobody uses it from now on; `None` without a limit.
fn remaining_ms(state: &SessionState, now_ms: u64) -> Option<u64> {
    let expiry = state.expiry();
    let of_age = expiry.absolute_ms().map(|limit| {
        let end = state.created_ms().saturating_add(limit);
        end.saturating_sub(now_ms)
    });
    match (expiry.idle_ms(), of_age) {
        (Some(idle), Some(of_age)) => Some(idle.min(of_age)),
        (idle, of_age) => idle.or(of_age),
    }
}

/// Nobody knows when the client got its cookie. But if time since creation is cut into tenths of
/// the idle limit and the first use in each tenth renews the cookie, it is never older than that.
fn needs_renewal(state: &SessionState, now_ms: u64) -> bool {
    let Some(idle) = state.expiry().idle_ms() else {
        return false;
    };
    let tenth = (idle / 10).max(1);
    let part = |at_ms: u64| at_ms.saturating_sub(state.created_ms()) / tenth;
    let ends_with_age = remaining_ms(state, state.accessed_ms()).is_some_and(|left| left < idle);
    part(now_ms) > part(state.accessed_ms()) && !ends_with_age
}
