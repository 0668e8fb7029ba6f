//! Both ways in, for tower-sessions 0.14, and what stands on it.

use tower_sessions_0_14 as tower_sessions;
use tower_sessions_cluster::core_0_14 as doors;

#[path = "doors/mod.rs"]
mod both;

mod login;
mod messages;
