//! The addresses of one source that are dialled, each in a task of its own.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial;
use crate::{cluster::Source, node::Node};

/// The addresses of one source that are dialled. Dropping it ends that, and no link.
pub(super) struct Dials<'a> {
    node: &'a Arc<Node>,
    source: &'a Source,
    stop: &'a CancellationToken,
    running: HashMap<SocketAddr, DropGuard>,
    missed: Arc<Notify>,
}

impl<'a> Dials<'a> {
    pub(super) fn new(
        node: &'a Arc<Node>,
        source: &'a Source,
        stop: &'a CancellationToken,
    ) -> Self {
        Self {
            node,
            source,
            stop,
            running: HashMap::new(),
            missed: Arc::default(),
        }
    }

    /// Takes in all addresses that the source has now, and dials those where members may be.
    pub(super) fn set(&mut self, found: &[SocketAddr]) {
        let (node, tasks) = (self.node, &self.node.net.tasks);
        let wanted = node.peers.table().resolve(self.source, found, node.now());
        // What another member tells must not open this node's door.
        if self.source.is_configured() {
            let ips = wanted.iter().map(SocketAddr::ip);
            node.net.admission.list(self.source, ips);
        }
        self.running.retain(|at, _| wanted.contains(at));
        for at in wanted {
            self.running.entry(at).or_insert_with(|| {
                let stop = self.stop.child_token();
                let guard = stop.clone().drop_guard();
                let (node, missed) = (Arc::clone(node), Arc::clone(&self.missed));
                tasks.spawn(dial::keep(node, self.source.clone(), at, missed, stop));
                guard
            });
        }
    }

    /// Waits until an address could not be linked: there may be another one by now.
    pub(super) async fn missed(&self) {
        self.missed.notified().await;
    }
}
