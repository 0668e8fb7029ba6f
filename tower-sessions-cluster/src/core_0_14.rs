//! For tower-sessions 0.14.

use tower_sessions_core_0_14 as core;

#[path = "doors/mod.rs"]
mod doors;

pub use self::doors::{ClusterStore, ResponseFuture, SessionLayer, SessionService};
