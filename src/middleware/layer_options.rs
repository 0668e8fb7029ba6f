//! The options of a layer, as its setters and configurations say.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    cookie::{CookieRules, SessionCookie},
    filter::Filter,
    layer_error::LayerError,
    transport::Transport,
};
use crate::config::{Ack, AtLimit, Consistency, Expiry};

/// The options of a layer, for apps that read them from a configuration.
///
/// It can be read with `serde`. Fields are called like the setters of
/// [`ClusterSessionLayer`](crate::ClusterSessionLayer), without `with_`. What is about the cookie is
/// in `cookie`; `filter` is a list of patterns, `limits` one of
/// `{"name": "user_id", "most": 3, "at_limit": "end-oldest"}` or `"refuse"`. Seals are set in code, since their keys are no text.
/// What is absent has its default. An unknown field is an error, and so is a malformed filter.
///
/// ```
/// use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, LayerOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options: LayerOptions = serde_json::from_str(
///     r#"{
///         "cookie": { "name": "__Host-shop", "same_site": "strict", "persistent": true },
///         "expiry": { "idle": "2h" },
///         "filter": [".*\\.(gif|js|png)"],
///         "ack": "one"
///     }"#,
/// )?;
/// let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let layer = ClusterSessionLayer::from_cluster(&cluster).with_options(options);
/// layer.check()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerOptions {
    pub(super) cookie: CookieRules,
    pub(super) transport: Transport,
    pub(super) context: Option<Arc<str>>,
    pub(super) expiry: Expiry,
    pub(super) ack: Ack,
    pub(super) consistency: Consistency,
    pub(super) filter: Filter,
    pub(super) cache_headers: bool,
    pub(super) user_agent_binding: bool,
    pub(super) route_following: bool,
    pub(super) limits: Vec<SessionLimit>,
}

/// How many sessions may have the same value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLimit {
    pub(super) name: String,
    pub(super) most: usize,
    pub(super) at_limit: AtLimit,
}

impl LayerOptions {
    /// Checks what can be checked without the cluster, and returns the cookie.
    pub(crate) fn check(&self) -> Result<SessionCookie, LayerError> {
        let cookie = self.cookie.check(self.context.as_deref())?;
        if self.expiry.has_zero_limit() {
            return Err(LayerError::ZeroLimit);
        }
        if self.transport.check()?.is_some() && self.consistency == Consistency::ReadYourWrites {
            return Err(LayerError::ConsistencyWithoutCookie);
        }
        if let Some(nobody) = self.limits.iter().find(|limit| limit.most == 0) {
            let name = nobody.name.clone();
            return Err(LayerError::LimitOfZero { name });
        }
        Ok(cookie)
    }
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            cookie: CookieRules::default(),
            transport: Transport::default(),
            context: None,
            expiry: Expiry::default(),
            ack: Ack::default(),
            consistency: Consistency::default(),
            filter: Filter::default(),
            cache_headers: true,
            user_agent_binding: false,
            route_following: false,
            limits: Vec::new(),
        }
    }
}
