//! Both ways in, for tower-sessions 0.15, and what stands on it.

use tower_sessions_0_15 as tower_sessions;
use tower_sessions_cluster::core_0_15 as doors;

#[path = "doors/mod.rs"]
mod both;

mod csrf;
