//! Connections that peers dial: a bounded number without hello, each for two seconds at most.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock, atomic::Ordering},
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
        link_task::{self, GIVING_WAY},
    },
};
use crate::{cluster::TICK, session::Now, wire::Refusal};

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
        if !node.makes_links() {
            continue;
        }
        let permit = Permit::acquire(&node.net.admission, remote.ip(), node.random());
        let task = receive(Arc::clone(node), io, remote, permit);
        node.net.tasks.spawn(task);
    }
}

async fn receive(node: Arc<Node>, io: BoxIo, remote: SocketAddr, permit: Permit) {
    let greeted = tokio::select! {
        biased;
        () = node.net.shutdown.cancelled() => return,
        () = permit.lost() => return node.note_crowded_out(remote),
        greeted = greet(&node, io, remote, &permit) => greeted,
    };
    drop(permit);
    match greeted {
        Ok((registered, greeted, io)) => {
            link_task::spawn(registered, io, greeted.codec, greeted.unread);
        }
        Err(error) => node.log_refused(remote, &error),
    }
}

async fn greet(
    node: &Arc<Node>,
    io: BoxIo,
    remote: SocketAddr,
    permit: &Permit,
) -> Result<(Registered, Greeted<()>, BoxIo), HandshakeError> {
    let security = &node.net.security;
    let proof = OnceLock::new();
    let secured = async {
        let hosts = || node.peers.table().peers().into_iter().map(|peer| peer.host);
        let turn = permit.turn(|| node.random(), node.now());
        let mut accepted = security.accept(io, || hosts().collect(), turn).await?;
        if security.authenticates() && accepted.refusal.is_none() {
            permit.prove(node.random());
        }
        if !security.authenticates() && !node.may_enter(remote.ip().to_canonical()).await {
            accepted.refusal = Some(Refusal::NotListed);
        }
        proof.get_or_init(|| mem::take(&mut accepted.chain));
        Ok(accepted)
    };
    let judge = |theirs: &_| node.judge(theirs);
    let (io, greeted) = handshake::listen(secured, &node.net.hello, judge).await?;
    if security.authenticates() {
        node.net.admission.know(remote.ip());
    }
    let chain = proof.get().expect("set before anybody says hello");
    let registered = match node.admit(&greeted.theirs, Established::Accepted { remote }, chain) {
        Ok(registered) => registered,
        Err(refusal) => {
            if refusal == Refusal::Duplicate {
                // The peer has a link by now, and must know the other before it sees this one end.
                sleep(GIVING_WAY).await;
            }
            return Err(HandshakeError::Refused(refusal));
        }
    };
    Ok((registered, greeted, io))
}

impl Node {
    /// Returns whether an address may enter. Without encryption, only this machine and the addresses of
    /// configured peers may.
    async fn may_enter(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || {
            let peers = self.peers.table().peers();
            let (env, clock) = (&self.env, &self.clock);
            self.net.allowlist.contains(ip, peers, env, clock).await
        }
    }

    fn random(&self) -> u64 {
        u64::from_ne_bytes(self.env.random())
    }

    /// Gives turns to those whose handshakes wait for one.
    pub(crate) fn give_turns(&self, now: Now) {
        self.net.admission.give_turns(|| self.random(), now);
    }

    fn note_crowded_out(&self, remote: SocketAddr) {
        self.monitor
            .counters
            .refused
            .fetch_add(1, Ordering::Relaxed);
        if self.monitor.refusal_log.may_log(self.now()) {
            warn!(
                node = %self.settings.node, %remote,
                "closed a connection from [{remote}] for a newer one: too many connections \
                 without hello"
            );
        }
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
        let throttle = if error.is_of_another_cluster() {
            &self.monitor.foreign_log
        } else if error.is_of_a_node() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ClusterConfig,
        node::{Cluster, net::transport::MemoryNetwork},
    };

    #[tokio::test(start_paused = true)]
    async fn addresses_of_listed_peers_are_known_before_one_is_met() {
        let network = MemoryNetwork::default();
        let config = ClusterConfig::new("n1").peer("127.0.0.1:2");
        let transport = Arc::new(network.transport(1));
        let cluster = Cluster::start_with(&config, transport).expect("valid");
        let admission = &cluster.node().net.admission;
        let ip = "127.0.0.1".parse().expect("valid");
        sleep(TICK).await;
        assert!(admission.knows(ip));
        assert!(cluster.remove_peer("127.0.0.1:2"));
        assert!(!admission.knows(ip));
    }

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
