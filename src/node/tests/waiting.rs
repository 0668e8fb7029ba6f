//! What requests wait for, and what listeners hear of sessions.

use super::*;
use crate::node::{SessionEvent, SessionEventKind};

#[tokio::test(start_paused = true)]
async fn acknowledged_by_all_means_held_by_all() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let three = start(&network, "n3", 3, &[1, 2]);
    three.ready().await;
    until_seen(&one, "n3", MemberState::Up).await;
    let key = create(one.node());
    for round in 0..50 {
        let position = set(one.node(), &key, "n", &round.into());
        assert_eq!(one.node().acknowledged(position, Ack::All).await, 2);
        for other in [&two, &three] {
            assert_eq!(get(other.node(), &key, "n"), Some(round.into()));
        }
    }
    let position = set(one.node(), &key, "n", &50.into());
    assert!(one.node().acknowledged(position, Ack::One).await >= 1);
}

#[tokio::test(start_paused = true)]
async fn change_that_a_lagging_peer_has_not_got_dies_with_its_node() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = set(one.node(), &key, "n", &1.into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 1);
    network.hold();
    let position = set(one.node(), &key, "n", &2.into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
    until_seen(&one, "n2", MemberState::Lagging).await;
    one.node().kill();
    network.cut();
    network.release();
    network.heal();
    drop(one);
    until_seen(&two, "n1", MemberState::Down).await;
    assert_eq!(get(two.node(), &key, "n"), Some(1.into()));
}

/// Resets all streams. Both nodes can make new ones at once.
fn reset(network: &MemoryNetwork) {
    network.cut();
    network.heal();
}

#[tokio::test(start_paused = true)]
async fn change_right_after_a_reset_is_acknowledged_by_the_peer() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    reset(&network);
    // The first change of this node: the peer has applied nothing of it yet.
    let key = create(one.node());
    for round in 0..10 {
        let position = set(one.node(), &key, "n", &round.into());
        assert_eq!(one.node().acknowledged(position, Ack::All).await, 1);
        assert_eq!(get(two.node(), &key, "n"), Some(round.into()));
        reset(&network);
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_does_not_come_back_is_waited_for_once() {
    let network = MemoryNetwork::default();
    // It cannot look whether the peer is still there, since it does not know its address.
    let one = start(&network, "n1", 1, &[]);
    let _two = start(&network, "n2", 2, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    let key = create(one.node());
    let position = one.node().commit(&key);
    one.node().acknowledged(position, Ack::All).await;
    network.cut();
    let began_ms = one.node().now().mono_ms;
    let waited_ms = || one.node().now().mono_ms - began_ms;
    for round in 0..10 {
        let position = set(one.node(), &key, "n", &round.into());
        assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
        assert!((1_000..=1_200).contains(&waited_ms()), "{}", waited_ms());
    }
}

#[tokio::test(start_paused = true)]
async fn peer_whose_address_refuses_is_not_waited_for() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = one.node().commit(&key);
    one.node().acknowledged(position, Ack::All).await;
    drop(two);
    let began_ms = one.node().now().mono_ms;
    let position = set(one.node(), &key, "n", &1.into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
    let waited_ms = one.node().now().mono_ms - began_ms;
    assert!(waited_ms < 200, "{waited_ms}");
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_taken_off_the_list_is_not_waited_for() {
    let network = MemoryNetwork::default();
    let (one, _two) = pair(&network).await;
    let key = create(one.node());
    network.cut();
    until_seen(&one, "n2", MemberState::Suspect).await;
    assert!(one.remove_peer(address(2)));
    let began_ms = one.node().now().mono_ms;
    let position = set(one.node(), &key, "n", &1.into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
    assert_eq!(one.node().now().mono_ms, began_ms);
}

#[tokio::test(start_paused = true)]
async fn alternating_nodes_never_read_old_values() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = set(one.node(), &key, "hits", &0.into());
    one.node().acknowledged(position, Ack::All).await;
    for hit in 1..=100 {
        let node = if hit % 2 == 0 { &one } else { &two }.node();
        assert_eq!(get(node, &key, "hits"), Some((hit - 1).into()));
        let position = set(node, &key, "hits", &hit.into());
        assert_eq!(node.acknowledged(position, Ack::All).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn session_events_are_local_unless_asked_for() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let config = config("n2", 2, &[1]).notify_listeners_on_replication(true);
    let two = start_with(&network, 2, &config);
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&two, "n1", MemberState::Up).await;
    let (mut here, mut there) = (one.events(), two.events());
    let key = create(one.node());
    let told = |replicated| {
        let id = key.public_id(None);
        move |event: &Event| {
            matches!(event, Event::Session(SessionEvent {
                id: told,
                replicated: how,
                kind: SessionEventKind::Created,
                ..
            }) if *told == id && *how == replicated)
        }
    };
    until(&mut here, told(false)).await;
    until(&mut there, told(true)).await;
    assert!(two.destroy(&key.public_id(None)).await);
    let local = until(&mut there, |event| matches!(event, Event::Session(session) if session.kind == SessionEventKind::Destroyed)).await;
    assert!(matches!(local, Event::Session(session) if !session.replicated));
    assert!(!holds(&one, &key));
}
