//! Clients that alternate between two nodes as fast as they can, while no response waits for peers.

#![cfg(unix)]

#[path = "../support/http.rs"]
mod http_support;
mod support;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::header::SET_COOKIE;
use http_support::visit;
use support::{
    browser::Browser,
    processes::{plans, start_all},
};
use tower_cluster_sessions::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Consistency, MemberState,
};

const CLIENTS: usize = 64;
const HITS: u64 = 250;
const BROWSERS: usize = 16;
const PAGES: usize = 60;

/// With `Eventual` it prints how many counts are lost in the same setup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_count_is_lost_round_robin_without_acks_at_full_load() {
    let eventual = load(Consistency::Eventual).await;
    println!("Eventual: {eventual:?}");
    let own_writes = load(Consistency::ReadYourWrites).await;
    println!("ReadYourWrites: {own_writes:?}");
    assert_eq!(own_writes.lost, 0);
    assert_eq!(own_writes.stale_reads, 0);
}

/// The same over HTTP with the example as two processes, and with the default of 50 ms, which a busy
/// machine may exceed: then it is counted.
#[tokio::test]
async fn every_count_that_a_process_lost_is_counted_as_a_stale_read() {
    for consistency in ["eventual", "read-your-writes"] {
        let mut plans = plans(&["node1", "node2"]);
        for plan in &mut plans {
            let flags = ["--ack", "none", "--consistency", consistency];
            plan.flags = flags.map(str::to_owned).to_vec();
        }
        let nodes = start_all(plans).await;
        let hosts = [nodes[0].http(), nodes[1].http()];
        let started = now();
        let browsers: Vec<_> = (0..BROWSERS).map(|_| tokio::spawn(browse(hosts))).collect();
        let mut lost = 0;
        for browser in browsers {
            lost += browser.await.expect("every page is there");
        }
        let took = started.elapsed();
        let mut stale_reads = 0;
        for node in &nodes {
            let figure = &node.status().await["stale_reads"];
            stale_reads += figure.as_u64().expect("a number");
        }
        let hits = BROWSERS * PAGES;
        println!("{consistency}: {lost} of {hits} lost in {took:?}, {stale_reads} stale reads");
        if consistency == "read-your-writes" {
            assert!(lost <= stale_reads, "{lost} lost, {stale_reads} counted");
        }
    }
}

/// Opens the page at the nodes by turns. Returns how many counts were not the one before plus one.
async fn browse(hosts: [SocketAddr; 2]) -> u64 {
    let mut browser = Browser::new();
    let (mut last, mut lost) = (0, 0);
    for host in hosts.into_iter().cycle().take(PAGES) {
        let page = browser.get(host, "/hit").await.expect("the node serves");
        let count = page.hits().expect("a count");
        lost += u64::from(count != last + 1);
        last = count;
    }
    lost
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Outcome {
    hits: u64,
    lost: u64,
    stale_reads: u64,
    lookups: u64,
    hits_per_second: u64,
}

async fn load(consistency: Consistency) -> Outcome {
    let one = node(ClusterConfig::new("node1").listen("127.0.0.1:0")).await;
    let address = one.local_address().expect("it listens").to_string();
    let two = ClusterConfig::new("node2")
        .listen("127.0.0.1:0")
        .peer(address);
    let nodes = [one, node(two).await];
    until_linked(&nodes).await;
    let layers = nodes.each_ref().map(|cluster| {
        let layer = ClusterSessionLayer::from_cluster(cluster);
        layer.with_ack(Ack::None).with_consistency(consistency)
    });
    let started = now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(layers.clone())))
        .collect();
    let mut lost = 0;
    for client in clients {
        lost += client.await.expect("no client panics");
    }
    let took = started.elapsed();
    let hits = CLIENTS as u64 * HITS;
    let stats = nodes.each_ref().map(Cluster::stats);
    Outcome {
        hits,
        lost,
        stale_reads: stats.iter().map(|stats| stats.stale_reads).sum(),
        lookups: stats.iter().map(|stats| stats.lookups).sum(),
        hits_per_second: (hits as f64 / took.as_secs_f64()) as u64,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is the clients' clock, for a figure to print"
)]
fn now() -> Instant {
    Instant::now()
}

/// Hits the nodes by turns. Returns how many counts were not the one before plus one.
async fn client(layers: [ClusterSessionLayer; 2]) -> u64 {
    let mut cookies = BTreeMap::new();
    let (mut last, mut lost) = (0, 0);
    for layer in layers.iter().cycle().take(HITS as usize) {
        let pairs: Vec<_> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let response = visit(layer, pairs.join("; ").as_str(), async |session| {
            session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)
        })
        .await;
        for field in response.headers().get_all(SET_COOKIE) {
            let pair = field.to_str().expect("text").split(';').next();
            let (name, value) = pair
                .and_then(|pair| pair.split_once('='))
                .expect("a cookie");
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let count = response.into_body().expect("there is room");
        lost += u64::from(count != last + 1);
        last = count;
        // On its way to a client a response would give way to other tasks, too.
        tokio::task::yield_now().await;
    }
    lost
}

async fn node(config: ClusterConfig) -> Cluster {
    // That a busy machine may need longer than the default is not what is tested here.
    let config = config
        .read_your_writes_timeout(Duration::from_secs(10))
        .consistency_key("Dp0/vSfysfmg8cRnfZoeW4jGwaJd33pMkDv+byJA1+M=");
    Cluster::start(config).await.expect("a free port")
}

async fn until_linked(nodes: &[Cluster]) {
    let is_up = |node: &Cluster| {
        let members = node.members();
        members.len() == 1 && members[0].state == MemberState::Up
    };
    let linked = async {
        while !nodes.iter().all(is_up) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let linked = tokio::time::timeout(Duration::from_secs(60), linked).await;
    linked.expect("two nodes on one machine find each other");
}
