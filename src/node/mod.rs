//! The runtime: clock, tasks, sockets, requests that wait. The only I/O of the crate.
//!
//! [`Cluster`] is the user's handle and owns the tasks; they share one [`Node`]. Everything between
//! bytes and sessions is decided in `replica`, everything about who is linked to whom and who waits
//! for whom in `cluster`. The files here carry bytes and time to these decisions.

mod availability;
mod awaited;
mod clock;
mod cluster;
mod cookie_names;
#[cfg(feature = "durable")]
mod disk;
#[cfg(not(feature = "durable"))]
#[path = "memory_only.rs"]
mod disk;
mod disk_stats;
mod env;
mod event_log;
mod events;
#[cfg(feature = "status")]
mod history;
mod leave;
mod log_throttle;
mod metrics;
mod monitor;
pub(crate) mod net;
mod peers;
mod requests;
#[cfg(feature = "status")]
mod sampling;
mod shared;
mod stats;
mod task;
mod tick;

#[cfg(test)]
mod tests;

#[cfg(feature = "axum")]
pub(crate) use self::availability::Unready;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use self::clock::{RuntimeTime, SystemTime};
#[cfg(test)]
pub(crate) use self::env::Random;
#[cfg(feature = "status")]
pub(crate) use self::history::{MemberSample, Sample};
pub use self::{
    cluster::Cluster,
    disk_stats::DiskStats,
    event_log::RecentEvent,
    events::{Event, Events, MemberEvent, MemberEventKind, SessionEvent, SessionEventKind},
    requests::orders::DestroyedWhere,
    stats::{Member, MemberState, Stats, Transfer},
};
pub(crate) use self::{
    cookie_names::{Claim, CookieUse},
    env::Env,
    net::tls::LinkSecurity,
    requests::commit_wait::CommitWait,
    shared::Node,
};
