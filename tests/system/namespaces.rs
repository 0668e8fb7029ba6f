//! Nodes as real processes in network namespaces of their own, and a cable that is pulled.
//!
//! Needs root and `ip` of iproute2:
//!
//! ```sh
//! cargo test --release --test namespaces -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]

mod support;

use std::{net::SocketAddr, time::Duration};

use http::Method;

use crate::support::{
    browser::Browser,
    namespaces::Namespaces,
    processes::{Node, PAUSE, TRIES},
    stopwatch::Stopwatch,
    visitor::Visitor,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn nodes_agree_after_the_cable_between_them_was_pulled() {
    let spaces = match Namespaces::new() {
        Ok(spaces) => spaces,
        Err(error) => {
            println!("skipped, this machine has no namespaces for us: {error}");
            return;
        }
    };
    let nodes = start(&spaces).await;
    let [one, two] = [nodes[0].http(), nodes[1].http()];
    let mut everywhere = Users::new(20, one).await;
    let mut logged_out = Users::new(20, two).await;

    spaces.cut();
    nodes[0].until_sees(&nodes[1], &["down"]).await;
    nodes[1].until_sees(&nodes[0], &["down"]).await;
    let mut of_one = Users::new(20, one).await;
    let mut of_two = Users::new(20, two).await;
    everywhere.hit(one, 3).await;
    of_one.hit(one, 3).await;
    of_two.hit(two, 3).await;
    // Each thief holds a copy of the cookie, and uses it where the logout is not known.
    let mut thieves = logged_out.browsers();
    for thief in &mut thieves {
        let logout = thief.send(Method::POST, one, "/logout");
        logout.await.expect("it runs");
    }
    logged_out.hit(two, 3).await;

    spaces.heal();
    let healed = Stopwatch::start();
    nodes[0]
        .until_sees(&nodes[1], &["up", "lagging", "syncing"])
        .await;
    let linked = Stopwatch::start();
    for users in [&mut everywhere, &mut of_one, &mut of_two] {
        users.until_shown(&[one, two]).await;
    }
    for thief in &mut thieves {
        for host in [one, two] {
            until_hits(thief, host, 0).await;
        }
    }
    let agreed = linked.elapsed();
    println!(
        "linked {:?} after the heal, agreed {agreed:?} after that",
        healed.elapsed() - agreed
    );
    assert!(agreed < 5 * BOUND, "{agreed:?}");
    everywhere.hit(two, 1).await;
    everywhere.hit(one, 1).await;
}

async fn start(spaces: &Namespaces) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (side, name) in ["node1", "node2"].into_iter().enumerate() {
        let (plan, executable) = spaces.plan(side, name);
        nodes.push(Node::start_as(plan, executable).await);
    }
    for node in &nodes {
        node.until_ready().await;
    }
    nodes[0].until_sees(&nodes[1], &["up"]).await;
    nodes[1].until_sees(&nodes[0], &["up"]).await;
    nodes
}

/// Users who have hit the page as often as each other.
struct Users {
    visitors: Vec<Visitor>,
}

impl Users {
    async fn new(count: usize, host: SocketAddr) -> Self {
        let visitors = (0..count).map(|_| Visitor::new()).collect();
        let mut users = Self { visitors };
        users.hit(host, 1).await;
        users
    }

    async fn hit(&mut self, host: SocketAddr, times: usize) {
        for visitor in &mut self.visitors {
            for _ in 0..times {
                visitor.hit(host).await;
            }
        }
    }

    async fn until_shown(&mut self, hosts: &[SocketAddr]) {
        for visitor in &mut self.visitors {
            for host in hosts {
                until_hits(&mut visitor.browser(), *host, visitor.hits()).await;
            }
        }
    }

    fn browsers(&self) -> Vec<Browser> {
        self.visitors.iter().map(Visitor::browser).collect()
    }
}

async fn until_hits(browser: &mut Browser, host: SocketAddr, hits: u64) {
    for _ in 0..TRIES {
        let page = browser.get(host, "/peek").await.expect("it runs");
        if page.hits() == Some(hits) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{host} never shows {hits} hits");
}

const BOUND: Duration = Duration::from_secs(1);
