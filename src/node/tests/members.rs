//! Who is a member, and what the others see of it.

use super::*;
use crate::config::ConfigErrorKind;

#[tokio::test(start_paused = true)]
async fn member_that_dies_is_suspect_then_down_and_takes_its_place_when_it_is_back() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let mut events = one.events();
    drop(two);
    let suspect = until(&mut events, |event| {
        is_member(event, MemberEventKind::Suspect)
    })
    .await;
    let Event::Member(MemberEvent { name, address, .. }) = suspect else {
        panic!("{suspect:?}");
    };
    assert_eq!((&*name, &*address), ("n2", "127.0.0.1:2"));
    assert_eq!(state_of(&one, "n2"), Some(MemberState::Suspect));
    until(&mut events, |event| is_member(event, MemberEventKind::Down)).await;
    assert_eq!(state_of(&one, "n2"), Some(MemberState::Down));
    let two = start(&network, "n2", 2, &[1]);
    until(&mut events, |event| is_member(event, MemberEventKind::Up)).await;
    assert_eq!(two.ready().await, Readiness::Synced);
    assert!(holds(&two, &key));
    assert_eq!(one.members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_sided_list_is_enough() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    assert_eq!(one.ready().await, Readiness::Alone);
    let two = start(&network, "n2", 2, &[1]);
    assert_eq!(two.ready().await, Readiness::Synced);
    until_seen(&one, "n2", MemberState::Up).await;
    let members = one.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].address, address(2), "as it advertises itself");
    assert!(members[0].sent_bytes > 0 && members[0].received_bytes > 0);
}

#[tokio::test(start_paused = true)]
async fn own_address_in_the_list_is_no_member() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[1, 2]);
    assert_eq!(one.ready().await, Readiness::Alone);
    let members = one.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].address, address(2));
    assert_eq!(members[0].state, MemberState::Down);
    assert_eq!(one.stats().refused, 0, "it is no failure either");
}

#[tokio::test(start_paused = true)]
async fn second_node_of_a_name_stays_outside() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let mut events = one.events();
    let twin = start(&network, "n2", 3, &[1]);
    wait_until("it is refused", || {
        one.stats().refused > 0 && twin.stats().refused > 0
    })
    .await;
    assert_eq!(state_of(&one, "n2"), Some(MemberState::Up));
    assert_eq!(twin.ready().await, Readiness::Refused);
    assert!(!twin.is_ready());
    assert_eq!(twin.stats().readiness, Some(Readiness::Refused));
    assert_eq!(twin.members()[0].state, MemberState::Refused);
    drop(two);
    // The name is free now, and the twin has never stopped dialling.
    until(&mut events, |e| is_member(e, MemberEventKind::Up)).await;
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&twin, "n1", MemberState::Up).await;
    wait_until("it is ready", || twin.is_ready()).await;
}

/// Cut off for long enough for another process to start under its name.
#[tokio::test(start_paused = true)]
async fn node_whose_name_is_taken_meanwhile_is_not_ready_while_peers_refuse_it() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    network.heal_between(1, 3);
    let replacement = start(&network, "n2", 3, &[1]);
    network.heal();
    one.add_peer(address(3)).expect("valid");
    wait_until("the old one is refused", || !two.is_ready()).await;
    assert_eq!(two.stats().readiness, Some(Readiness::Refused));
    assert!(one.is_ready());
    wait_until("the new one is ready", || replacement.is_ready()).await;
    drop(replacement);
    wait_until("the name is free again", || two.is_ready()).await;
}

/// A node that serves is not shut by one that is set up wrongly.
#[tokio::test(start_paused = true)]
async fn node_of_another_secret_does_not_make_a_ready_one_unready() {
    let network = MemoryNetwork::default();
    let one = start_with(&network, 1, &config("n1", 1, &[2]).secret(SECRETS[0]));
    assert_eq!(one.ready().await, Readiness::Alone);
    let two = start_with(&network, 2, &config("n2", 2, &[1]).secret(SECRETS[1]));
    assert_eq!(two.ready().await, Readiness::Refused);
    assert!(one.is_ready() && !two.is_ready());
    assert!(one.stats().refused > 0 && two.stats().refused > 0);
    assert_eq!(state_of_only_peer(&one), MemberState::Refused);
    assert_eq!(state_of_only_peer(&two), MemberState::Refused);
}

fn state_of_only_peer(cluster: &Cluster) -> MemberState {
    cluster.members()[0].state
}

#[tokio::test(start_paused = true)]
async fn clusters_of_different_names_stay_apart() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let two = start_with(&network, 2, &config("n2", 2, &[1]).cluster("other"));
    assert_eq!(one.ready().await, Readiness::Refused);
    assert_eq!(two.ready().await, Readiness::Refused);
    assert!(!one.is_ready() && !two.is_ready(), "no silent split");
    assert!(one.stats().refused > 0 && two.stats().refused > 0);
}

#[tokio::test(start_paused = true)]
async fn peers_come_and_go_at_run_time() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let two = start(&network, "n2", 2, &[]);
    assert_eq!(one.add_peer(address(2)), Ok(true));
    assert_eq!(one.add_peer(address(2)), Ok(false));
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&two, "n1", MemberState::Up).await;
    assert!(one.remove_peer(address(2)));
    assert!(!one.remove_peer(address(2)));
    assert!(one.members().is_empty());
    until_seen(&two, "n1", MemberState::Down).await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_start_would_not_take_cannot_be_added() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let alone = Cluster::start_now(ClusterConfig::standalone()).expect("nothing to bind");
    for (node, peer, kind) in [
        (&one, "10.0.0.1:1", ConfigErrorKind::Insecure),
        (&one, "nowhere", ConfigErrorKind::Invalid),
        (&alone, "127.0.0.1:1", ConfigErrorKind::Conflict),
    ] {
        let error = node.add_peer(peer).expect_err(peer);
        assert_eq!((error.setting(), error.kind()), ("peer", kind));
    }
}

#[tokio::test(start_paused = true)]
async fn node_known_by_two_addresses_is_one_member() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let two = start(&network, "n2", 2, &[]);
    one.add_peer("127.0.0.1:2").expect("valid");
    one.add_peer("localhost:2").expect("valid");
    one.add_peer("127.0.0.2:2").expect("valid");
    until_seen(&two, "n1", MemberState::Up).await;
    let mut events = two.events();
    // Long enough for each address to be dialled several times.
    let quiet = timeout(Duration::from_secs(10), until(&mut events, |_| true)).await;
    assert!(quiet.is_err(), "the link stays: {quiet:?}");
    assert_eq!(one.members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stats_are_plain_json() {
    let network = MemoryNetwork::default();
    let (one, _two) = pair(&network).await;
    let json = serde_json::to_value(one.stats()).expect("plain data");
    assert_eq!(json["node"], "n1");
    assert_eq!(json["ready"], true);
    assert_eq!(json["members"][0]["name"], "n2");
    assert_eq!(json["members"][0]["state"], "up");
    assert_eq!(json["members"][0]["acked_lag"], 0);
}

const SECRETS: [&str; 2] = [
    "8f1c0a9de5427b36f0d1948ab37e62c5d90f4b8a13e67c2504bd9af1683ec752",
    "27d6b1f3409c8ea5163ff2ad7b05c8e94a92d06b5ec317f8d4703bea91c64f08",
];

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn clockwork_that_has_stopped_is_noticed() {
    let network = MemoryNetwork::default();
    let cluster = start(&network, "n1", 1, &[]);
    let node = Arc::clone(cluster.node());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(node.is_ticking().await);
    // The task that ticks ends with the last handle.
    drop(cluster);
    assert!(node.is_ticking().await, "a moment is no stop");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!node.is_ticking().await);
}

#[tokio::test(start_paused = true)]
async fn node_knows_since_when_a_member_holds_the_same() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let agreed = |cluster: &Cluster| {
        let member = cluster.members().remove(0);
        (member.equal_for_ms, member.last_equal_ms)
    };
    wait_until("both are equal", || agreed(&one).0.is_some()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (equal_for_ms, last_equal_ms) = agreed(&one);
    assert!(
        equal_for_ms.is_some_and(|ms| ms >= 5_000),
        "{equal_for_ms:?}"
    );
    assert!(
        last_equal_ms.is_some_and(|ms| ms <= 1_000),
        "{last_equal_ms:?}"
    );
    network.cut();
    create(two.node());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let member = one.members().remove(0);
    assert_eq!(
        (member.equal_for_ms, member.last_round_ms),
        (None, None),
        "no link"
    );
    network.heal();
    wait_until("both are equal", || agreed(&one).0.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn transfer_shows_on_both_nodes_while_it_is_under_way() {
    let network = MemoryNetwork::default();
    // Too little of a log to bring all.
    let config = config("n1", 1, &[2]).log_records(64);
    let one = start_with(&network, 1, &config);
    one.ready().await;
    for _ in 0..3_000 {
        create_in(one.node(), "", &serde_json::json!("x".repeat(1000)));
    }
    let two = start(&network, "n2", 2, &[1]);
    let (mut sent, mut received) = (None, None);
    while !two.is_ready() {
        let of = |cluster: &Cluster| cluster.members().into_iter().next();
        sent = of(&one).and_then(|member| member.sending).or(sent);
        received = of(&two).and_then(|member| member.receiving).or(received);
        tokio::task::yield_now().await;
    }
    let (sent, received) = (sent.expect("it was seen"), received.expect("it was seen"));
    assert!((1..=3_000).contains(&sent.sessions), "{sent:?}");
    assert!(
        received.bytes > 0 && received.sessions <= 3_000,
        "{received:?}"
    );
    wait_until("it is over", || {
        let both = [one.members(), two.members()].concat();
        both.iter()
            .all(|member| member.sending.is_none() && member.receiving.is_none())
    })
    .await;
}
