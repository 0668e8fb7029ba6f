//! Peers by IPv4, IPv6 and name, over real sockets.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, ConfigErrorKind, MemberState, Readiness,
    StartError,
};

use crate::http_support::{start, value};

#[tokio::test]
async fn peers_meet_over_ipv6() {
    if has_ipv6() {
        meet(ClusterConfig::new("one").listen("[::1]:0"), "[::1]").await;
    }
}

#[tokio::test]
async fn node_that_listens_on_all_addresses_is_reached_by_ipv4_and_ipv6() {
    if has_ipv6() {
        for host in ["[::1]", "127.0.0.1"] {
            let everywhere = ClusterConfig::new("one")
                .listen("[::]:0")
                .insecure_plaintext();
            meet(everywhere, host).await;
        }
    }
}

#[tokio::test]
async fn peers_have_names() {
    meet(ClusterConfig::new("one").listen("localhost:0"), "localhost").await;
}

/// Whichever of the two addresses `localhost` has first, the peer may listen on the other.
#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    meet(ClusterConfig::new("one").listen("127.0.0.1:0"), "localhost").await;
    if has_ipv6() {
        let listens = ClusterConfig::new("one").listen("[::1]:0");
        if localhost_has_ipv6().await {
            meet(listens, "localhost").await;
        }
    }
}

#[tokio::test]
async fn all_addresses_need_plaintext_to_be_asked_for_by_name() {
    for address in ["[::]:0", "0.0.0.0:0"] {
        let started = Cluster::start(ClusterConfig::new("one").listen(address)).await;
        assert!(matches!(
            started,
            Err(StartError::Config(error))
                if (error.setting(), error.kind()) == ("listen", ConfigErrorKind::Insecure)
        ));
    }
}

/// A session made on a node is read on one that knows it by this host.
async fn meet(listens: ClusterConfig, host: &str) {
    let one = Cluster::start(listens).await.expect("a free port");
    let port = one.local_address().expect("it listens").port();
    let (cookie, _) = start(&ClusterSessionLayer::from_cluster(&one), "a", 1).await;
    let peer = format!("{host}:{port}");
    let config = ClusterConfig::new("two").peer(&peer).insecure_plaintext();
    let two = Cluster::start(config).await.expect("it only dials");
    assert_eq!(two.ready().await, Readiness::Synced, "{peer}");
    let members = two.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].address, peer);
    assert_eq!(members[0].state, MemberState::Up);
    let held = value(&ClusterSessionLayer::from_cluster(&two), &cookie, "a").await;
    assert_eq!(held, Some(1));
}

/// Some containers have none; there is nothing to show then.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

async fn localhost_has_ipv6() -> bool {
    let found = tokio::net::lookup_host("localhost:1").await;
    found.is_ok_and(|mut addresses| addresses.any(|address: SocketAddr| address.is_ipv6()))
}
