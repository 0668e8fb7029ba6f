//! What there is to know of a session beside its values.

use std::time::Duration;

use super::{Now, SessionKey, SessionState};
use crate::config::Expiry;

/// A description of a session at one moment, without the values of its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public id, as [`Session::id`](crate::Session::id) returns it.
    pub id: String,
    /// The [context](crate::ClusterSessionLayer::with_context), `""` for the default one.
    pub context: String,
    /// The time since its creation.
    pub age: Duration,
    /// The time since its last use, as far as this node knows. Nodes tell each other of use at most
    /// every twentieth of the idle limit, 60 s at most.
    pub idle: Duration,
    /// The limits of its life.
    pub expiry: Expiry,
    /// The time that it has left if nobody uses it until then, `None` without limits.
    pub remaining: Option<Duration>,
    /// What it counts against [`max_session_bytes`](crate::ClusterConfig::max_session_bytes).
    pub bytes: usize,
    /// The names of its attributes and counters, sorted.
    pub attributes: Vec<String>,
}

impl SessionInfo {
    /// Describes a session. `limits` are those that hold now.
    pub(crate) fn of(
        key: &SessionKey,
        state: &SessionState,
        limits: Expiry,
        last_use_ms: u64,
        now: Now,
    ) -> Self {
        let since = |ms: u64| Duration::from_millis(now.mono_ms.saturating_sub(ms));
        let (age, idle) = (since(state.created_ms()), since(last_use_ms));
        let left = |limit: Option<Duration>, spent| Some(limit?.saturating_sub(spent));
        let idle_left = left(limits.idle_limit(), idle);
        let age_left = left(limits.absolute_limit(), age);
        Self {
            id: state.public_id(key),
            context: state.meta().context.as_ref().to_owned(),
            age,
            idle,
            expiry: state.expiry(),
            remaining: idle_left.into_iter().chain(age_left).min(),
            bytes: state.weight(),
            attributes: state.names().map(|name| name.as_ref().to_owned()).collect(),
        }
    }
}
