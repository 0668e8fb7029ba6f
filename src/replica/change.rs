//! What happened to a session, for event streams.

use std::sync::Arc;

use crate::session::{Locator, Route};

/// One thing that happened to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Locator,
    pub(crate) context: Arc<str>,
    pub(crate) route: Option<Route>,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Created,
    Destroyed,
    Expired,
    /// `cycle_id` replaced the secret.
    IdChanged,
    /// An attribute or counter was written or removed.
    AttributeChanged(Arc<str>),
}
