//! What a process does that was stopped for a while.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::node::{Env, SessionEventKind, SystemTime};
use crate::replica::SessionWriter;

#[tokio::test(start_paused = true)]
async fn stalled_node_asks_its_peers_before_it_uses_a_session() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = set(one.node(), &key, "a", &1.into());
    one.node().acknowledged(position, Ack::All).await;
    assert!(!two.node().may_be_behind(two.node().now()));

    // No task runs meanwhile, as when the process is stopped.
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(two.node().may_be_behind(two.node().now()));
    let position = set(one.node(), &key, "a", &2.into());
    assert_eq!(get(two.node(), &key, "a"), Some(1.into()), "not sent yet");
    two.node().recover_sessions(vec![key]).await;
    assert_eq!(get(two.node(), &key, "a"), Some(2.into()));
    one.node().acknowledged(position, Ack::All).await;

    until_seen(&two, "n1", MemberState::Up).await;
    wait_until("it has caught up", || {
        !two.node().may_be_behind(two.node().now())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stalled_node_does_not_wait_for_a_peer_that_is_gone() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(two.node());
    let position = two.node().commit(&key);
    two.node().acknowledged(position, Ack::All).await;

    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(two.node().may_be_behind(two.node().now()));
    drop(one);
    network.cut();
    let before = two.node().now().mono_ms;
    two.node().recover_sessions(vec![key]).await;
    let waited = two.node().now().mono_ms - before;
    assert!(waited <= 1_000, "{waited} ms");
    let before = two.node().now().mono_ms;
    two.node().recover_sessions(vec![key]).await;
    assert_eq!(two.node().now().mono_ms, before, "it waits once");
    wait_until("it goes on alone", || {
        !two.node().may_be_behind(two.node().now())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn session_begun_right_after_a_stall_is_acknowledged_by_the_peer() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let key = create(two.node());
    let position = two.node().commit(&key);
    assert_eq!(two.node().acknowledged(position, Ack::All).await, 1);
    assert!(holds(&one, &key));
}

#[tokio::test(start_paused = true)]
async fn node_without_links_has_nobody_to_ask_after_a_stall() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    one.ready().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!one.node().may_be_behind(one.node().now()));
}

/// A machine that can be put to sleep.
#[derive(Debug, Default)]
struct Laptop(AtomicU64);

impl SystemTime for Laptop {
    fn unix_ms(&self) -> u64 {
        1_000_000
    }

    fn asleep_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn sleep_of_the_machine_is_a_stall_and_counts_as_age() {
    let network = MemoryNetwork::default();
    let laptop = Arc::new(Laptop::default());
    let mut env = Env::of(Arc::new(network.transport(1)));
    env.system = Arc::clone(&laptop) as Arc<dyn SystemTime>;
    let one = Cluster::start_in(&config("n1", 1, &[2]), env).expect("the port is free");
    let two = start(&network, "n2", 2, &[1]);
    until_seen(&two, "n1", MemberState::Up).await;
    let key = create(one.node());
    let position = one.node().commit(&key);
    one.node().acknowledged(position, Ack::All).await;
    network.cut();
    let mut events = one.events();

    // Longer than the idle limit.
    laptop.0.store(40 * 60 * 1000, Ordering::Relaxed);
    tokio::time::advance(Duration::from_millis(20)).await;
    assert!(
        one.node().may_be_behind(one.node().now()),
        "as after a stop"
    );
    until(
        &mut events,
        |event| matches!(event, Event::Session(event) if event.kind == SessionEventKind::Expired),
    )
    .await;
    assert_eq!(one.session_count(), 0);
    assert_eq!(two.session_count(), 1, "this one has not slept");
}

/// Its machine sleeps for longer than the others remember what they destroyed.
#[tokio::test(start_paused = true)]
async fn session_destroyed_while_a_machine_slept_for_a_day_stays_destroyed() {
    assert_eq!(sessions_after_a_day_asleep(DAY_AND_MORE).await, [1, 1, 1]);
}

/// Were the sleep not counted, the node would not know that others may have forgotten something.
#[tokio::test(start_paused = true)]
async fn session_would_come_back_from_a_machine_whose_sleep_did_not_count() {
    assert_eq!(sessions_after_a_day_asleep(0).await, [2, 2, 2]);
}

/// Returns the sessions on three nodes, the machine of the first of which has slept while the others
/// destroyed one of two sessions and forgot that. Its clock counts so much of it.
async fn sessions_after_a_day_asleep(counted_ms: u64) -> [usize; 3] {
    let network = MemoryNetwork::default();
    let laptops = [(); 3].map(|()| Arc::new(Laptop::default()));
    let nodes = [1, 2, 3].map(|port: u16| {
        let mut env = Env::of(Arc::new(network.transport(port)));
        env.system = Arc::clone(&laptops[usize::from(port) - 1]) as Arc<dyn SystemTime>;
        let peers: Vec<u16> = (1..=3).filter(|peer| *peer != port).collect();
        // The client has not come back.
        let config = config(&format!("n{port}"), port, &peers)
            .unconfirmed_timeout(Duration::from_millis(10 * DAY_AND_MORE));
        Cluster::start_in(&config, env).expect("the port is free")
    });
    let [one, two, three] = &nodes;
    for (node, peers) in [
        (one, ["n2", "n3"]),
        (two, ["n1", "n3"]),
        (three, ["n1", "n2"]),
    ] {
        for peer in peers {
            until_seen(node, peer, MemberState::Up).await;
        }
    }
    let key = create_with(one.node(), Expiry::never());
    create_with(one.node(), Expiry::never());
    let position = one.node().commit(&key);
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 2);
    wait_until("they have both", || {
        [two, three].map(Cluster::session_count) == [2, 2]
    })
    .await;

    network.cut_between(1, 2);
    network.cut_between(1, 3);
    two.node().destroy(&key).expect("it lives");
    let position = two.node().commit(&key);
    two.node().acknowledged(position, Ack::All).await;
    wait_until("it is destroyed there", || {
        !holds(two, &key) && !holds(three, &key)
    })
    .await;
    // The others are in contact now and then, in all that time.
    for _ in 0..3 {
        for laptop in &laptops[1..] {
            laptop.0.fetch_add(DAY_AND_MORE / 3, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        until_seen(two, "n3", MemberState::Up).await;
        until_seen(three, "n2", MemberState::Up).await;
    }
    for node in [two, three] {
        let tombstones = || node.node().replica().tombstones();
        wait_until("it is forgotten there", || tombstones() == 0).await;
    }

    laptops[0].0.store(counted_ms, Ordering::Relaxed);
    network.heal_between(1, 2);
    network.heal_between(1, 3);
    for peer in ["n2", "n3"] {
        until_seen(one, peer, MemberState::Up).await;
    }
    // Some rounds of repair.
    tokio::time::sleep(Duration::from_secs(30)).await;
    [one, two, three].map(Cluster::session_count)
}

const DAY_AND_MORE: u64 = 27 * 60 * 60 * 1000;

#[tokio::test(start_paused = true)]
async fn write_of_a_request_from_before_a_stall_loses_to_what_was_written_meanwhile() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = set(one.node(), &key, "a", &1.into());
    one.node().acknowledged(position, Ack::All).await;
    let loaded_ms = two.node().now().mono_ms;

    tokio::time::advance(Duration::from_secs(10)).await;
    for value in [2, 3] {
        set(one.node(), &key, "a", &value.into());
    }
    let late = b"9".as_slice().into();
    let write = |writer: &mut SessionWriter<'_>| writer.set("a", late);
    two.node()
        .write(&key, Replicate::Now, loaded_ms, write)
        .expect("it is there");
    two.node().commit(&key);
    assert_eq!(get(two.node(), &key, "a"), Some(9.into()), "for now");
    wait_until("it has caught up", || {
        !two.node().may_be_behind(two.node().now())
    })
    .await;
    for node in [&one, &two] {
        assert_eq!(get(node.node(), &key, "a"), Some(3.into()));
    }
}
