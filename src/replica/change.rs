//! Changes of sessions, for event streams.

use std::sync::Arc;

use crate::session::{Route, SessionKey};

/// A thing that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: SessionKey,
    pub(crate) context: Arc<str>,
    pub(crate) route: Option<Route>,
    pub(crate) kind: ChangeKind,
}

/// A session that was destroyed here.
#[derive(Debug)]
pub(crate) struct Destroyed {
    pub(crate) change: Change,
    pub(crate) age_ms: u64,
}

/// The kind of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Destroyed,
    Expired,
    /// `cycle_id` replaced the secret.
    IdCycled,
    /// A client presented a secret that was replaced long ago.
    ReplacedIdPresented,
    /// A client presented a secret that the session never had, or has forgotten.
    ForgedIdPresented,
    /// An attribute or counter was written or removed.
    AttributeChanged(Arc<str>),
}
