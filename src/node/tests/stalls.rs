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
