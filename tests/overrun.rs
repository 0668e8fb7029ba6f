//! Peers that are slow, stuck, or have missed too much: what they cost the others, and how they
//! catch up.

#[path = "support/in_process.rs"]
mod support;

use std::time::Duration;

use tower_cluster_sessions::{ClusterConfig, Event, Events, Member, MemberEventKind, MemberState};

use crate::support::{
    http::{start, visit},
    pair::{Pair, Wires, get, hasty, peer_of, set, wait_until},
    proxy::Wire,
    stopwatch::Stopwatch,
};

#[tokio::test(flavor = "multi_thread")]
async fn slow_peer_is_waited_for_once_and_catches_up_by_itself() {
    // One write takes longer than `ack_timeout`.
    const RATE: usize = 16 * 1024;
    let pair = Pair::start_with(|config| {
        let config = config.log_records(64);
        config.ack_timeout(Duration::from_millis(300))
    })
    .await;
    let mut events = pair.one.cluster().events();
    let mut cookies = Vec::new();
    for _ in 0..100 {
        cookies.push(start(&pair.one, "value", 0).await.0);
    }

    pair.wire(Wire::Slow(RATE));
    let mut longest = Duration::ZERO;
    let mut value = 0;
    // More than the sockets between the nodes take in, then a while longer.
    let mut since_lagging = 0;
    while since_lagging < 300 {
        let cookie = &cookies[value as usize % cookies.len()];
        value += 1;
        let began = Stopwatch::start();
        write(&pair, cookie, value).await;
        longest = longest.max(began.elapsed());
        since_lagging += u32::from(peer_of(pair.one.cluster()) == MemberState::Lagging);
    }
    let peer = peer(&pair);
    println!("{value} writes, the longest took {longest:?}; the slow peer: {peer:?}");
    assert!(peer.queued_bytes <= WINDOW, "{peer:?}");

    pair.wire(Wire::Whole);
    pair.settle(&[MemberState::Up]).await;
    let node = hasty(&pair.two);
    for (at, cookie) in cookies.iter().enumerate() {
        let last = (1..=value)
            .rev()
            .find(|value| (value - 1) as usize % cookies.len() == at);
        wait_until("the slow peer has the last write", async || {
            get(&node, cookie, "value").await == last
        })
        .await;
    }
    // Each time that it was waited for in vain is one event: all other requests did not wait.
    let lagging = count_lagging(&mut events);
    assert!(lagging <= 5, "{lagging} times for {value} requests");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and 3 GB, and wants a release build"]
async fn catching_up_moves_only_what_differs() {
    const SESSIONS: usize = 1_000_000;
    const DIFFERING: usize = 100;
    let setup =
        |config: ClusterConfig| config.log_records(DIFFERING / 2).max_sessions(2 * SESSIONS);
    let wires = Wires::new().await;
    let one = wires.start_one(setup).await;
    one.ready().await;
    let layer = tower_cluster_sessions::ClusterSessionLayer::from_cluster(&one);
    let mut some = Vec::new();
    for at in 0..SESSIONS {
        let (cookie, _) = start(&layer, "value", 0).await;
        if at % (SESSIONS / DIFFERING) == 0 {
            some.push(cookie);
        }
    }
    let began = Stopwatch::start();
    let two = wires.start_two(setup).await;
    two.ready().await;
    assert_eq!(two.session_count(), SESSIONS);
    println!("{SESSIONS} sessions joined in {:?}", began.elapsed());
    let pair = Pair::of(wires, &one, &two).await;

    pair.cut(Wire::Cut).await;
    let mut events = one.events();
    for (at, cookie) in some.iter().enumerate() {
        set(&pair.one, cookie, "value", at as u64 + 1).await;
    }
    let before = peer(&pair);
    pair.heal().await;
    let began = Stopwatch::start();
    for (at, cookie) in some.iter().enumerate() {
        pair.until_both_have(cookie, "value", Some(at as u64 + 1))
            .await;
    }
    let agreed = began.elapsed();
    pair.settle(&[MemberState::Up]).await;
    let after = peer(&pair);
    let sent = after.sent_bytes - before.sent_bytes;
    let received = after.received_bytes - before.received_bytes;
    println!(
        "{DIFFERING} differing sessions of {SESSIONS}: sent {sent} bytes, received {received}, \
         agreed after {agreed:?}; {} lagging events",
        count_lagging(&mut events)
    );
    assert!(sent + received < 8 << 20, "all of them are about 100 MB");
}

/// One write of 8 KiB.
async fn write(pair: &Pair, cookie: &str, value: u64) {
    visit(&pair.one, cookie, async |session| {
        session.insert("padding", "x".repeat(8 * 1024))?;
        session.insert("value", value)
    })
    .await
    .into_body()
    .expect("the session lives");
}

fn count_lagging(events: &mut Events) -> usize {
    let mut count = 0;
    while let Some(event) = futures_util::FutureExt::now_or_never(events.recv()).flatten() {
        if let Event::Member(member) = event {
            count += usize::from(member.kind == MemberEventKind::Lagging);
        }
    }
    count
}

fn peer(pair: &Pair) -> Member {
    pair.one.cluster().members().remove(0)
}

/// What `docs/guarantees.md` says that repair may have under way on one link, and one session more.
const WINDOW: u64 = (4 << 20) + (512 << 10);
