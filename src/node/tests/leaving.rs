//! Leaving in order.

use super::*;
use crate::session::SessionError;

#[tokio::test(start_paused = true)]
async fn node_that_leaves_flushes_says_goodbye_and_frees_its_port() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let mut events = one.events();
    let key = create(two.node());
    two.leave().await;
    until(&mut events, |event| is_member(event, MemberEventKind::Left)).await;
    assert!(holds(&one, &key), "flushed before the goodbye");
    assert_eq!(state_of(&one, "n2"), Some(MemberState::Left));
    let after = timeout(
        Duration::from_secs(10),
        until(&mut events, |e| !matches!(e, Event::Ready(_))),
    )
    .await;
    assert!(after.is_err(), "neither suspect nor down: {after:?}");
    let again = start(&network, "n2", 2, &[1]);
    assert_eq!(again.ready().await, Readiness::Synced);
    until_seen(&one, "n2", MemberState::Up).await;
}

#[tokio::test(start_paused = true)]
async fn what_filtered_requests_wrote_is_told_before_the_goodbye() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(two.node());
    let position = two.node().commit(&key);
    two.node().acknowledged(position, Ack::All).await;
    let written = two
        .node()
        .write(&key, Replicate::Deferred, u64::MAX, |writer| {
            writer.set("b", b"1".as_slice().into())
        });
    written.expect("it lives");
    assert_eq!(two.node().commit(&key), position, "nothing to commit");
    two.leave().await;
    assert_eq!(get(one.node(), &key, "b"), Some(1.into()));
}

#[tokio::test(start_paused = true)]
async fn node_without_peers_leaves_at_once() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    create(one.node());
    let before_ms = one.node().now().mono_ms;
    one.leave().await;
    assert_eq!(one.node().now().mono_ms, before_ms);
}

#[tokio::test(start_paused = true)]
async fn peer_that_lags_gets_everything_before_the_goodbye() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    network.hold();
    let keys: Vec<_> = (0..20).map(|_| create(one.node())).collect();
    until_seen(&one, "n2", MemberState::Lagging).await;
    let leaving = one.clone();
    let leaving = tokio::spawn(async move { leaving.leave().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.release();
    leaving.await.expect("it does not panic");
    assert!(keys.iter().all(|key| holds(&two, key)));
    assert_eq!(state_of(&two, "n1"), Some(MemberState::Left));
}

#[tokio::test(start_paused = true)]
async fn peer_that_has_lost_its_link_gets_everything_before_the_goodbye() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    // Only this one dials.
    let two = start(&network, "n2", 2, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    network.cut();
    until_seen(&one, "n2", MemberState::Suspect).await;
    let keys: Vec<_> = (0..20).map(|_| create(one.node())).collect();
    let leaving = one.clone();
    let leaving = tokio::spawn(async move { leaving.leave().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.heal();
    leaving.await.expect("it does not panic");
    assert!(keys.iter().all(|key| holds(&two, key)));
    assert_eq!(state_of(&two, "n1"), Some(MemberState::Left));
}

#[tokio::test(start_paused = true)]
async fn peer_that_joins_gets_everything_before_the_goodbye() {
    const SESSIONS: usize = 5_000;
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    one.ready().await;
    for _ in 0..SESSIONS {
        create(one.node());
    }
    let mut events = one.events();
    let two = start(&network, "n2", 2, &[1]);
    until(&mut events, |event| is_member(event, MemberEventKind::Up)).await;
    assert!(two.session_count() < SESSIONS, "it has yet to get them");
    one.leave().await;
    assert_eq!(two.session_count(), SESSIONS);
    assert_eq!(two.ready().await, Readiness::Synced);
}

/// What one that is gone wrote, one has alone.
#[tokio::test(start_paused = true)]
async fn peer_gets_what_a_third_one_wrote_before_the_goodbye() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let three = start(&network, "n3", 3, &[1, 2]);
    three.ready().await;
    until_seen(&one, "n3", MemberState::Up).await;
    network.cut_between(2, 3);
    until_seen(&three, "n2", MemberState::Suspect).await;
    let key = create(three.node());
    wait_until("it arrives", || holds(&one, &key)).await;
    three.node().kill();
    assert!(!holds(&two, &key), "repair takes longer");
    one.leave().await;
    assert!(holds(&two, &key));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_leave_together_do_not_wait_for_each_other() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let three = start(&network, "n3", 3, &[1, 2]);
    three.ready().await;
    let keys = [&one, &two, &three].map(|cluster| create(cluster.node()));
    let before_ms = one.node().now().mono_ms;
    tokio::join!(one.leave(), two.leave(), three.leave());
    let took_ms = one.node().now().mono_ms - before_ms;
    assert!(took_ms < 1_000, "{took_ms}");
    for cluster in [&one, &two, &three] {
        assert!(keys.iter().all(|key| holds(cluster, key)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_handed_over_is_logged() {
    let (lines, _guard) = logging::Lines::kept();
    let network = MemoryNetwork::default();
    let config = config("n1", 1, &[2]).leave_timeout(Duration::from_secs(1));
    let one = start_with(&network, 1, &config);
    let two = start(&network, "n2", 2, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    network.hold();
    create(one.node());
    one.leave().await;
    let told = lines.with(&["WARN", "without handing everything over", "member=n2"]);
    assert_eq!(told.len(), 1, "{told:?}");
    drop(two);
}

#[tokio::test(start_paused = true)]
async fn node_that_left_serves_what_it_has_and_creates_nothing() {
    let network = MemoryNetwork::default();
    let (_one, two) = pair(&network).await;
    let key = create(two.node());
    two.leave().await;
    two.leave().await;
    assert!(!two.is_ready());
    let position = set(two.node(), &key, "a", &1.into());
    assert_eq!(two.node().acknowledged(position, Ack::All).await, 0);
    assert_eq!(get(two.node(), &key, "a"), Some(1.into()));
    let meta = Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry: Expiry::default(),
    });
    assert!(matches!(
        two.node().create(&meta, &two.node().fresh_id(), 0),
        Err(SessionError::Leaving)
    ));
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    assert_eq!(two.session_count(), 0, "sessions still expire");
}

#[tokio::test(start_paused = true)]
async fn leaving_goes_on_when_nobody_waits_for_it() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let unfinished = timeout(Duration::ZERO, two.leave()).await;
    assert!(unfinished.is_err());
    until_seen(&one, "n2", MemberState::Left).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_can_be_expired_on_leaving() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let config = config("n2", 2, &[1]).destroy_sessions_on_leave(true);
    let two = start_with(&network, 2, &config);
    until_seen(&one, "n2", MemberState::Up).await;
    let key = create(one.node());
    wait_until("it arrives", || holds(&two, &key)).await;
    two.leave().await;
    assert!(!holds(&one, &key));
}

#[tokio::test(start_paused = true)]
async fn draining_changes_readiness_and_nothing_else() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    two.drain();
    assert!(!two.is_ready());
    let key = create(two.node());
    wait_until("it is replicated", || holds(&one, &key)).await;
}
