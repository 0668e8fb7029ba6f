//! The session that a request works on, and what the client must be told of it.

use crate::{
    config::Expiry,
    session::{CookieValue, SessionKey},
};

/// The part of a request that changes under a lock.
#[derive(Default)]
pub(in crate::middleware) struct RequestState {
    pub(in crate::middleware) phase: Phase,
    /// Whether the sessions are used no more.
    pub(in crate::middleware) released: bool,
    /// The limits that `set_expiry` asked for before there was a session.
    pub(in crate::middleware) expiry: Option<Expiry>,
    pub(in crate::middleware) cookie: CookieAction,
    /// Sessions this request destroyed, not yet released.
    pub(in crate::middleware) destroyed: Vec<SessionKey>,
}

/// The stage that the request has reached with its session.
#[derive(Default)]
pub(in crate::middleware) enum Phase {
    /// Nobody has asked for the session.
    #[default]
    Unread,
    /// The client has none that lives.
    Absent,
    /// The client came late, with a secret that was replaced.
    Superseded,
    /// Open, and counted as in use until this request ends.
    Held {
        cookie: CookieValue,
        source: SessionSource,
    },
}

/// The source of a session that is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::middleware) enum SessionSource {
    Cookie,
    Created,
}

/// The cookie that the response sets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::middleware) enum CookieAction {
    #[default]
    Nothing,
    /// The id of the session that is held.
    Id,
    Removal,
}

impl RequestState {
    /// Returns the session that is held.
    pub(in crate::middleware) fn key(&self) -> Option<SessionKey> {
        match &self.phase {
            Phase::Held { cookie, .. } => Some(cookie.locator),
            Phase::Unread | Phase::Absent | Phase::Superseded => None,
        }
    }

    /// Returns all sessions that the request may have changed.
    pub(in crate::middleware) fn keys(&self) -> impl Iterator<Item = SessionKey> + use<> {
        // Without allocation unless something was destroyed.
        self.destroyed.clone().into_iter().chain(self.key())
    }
}

/// The session that a write goes to.
pub(in crate::middleware) enum WriteTarget {
    Held(SessionKey),
    Absent,
    Superseded,
    /// Absent, and the head has left.
    TooLate,
}
