//! Connections that peers dial: a bounded number of strangers, each for two seconds.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    Node,
    handshake::{self, Greeted, HandshakeError},
    link,
    membership::{Origin, Registered},
    transport::{Acceptor, BoxIo},
};
use crate::wire::Refusal;

/// Takes connections until the node leaves or its handle is gone.
pub(super) async fn accept(node: Arc<Node>, mut acceptor: Box<dyn Acceptor>) {
    let slots = Arc::new(Slots::default());
    loop {
        let (io, remote) = tokio::select! {
            biased;
            () = node.network.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        if !node.may_create() {
            continue;
        }
        match Slot::take(&slots, remote.ip().to_canonical()) {
            Some(slot) => {
                let task = receive(Arc::clone(&node), io, remote, slot);
                node.tasks.spawn(task);
            }
            None => {
                node.counters.refused.fetch_add(1, Ordering::Relaxed);
                if node.refusals.may_log(node.now()) {
                    warn!(
                        node = %node.settings.node, %remote,
                        "refused a connection from [{remote}]: too many connections without hello"
                    );
                }
            }
        }
    }
}

async fn receive(node: Arc<Node>, io: BoxIo, remote: SocketAddr, slot: Slot) {
    let served = async {
        if let Some((registered, greeted, io)) = greet(&node, io, remote).await {
            drop(slot);
            link::run(registered, io, greeted.codec, greeted.unread).await;
        }
    };
    tokio::select! {
        biased;
        () = node.network.cancelled() => {}
        () = served => {}
    }
}

async fn greet(
    node: &Arc<Node>,
    mut io: BoxIo,
    remote: SocketAddr,
) -> Option<(Registered, Greeted<()>, BoxIo)> {
    let listed = node.is_listed(remote.ip().to_canonical()).await;
    let judge = |theirs: &_| {
        if listed {
            node.judge(theirs)
        } else {
            Err(Refusal::NotListed)
        }
    };
    let met = handshake::listen(&mut io, &node.hello, judge).await;
    let admitted = met.and_then(|greeted| {
        let registered = node
            .admit(&greeted.theirs, Origin::Accepted { remote })
            .map_err(HandshakeError::Refused)?;
        Ok((registered, greeted))
    });
    match admitted {
        Ok((registered, greeted)) => Some((registered, greeted, io)),
        Err(error) => {
            node.log_stranger(remote, &error);
            None
        }
    }
}

impl Node {
    /// Without encryption, only this machine and the addresses of configured peers may enter.
    async fn is_listed(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() {
            return true;
        }
        let peers = self.members().peers();
        let mut names = Vec::new();
        for peer in peers {
            match peer.host.parse::<IpAddr>() {
                Ok(listed) if listed.to_canonical() == ip => return true,
                Ok(_) => {}
                Err(_) => names.push(peer),
            }
        }
        for peer in names {
            let found = timeout(RESOLVE, self.outside.transport.resolve(&peer)).await;
            if let Ok(Ok(found)) = found
                && found
                    .iter()
                    .any(|address| address.ip().to_canonical() == ip)
            {
                return true;
            }
        }
        false
    }

    fn log_stranger(&self, remote: SocketAddr, error: &HandshakeError) {
        match error {
            // Both ends dialled, or this node dialled itself: nothing to worry about.
            HandshakeError::Refused(Refusal::Duplicate | Refusal::SameBoot)
            | HandshakeError::RefusedByPeer(Refusal::Duplicate | Refusal::SameBoot) => {
                debug!(%remote, "connection not used: {error}");
                return;
            }
            HandshakeError::Io(_)
            | HandshakeError::Closed
            | HandshakeError::TimedOut
            | HandshakeError::Frame(_)
            | HandshakeError::Refused(_)
            | HandshakeError::RefusedByPeer(_) => {}
        }
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        if self.refusals.may_log(self.now()) {
            warn!(
                node = %self.settings.node, %remote,
                "no link with [{remote}] that dialled us: {error}"
            );
        }
    }
}

/// Who is connected without having completed hello.
#[derive(Debug, Default)]
struct Slots(Mutex<HashMap<IpAddr, usize>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Slot {
    slots: Arc<Slots>,
    ip: IpAddr,
}

impl Slot {
    fn take(slots: &Arc<Slots>, ip: IpAddr) -> Option<Self> {
        let mut taken = slots.lock();
        let here = taken.get(&ip).copied().unwrap_or(0);
        if here >= PER_ADDRESS || taken.values().sum::<usize>() >= IN_ALL {
            return None;
        }
        taken.insert(ip, here + 1);
        Some(Self {
            slots: Arc::clone(slots),
            ip,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(here) = taken.get_mut(&self.ip) {
            *here -= 1;
            if *here == 0 {
                taken.remove(&self.ip);
            }
        }
    }
}

/// Connections without hello, from one address and in all.
const PER_ADDRESS: usize = 8;
const IN_ALL: usize = 64;
const RESOLVE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        config::ClusterConfig,
        node::{Cluster, transport::MemoryNetwork},
    };

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn one_address_cannot_take_all_slots() {
        let slots = Arc::default();
        let mut held: Vec<_> = (0..PER_ADDRESS)
            .map(|_| Slot::take(&slots, ip(1)).expect("free"))
            .collect();
        assert!(Slot::take(&slots, ip(1)).is_none());
        assert!(Slot::take(&slots, ip(2)).is_some());
        held.pop();
        assert!(Slot::take(&slots, ip(1)).is_some());
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
            assert!(cluster.node().is_listed(ip).await, "{inside}");
        }
        let stranger = "10.0.0.7".parse().expect("valid");
        assert!(!cluster.node().is_listed(stranger).await);
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let slots = Arc::default();
        let held: Vec<_> = (0..=u8::MAX)
            .filter_map(|last| Slot::take(&slots, ip(last)))
            .collect();
        assert_eq!(held.len(), IN_ALL);
        drop(held);
        assert!(slots.lock().is_empty());
    }
}
