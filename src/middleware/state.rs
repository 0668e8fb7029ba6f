//! Which session a request works on, and what the client must be told of it.

use crate::{
    config::Expiry,
    session::{CookieValue, Locator},
};

#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Whether the sessions are used no more.
    pub(super) released: bool,
    /// What `set_expiry` asked for before there was a session.
    pub(super) expiry: Option<Expiry>,
    pub(super) cookie: Outgoing,
    /// Sessions this request destroyed, not yet released.
    pub(super) destroyed: Vec<Locator>,
}

#[derive(Default)]
pub(super) enum Phase {
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
pub(super) enum Found {
    Presented,
    Created,
}

/// What the response tells the client.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outgoing {
    #[default]
    Nothing,
    /// The id of the session that is held.
    Id,
    Removal,
}

impl State {
    pub(super) fn key(&self) -> Option<Locator> {
        match &self.phase {
            Phase::Held { cookie, .. } => Some(cookie.locator),
            Phase::Unread | Phase::Absent | Phase::Superseded => None,
        }
    }

    /// All sessions that the request may have changed.
    pub(super) fn keys(&self) -> impl Iterator<Item = Locator> + use<> {
        // Without allocation unless something was destroyed.
        self.destroyed.clone().into_iter().chain(self.key())
    }
}

/// What a write may do.
pub(super) enum Standing {
    Held(Locator),
    Absent,
    Superseded,
    /// Absent, and the head has left.
    TooLate,
}
