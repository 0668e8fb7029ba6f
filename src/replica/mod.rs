//! Decisions: the store, the change log, and what a link says next. No I/O, no clock, no
//! randomness.

mod change;
mod link;
mod store;

pub(crate) use self::{
    change::{Change, What},
    link::{Link, LinkAcks, LinkEvent, Violation},
    store::{Opened, Shipping, Store, Writer},
};

use crate::{
    config::{Limits, Shape},
    session::{BootId, Locator, Now},
    wire::message::Position,
};

/// One node's replica: its store, its log of changes, and what it has applied of each peer's log.
/// Shared by all requests and links; every method takes `&self` and locks briefly inside.
#[derive(Debug)]
pub(crate) struct Replica {}

impl Replica {
    pub(crate) fn new(_boot: BootId, _limits: Limits, _shape: &Shape, _now: Now) -> Self {
        todo!()
    }

    pub(crate) fn boot(&self) -> BootId {
        todo!()
    }

    pub(crate) fn store(&self) -> &Store {
        todo!()
    }

    /// The last position of the log.
    pub(crate) fn head(&self) -> Position {
        todo!()
    }

    /// Appends a record if the session has unshipped changes (or use worth telling). Returns the
    /// position whose acknowledgement means that every change of this session made here is held
    /// by the acknowledging peer; 0 when there is nothing to wait for. The caller wakes the links
    /// when `head()` moved.
    pub(crate) fn commit(&self, _key: &Locator, _now: Now) -> Position {
        todo!()
    }

    /// Drops expired sessions, overdue tombstones, forgotten names. Call it every 100 ms.
    /// Returns the sessions that expired here, for events (only when `collect`).
    pub(crate) fn sweep(&self, _now: Now, _collect: bool) -> Vec<Change> {
        todo!()
    }
}
