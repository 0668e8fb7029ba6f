//! Nodes as real processes under load, which are killed, paused and restarted.
//!
//! These take minutes and want a release build:
//!
//! ```sh
//! cargo test --release --test chaos -- --ignored --nocapture
//! ```
//!
//! `CHAOS_REQUESTS` says how many requests all of them make together, 200 000 unless told.
#![cfg(unix)]

mod support;

use std::{env, net::SocketAddr, time::Duration};

use tokio::sync::{Mutex, MutexGuard};

use crate::support::{
    browser::Browser,
    load::{Load, Report},
    processes::{Node, PAUSE, Signal, plans, start_all, state_of},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn kill_of_either_of_two_nodes_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2"]).await;
    for round in 0..8 {
        storm.calm(share(32)).await;
        let plan = storm.nodes.remove(round % 2).kill().await;
        storm.calm(share(320)).await;
        storm.back(round % 2, Node::start(plan).await).await;
    }
    storm.end("kills of a pair").await.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn kill_of_any_of_three_nodes_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2", "node3"]).await;
    for round in 0..9 {
        storm.calm(share(36)).await;
        let plan = storm.nodes.remove(round % 3).kill().await;
        storm.calm(share(360)).await;
        storm.back(round % 3, Node::start(plan).await).await;
    }
    storm.end("kills of a trio").await.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn stall_of_one_of_two_nodes_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2"]).await;
    for paused in [0, 1] {
        storm.pause(paused).await;
    }
    storm.end("pauses of a pair").await.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn stall_of_one_of_three_nodes_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2", "node3"]).await;
    storm.pause(1).await;
    storm.end("pause in a trio").await.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn restart_of_both_nodes_of_a_pair_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2"]).await;
    for leaving in [0, 1] {
        storm.restart(leaving).await;
    }
    storm.end("restarts of a pair").await.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn rolling_restart_of_three_nodes_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut storm = Storm::start(&["node1", "node2", "node3"]).await;
    for leaving in [0, 1, 2] {
        storm.restart(leaving).await;
    }
    storm.end("restarts of a trio").await.assert_nothing_lost();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute"]
async fn stopped_peer_is_reported_and_costs_bounded_memory() {
    const CHANGES: u64 = 4000;
    let _turn = turn().await;
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let [healthy, stopped] = nodes.as_slice() else {
        panic!("two were started");
    };
    write_padding(healthy.http(), CHANGES / 8).await;
    let before = healthy.resident_bytes();

    stopped.signal(Signal::Stop);
    let writing = tokio::spawn(write_padding(healthy.http(), CHANGES));
    healthy.until_sees(stopped, &["lagging"]).await;
    let mut queued = 0;
    while !writing.is_finished() {
        let status = healthy.status().await;
        queued = queued.max(status["members"][0]["queued_bytes"].as_u64().unwrap_or(0));
        tokio::time::sleep(PAUSE).await;
    }
    writing.await.expect("every request is answered");
    let grown = healthy.resident_bytes().saturating_sub(before);
    println!(
        "while its peer was stopped, {} KiB of changes cost {} KiB; {queued} bytes of repair queued",
        CHANGES * PADDING / 1024,
        grown / 1024
    );
    assert!(grown < BOUND, "{grown}");
    assert!(queued < BOUND, "{queued}");
    healthy.until_sees(stopped, &["down"]).await;
    // It is waited for in vain once, not by each request.
    let log = healthy.log();
    let lagging = log.lines().filter(|line| line.contains("member lagging"));
    assert!(lagging.count() <= 2, "{log}");

    stopped.signal(Signal::Continue);
    healthy.until_sees(stopped, &["up"]).await;
    stopped.until_sees(healthy, &["up"]).await;
}

/// Clients who change sessions of [`PADDING`] bytes, so many times in all.
#[cfg(target_os = "linux")]
async fn write_padding(host: SocketAddr, changes: u64) {
    const CLIENTS: u64 = 8;
    let clients = (0..CLIENTS).map(|_| async {
        let mut browser = Browser::new();
        for _ in 0..changes / CLIENTS {
            let page = browser.get(host, &format!("/hit?pad={PADDING}")).await;
            assert!(page.expect("it runs").hits().is_some());
        }
    });
    futures_util::future::join_all(clients).await;
}

/// Nodes with load on them.
struct Storm {
    nodes: Vec<Node>,
    load: Load,
}

impl Storm {
    async fn start(names: &[&str]) -> Self {
        let nodes = start_all(plans(names)).await;
        let hosts: Vec<SocketAddr> = nodes.iter().map(Node::http).collect();
        Self {
            nodes,
            load: Load::start(hosts, CLIENTS, PATIENCE),
        }
    }

    /// Lets so many requests be answered.
    async fn calm(&self, requests: u64) {
        self.load.until_answered(requests).await;
    }

    /// Pauses a node for longer than `down_after`, and waits until it is one of them again.
    async fn pause(&mut self, at: usize) {
        self.calm(share(16)).await;
        let paused = &self.nodes[at];
        paused.signal(Signal::Stop);
        tokio::time::sleep(PAUSE_TIME).await;
        for other in self.others(at) {
            let status = other.status().await;
            assert_eq!(state_of(&status, paused.name()), Some("down"), "{status:#}");
        }
        paused.signal(Signal::Continue);
        self.settled().await;
        self.calm(share(16)).await;
    }

    /// Restarts a node in order.
    async fn restart(&mut self, at: usize) {
        self.calm(share(16)).await;
        let (plan, status, log) = self.nodes.remove(at).terminate().await;
        assert!(status.success(), "{status}:\n{log}");
        self.calm(share(320)).await;
        self.back(at, Node::start(plan).await).await;
    }

    async fn back(&mut self, at: usize, node: Node) {
        node.until_ready().await;
        self.nodes.insert(at, node);
        self.settled().await;
    }

    /// Waits until all nodes wait for each other's acknowledgements.
    async fn settled(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            for other in self.others(at) {
                node.until_sees(other, &["up"]).await;
            }
        }
    }

    fn others(&self, at: usize) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |other| other.0 != at)
            .map(|(_, node)| node)
    }

    async fn end(self, what: &str) -> Report {
        let report = self.load.stop().await;
        println!("{what}: {report}");
        if report.is_clean() {
            return report;
        }
        for node in &self.nodes {
            println!("--- {}\n{}", node.name(), node.log());
        }
        report
    }
}

/// That part of all requests.
fn share(part: u64) -> u64 {
    let all = env::var("CHAOS_REQUESTS").map_or(Ok(200_000), |number| number.parse());
    let all: u64 = all.expect("CHAOS_REQUESTS is a number");
    all.div_ceil(part)
}

/// Each test wants the machine for itself.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

const CLIENTS: usize = 24;
const PATIENCE: Duration = Duration::from_secs(2);
/// How large sessions are made.
#[cfg(target_os = "linux")]
const PADDING: u64 = 64 * 1024;
/// What a peer that does not read may cost: the whole log, one write, and what the allocator keeps.
#[cfg(target_os = "linux")]
const BOUND: u64 = 48 << 20;
const PAUSE_TIME: Duration = Duration::from_secs(10);
