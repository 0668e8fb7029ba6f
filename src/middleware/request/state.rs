//! The session that a request works on, and what the client must be told of it.

use crate::{
    config::Expiry,
    session::{CookieValue, SessionKey, SessionSecret},
    wire::Position,
};

/// The part of a request that changes under a lock.
#[derive(Default)]
pub(crate) struct RequestState {
    pub(crate) phase: Phase,
    /// Whether the sessions are used no more.
    pub(crate) released: bool,
    /// The id of a session that is created, instead of a fresh one.
    pub(crate) given: Option<CookieValue>,
    /// The limits that `set_expiry` asked for before there was a session.
    pub(crate) expiry: Option<Expiry>,
    /// What `set_persistent` asked for before there was a session.
    pub(crate) persistent: Option<bool>,
    /// Whether `cycle_id` asked for another id before there was a session.
    pub(crate) logs_in: bool,
    pub(crate) cookie: CookieAction,
    /// Sessions this request destroyed, not yet released.
    pub(crate) destroyed: Vec<SessionKey>,
    /// The log position of the last order to destroy a session that is not known here.
    pub(crate) ordered: Option<Position>,
}

/// The stage that the request has reached with its session.
#[derive(Default)]
pub(crate) enum Phase {
    /// Nobody has asked for the session.
    #[default]
    Unread,
    /// The client has none that lives.
    Absent,
    /// The client came late, with a secret that was replaced.
    Superseded,
    /// Open, and counted as in use until this request ends.
    Held {
        key: SessionKey,
        /// `None` when the session was opened by its public id.
        secret: Option<SessionSecret>,
        source: SessionSource,
    },
}

impl Phase {
    pub(crate) fn held(CookieValue { key, secret }: CookieValue, source: SessionSource) -> Self {
        Self::Held {
            key,
            secret: Some(secret),
            source,
        }
    }
}

/// The source of a session that is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionSource {
    /// It was there: what the client presents opens it, or its public id finds it.
    Found,
    Created,
}

/// The cookie that the response sets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CookieAction {
    #[default]
    Nothing,
    /// The id of the session that is held.
    Id,
    Removal,
}

impl RequestState {
    /// Returns the session that is held.
    pub(crate) fn key(&self) -> Option<SessionKey> {
        match &self.phase {
            Phase::Held { key, .. } => Some(*key),
            Phase::Unread | Phase::Absent | Phase::Superseded => None,
        }
    }

    /// Returns all sessions that the request may have changed.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SessionKey> + use<> {
        // Without allocation unless something was destroyed.
        self.destroyed.clone().into_iter().chain(self.key())
    }
}

/// The session that a write goes to.
pub(crate) enum WriteTarget {
    Held(SessionKey),
    Absent,
    Superseded,
    /// Absent, and the head has left.
    TooLate,
}
