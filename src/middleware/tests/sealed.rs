//! What a forged cookie costs.

use super::*;
use crate::{CookieKey, config::ListenAddress, node::net::transport::Transport as _};

#[tokio::test(start_paused = true)]
async fn forged_cookie_has_no_peer_asked_for_it() {
    let network = MemoryNetwork::default();
    // It takes connections but says nothing, so it might have any session for two seconds.
    let listen = ListenAddress::parse("127.0.0.1:1", 1).expect("valid");
    let _mute = network.transport(1).bind(&listen).expect("free");
    let layer = node(&network, 2, 1);
    let cluster = layer.cluster().clone();
    // Of a node that is no member, so nobody has heard of its sessions.
    let plain = node(&MemoryNetwork::default(), 3, 4);
    for seal in [
        |layer: ClusterSessionLayer, key| layer.with_signed(key),
        |layer: ClusterSessionLayer, key| layer.with_private(key),
    ] {
        let [ours, theirs] = [1, 2].map(|key| CookieKey::from(&[key; 64]));
        let forged = start(&seal(plain.clone(), theirs)).await;
        let unsealed = start(&plain).await;
        let sealed = start(&seal(plain.clone(), ours.clone())).await;
        let layer = seal(layer.clone(), ours);
        let asked = async |cookie: &str| {
            assert!(cluster.node().awaits_transfer());
            let before = cluster.stats().lookups;
            assert_eq!(read(&layer, cookie, "a").await, None);
            cluster.stats().lookups - before
        };
        assert_eq!(asked(&forged).await, 0);
        assert_eq!(asked(&unsealed).await, 0);
        assert_eq!(asked(&sealed).await, 1, "somebody may hold it");
    }
}
