//! What a node that starts does before it is ready.

use super::*;
use crate::config::ListenAddress;
use crate::node::net::transport::Transport as _;
use crate::session::{CookieValue, SessionSecret};
use tokio::task::JoinHandle;

#[tokio::test(start_paused = true)]
async fn node_is_alone_when_no_peer_answers() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2, 3]);
    assert!(!one.is_ready());
    assert_eq!(one.ready().await, Readiness::Alone);
    assert!(one.is_ready());
    assert!(!one.node().awaits_transfer());
}

#[tokio::test]
async fn standalone_node_is_ready_at_once() {
    let one = Cluster::start_now(ClusterConfig::standalone()).expect("nothing to bind");
    assert!(one.is_ready());
    assert_eq!(one.local_address(), None);
    assert_eq!(one.ready().await, Readiness::Alone);
    let key = create(one.node());
    let position = one.node().commit(&key);
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
}

#[test]
fn starting_outside_a_runtime_is_an_error() {
    let error = Cluster::start_now(ClusterConfig::standalone()).expect_err("no runtime");
    assert!(matches!(error, crate::config::StartError::NoRuntime));
}

#[tokio::test(start_paused = true)]
async fn joiner_gets_all_sessions_and_tells_so() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let keys: Vec<_> = (0..100).map(|_| create(one.node())).collect();
    assert_eq!(one.ready().await, Readiness::Alone);
    let two = start(&network, "n2", 2, &[1]);
    let mut events = two.events();
    until(
        &mut events,
        |event| matches!(event, Event::TransferStarted { from } if &**from == "n1"),
    )
    .await;
    let finished = until(&mut events, |e| matches!(e, Event::TransferFinished { .. })).await;
    let Event::TransferFinished { from, .. } = finished else {
        panic!("{finished:?}");
    };
    assert_eq!(&*from, "n1");
    until(&mut events, |event| {
        *event == Event::Ready(Readiness::Synced)
    })
    .await;
    assert_eq!(two.ready().await, Readiness::Synced);
    assert!(keys.iter().all(|key| holds(&two, key)));
    assert_eq!(two.session_count(), 100);
}

/// Sends requests until the task is aborted, so that a transfer keeps to its pace.
async fn keep_in_use(cluster: &Cluster) -> JoinHandle<()> {
    let node = Arc::clone(cluster.node());
    let requests = tokio::spawn(async move {
        let unknown = CookieValue {
            key: SessionKey::from_bytes([1; 16]),
            secret: SessionSecret::from_bytes([1; 16]),
        };
        loop {
            node.open("", &unknown, Replicate::Now, node.now(), |_| ());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let is_in_use = || cluster.node().replica().is_in_use();
    wait_until("requests are noticed", is_in_use).await;
    requests
}

#[tokio::test(start_paused = true)]
async fn transfer_beside_requests_takes_as_long_as_its_pace_says_and_waits_for_nothing_else() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let large = serde_json::json!("x".repeat(200_000));
    for _ in 0..30 {
        create_in(one.node(), "", &large);
    }
    // A joiner would be told of fewer changes one by one.
    let key = create(one.node());
    for at in 0..5_000 {
        set(one.node(), &key, "user", &serde_json::json!(at));
    }
    assert_eq!(one.ready().await, Readiness::Alone);
    let requests = keep_in_use(&one).await;

    let two = start(&network, "n2", 2, &[1]);
    let mut events = two.events();
    until(&mut events, |event| {
        matches!(event, Event::TransferStarted { .. })
    })
    .await;
    let began_ms = one.node().now().mono_ms;
    until(&mut events, |event| {
        matches!(event, Event::TransferFinished { .. })
    })
    .await;
    let took_ms = one.node().now().mono_ms - began_ms;
    assert_eq!(two.session_count(), 31);
    // Six megabytes at 120 kB in a millisecond. Only ticks would wake the link otherwise.
    assert!((40..500).contains(&took_ms), "{took_ms} ms");
    requests.abort();
}

#[tokio::test(start_paused = true)]
async fn member_counts_as_up_while_it_receives_its_sessions_and_not_when_it_is_gone() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let large = serde_json::json!("x".repeat(200_000));
    for _ in 0..30 {
        create_in(one.node(), "", &large);
    }
    assert_eq!(one.ready().await, Readiness::Alone);
    let requests = keep_in_use(&one).await;
    let two = start(&network, "n2", 2, &[1]);
    let mut events = two.events();
    let up = |node: &Cluster, peer: &str| {
        let text = node.prometheus();
        let peer = format!("peer=\"{peer}\"}} ");
        let mut lines = text.lines();
        let line = lines
            .find(|line| line.starts_with("cluster_sessions_member_up{") && line.contains(&peer));
        line.and_then(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.to_owned())
    };
    until(&mut events, |event| {
        matches!(event, Event::TransferStarted { .. })
    })
    .await;
    for (node, peer) in [(&one, "n2"), (&two, "n1")] {
        assert_eq!(state_of(node, peer), Some(MemberState::Syncing), "{peer}");
        assert_eq!(up(node, peer).as_deref(), Some("1"), "{peer}");
    }
    for (node, peer) in [(&one, "n2"), (&two, "n1")] {
        until_seen(node, peer, MemberState::Up).await;
        assert_eq!(up(node, peer).as_deref(), Some("1"), "{peer}");
    }
    requests.abort();
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    assert_eq!(up(&one, "n2").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_start_together_both_become_ready() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[1, 2]);
    let two = start(&network, "n2", 2, &[1, 2]);
    assert_eq!(two.ready().await, Readiness::Synced);
    one.ready().await;
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&two, "n1", MemberState::Up).await;
}

#[tokio::test(start_paused = true)]
async fn third_node_compares_with_all_others() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    network.cut_between(1, 2);
    until_seen(&one, "n2", MemberState::Down).await;
    let (here, there) = (create(one.node()), create(two.node()));
    assert!(!holds(&one, &there) && !holds(&two, &here));
    let three = start(&network, "n3", 3, &[1, 2]);
    assert_eq!(three.ready().await, Readiness::Synced);
    assert!(holds(&three, &here) && holds(&three, &there));
    wait_until("n1 learns by way of n3", || holds(&one, &there)).await;
    wait_until("n2 learns by way of n3", || holds(&two, &here)).await;
}

#[tokio::test(start_paused = true)]
async fn transfer_that_takes_too_long_is_told_and_stays_told() {
    let network = MemoryNetwork::default();
    // It takes connections but says nothing.
    let listen = ListenAddress::parse(&address(2), 1).expect("valid");
    let _mute = network.transport(2).bind(&listen).expect("free");
    let config = config("n1", 1, &[2]).transfer_timeout(Duration::from_millis(150));
    let one = start_with(&network, 1, &config);
    assert_eq!(one.ready().await, Readiness::TimedOut);
    assert!(one.is_ready() && one.node().awaits_transfer());
    // Something is there that took the connection. It may yet turn out to be a member.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(one.node().awaits_transfer());
    assert_eq!(one.ready().await, Readiness::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn peer_that_comes_a_moment_later_is_waited_for() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let keys: Vec<_> = (0..10).map(|_| create(one.node())).collect();
    network.cut();
    let two = start(&network, "n2", 2, &[1]);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!two.is_ready(), "it was refused, and may come");
    network.heal();
    assert_eq!(two.ready().await, Readiness::Synced);
    assert!(keys.iter().all(|key| holds(&two, key)));
}

#[tokio::test(start_paused = true)]
async fn request_before_the_first_dial_succeeds_finds_its_session_at_the_peer() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let key = create(one.node());
    network.cut();
    let two = start(&network, "n2", 2, &[1]);
    let node = Arc::clone(two.node());
    let request = tokio::spawn(async move { node.recover_sessions(vec![key]).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!request.is_finished(), "a refused dial is no answer");
    network.heal();
    request.await.expect("it ends");
    assert!(holds(&two, &key));
    // Nobody ever comes: the request waits as long as the node looks for peers.
    network.cut();
    let three = start(&network, "n3", 3, &[1]);
    three.node().recover_sessions(vec![key]).await;
    assert_eq!(three.ready().await, Readiness::Alone);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_are_ready_at_once() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2, 3]);
    let before_ms = one.node().now().mono_ms;
    let two = start(&network, "n2", 2, &[1, 3]);
    let three = start(&network, "n3", 3, &[1, 2]);
    for node in [&one, &two, &three] {
        assert_eq!(node.ready().await, Readiness::Synced);
    }
    let waited_ms = one.node().now().mono_ms - before_ms;
    assert!(waited_ms < 500, "{waited_ms} ms");
}

#[tokio::test(start_paused = true)]
async fn node_waits_for_so_many_peers_however_long_it_takes() {
    let network = MemoryNetwork::default();
    let strict = config("n1", 1, &[2]).min_peers(1);
    let one = start_with(&network, 1, &strict);
    assert_eq!(one.ready().await, Readiness::TimedOut);
    assert!(!one.is_ready(), "it has nobody");
    let two = start(&network, "n2", 2, &[1]);
    wait_until("it is ready", || one.is_ready()).await;
    drop(two);
    until_seen(&one, "n2", MemberState::Down).await;
    assert!(one.is_ready(), "it was ready, and goes on alone");
}

#[tokio::test(start_paused = true)]
async fn session_is_fetched_while_the_transfer_is_under_way() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let listen = ListenAddress::parse(&address(3), 1).expect("valid");
    let _mute = network.transport(3).bind(&listen).expect("free");
    let key = create(one.node());
    let two = start(&network, "n2", 2, &[1, 3]);
    until_seen(&two, "n1", MemberState::Up).await;
    // The dial of the mute peer takes two seconds, and until then nobody knows whether it has more.
    assert!(two.node().awaits_transfer());
    let before = two.node().now().mono_ms;
    two.node().find(key).await;
    assert!(holds(&two, &key));
    assert!(two.node().now().mono_ms - before < 500, "answered");
    // The mute peer might have this one.
    two.node().find(SessionKey::from_bytes([9; 16])).await;
    assert!(two.node().now().mono_ms - before < 1000, "given up");
    // The first had come with the transfer.
    assert_eq!(two.stats().lookups, 1);
}

/// The one test here with real sockets and real time: a bulk transfer behind live traffic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiner_gets_everything_over_tcp_while_requests_go_on() {
    let one = Cluster::start(ClusterConfig::new("n1").listen("127.0.0.1:0"))
        .await
        .expect("a free port");
    let address = one.local_address().expect("it listens").to_string();
    let padding = serde_json::json!("x".repeat(1000));
    let keys: Vec<_> = (0..5_000)
        .map(|_| create_in(one.node(), "", &padding))
        .collect();
    let two = Cluster::start(ClusterConfig::new("n2").listen("127.0.0.1:0").peer(address))
        .await
        .expect("a free port");
    let mut events = two.events();
    let mut hits = 0;
    while !two.is_ready() {
        hits += 1;
        let position = set(one.node(), &keys[hits % keys.len()], "hits", &hits.into());
        one.node().acknowledged(position, Ack::All).await;
    }
    assert_eq!(two.ready().await, Readiness::Synced);
    assert_eq!(two.session_count(), keys.len());
    let finished = until(&mut events, |e| matches!(e, Event::TransferFinished { .. })).await;
    let Event::TransferFinished {
        sessions, bytes, ..
    } = finished
    else {
        panic!("{finished:?}");
    };
    assert!(sessions >= 4_000, "in bulk: {sessions}");
    assert!(bytes > sessions * 1000, "{bytes}");
    let position = set(one.node(), &keys[0], "hits", &(-1).into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 1);
    assert_eq!(get(two.node(), &keys[0], "hits"), Some((-1).into()));
    two.leave().await;
    until_seen(&one, "n2", MemberState::Left).await;
    one.leave().await;
}

#[tokio::test(start_paused = true)]
async fn transfer_tells_the_sessions_that_live_and_the_bytes_they_took() {
    // Beyond as many changes a new peer gets them by the transfer, otherwise as changes.
    for changes in [8, 5_000] {
        let network = MemoryNetwork::default();
        let one = start(&network, "n1", 1, &[2]);
        let keys: Vec<_> = (0..8).map(|_| create(one.node())).collect();
        for hits in 0..changes {
            set(one.node(), &keys[0], "hits", &hits.into());
        }
        for key in &keys[4..] {
            assert!(one.destroy(&key.public_id(None)).await);
        }
        one.ready().await;
        let two = start(&network, "n2", 2, &[1]);
        let mut events = two.events();
        let finished = until(&mut events, |e| matches!(e, Event::TransferFinished { .. })).await;
        let Event::TransferFinished {
            sessions, bytes, ..
        } = finished
        else {
            panic!("{finished:?}");
        };
        assert_eq!((sessions, two.session_count()), (4, 4), "{changes}");
        assert!(bytes > 4 * 16, "{changes}: {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_before_the_first_link_is_up_finds_its_session_at_the_peer() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let key = create(one.node());
    let two = start(&network, "n2", 2, &[1]);
    assert!(two.node().peers.live().is_empty(), "nobody is linked yet");
    two.node().find(key).await;
    assert!(holds(&two, &key));
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_no_peer_that_does_not_answer() {
    let network = MemoryNetwork::default();
    let two = start(&network, "n2", 2, &[1, 3]);
    let key = SessionKey::from_bytes([5; 16]);
    two.node().find(key).await;
    assert!(!holds(&two, &key));
    assert_eq!(two.ready().await, Readiness::Alone);
}
