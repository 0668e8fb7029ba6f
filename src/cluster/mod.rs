//! Decisions about the cluster: who is a member and by which link, how a node joins, whom requests
//! wait for, and whom they ask. No I/O, no runtime, no clock: time is an argument.
//!
//! The files of `node` carry bytes and time to these decisions and carry them out. So does the
//! simulation, on virtual time, with the same decisions.

mod acks;
mod awaited;
mod backoff;
mod boot;
mod disk_standing;
mod exchange;
mod fetch;
mod handover;
mod join;
mod link;
pub(crate) mod rate_limit;
#[cfg(test)]
mod simulation;
mod source;
mod stall;
mod table;
mod tie_break;
mod time;
mod tracked_link;
mod unresponsive;

pub(crate) use self::{
    acks::{AckTracker, AckWait},
    backoff::{Backoff, SHORTEST_MS, Urgency},
    boot::boot_id,
    exchange::PeerExchange,
    fetch::{FetchReason, FetchStep, FetchTicket, OtherPeers, PendingFetches, Provenance},
    handover::{Handover, Outstanding},
    join::{DONOR_TIMEOUT_MS, Join, JoinLink, JoinOptions, JoinStep},
    link::{Dialler, LinkId, LinkIdentity, MemberLink, Traffic},
    source::{Discovered, Source},
    stall::{Recovery, RecoveryLink, StallDetector},
    table::{MemberLabel, MemberRow, MemberStatus, MemberTable, Newcomer, Reach, Removal},
    time::{TICK, millis},
    tracked_link::TrackedLink,
};
pub use self::{awaited::Awaited, join::Readiness};
