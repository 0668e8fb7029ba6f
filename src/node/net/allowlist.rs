//! The addresses of configured peers, who alone may enter where nobody has to prove anything.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::timeout};

use crate::node::{clock::Clock, env::Env};
use crate::{cluster::millis, config::PeerAddress};

/// The addresses of the names on the list when they were looked up last. The lock is held while they
/// are looked up, so that many unauthenticated peers cause one look-up.
#[derive(Debug, Default)]
pub(crate) struct Allowlist(Mutex<Resolved>);

#[derive(Debug, Default)]
struct Resolved {
    peers: Vec<PeerAddress>,
    at_ms: u64,
    addresses: HashSet<IpAddr>,
}

impl Allowlist {
    /// Returns whether an address is one of `peers`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the look-up up.
    pub(super) async fn contains(
        &self,
        ip: IpAddr,
        peers: Vec<PeerAddress>,
        env: &Env,
        clock: &Clock,
    ) -> bool {
        let mut found = self.0.lock().await;
        let now_ms = clock.now().mono_ms;
        if found.peers != peers || found.at_ms.saturating_add(millis(FRESH)) < now_ms {
            let addresses = join_all(peers.iter().map(|peer| addresses(peer, env))).await;
            *found = Resolved {
                peers,
                at_ms: now_ms,
                addresses: addresses.into_iter().flatten().collect(),
            };
        }
        found.addresses.contains(&ip)
    }
}

async fn addresses(peer: &PeerAddress, env: &Env) -> Vec<IpAddr> {
    if let Ok(ip) = peer.host.parse::<IpAddr>() {
        return vec![ip.to_canonical()];
    }
    match timeout(LOOKUP, env.transport.resolve(peer)).await {
        Ok(Ok(found)) => found.iter().map(|at| at.ip().to_canonical()).collect(),
        // It is asked for again when somebody comes who may be it.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// How long an answer of a name server is believed.
const FRESH: Duration = Duration::from_secs(5);
/// Less than the whole handshake may take.
const LOOKUP: Duration = Duration::from_secs(1);
