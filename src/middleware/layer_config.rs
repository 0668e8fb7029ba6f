//! One app's layer with its options checked: what services, requests and handles share.

use std::sync::Arc;

use super::{cookie::SessionCookie, filter::Filter};
use crate::{
    config::Ack,
    node::{Cluster, Node},
    session::{SessionMeta, TokenKey},
};

#[derive(Debug)]
pub(super) struct LayerConfig {
    /// Held so that the cluster lives as long as anything that serves its sessions.
    pub(super) cluster: Cluster,
    pub(super) cookie: SessionCookie,
    /// What sessions created here start with.
    pub(super) meta: Arc<SessionMeta>,
    pub(super) ack: Ack,
    /// With it, clients are sure to read their writes.
    pub(super) token_key: Option<TokenKey>,
    pub(super) filter: Filter,
}

impl LayerConfig {
    pub(super) fn node(&self) -> &Arc<Node> {
        self.cluster.node()
    }

    pub(super) fn context(&self) -> &str {
        &self.meta.context
    }

    /// Whether both serve the same sessions.
    pub(super) fn shares_sessions_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.node(), other.node()) && self.context() == other.context()
    }
}
