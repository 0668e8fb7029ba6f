//! Floods of ids that nobody has minted: peers are asked a bounded number of questions, and visitors
//! find their sessions. Latencies are printed (`-- --nocapture`), not judged.
#![cfg(target_os = "linux")]

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode, header::COOKIE};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    hostile::{Mallory, let_in},
    processes::{Node, Signal, plans, start_all},
    stopwatch::Stopwatch,
    visitor::Visitor,
    words::{Heard, Part, Words},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_nodes_ask_nobody_for_ids_that_nobody_minted() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let hosts: Vec<_> = nodes.iter().map(Node::http).collect();
    let mut visitors = visitors(&hosts).await;
    measure("ready, no flood", &mut visitors, &hosts).await;
    let flood = Flood::start(&hosts);
    measure("ready, flood", &mut visitors, &hosts).await;
    flood.end().await;
    for node in &nodes {
        assert_eq!(lookups(&node.status().await), 0);
    }
}

/// The node has a second peer that never gives it the sessions it may have, so it has to ask for
/// each id, known or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_node_finds_its_visitors_sessions_while_made_up_ids_are_asked_for() {
    let slow = TcpListener::bind("127.0.0.1:0").await.expect("free");
    let mut plans = plans(&["node1", "node2"]);
    plans.iter_mut().for_each(let_in);
    plans[1].peers.push(slow.local_addr().expect("it is bound"));
    let asked = Arc::new(AtomicU64::new(0));
    let donor = donor_without_end(slow, Arc::clone(&asked));
    let _donor = AbortOnDropHandle::new(tokio::spawn(donor));

    let one = Node::start(plans.remove(0)).await;
    one.until_ready().await;
    let hosts = [one.http()];
    let mut visitors = visitors(&hosts).await;
    let two = Node::start(plans.remove(0)).await;
    two.until_sees(&one, &["up", "syncing"]).await;
    let hosts = [one.http(), two.http()];
    let began = Stopwatch::start();
    measure("joining, no flood", &mut visitors, &hosts).await;
    let flood = Flood::start(&hosts[1..]);
    measure("joining, flood", &mut visitors, &hosts).await;
    flood.end().await;

    let status = two.status().await;
    assert_eq!(status["ready"], false, "{status:#}");
    let asked = asked.load(Ordering::Relaxed);
    let ms = began.elapsed().as_millis();
    println!("the peer was asked for {asked} ids in {ms} ms");
    assert!(asked > 0);
    assert!(asked <= bound(ms), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_stalled_finds_its_visitors_sessions_in_a_flood() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let hosts: Vec<_> = nodes.iter().map(Node::http).collect();
    let mut visitors = visitors(&hosts).await;
    nodes[1].signal(Signal::Stop);
    nodes[0]
        .until_sees(&nodes[1], &["lagging", "suspect", "down"])
        .await;
    for visitor in &mut visitors {
        visitor.hit(hosts[0]).await;
    }
    nodes[1].signal(Signal::Continue);
    let began = Stopwatch::start();
    let flood = Flood::start(&hosts[1..]);
    measure("after a pause, flood", &mut visitors, &hosts).await;
    flood.end().await;
    let asked = lookups(&nodes[1].status().await);
    let ms = began.elapsed().as_millis();
    println!("{asked} ids were asked for in {ms} ms");
    assert!(asked <= bound(ms), "{asked}");
}

/// Questions for made-up ids in so many milliseconds, 100 in each ten, and as many again for those
/// of visitors. On a machine that can make more than 10 000 requests a second this is what holds.
fn bound(ms: u128) -> u64 {
    2 * 100 * (u64::try_from(ms).expect("soon") / 10 + 2)
}

/// Clients that each present another made-up id with every request.
struct Flood {
    answered: Arc<AtomicU64>,
    began: Stopwatch,
    clients: JoinSet<()>,
}

impl Flood {
    fn start(hosts: &[SocketAddr]) -> Self {
        let answered = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let host = hosts[number as usize % hosts.len()];
            let answered = Arc::clone(&answered);
            clients.spawn(async move {
                let http = Client::builder(TokioExecutor::new()).build_http();
                for request in 0.. {
                    let cookie = format!("id={}", made_up(number << 32 | request));
                    let request = Request::get(format!("http://{host}/peek"))
                        .header(COOKIE, cookie)
                        .body(Empty::<Bytes>::new())
                        .expect("a request");
                    let answer = http.request(request).await.expect("an answer");
                    assert_eq!(answer.status(), StatusCode::OK);
                    answer.into_body().collect().await.expect("all of it");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let began = Stopwatch::start();
        Self {
            answered,
            began,
            clients,
        }
    }

    async fn end(mut self) {
        let answered = self.answered.load(Ordering::Relaxed);
        println!(
            "the flood: {answered} requests in {:?}",
            self.began.elapsed()
        );
        assert!(answered > 0);
        assert!(self.clients.try_join_next().is_none(), "all were answered");
        self.clients.shutdown().await;
    }
}

/// The value of a cookie that looks like one of ours.
fn made_up(number: u64) -> String {
    let mut bytes = [0x5A; 32];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..16].copy_from_slice(&number.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A peer that knows nothing and never ends a round.
async fn donor_without_end(listener: TcpListener, asked: Arc<AtomicU64>) {
    loop {
        let mut link = Mallory::accept(&listener, "donor", 0x44).await;
        link.begin().await;
        while let Some(heard) = link.hear().await {
            let answer = match heard {
                Heard::Want { keys } => {
                    asked.fetch_add(keys.len() as u64, Ordering::Relaxed);
                    Words::answer(keys.into_iter().map(Part::absent).collect())
                }
                Heard::Batch { to } | Heard::Skip { to } => Words::ack(to),
                Heard::Heartbeat { root } => Words::heartbeat(root),
                _ => continue,
            };
            if !link.say(&answer).await {
                break;
            }
        }
    }
}

async fn visitors(hosts: &[SocketAddr]) -> Vec<Visitor> {
    let mut visitors: Vec<_> = (0..VISITORS).map(|_| Visitor::new()).collect();
    for (visitor, host) in visitors.iter_mut().zip(hosts.iter().cycle()) {
        visitor.hit(*host).await;
    }
    visitors
}

/// Each visitor hits each node by turns; every count must be right.
async fn measure(what: &str, visitors: &mut [Visitor], hosts: &[SocketAddr]) {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        for visitor in visitors.iter_mut() {
            let began = Stopwatch::start();
            visitor.hit(hosts[round % hosts.len()]).await;
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    let longest = times.last().copied().unwrap_or(Duration::ZERO);
    println!(
        "{what}: p50 {:?}, p95 {:?}, longest {longest:?}",
        at(50),
        at(95)
    );
}

fn lookups(status: &Value) -> u64 {
    status["lookups"].as_u64().expect("a count")
}

const CLIENTS: u64 = 8;
const VISITORS: usize = 10;
const ROUNDS: usize = 20;
