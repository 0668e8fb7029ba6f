//! The configuration of a layer with its options checked: services, requests and handles share it.

use std::sync::Arc;

use super::{cookie::SessionCookie, filter::Filter, transport::HeaderTransport};
use crate::{
    config::Ack,
    node::{Cluster, Node},
    session::{SessionMeta, TokenKey},
};

/// The checked options of one layer.
#[derive(Debug)]
pub(super) struct LayerConfig {
    /// Held so that the cluster lives as long as anything that serves its sessions.
    pub(super) cluster: Cluster,
    pub(super) cookie: SessionCookie,
    /// The header field by which clients may present their session; `None` for the cookie alone.
    pub(super) header: Option<HeaderTransport>,
    /// The part of a session that never changes, for sessions created here.
    pub(super) meta: Arc<SessionMeta>,
    pub(super) ack: Ack,
    /// The key of the cookie by which clients are sure to read their writes; `None` without that.
    pub(super) token_key: Option<TokenKey>,
    pub(super) filter: Filter,
    /// Whether responses that looked for a session say what caches may do.
    pub(super) cache_headers: bool,
    /// Whether an id opens a session only for a client that calls itself as its first one did.
    pub(super) user_agent_binding: bool,
}

impl LayerConfig {
    pub(super) fn node(&self) -> &Arc<Node> {
        self.cluster.node()
    }

    pub(super) fn context(&self) -> &str {
        &self.meta.context
    }

    /// Returns whether both serve the same sessions.
    pub(super) fn shares_sessions_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.node(), other.node()) && self.context() == other.context()
    }
}
