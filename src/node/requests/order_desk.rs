//! Orders that are under way: whose turn it is to give one, and who has carried out a search.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    cluster::rate_limit::RateLimiter,
    session::{Now, Order, OrderContent, OrderId},
};

/// What the requests of one node share of orders.
#[derive(Debug)]
pub(crate) struct OrderDesk {
    /// Of orders for ids that clients may have made up. No other lock is taken inside.
    turns: Mutex<RateLimiter>,
    /// Who has carried out the searches that are waited for, and how many sessions each has
    /// destroyed. No other lock is taken inside.
    reports: Mutex<BTreeMap<OrderId, BTreeMap<Arc<str>, u64>>>,
    /// Tells of reports.
    reported: Notify,
    /// Tells of searches that are to be carried out here.
    searches: Notify,
}

impl OrderDesk {
    pub(super) fn new() -> Self {
        Self {
            turns: Mutex::new(RateLimiter::new(ORDERS_PER_STEP)),
            reports: Mutex::default(),
            reported: Notify::new(),
            searches: Notify::new(),
        }
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, BTreeMap<OrderId, BTreeMap<Arc<str>, u64>>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who carries out searches.
    pub(crate) fn note_search(&self) {
        self.searches.notify_one();
    }

    /// Notes that a node has carried out a search.
    pub(crate) fn note_report(&self, order: &Order) {
        let OrderContent::Report {
            search,
            node,
            destroyed,
        } = &order.content
        else {
            return;
        };
        if let Some(reports) = self.reports().get_mut(search)
            && reports.len() < MAX_REPORTS
        {
            reports.insert(Arc::clone(node), *destroyed);
        }
        self.reported.notify_waiters();
    }

    /// Returns whether another order may be given for an id that a client may have made up.
    pub(super) fn takes_turn(&self, now: Now) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.acquire(now).is_some()
    }

    /// Returns what resolves at the next search that is to be carried out here.
    pub(super) fn search_noted(&self) -> Notified<'_> {
        self.searches.notified()
    }

    /// Returns what resolves at the next report.
    pub(super) fn report_noted(&self) -> Notified<'_> {
        self.reported.notified()
    }
}

/// Of orders for ids that this node does not know: 1000 a second.
const ORDERS_PER_STEP: u32 = 10;
/// More nodes than a cluster has.
const MAX_REPORTS: usize = 1024;
