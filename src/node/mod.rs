//! The runtime: clock, tasks, sockets, members. The only I/O of the crate.

mod acks;
mod sessions;
pub(crate) mod transport;

use std::sync::Arc;

pub(crate) use self::acks::AckWait;
use crate::session::Now;

/// What all tasks and requests of one node share.
#[derive(Debug)]
pub(crate) struct Node {}

impl Node {
    /// Both clocks, read in the one place that reads them.
    pub(crate) fn now(&self) -> Now {
        todo!()
    }

    /// Whether the state transfer is still under way, so that an unknown id is asked for.
    pub(crate) fn awaits_transfer(&self) -> bool {
        todo!()
    }

    /// Asks peers for one session. Returns when an answer was merged, nobody has it, or 500 ms
    /// are over. Dropping it is harmless.
    pub(crate) async fn fetch(&self, _key: crate::session::Locator) {
        todo!()
    }

    /// Waits until peers hold the log up to `position`. The output is the number of peers that do.
    pub(crate) fn acknowledged(
        self: &Arc<Self>,
        _position: u64,
        _ack: crate::config::Ack,
    ) -> AckWait {
        todo!()
    }

    pub(crate) fn replica(&self) -> &crate::replica::Replica {
        todo!()
    }

    pub(crate) fn wake_links(&self) {
        todo!()
    }

    pub(crate) fn publish(&self, _change: crate::replica::Change) {
        todo!()
    }

    pub(crate) fn wants_session_events(&self) -> bool {
        todo!()
    }

    pub(crate) fn may_create(&self) -> bool {
        todo!()
    }
}
