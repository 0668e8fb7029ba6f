//! What the nodes of the example give back to the system when their sessions have ended. More or
//! fewer of them: `SESSIONS=1000000 cargo test --release --test memory -- --ignored --nocapture`.
#![cfg(target_os = "linux")]

mod support;

use std::{env, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{task::JoinSet, time::timeout};

use crate::support::processes::{Node, plans, start_all};

#[tokio::test]
#[ignore = "takes minutes, and wants a release build"]
async fn four_fifths_of_what_ended_sessions_took_go_back_to_the_system() {
    let sessions = match env::var("SESSIONS") {
        Ok(number) => number.parse().expect("a number of sessions"),
        Err(_) => 200_000,
    };
    // All must be made and looked at before the first ends.
    let idle_limit = Duration::from_secs(20 + sessions / 5_000);
    let mut plans = plans(&["node1", "node2"]);
    for plan in &mut plans {
        plan.flags = vec![
            format!("--idle-timeout={}", idle_limit.as_secs()),
            format!("--unconfirmed-timeout={}", idle_limit.as_secs()),
            format!("--max-sessions={sessions}"),
        ];
    }
    let nodes = start_all(plans).await;
    let empty: Vec<u64> = nodes.iter().map(Node::resident_bytes).collect();

    make(sessions, nodes.iter().map(Node::http).collect()).await;
    for node in &nodes {
        let what = format!("holding {sessions}");
        node.until(&what, |status| status["sessions"] == sessions)
            .await;
    }
    let full: Vec<u64> = nodes.iter().map(Node::resident_bytes).collect();

    for (node, (empty, full)) in nodes.iter().zip(empty.iter().zip(&full)) {
        let grown = full - empty;
        assert!(grown > sessions * 200, "{grown} bytes for their attributes");
        let ended = timeout(3 * idle_limit, until_none_is_held(node)).await;
        assert!(ended.is_ok(), "sessions do not end: {}", node.log());
        let wanted = full - grown / 5 * 4;
        let returned = timeout(GIVING_BACK, until_resident_is(node, wanted)).await;
        let left = node.resident_bytes();
        println!(
            "{}: {} MiB, {} with {sessions} sessions, {} without: {:.0} % returned",
            node.name(),
            empty >> 20,
            full >> 20,
            left >> 20,
            full.saturating_sub(left) as f64 / grown as f64 * 100.0
        );
        assert!(returned.is_ok(), "{left} bytes, not {wanted}");
    }
}

/// Each is made by a request without a cookie.
async fn make(sessions: u64, hosts: Vec<SocketAddr>) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let host = hosts[number as usize % hosts.len()];
        let share = sessions / CLIENTS + u64::from(number < sessions % CLIENTS);
        clients.spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http();
            for _ in 0..share {
                let request = Request::get(format!("http://{host}/hit?pad=200"));
                let request = request.body(Empty::<Bytes>::new()).expect("plain");
                let answer = client.request(request).await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK);
                // So that its connection is free for the next one.
                answer.collect().await.expect("all of the answer");
            }
        });
    }
    clients.join_all().await;
}

async fn until_none_is_held(node: &Node) {
    while node.status().await["sessions"] != 0 {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks on, as a balancer does: some allocators give memory back when they are asked for some.
async fn until_resident_is(node: &Node, most: u64) {
    while node.resident_bytes() > most {
        node.status().await;
        tokio::time::sleep(PAUSE).await;
    }
}

const CLIENTS: u64 = 64;
const PAUSE: Duration = Duration::from_millis(200);
/// Allocators take their time, lest they ask the system for the same memory again.
const GIVING_BACK: Duration = Duration::from_secs(60);
