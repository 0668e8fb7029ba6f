//! What nodes behind a balancer go through, whichever it is.

use std::{collections::BTreeSet, net::SocketAddr};

use http::StatusCode;

use super::{
    browser::{Browser, Page},
    process::NodePlan,
    processes::{Node, PAUSE, TRIES, plans, start_all},
    visitor::Visitor,
};

/// How a balancer finds out that a node is back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Comeback {
    /// It tries the node at its next turn.
    Tried,
    /// It asks the node now and then whether it is ready.
    Probed,
}

/// Two nodes that put their names into the ids of sessions.
pub(crate) async fn start_two() -> Vec<Node> {
    start_all(routed_plans()).await
}

/// One visitor, while the node that has just answered dies again and again. No hit may be lost.
pub(crate) async fn die_by_turns(http: SocketAddr, mut nodes: Vec<Node>, comeback: Comeback) {
    const ROUNDS: usize = 3;
    let mut visitor = Visitor::new();
    let mut served_by = Vec::new();

    for _ in 0..ROUNDS {
        for _ in 0..nodes.len() {
            for _ in 0..6 {
                served_by.push(node_of(&visitor.hit(http).await));
            }
            // The one that was hit last dies, with nothing but its answer sent.
            let last = served_by.last().expect("there were hits");
            let victim = nodes.iter().position(|node| node.name() == last);
            let plan = nodes.remove(victim.expect("it runs")).kill().await;
            for _ in 0..6 {
                let page = visitor.hit(http).await;
                assert_eq!(node_of(&page), nodes[0].name(), "{page:?}");
            }
            let back = Node::start(plan).await;
            back.until_ready().await;
            if let Comeback::Probed = comeback {
                until_served_by(back.name(), &mut visitor, http).await;
            }
            nodes.push(back);
        }
    }
    for name in NAMES {
        assert!(served_by.iter().any(|node| node == name), "{served_by:?}");
    }
    println!("{} kept over {served_by:?}", visitor.id());
}

/// Visitors whose sessions name the node that began them, which then dies and comes back.
pub(crate) async fn stick_while_the_node_lives(http: SocketAddr, mut nodes: Vec<Node>) {
    let mut visitors: Vec<_> = (0..4).map(|_| Visitor::new()).collect();
    let mut homes = BTreeSet::new();
    for visitor in &mut visitors {
        let home = node_of(&visitor.hit(http).await);
        homes.insert(home.clone());
        assert!(visitor.id().ends_with(&format!(".{home}")), "{visitor:?}");
        for _ in 0..5 {
            assert_eq!(node_of(&visitor.hit(http).await), home);
        }
    }
    assert_eq!(homes.len(), 2, "new sessions are spread: {homes:?}");

    let plan = nodes.remove(0).kill().await;
    for visitor in &mut visitors {
        for _ in 0..3 {
            assert_eq!(node_of(&visitor.hit(http).await), nodes[0].name());
        }
    }

    let back = Node::start(plan).await;
    back.until_ready().await;
    for visitor in &mut visitors {
        let home = visitor.id().rsplit('.').next().expect("there is a part");
        let home = home.to_owned();
        until_served_by(&home, visitor, http).await;
    }
}

/// A visitor sees neither who is in the cluster nor how it is, however the path is written.
pub(crate) async fn keep_operators_pages_from_visitors(http: SocketAddr, nodes: &[Node]) {
    let mut browser = Browser::new();
    for path in [
        "/cluster.json",
        "/metrics",
        "/ready",
        "/live",
        "/status",
        "/status/overview.json",
    ] {
        for node in nodes {
            let page = browser.get(node.http(), path).await.expect("it runs");
            assert_eq!(page.status, StatusCode::OK, "{path} is for operators");
        }
        let (first, rest) = path[1..].split_at(1);
        let escaped = format!("/%{:x}{rest}", first.as_bytes()[0]);
        for path in [path, &format!("{path}?x"), &escaped, &format!("/.{path}")] {
            let page = browser.get(http, path).await.expect("it serves");
            assert_ne!(page.status, StatusCode::OK, "{path}: {page:?}");
            assert!(!page.text.contains("sessions"), "{path}: {page:?}");
        }
    }
}

/// Hits until the balancer has found out that the node is back.
async fn until_served_by(node: &str, visitor: &mut Visitor, http: SocketAddr) {
    for _ in 0..TRIES {
        if node_of(&visitor.hit(http).await) == node {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{node} never serves {visitor:?}");
}

fn routed_plans() -> Vec<NodePlan> {
    let mut plans = plans(&NAMES);
    for plan in &mut plans {
        plan.flags = vec!["--route".to_owned(), plan.name.clone()];
    }
    plans
}

fn node_of(page: &Page) -> String {
    page.served_by().expect("every node says so").to_owned()
}

const NAMES: [&str; 2] = ["node1", "node2"];
