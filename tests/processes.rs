//! Nodes as real processes on loopback, which are killed, stopped, restarted and misconfigured.
#![cfg(unix)]

mod support;

use std::{net::TcpListener, process::Stdio};

use tokio::process::Command;

use crate::support::{
    process::{NodePlan, StartFailure},
    processes::{Node, Refusal, Signal, hit_counter, plan, plans, start_all, state_of},
    visitor::Visitor,
};

#[tokio::test]
async fn kill_right_after_a_response_loses_nothing() {
    let mut visitor = Visitor::new();
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    for _ in 0..4 {
        let victim = nodes.remove(0);
        visitor.hit(victim.http()).await;
        let plan = victim.kill().await;
        visitor.hit(nodes[0].http()).await;

        let back = Node::start(plan).await;
        back.until_ready().await;
        nodes.push(back);
    }
    for node in &nodes {
        visitor.hit(node.http()).await;
    }
}

#[tokio::test]
async fn restarted_node_gets_every_session() {
    const SESSIONS: usize = 50;
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let mut visitors: Vec<_> = (0..SESSIONS).map(|_| Visitor::new()).collect();
    for visitor in &mut visitors {
        visitor.hit(nodes[0].http()).await;
    }

    let plan = nodes.remove(1).kill().await;
    for visitor in &mut visitors {
        visitor.hit(nodes[0].http()).await;
    }
    let back = Node::start(plan).await;
    let status = back.until_ready().await;
    assert_eq!(status["sessions"], SESSIONS, "{status:#}");
    back.until_logged(&["received in ["]).await;

    nodes.remove(0).kill().await;
    for visitor in &mut visitors {
        visitor.peek(back.http()).await;
        visitor.hit(back.http()).await;
    }
}

#[tokio::test]
async fn request_to_a_node_that_has_just_started_finds_its_session() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let mut visitor = Visitor::new();
    visitor.hit(nodes[0].http()).await;

    let plan = nodes.remove(1).kill().await;
    let back = Node::start(plan).await;
    visitor.peek(back.http()).await;
}

#[tokio::test]
async fn rolling_restart_loses_nothing() {
    let mut nodes = start_all(plans(&["node1", "node2", "node3"])).await;
    let mut visitor = Visitor::new();
    visitor.hit(nodes[0].http()).await;
    for _ in 0..nodes.len() {
        let leaving = nodes.remove(0);
        visitor.hit(leaving.http()).await;
        let name = leaving.name().to_owned();
        let (plan, status, log) = leaving.terminate().await;
        assert!(status.success(), "{status}:\n{log}");

        for node in &nodes {
            visitor.hit(node.http()).await;
            node.until("told of the goodbye", |status| {
                state_of(status, &name) == Some("left")
            })
            .await;
        }
        let back = Node::start(plan).await;
        back.until_ready().await;
        visitor.hit(back.http()).await;
        nodes.push(back);
    }
}

#[tokio::test]
async fn stopped_peer_blocks_nobody_and_catches_up() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let [healthy, stopped] = nodes.as_slice() else {
        panic!("two were started");
    };
    let mut visitor = Visitor::new();
    visitor.hit(healthy.http()).await;

    stopped.signal(Signal::Stop);
    // The first request waits until the peer has missed its time, and is answered then.
    visitor.hit(healthy.http()).await;
    let status = healthy.status().await;
    let state = state_of(&status, stopped.name());
    assert!(
        state.is_some_and(|state| state != "up"),
        "a peer that has not acknowledged in time is waited for again: {status:#}"
    );
    for _ in 0..20 {
        visitor.hit(healthy.http()).await;
    }
    healthy.until_sees(stopped, &["down"]).await;
    visitor.hit(healthy.http()).await;

    stopped.signal(Signal::Continue);
    healthy.until_sees(stopped, &["up"]).await;
    stopped.until_sees(healthy, &["up"]).await;
    // It has acknowledged what it missed once it has acknowledged this.
    visitor.hit(healthy.http()).await;
    visitor.peek(stopped.http()).await;
    visitor.hit(stopped.http()).await;
}

#[tokio::test]
async fn logout_on_one_node_is_logout_on_all() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let mut browser = support::browser::Browser::new();
    browser.get(nodes[0].http(), "/hit").await.expect("it runs");
    let mut thief = browser.clone();

    browser
        .get(nodes[1].http(), "/logout")
        .await
        .expect("it runs");
    for node in &nodes {
        let page = thief.get(node.http(), "/peek").await.expect("it runs");
        assert_eq!(page.hits(), Some(0), "{page:?}");
    }
}

#[tokio::test]
async fn link_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let listen = taken.local_addr().expect("it is bound");
    let refusal = refused(NodePlan {
        listen,
        ..plan("node1")
    })
    .await;
    assert!(refusal.log.contains(&listen.to_string()), "{refusal:?}");
}

#[tokio::test]
async fn http_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let http = taken.local_addr().expect("it is bound");
    let refusal = refused(NodePlan {
        http,
        ..plan("node1")
    })
    .await;
    assert!(refusal.log.contains(&http.to_string()), "{refusal:?}");
    assert!(refusal.log.contains("--http"), "{refusal:?}");
}

#[tokio::test]
async fn bad_filter_is_shown() {
    let filter = r".*\.(gif|.*\.(js|.*\.(jpg|.*\.(png|.*\.(htm|.*\.(html|.*\.(css|.*\.(txt|;";
    let mut plan = plan("node1");
    plan.flags = vec!["--filter".to_owned(), filter.to_owned()];
    let refusal = refused(plan).await;
    assert!(refusal.log.contains(filter), "{refusal:?}");
    assert!(refusal.log.contains("unclosed group"), "{refusal:?}");
}

#[tokio::test]
async fn plaintext_beyond_this_machine_must_be_asked_for() {
    let mut plan = plan("node1");
    plan.peers = vec!["192.0.2.1:4100".parse().expect("it is an address")];
    let refusal = refused(plan).await;
    assert!(refusal.log.contains("192.0.2.1:4100"), "{refusal:?}");
    assert!(refusal.log.contains("insecure_plaintext"), "{refusal:?}");
}

#[tokio::test]
async fn two_nodes_of_one_name_refuse_each_other_and_say_so() {
    let [first, mut second] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    second.name = "node1".to_owned();
    let first = Node::start(first).await;
    let second = Node::start(second).await;
    // Each goes on alone.
    for node in [&first, &second] {
        node.until_ready().await;
        node.until_logged(&["two nodes are called `node1`"]).await;
        Visitor::new().hit(node.http()).await;
    }
}

#[tokio::test]
async fn node_whose_peer_is_absent_is_alone_until_it_comes() {
    let [first, second] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    let first = Node::start(first).await;
    let status = first.until_ready().await;
    assert_eq!(status["members"][0]["state"], "down", "{status:#}");
    let mut visitor = Visitor::new();
    visitor.hit(first.http()).await;

    let second = Node::start(second).await;
    second.until_ready().await;
    visitor.hit(second.http()).await;
    first.until_sees(&second, &["up"]).await;
    visitor.hit(first.http()).await;
}

#[tokio::test]
async fn one_side_that_knows_the_other_is_enough() {
    let known = plan("node1");
    let mut knowing = plan("node2");
    knowing.peers = vec![known.listen];
    let known = Node::start(known).await;
    let knowing = Node::start(knowing).await;
    known.until_sees(&knowing, &["up"]).await;
    knowing.until_sees(&known, &["up"]).await;
    knowing.until_ready().await;

    let mut visitor = Visitor::new();
    visitor.hit(known.http()).await;
    visitor.hit(knowing.http()).await;
    known.kill().await;
    visitor.hit(knowing.http()).await;
}

#[tokio::test]
async fn own_address_in_the_list_does_no_harm() {
    let mut plans = plans(&["node1", "node2"]);
    // The same list for all, as it is deployed to them.
    let all: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
    for plan in &mut plans {
        plan.peers = all.clone();
    }
    let nodes = start_all(plans).await;
    let mut visitor = Visitor::new();
    for _ in 0..3 {
        for node in &nodes {
            visitor.hit(node.http()).await;
        }
    }
    for node in &nodes {
        let status = node.status().await;
        assert_eq!(state_of(&status, node.name()), None, "{status:#}");
    }
}

#[tokio::test]
async fn the_main_job_runs() {
    let output = Command::new(hit_counter())
        .args(["--rounds", "1"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the example can be run");
    let table = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{complaints}");
    assert!(
        table.contains("every count was the one before plus one"),
        "{table}"
    );
}

/// Starts a node that must fail by itself, with an error and a code.
async fn refused(plan: NodePlan) -> Refusal {
    match Node::try_start(plan).await {
        Ok(node) => panic!("it runs:\n{}", node.log()),
        Err(refusal) => {
            assert!(
                matches!(&refusal.failure, StartFailure::Exited(status) if status.code() == Some(1)),
                "{refusal:?}"
            );
            assert!(refusal.log.contains("error: "), "{refusal:?}");
            refusal
        }
    }
}
