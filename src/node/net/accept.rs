//! Connections that peers dial: a bounded number without hello, each for two seconds.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::log::{debug, warn};
use tokio::time::sleep;

use super::{
    admission::Permit,
    handshake::{self, Greeted, HandshakeError},
    transport::{Acceptor, BoxIo},
};
use crate::node::{
    Node,
    peers::{
        lifecycle::{Established, Registered},
        link_task,
    },
};
use crate::{cluster::TICK, wire::Refusal};

/// Takes connections until the node leaves or its handle is gone.
pub(crate) async fn accept(node: Arc<Node>, mut acceptor: Box<dyn Acceptor>) {
    while node
        .guarded("accept", accept_all(&node, &mut *acceptor))
        .await
        .is_none()
    {
        // What panics each time must not keep a thread busy.
        sleep(TICK).await;
    }
}

async fn accept_all(node: &Arc<Node>, acceptor: &mut dyn Acceptor) {
    loop {
        let (io, remote) = tokio::select! {
            biased;
            () = node.net.shutdown.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        if !node.may_create() {
            continue;
        }
        match Permit::try_acquire(&node.net.admission, remote.ip().to_canonical()) {
            Some(permit) => {
                let task = receive(Arc::clone(node), io, remote, permit);
                node.net.tasks.spawn(task);
            }
            None => {
                node.monitor
                    .counters
                    .refused
                    .fetch_add(1, Ordering::Relaxed);
                if node.monitor.refusal_log.may_log(node.now()) {
                    warn!(
                        node = %node.settings.node, %remote,
                        "refused a connection from [{remote}]: too many connections without hello"
                    );
                }
            }
        }
    }
}

async fn receive(node: Arc<Node>, io: BoxIo, remote: SocketAddr, permit: Permit) {
    let served = async {
        match greet(&node, io, remote).await {
            Ok((registered, greeted, io)) => {
                drop(permit);
                let run = link_task::run(registered, io, greeted.codec, greeted.unread);
                node.guarded("link", run).await;
            }
            Err(error) => {
                node.log_refused(remote, &error);
                if !error.is_of_a_node() && !node.has_proven(&error) {
                    sleep(PENALTY).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = node.net.shutdown.cancelled() => {}
        () = served => {}
    }
}

async fn greet(
    node: &Arc<Node>,
    io: BoxIo,
    remote: SocketAddr,
) -> Result<(Registered, Greeted<()>, BoxIo), HandshakeError> {
    let hosts = || node.peers.table().peers().into_iter().map(|peer| peer.host);
    let secured = async {
        let mut accepted = node.net.security.accept(io, || hosts().collect()).await?;
        if !node.net.security.authenticates() && !node.may_enter(remote.ip().to_canonical()).await {
            accepted.refusal = Some(Refusal::NotListed);
        }
        Ok(accepted)
    };
    let judge = |theirs: &_| node.judge(theirs);
    let (io, greeted) = handshake::listen(secured, &node.net.hello, judge).await?;
    if node.net.security.authenticates() {
        node.net.admission.know(remote.ip());
    }
    let registered = node
        .admit(&greeted.theirs, Established::Accepted { remote })
        .map_err(HandshakeError::Refused)?;
    Ok((registered, greeted, io))
}

impl Node {
    /// Without encryption, only this machine and the addresses of configured peers may enter.
    async fn may_enter(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || {
            let peers = self.peers.table().peers();
            let (env, clock) = (&self.env, &self.clock);
            self.net.allowlist.contains(ip, peers, env, clock).await
        }
    }

    /// Returns whether what is refused has proven that it belongs to the cluster.
    fn has_proven(&self, refused: &HandshakeError) -> bool {
        let judged =
            matches!(refused, HandshakeError::Refused(refusal) if *refusal != Refusal::NotNamed);
        judged && self.net.security.authenticates()
    }

    fn log_refused(&self, remote: SocketAddr, error: &HandshakeError) {
        match error {
            // Both ends dialled, or this node dialled itself: nothing to worry about.
            HandshakeError::Refused(Refusal::Duplicate | Refusal::SameBoot)
            | HandshakeError::RefusedByPeer(Refusal::Duplicate | Refusal::SameBoot) => {
                debug!(%remote, "connection not used: {error}");
                return;
            }
            HandshakeError::Io(_)
            | HandshakeError::Secure(_)
            | HandshakeError::Closed
            | HandshakeError::TimedOut
            | HandshakeError::Frame(_)
            | HandshakeError::Refused(_)
            | HandshakeError::RefusedByPeer(_) => {}
        }
        self.monitor
            .counters
            .refused
            .fetch_add(1, Ordering::Relaxed);
        // A node that is set up wrongly is seen also while others make the other lines.
        let throttle = if error.is_of_a_node() {
            &self.monitor.misfit_log
        } else {
            &self.monitor.refusal_log
        };
        if throttle.may_log(self.now()) {
            warn!(
                node = %self.settings.node, %remote,
                "no link with [{remote}] that dialled us: {error}"
            );
        }
    }
}

/// How long the permit of a connection that proved nothing stays taken, so that there is a bounded
/// number of such handshakes a second.
const PENALTY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ClusterConfig,
        node::{Cluster, net::transport::MemoryNetwork},
    };

    #[tokio::test]
    async fn without_encryption_only_this_machine_and_listed_addresses_may_enter() {
        let network = MemoryNetwork::default();
        let config = ClusterConfig::new("n1")
            .peers(["10.0.0.5:1", "[::ffff:10.0.0.6]:1", "localhost:1"])
            .insecure_plaintext();
        let transport = Arc::new(network.transport(1));
        let cluster = Cluster::start_with(&config, transport).expect("valid");
        for inside in ["127.0.0.1", "::1", "10.0.0.5", "10.0.0.6"] {
            let ip = inside.parse().expect(inside);
            assert!(cluster.node().may_enter(ip).await, "{inside}");
        }
        let unlisted = "10.0.0.7".parse().expect("valid");
        assert!(!cluster.node().may_enter(unlisted).await);
    }
}
