//! The wait of a response for peers, with its time.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

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
    began_us: u64,
    has_waited: bool,
}

impl CommitWait {
    pub(crate) fn new(node: &Arc<Node>, position: Position, ack: Ack) -> Self {
        Self {
            wait: node.acknowledged(Some(position), ack),
            began_us: node.clock.now_us(),
            node: Arc::clone(node),
            ack,
            has_waited: false,
        }
    }
}

impl Future for CommitWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.wait).poll(cx).is_pending() {
            self.has_waited = true;
            return Poll::Pending;
        }
        let us = self.node.clock.now_us().saturating_sub(self.began_us);
        let metrics = &self.node.monitor.metrics;
        metrics.commits(self.ack).record_us(us);
        if self.has_waited {
            metrics.ack_waits.record_us(us);
        }
        Poll::Ready(())
    }
}
