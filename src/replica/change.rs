//! What happened to a session, for event streams.

use std::sync::Arc;

use crate::session::{Route, SessionKey};

/// One thing that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: SessionKey,
    pub(crate) context: Arc<str>,
    pub(crate) route: Option<Route>,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Destroyed,
    Expired,
    /// `cycle_id` replaced the secret.
    IdChanged,
    /// An attribute or counter was written or removed.
    AttributeChanged(Arc<str>),
}
