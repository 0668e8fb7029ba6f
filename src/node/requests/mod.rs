//! What requests do to sessions, and what they wait for.

pub(super) mod commit_wait;
mod fetch;
mod order_desk;
pub(super) mod orders;
mod pending;
mod read_your_writes;
mod recovery;
mod search;
pub(super) mod sessions;
mod stalls;

use std::time::Duration;

use tokio::sync::Notify;

use self::{order_desk::OrderDesk, pending::Fetches, stalls::Stalls};
use super::cookie_names::CookieNames;
use crate::session::Now;

/// What the requests of one node share.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) fetches: Fetches,
    pub(super) orders: OrderDesk,
    pub(super) stalls: Stalls,
    pub(super) cookie_names: CookieNames,
    /// Wakes requests that wait for the first link of a node that joins.
    pub(super) links_changed: Notify,
}

impl Requests {
    pub(super) fn new(ack_timeout: Duration, now: Now) -> Self {
        Self {
            fetches: Fetches::default(),
            orders: OrderDesk::new(),
            stalls: Stalls::new(ack_timeout, now),
            cookie_names: CookieNames::default(),
            links_changed: Notify::new(),
        }
    }
}
