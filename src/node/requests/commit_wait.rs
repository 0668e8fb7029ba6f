//! The wait of a response for peers, with its time.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

#[cfg(feature = "__internals")]
use crate::session::Access;
use crate::{cluster::AckWait, config::Ack, node::Node, wire::Position};

/// A future that is ready when peers hold a commit, as [`Ack`] says, or none is left to wait for.
///
/// # Cancel safety
///
/// Dropping the future stops waiting.
#[derive(Debug)]
pub(crate) struct CommitWait {
    node: Arc<Node>,
    wait: AckWait,
    ack: Ack,
    /// When the wait began, once there is something to wait for: most requests of a node without
    /// peers would else read the clock twice to learn that they have not waited.
    began_us: Option<u64>,
}

impl CommitWait {
    pub(crate) fn new(node: &Arc<Node>, position: Position, ack: Ack) -> Self {
        Self {
            wait: node.acknowledged(Some(position), ack),
            node: Arc::clone(node),
            ack,
            began_us: None,
        }
    }
}

impl Future for CommitWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.wait).poll(cx).is_pending() {
            if self.began_us.is_none() {
                self.began_us = Some(self.node.clock.now_us());
            }
            return Poll::Pending;
        }
        let waited_us = self
            .began_us
            .map(|began_us| self.node.clock.now_us().saturating_sub(began_us));
        self.node.monitor.metrics.note_commit(self.ack, waited_us);
        Poll::Ready(())
    }
}

#[cfg(feature = "__internals")]
impl Node {
    /// Counts what is counted of a request that finds its session and changes it, and nothing else.
    pub(crate) fn count_hit(&self) {
        let metrics = &self.monitor.metrics;
        metrics.note_load(Access::Alive);
        metrics.note_commit(Ack::All, None);
    }
}
