//! For tower-sessions 0.15.

use tower_sessions_core_0_15 as core;

#[cfg_attr(
    feature = "core-0-14",
    expect(
        clippy::duplicate_mod,
        reason = "one source for both lines of tower-sessions"
    )
)]
#[path = "doors/mod.rs"]
mod doors;

pub use self::doors::{ClusterStore, ResponseFuture, SessionLayer, SessionService};
