//! The addresses of configured peers, who alone may enter where nobody has to prove anything.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::timeout};

use crate::config::PeerAddress;
use crate::node::{Node, clock::millis};

/// What the names on the list meant when they were looked up last. The lock is held while they are
/// looked up, so that many strangers cause one look-up.
#[derive(Debug, Default)]
pub(in crate::node) struct Allowlist(Mutex<Resolved>);

#[derive(Debug, Default)]
struct Resolved {
    peers: Vec<PeerAddress>,
    at_ms: u64,
    addresses: HashSet<IpAddr>,
}

impl Node {
    /// Without encryption, only this machine and the addresses of configured peers may enter.
    pub(in crate::node) async fn is_listed(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() {
            return true;
        }
        let peers = self.members().peers();
        let mut found = self.allowlist.0.lock().await;
        let now_ms = self.now().mono_ms;
        if found.peers != peers || found.at_ms.saturating_add(millis(FRESH)) < now_ms {
            let addresses = join_all(peers.iter().map(|peer| self.addresses(peer))).await;
            *found = Resolved {
                peers,
                at_ms: now_ms,
                addresses: addresses.into_iter().flatten().collect(),
            };
        }
        found.addresses.contains(&ip)
    }

    async fn addresses(&self, peer: &PeerAddress) -> Vec<IpAddr> {
        if let Ok(ip) = peer.host.parse::<IpAddr>() {
            return vec![ip.to_canonical()];
        }
        match timeout(LOOKUP, self.env.transport.resolve(peer)).await {
            Ok(Ok(found)) => found.iter().map(|at| at.ip().to_canonical()).collect(),
            // It is asked for again when somebody comes who may be it.
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

/// How long an answer of a name server is believed.
const FRESH: Duration = Duration::from_secs(5);
/// Less than strangers have.
const LOOKUP: Duration = Duration::from_secs(1);
