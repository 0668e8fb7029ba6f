//! Clusters with a secret, and others that dial them.

use futures_util::FutureExt as _;

use super::*;
use crate::node::{
    Stats,
    net::tls::tests::certificates::{Files, authority},
};

const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
const NEXT: &str = "5bd1c7f0a2e84996b3d7f1a05c6e8f92d40b7a6311c9e5f8273d6a9be0415c8d";

fn start_knowing(network: &MemoryNetwork, port: u16, peers: &[u16], secrets: &[&str]) -> Cluster {
    let config = config(&format!("n{port}"), port, peers);
    let secrets = secrets.iter().copied();
    start_with(network, port, &secrets.fold(config, ClusterConfig::secret))
}

async fn linked(one: &Cluster, two: &Cluster) {
    one.ready().await;
    two.ready().await;
    until_seen(one, two.node_name(), MemberState::Up).await;
    until_seen(two, one.node_name(), MemberState::Up).await;
}

#[tokio::test]
async fn nodes_with_a_secret_replicate_and_join() {
    let network = MemoryNetwork::default();
    let one = start_knowing(&network, 1, &[2], &[SECRET]);
    let before = create(one.node());
    let two = start_knowing(&network, 2, &[1], &[SECRET]);
    linked(&one, &two).await;
    assert!(holds(&two, &before), "received on joining");
    let after = create(two.node());
    wait_until("it is replicated", || holds(&one, &after)).await;
}

#[tokio::test]
async fn unauthenticated_peers_are_counted_and_live_links_go_on() {
    let network = MemoryNetwork::default();
    let one = start_knowing(&network, 1, &[2], &[SECRET]);
    let two = start_knowing(&network, 2, &[1], &[SECRET]);
    linked(&one, &two).await;
    let received = |stats: Stats| stats.members[0].received_bytes;
    let mut events = one.events();
    let wrong_secret = start_knowing(&network, 3, &[1], &[NEXT]);
    let no_secret = start_knowing(&network, 4, &[1], &[]);
    wait_until("both are refused", || {
        let refused = [&wrong_secret, &no_secret].map(|refused| refused.stats().refused);
        one.stats().refused >= 2 && refused.iter().all(|refused| *refused > 0)
    })
    .await;
    assert!(!wrong_secret.is_ready());
    assert_eq!(wrong_secret.stats().readiness, Some(Readiness::Refused));
    assert_eq!(events.recv().now_or_never(), None, "nobody came or went");
    let before = received(one.stats());
    let key = create(two.node());
    wait_until("the link goes on", || holds(&one, &key)).await;
    assert!(received(one.stats()) > before);
    assert!(!holds(&wrong_secret, &key) && !holds(&no_secret, &key));
}

#[tokio::test]
async fn a_running_cluster_changes_its_secret_and_keeps_its_sessions() {
    let network = MemoryNetwork::default();
    let mut one = start_knowing(&network, 1, &[2], &[SECRET]);
    let mut two = start_knowing(&network, 2, &[1], &[SECRET]);
    linked(&one, &two).await;
    let key = create(one.node());
    for secrets in [&[SECRET, NEXT][..], &[NEXT, SECRET], &[NEXT]] {
        one.leave().await;
        drop(one);
        one = start_knowing(&network, 1, &[2], secrets);
        linked(&one, &two).await;
        two.leave().await;
        drop(two);
        two = start_knowing(&network, 2, &[1], secrets);
        linked(&one, &two).await;
        assert!(holds(&one, &key) && holds(&two, &key));
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_with_certificates_leave_and_are_freed() {
    let network = MemoryNetwork::default();
    let files = Files::new();
    files.put(&authority(), &["127.0.0.1"]);
    let config = files.protect(config("n1", 1, &[2]));
    let leaving = start_with(&network, 1, &config);
    leaving.leave().await;
    drop(leaving);
    let dropped = start_with(&network, 1, &config);
    let node = Arc::downgrade(dropped.node());
    drop(dropped);
    wait_until("nobody holds the node", || node.upgrade().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn certificates_that_are_replaced_are_used_by_the_next_link() {
    let network = MemoryNetwork::default();
    let files = Files::new();
    files.put(&authority(), &["127.0.0.1"]);
    let start = |port, peers| {
        let config = config(&format!("n{port}"), port, peers);
        start_with(&network, port, &files.protect(config))
    };
    let (one, two) = (start(1, &[2]), start(2, &[1]));
    linked(&one, &two).await;
    // Nobody takes these for those before, so a link shows that both nodes have read them.
    files.put(&authority(), &["127.0.0.1"]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    network.heal();
    linked(&one, &two).await;
    // Half a file is none: what was read before is still good.
    files.break_certificate();
    tokio::time::sleep(Duration::from_secs(11)).await;
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    network.heal();
    linked(&one, &two).await;
}

#[tokio::test(start_paused = true)]
async fn links_are_made_anew_when_certificates_change_and_end_when_their_authority_is_gone() {
    let network = MemoryNetwork::default();
    let (mine, theirs, ca) = (Files::new(), Files::new(), authority());
    mine.put(&ca, &["node.test"]);
    theirs.put(&ca, &["node.test"]);
    let start = |port, peers: &[u16], files: &Files| {
        let config = files.protect(config(&format!("n{port}"), port, peers));
        start_with(&network, port, &config.tls_name("node.test"))
    };
    let (one, two) = (start(1, &[2], &mine), start(2, &[], &theirs));
    until_seen(&one, "n2", MemberState::Up).await;
    let mut events = one.events();
    let link = || one.node().peers.live().first().map(|link| link.identity.id);
    let first = link();
    mine.put(&ca, &["node.test"]);
    wait_until("another link", || link() > first).await;
    let heard = events.recv().now_or_never().flatten();
    assert!(!matches!(heard, Some(Event::Member(_))), "{heard:?}");

    // The other node is not told by whoever dialled the link.
    theirs.put(&authority(), &["node.test"]);
    until_seen(&two, "n1", MemberState::Down).await;
    assert_eq!(link(), None);
    assert_eq!(two.node().peers.live().len(), 0, "it does not get in again");
}

#[tokio::test(start_paused = true)]
async fn link_does_not_outlive_a_certificate() {
    let network = MemoryNetwork::default();
    let (files, ca) = (Files::new(), authority());
    let seconds = 100;
    files.put_for(&ca, &["node.test"], Duration::from_secs(seconds));
    let start = |port, peers: &[u16]| {
        let config = files.protect(config(&format!("n{port}"), port, peers));
        start_with(&network, port, &config.tls_name("node.test"))
    };
    let (one, two) = (start(1, &[2]), start(2, &[]));
    linked(&one, &two).await;
    let link = || two.node().peers.live().first().map(|link| link.identity.id);
    let (first, before_ms) = (link(), two.node().now().mono_ms);
    wait_until("another link", || link() > first).await;
    let age_ms = two.node().now().mono_ms - before_ms;
    assert!(age_ms <= 1_000 * seconds, "{age_ms}");
}
