//! Connections to the port of the links by those who do not know the secret, while the nodes serve
//! a load: they cost little, end soon, and change nothing.
#![cfg(target_os = "linux")] // other systems have one loopback address, and strangers need many

mod support;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::support::{
    browser::Browser,
    load::Load,
    process::NodePlan,
    processes::{Node, PATIENCE, plans, start_all},
};

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_peers_of_all_kinds_are_refused_and_disturb_nobody() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let load = Load::start(hosts(&nodes), 4, Duration::from_secs(5));
    load.until_answered(500).await;
    let before: Vec<u64> = nodes.iter().map(Node::resident_bytes).collect();

    let mut strangers = JoinSet::new();
    for (number, host) in (2..=31).zip(1..) {
        for kind in KINDS {
            let node = &nodes[number % nodes.len()];
            strangers.spawn(kind.visit(Ipv4Addr::new(127, 0, 1, host), node.links()));
        }
    }
    let count = strangers.len() as u64;
    load.until_answered(500).await;
    // Each is let go of, also those that do nothing, or go on for ever.
    let all = tokio::time::timeout(PATIENCE, strangers.join_all()).await;
    all.expect("no stranger is kept");

    load.until_answered(500).await;
    load.stop().await.assert_nothing_lost();
    let mut refused = 0;
    for (node, before) in nodes.iter().zip(before) {
        let grown = node.resident_bytes().saturating_sub(before);
        println!("{} grew by {} KiB", node.name(), grown / 1024);
        assert!(grown < BOUND, "{} grew by {grown}", node.name());
        let status = node.until_ready().await;
        refused += status["refused"].as_u64().expect("a count");
        let log = node.log();
        assert!(!log.contains("member disappeared"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        let lines = log.lines().filter(|line| line.contains("127.0.1."));
        let lines = lines.count();
        assert!((1..=10).contains(&lines), "{lines} lines: {log}");
    }
    assert!(refused >= count, "{refused} of {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_peers_keep_no_member_out() {
    let (node1, plan) = node_and_plan_of_a_second().await;
    // All places, taken again as soon as one is free.
    let mut strangers = JoinSet::new();
    for host in 1..=16 {
        for _ in 0..8 {
            let door = node1.links();
            strangers.spawn(async move {
                loop {
                    Kind::Silent
                        .visit(Ipv4Addr::new(127, 0, 1, host), door)
                        .await;
                }
            });
        }
    }
    gets_in(plan, &node1).await;
    strangers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_gets_in_past_strangers_of_many_addresses() {
    let (node1, plan) = node_and_plan_of_a_second().await;
    let from = |number: u32| {
        let [_, _, high, low] = (number % 60_000).to_be_bytes();
        Ipv4Addr::new(127, 1, high, low)
    };
    let flood = tokio::spawn(flood(from, node1.links()));
    gets_in(plan, &node1).await;
    assert!(!flood.is_finished());
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn member_gets_in_past_strangers_at_its_own_address() {
    let (node1, plan) = node_and_plan_of_a_second().await;
    let node2 = Node::start(plan).await;
    node2.until_sees(&node1, &["up"]).await;
    let plan = node2.kill().await;
    let flood = tokio::spawn(flood(|_| Ipv4Addr::LOCALHOST, node1.links()));
    gets_in(plan, &node1).await;
    assert!(!flood.is_finished());
    flood.abort();
}

/// The first lists nobody, so that no link can be made but through its door. It has sessions, so
/// that a second one is ready too early that has given up on it.
async fn node_and_plan_of_a_second() -> (Node, NodePlan) {
    let mut plans = plans(&["node1", "node2"]);
    let plan = plans.pop().expect("two were made");
    let mut first = plans.pop().expect("two were made");
    first.peers.clear();
    let node = Node::start(first).await;
    for _ in 0..SESSIONS {
        let page = Browser::new().get(node.http(), "/add").await;
        let page = page.expect("a node that runs answers");
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
    }
    (node, plan)
}

/// Starts a node whose only peer has no place left for it. It has all sessions when it is ready.
async fn gets_in(plan: NodePlan, peer: &Node) {
    peer.until("at the end of its places", |status| {
        status["refused"].as_u64() > Some(100)
    })
    .await;
    let node = Node::start(plan).await;
    let status = node.until_sees(peer, &["up"]).await;
    let attempts = 1 + status["refused"].as_u64().expect("a count");
    println!("in at attempt {attempts}");
    assert!(attempts < 30, "{status:#}");
    let status = node.until_ready().await;
    assert_eq!(status["sessions"], SESSIONS, "{status:#}");
}

/// Opens 250 connections a second, says nothing on any, and holds them for longer than a node does.
async fn flood(from: impl Fn(u32) -> Ipv4Addr, door: SocketAddr) {
    let mut held = VecDeque::new();
    let mut interval = tokio::time::interval(Duration::from_millis(4));
    for number in 0.. {
        interval.tick().await;
        let stream = connect(from(number), door).await;
        held.push_back(stream.expect("the port is open to everybody"));
        if held.len() > 1000 {
            held.pop_front();
        }
    }
}

fn hosts(nodes: &[Node]) -> Vec<SocketAddr> {
    nodes.iter().map(Node::http).collect()
}

#[derive(Clone, Copy)]
enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Is gone at once.
    Gone,
    /// Looks for another protocol.
    Browser,
    /// Knows the protocol and the names, but no encryption.
    Plaintext,
    /// Announces a long handshake message and sends it byte by byte.
    Slow,
    /// Announces a long handshake message and more of them, as fast as it can.
    Endless,
}

const KINDS: [Kind; 6] = [
    Kind::Silent,
    Kind::Gone,
    Kind::Browser,
    Kind::Plaintext,
    Kind::Slow,
    Kind::Endless,
];

impl Kind {
    /// Returns when the node has ended the connection.
    async fn visit(self, from: Ipv4Addr, door: SocketAddr) {
        let stream = connect(from, door).await;
        let stream = stream.expect("the port is open to everybody");
        // A reset is an end, too.
        let _ = self.talk(stream).await;
    }

    async fn talk(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Silent => {}
            Self::Gone => return Ok(()),
            Self::Browser => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?,
            Self::Plaintext => stream.write_all(HELLO).await?,
            Self::Slow => {
                for byte in RECORD.iter().chain(&[0; 16_000]) {
                    stream.write_all(&[*byte]).await?;
                    // Not a wait for anything: this stranger is slow.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Self::Endless => loop {
                stream.write_all(RECORD).await?;
                stream.write_all(&[0; 16_000]).await?;
            },
        }
        let mut last_words = Vec::new();
        stream.read_to_end(&mut last_words).await?;
        assert!(last_words.len() < 64, "{last_words:?}");
        Ok(())
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

const HELLO: &[u8] = b"\0\0\0\x1a\0TwCS\x01\x01\x08sessions\x02n9abcdefgh\0";
/// The head of a TLS record with 16 000 bytes of a handshake message of 60 000.
const RECORD: &[u8] = &[0x16, 3, 1, 0x3e, 0x80, 1, 0, 0xea, 0x60];
/// What the first node holds before strangers come.
const SESSIONS: usize = 200;
/// 64 strangers of 64 KiB each, and as much again for the load and what the allocator keeps.
const BOUND: u64 = 16 << 20;
