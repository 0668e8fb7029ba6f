//! Looking up names: those on the list, and those that members have told of.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crate::log::info;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    dial::{SELDOM, SOON, again, until},
    dials::Dials,
};
use crate::{
    cluster::{Backoff, Reach, Source, Urgency},
    config::PeerAddress,
    node::{Node, log_throttle::LogThrottle},
};

/// Keeps one peer linked until `stop`, at each address of its name.
pub(crate) async fn keep(
    node: Arc<Node>,
    peer: PeerAddress,
    source: Source,
    stop: CancellationToken,
) {
    let resolving = again(&node, || Resolving::new(&node, &peer, &source, &stop).run());
    until(&stop, resolving).await;
}

/// Looks up the addresses of one peer, and has each of them dialled.
struct Resolving<'a> {
    node: &'a Arc<Node>,
    peer: &'a PeerAddress,
    source: &'a Source,
    dials: Dials<'a>,
    backoff: Backoff,
    absent_log: LogThrottle,
}

impl<'a> Resolving<'a> {
    fn new(
        node: &'a Arc<Node>,
        peer: &'a PeerAddress,
        source: &'a Source,
        stop: &'a CancellationToken,
    ) -> Self {
        Self {
            node,
            peer,
            source,
            dials: Dials::new(node, source, stop),
            backoff: Backoff::default(),
            absent_log: LogThrottle::slowing(SOON, SELDOM),
        }
    }

    async fn run(mut self) {
        while self.node.makes_links() {
            let pause = match self.node.look_up(self.peer).await {
                Ok(found) => {
                    self.backoff = Backoff::default();
                    self.absent_log.reset();
                    self.dials.set(&found);
                    REFRESH
                }
                Err(error) => {
                    self.note_failed(&error);
                    let urgency = match self.node.is_looking_for_peers() {
                        true => Urgency::Awaited,
                        false => Urgency::Usual,
                    };
                    Duration::from_millis(self.backoff.next_ms(urgency))
                }
            };
            // Whichever comes first; names are looked up again in any case.
            let _elapsed = timeout(self.node.jittered(pause), self.dials.missed()).await;
        }
    }

    fn note_failed(&self, error: &io::Error) {
        let (node, address) = (self.node, self.peer);
        let now = node.now();
        let mut table = node.peers.table();
        table.dial_failed(self.source, None, Reach::Unreachable);
        drop(table);
        node.watch_exclusion();
        if self.source.is_configured() && self.absent_log.may_log(now) {
            let name = &node.settings.node;
            info!(node = %name, %address, "cannot look up [{address}], trying on: {error}");
        }
        node.advance_join(now);
    }
}

impl Node {
    /// Looks up the addresses of a name, in an order that is always the same.
    ///
    /// # Errors
    ///
    /// When the name server fails, or there is no address.
    pub(super) async fn look_up(&self, peer: &PeerAddress) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.env.transport.resolve(peer).await?;
        // Name servers tell them in another order each time.
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            let text = "the name has no address";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(found)
    }
}

/// How often a name is looked up although all its addresses are linked: others may have come.
const REFRESH: Duration = Duration::from_secs(10);
