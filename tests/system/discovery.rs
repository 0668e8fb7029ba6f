//! Nodes as real processes that find each other by a real name server, which the system's resolver
//! asks, and by each other.
//!
//! Those with a name server need root, `ip` of iproute2 and dnsmasq:
//!
//! ```sh
//! cargo test --release --test discovery -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]

mod support;

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::support::{
    balancer::run_dir,
    browser::Browser,
    load::Load,
    name_server::{DEAF, NameServer, address, is_inside},
    process::NodePlan,
    processes::{Node, PAUSE, TRIES, plans, start_all, state_of},
    secret::SecretFile,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn nodes_of_a_name_scale_and_are_replaced_without_a_lost_count() {
    if !is_inside("nodes_of_a_name_scale_and_are_replaced_without_a_lost_count") {
        return;
    }
    let mut names = NameServer::start(run_dir("names-scale"), &[]).await;
    let fleet = Fleet::new();
    let all: Vec<_> = (11..=17).map(|host| address(host, HTTP)).collect();
    names.set(&["127.0.0.11"]).await;
    let mut nodes = vec![fleet.start(11).await];
    let load = Load::start(all, 4, Duration::from_secs(10));
    load.until_answered(100).await;

    // From one to five.
    for host in 12..=15 {
        names.set(&listed(11..=host)).await;
        nodes.push(fleet.start(host).await);
        load.until_answered(50).await;
    }
    until_linked(&nodes).await;

    // To two: each leaves in order, and then the name server forgets it.
    for host in 11..=13 {
        nodes.remove(0).terminate().await;
        names.set(&listed(host + 1..=15)).await;
        load.until_answered(50).await;
    }
    until_linked(&nodes).await;

    // All addresses are replaced: one node comes, one is killed.
    for (old, new) in [(14, 16), (15, 17)] {
        names.set(&listed(old..=new)).await;
        nodes.push(fleet.start(new).await);
        until_linked(&nodes).await;
        load.until_answered(50).await;
        nodes.remove(0).kill().await;
        names.set(&listed(old + 1..=new)).await;
        load.until_answered(50).await;
    }
    until_linked(&nodes).await;
    let left: Vec<_> = nodes.iter().map(Node::http).collect();
    let report = load.stop_at(&left).await;
    println!("{report}");
    report.assert_nothing_lost();

    // Those that were killed leave the list by themselves.
    for node in &nodes {
        node.until("without those that are gone", |status| members(status) == 1)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn name_server_that_is_down_empty_or_wrong_ends_no_link() {
    if !is_inside("name_server_that_is_down_empty_or_wrong_ends_no_link") {
        return;
    }
    let mut names = NameServer::start(run_dir("names-down"), &[]).await;
    let fleet = Fleet::new();
    names.set(&listed(11..=13)).await;
    let mut nodes = Vec::new();
    for host in 11..=13 {
        nodes.push(fleet.launch(host).await);
    }
    until_linked(&nodes).await;
    let load = Load::start(nodes.iter().map(Node::http).collect(), 4, DEAF);
    load.until_answered(100).await;
    let before = nodes[0].log().lines().count();

    // Down, for many times the interval and longer than a member that is gone would be kept. The
    // minute is scaled.
    names.stop();
    nodes[0]
        .until_logged(&["cannot find members by [dns:nodes.test:4100]"])
        .await;
    let failures = figure(&nodes[0], FAILURES).await;
    until_figure(&nodes[0], FAILURES, failures + 3).await;
    names.go_on();
    // An answer with nothing in it.
    names.set(&[]).await;
    let failures = figure(&nodes[0], FAILURES).await;
    until_figure(&nodes[0], FAILURES, failures + 3).await;
    // One that is stale, and one that leads to strangers.
    names.set(&["127.0.0.41", "127.0.0.42"]).await;
    for stale in ["[127.0.0.41:4100]", "[127.0.0.42:4100]"] {
        nodes[0].until_logged(&["no link to", stale]).await;
    }
    let _strangers = strangers().await;
    names.set(&["127.0.0.51", "127.0.0.52"]).await;
    nodes[0]
        .until_logged(&["no link to [127.0.0.52:4100] of [dns:nodes.test:4100]"])
        .await;
    load.until_answered(100).await;
    until_linked(&nodes).await;
    let log = nodes[0].log();
    let lines: Vec<_> = log.lines().skip(before).collect();
    for line in &lines {
        let is_expected = ["cannot find members", "no link to [127.0.0."]
            .iter()
            .any(|words| line.contains(words));
        assert!(is_expected, "{line}");
    }
    assert!(lines.len() <= 12, "{lines:#?}");

    // Who comes while the name tells of strangers alone is found once it is told of.
    names.set(&["127.0.0.14", "127.0.0.51"]).await;
    nodes.push(fleet.launch(14).await);
    until_linked(&nodes).await;
    let report = load.stop().await;
    println!("{report}, {} lines", lines.len());
    report.assert_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn clusters_of_one_name_server_name_refuse_each_other_by_name() {
    if !is_inside("clusters_of_one_name_server_name_refuse_each_other_by_name") {
        return;
    }
    let mut names = NameServer::start(run_dir("names-clusters"), &[]).await;
    names.set(&listed(11..=14)).await;
    let mut clusters = [Vec::new(), Vec::new()];
    for host in 11..=14_u8 {
        let cluster = usize::from(host % 2);
        let mut plan = plan(host);
        plan.flags.push("--insecure-plaintext".to_owned());
        plan.flags
            .extend(["--cluster".to_owned(), CLUSTERS[cluster].to_owned()]);
        clusters[cluster].push(Node::start(plan).await);
    }
    for nodes in &clusters {
        until_linked(nodes).await;
        for node in nodes {
            let status = node.until_ready().await;
            assert_eq!(members(&status), 1, "{status:#}");
            node.until_logged(&["no link to", "different clusters"])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn service_records_lead_to_nodes_at_their_ports() {
    if !is_inside("service_records_lead_to_nodes_at_their_ports") {
        return;
    }
    let mut options = Vec::new();
    for host in 11..=13_u16 {
        options.push(format!("--host-record=n{host}.test,127.0.0.{host}"));
        options.push(format!(
            "--srv-host=_links._tcp.test,n{host}.test,{}",
            4100 + host
        ));
    }
    let _names = NameServer::start(run_dir("names-services"), &options).await;
    let fleet = Fleet::new();
    let mut nodes = Vec::new();
    for host in 11..=13_u8 {
        let mut plan = fleet.plan(host);
        plan.listen.set_port(4100 + u16::from(host));
        for flag in &mut plan.flags {
            *flag = flag.replace("dns:nodes.test:4100", "srv:_links._tcp.test");
        }
        // They only know each other by the name server.
        plan.flags
            .extend(["--peer-exchange", "false"].map(str::to_owned));
        nodes.push(Node::start(plan).await);
    }
    until_linked(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn node_of_both_ip_versions_is_one_member_with_one_link() {
    if !is_inside("node_of_both_ip_versions_is_one_member_with_one_link") {
        return;
    }
    let options = ["--log-queries", "--log-facility=-"].map(str::to_owned);
    let mut names = NameServer::start(run_dir("names-versions"), &options).await;
    names.set(&["127.0.0.1", "::1"]).await;
    let fleet = Fleet::new();
    // One port takes both, so only one node can be where the name leads.
    let mut both = fleet.plan(11);
    both.listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, LINKS));
    let both = Node::start(both).await;
    let mut other = fleet.plan(12);
    other.listen.set_port(LINKS + 1);
    let nodes = [both, Node::start(other).await];
    until_linked(&nodes).await;
    // Whenever the name is looked up, there are two addresses to dial.
    until_figure(&nodes[1], DISCOVERED, 2).await;
    names.until_asked_again(nodes.len() * 3).await;
    for node in &nodes {
        let status = node.status().await;
        assert_eq!(members(&status), 1, "{status:#}");
    }
    // One answer is empty. The link stays.
    let failures = figure(&nodes[1], FAILURES).await;
    names.set(&[]).await;
    until_figure(&nodes[1], FAILURES, failures + 2).await;
    until_linked(&nodes).await;
    for node in &nodes {
        let log = node.log();
        let added = log.matches("Replication member added").count();
        assert_eq!(added, 1, "{log}");
        assert_eq!(figure(node, RECONNECTS).await, 0, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_makes_a_full_mesh_of_five_processes() {
    let mut plans = plans(&["node1", "node2", "node3", "node4", "node5"]);
    let seed = plans[0].listen;
    for plan in &mut plans {
        plan.peers = vec![seed];
    }
    let nodes = start_all(plans).await;
    for node in &nodes {
        assert_eq!(members(&node.status().await), 4);
    }
}

/// Nodes that ask for the name, and know one secret.
struct Fleet {
    secret: Arc<SecretFile>,
}

impl Fleet {
    fn new() -> Self {
        let secret = SecretFile::new().expect("files can be written for a while");
        Self {
            secret: Arc::new(secret),
        }
    }

    fn plan(&self, host: u8) -> NodePlan {
        NodePlan {
            secret: Some(Arc::clone(&self.secret)),
            ..plan(host)
        }
    }

    async fn launch(&self, host: u8) -> Node {
        Node::start(self.plan(host)).await
    }

    /// Starts one that has all sessions when it is there.
    async fn start(&self, host: u8) -> Node {
        let node = self.launch(host).await;
        node.until_ready().await;
        node
    }
}

fn plan(host: u8) -> NodePlan {
    let flags = [
        ["--drain", "0"],
        ["--discover", "dns:nodes.test:4100"],
        ["--discovery-interval", "1"],
        ["--forget-after", "4"],
    ];
    NodePlan {
        name: format!("node{host}"),
        http: address(host, HTTP),
        listen: address(host, LINKS),
        peers: Vec::new(),
        secret: None,
        data_dir: None,
        flags: flags.concat().into_iter().map(str::to_owned).collect(),
    }
}

/// Two addresses where no node is: one says nothing, one speaks something else.
async fn strangers() -> [tokio::task::JoinHandle<()>; 2] {
    let silent = TcpListener::bind(address(51, LINKS)).await.expect("free");
    let other = TcpListener::bind(address(52, LINKS)).await.expect("free");
    [
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                held.push(stream);
            }
        }),
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = other.accept().await {
                // Who dials may be gone.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        }),
    ]
}

/// Waits until each sees all others, and no more are linked.
async fn until_linked(nodes: &[Node]) {
    for node in nodes {
        let others = nodes.iter().filter(|other| other.name() != node.name());
        let others: Vec<_> = others.map(Node::name).collect();
        node.until(&format!("linked with {others:?}"), |status| {
            others
                .iter()
                .all(|other| state_of(status, other) == Some("up"))
        })
        .await;
    }
}

/// A figure of a node, as Prometheus would read it.
async fn figure(node: &Node, name: &str) -> u64 {
    let page = Browser::new().get(node.http(), "/metrics").await;
    let page = page.expect("a node that runs tells its figures");
    let mut lines = page.text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let (_, value) = value.expect("it is there");
    value.parse().expect("a whole number")
}

async fn until_figure(node: &Node, name: &str, least: u64) {
    for _ in 0..TRIES {
        if figure(node, name).await >= least {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{name} never reaches {least}");
}

fn members(status: &Value) -> usize {
    status["members"].as_array().map_or(0, Vec::len)
}

fn listed(hosts: std::ops::RangeInclusive<u8>) -> Vec<&'static str> {
    const HOSTS: [&str; 8] = [
        "127.0.0.11",
        "127.0.0.12",
        "127.0.0.13",
        "127.0.0.14",
        "127.0.0.15",
        "127.0.0.16",
        "127.0.0.17",
        "127.0.0.18",
    ];
    hosts.map(|host| HOSTS[usize::from(host) - 11]).collect()
}

const HTTP: u16 = 8080;
const LINKS: u16 = 4100;
const FAILURES: &str = "cluster_sessions_discovery_failures_total{";
const DISCOVERED: &str = "cluster_sessions_discovered_addresses{";
const RECONNECTS: &str = "cluster_sessions_link_reconnects_total{";
const CLUSTERS: [&str; 2] = ["shop", "staging"];
