//! Nodes as real processes on loopback, which are killed, stopped, restarted and told to leave.
#![cfg(unix)]

mod support;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use http::{Method, StatusCode, header::SET_COOKIE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use crate::support::{
    browser::Browser,
    processes::{Node, PATIENCE, PAUSE, Signal, hit_counter, plan, plans, start_all, state_of},
    proxy::Proxy,
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
async fn hit_right_after_a_reset_of_the_link_is_on_the_other_node() {
    let proxy = Proxy::new().await;
    let mut plans = plans(&["node1", "node2"]);
    proxy.lead_to(plans[1].listen);
    plans[0].peers = vec![proxy.address()];
    plans[1].peers.clear();
    let nodes = start_all(plans).await;
    let mut visitor = Visitor::new();
    for _ in 0..10 {
        proxy.reset().await;
        visitor.hit(nodes[0].http()).await;
        visitor.peek(nodes[1].http()).await;
    }
}

/// Its requests have waited in its sockets while it was stopped, and are served before anything else.
#[tokio::test]
async fn sessions_begun_right_after_a_stop_survive_their_node() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let victim = nodes.remove(0);
    victim.signal(Signal::Stop);
    let mut answers = FuturesUnordered::new();
    for _ in 0..30 {
        let mut connection = connect(victim.http()).await;
        let request = "GET /hit HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let written = connection.write_all(request.as_bytes()).await;
        written.expect("the system takes it");
        answers.push(rest_of(connection));
    }
    // Longer than its peer waits for it.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    victim.signal(Signal::Continue);
    let first = answers.next().await.expect("there are requests");
    victim.kill().await;

    // Whatever else it has answered until then is read, too.
    let answered: Vec<String> = answers.collect().await;
    for answer in answered.iter().chain([&first]) {
        if answer.is_empty() {
            continue;
        }
        let page = peek_with_the_cookie_of(answer, nodes[0].http()).await;
        assert!(page.contains("You have hit this page 1 times."), "{page}");
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
async fn probe_of_a_ready_node_is_answered_without_a_session() {
    let node = Node::start(plan("node1")).await;
    node.until_ready().await;
    let page = Browser::new().get(node.http(), "/ready").await;
    let page = page.expect("a node that runs answers");
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!page.headers.contains_key(SET_COOKIE), "{page:?}");
    assert_eq!(node.status().await["sessions"], 0);
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
    let mut browser = Browser::new();
    browser.get(nodes[0].http(), "/hit").await.expect("it runs");
    let mut thief = browser.clone();

    let logout = browser.send(Method::POST, nodes[1].http(), "/logout");
    logout.await.expect("it runs");
    for node in &nodes {
        let page = thief.get(node.http(), "/peek").await.expect("it runs");
        assert_eq!(page.hits(), Some(0), "{page:?}");
    }
}

#[tokio::test]
async fn peer_that_was_stopped_gets_everything_from_a_node_that_leaves() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let leaving = nodes.remove(0);
    let stopped = &nodes[0];
    stopped.signal(Signal::Stop);
    let mut visitors: Vec<_> = (0..20).map(|_| Visitor::new()).collect();
    for visitor in &mut visitors {
        visitor.hit(leaving.http()).await;
    }
    leaving.signal(Signal::Terminate);
    leaving.until_logged(&["is about to be left"]).await;
    stopped.signal(Signal::Continue);
    let (_, status, log) = leaving.terminate().await;
    assert!(status.success(), "{status}:\n{log}");
    for visitor in &mut visitors {
        visitor.peek(stopped.http()).await;
    }
}

#[tokio::test]
async fn node_that_joins_gets_everything_from_a_node_that_leaves() {
    const SESSIONS: usize = 6_000;
    let mut plans = plans(&["node1", "node2"]);
    let joining = plans.pop().expect("two");
    let leaving = Node::start(plans.remove(0)).await;
    leaving.until_ready().await;
    let begun = stream::iter(0..SESSIONS).for_each_concurrent(16, |_| async {
        let page = Browser::new().get(leaving.http(), "/hit").await;
        assert_eq!(page.expect("it runs").status, StatusCode::OK);
    });
    begun.await;
    let joining = Node::start(joining).await;
    leaving.until_sees(&joining, &["up", "syncing"]).await;
    let (_, status, log) = leaving.terminate().await;
    assert!(status.success(), "{status}:\n{log}");
    let status = joining.until_ready().await;
    assert_eq!(status["sessions"], SESSIONS, "{status:#}");
}

#[tokio::test]
async fn request_under_way_at_sigterm_is_answered_and_kept() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let leaving = nodes.remove(0);
    let mut open = connect(leaving.http()).await;
    let half = "GET /hit HTTP/1.1\r\nhost: localhost\r\n";
    open.write_all(half.as_bytes()).await.expect("it listens");
    // Connections are taken in turn: when this one is answered, the open one has been taken.
    let mut browser = Browser::new();
    browser
        .get(leaving.http(), "/plain")
        .await
        .expect("it runs");

    leaving.signal(Signal::Terminate);
    while TcpStream::connect(leaving.http()).await.is_ok() {
        tokio::time::sleep(PAUSE).await;
    }
    open.write_all(b"\r\n").await.expect("it is still served");
    let answer = rest_of(open).await;
    assert!(
        answer.contains("You have hit this page 1 times."),
        "{answer}"
    );
    let (_, status, log) = leaving.terminate().await;
    assert!(status.success(), "{status}:\n{log}");

    let answer = peek_with_the_cookie_of(&answer, nodes[0].http()).await;
    assert!(
        answer.contains("You have hit this page 1 times."),
        "{answer}"
    );
}

#[tokio::test]
async fn pages_are_as_promised() {
    let node = Node::start(plan("node1")).await;
    let mut browser = Browser::new();
    let mut page = async |path| browser.get(node.http(), path).await.expect("it runs");

    for path in ["/plain", "/static/style.css", "/peek", "/cluster.json"] {
        let page = page(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff", "{path}");
        let policy = page.headers["content-security-policy"].to_str();
        let policy = policy.expect("it is text");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert_eq!(
            page.headers.get(SET_COOKIE),
            None,
            "{path} needs no session"
        );
    }
    let first = page("/hit").await;
    let id = first.session_id().expect("it shows the id").to_owned();
    let text = format!("You have hit this page 1 times.\nSession ID: {id}\n");
    assert_eq!(first.text, text);
    let html = page("/").await.text;
    assert!(html.contains("You have hit this page 2 times."), "{html}");
    assert!(html.contains(&format!("Your Session ID is {id}")), "{html}");

    page("/hit?pad=1000").await;
    let text = format!(
        "You have hit this page 3 times.\nSession ID: {id}\n\
         The session holds 1000 bytes of padding.\nYou have added 0 times.\n"
    );
    assert_eq!(page("/peek").await.text, text);
    let refused = page("/hit?pad=1000000").await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        page("/peek").await.text,
        text,
        "a refused write changes nothing"
    );

    assert_eq!(
        page("/logout").await.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "a link must not log anybody out"
    );
    assert_eq!(page("/peek").await.text, text);
    let logout = browser.send(Method::POST, node.http(), "/logout").await;
    let logout = logout.expect("it runs");
    assert!(logout.headers.contains_key(SET_COOKIE), "{logout:?}");
    assert!(logout.text.contains("You are logged out."), "{logout:?}");
    assert!(logout.text.contains("<a href=\"/\">"), "{logout:?}");
    let mut page = async |path| browser.get(node.http(), path).await.expect("it runs");
    assert_eq!(page("/peek").await.hits(), Some(0));
    let html = page("/").await.text;
    assert!(html.contains("You have hit this page 1 time."), "{html}");
    assert!(!html.contains(&id), "{html}");
}

#[tokio::test]
async fn page_shows_that_a_node_is_down() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let down = nodes.pop().expect("two");
    let up = nodes.pop().expect("two");
    let row = |class, state| format!("<td>node2</td><td class=\"{class}\">{state}</td>");
    let mut browser = Browser::new();
    let html = browser.get(up.http(), "/").await.expect("it runs").text;
    assert!(html.contains(&row("good", "up")), "{html}");
    down.kill().await;
    up.until("without its peer", |status| {
        status["members"][0]["state"] == "down"
    })
    .await;
    let html = browser.get(up.http(), "/").await.expect("it runs").text;
    assert!(html.contains(&row("gone", "down")), "{html}");
}

#[tokio::test]
async fn node_that_is_told_to_stop_says_so_and_serves_until_the_balancer_has_seen_it() {
    let mut plan = plan("node1");
    plan.flags = ["--drain", "3600"].map(str::to_owned).to_vec();
    let node = Node::start(plan).await;
    node.until_ready().await;
    node.signal(Signal::Terminate);
    node.until("draining", |status| status["ready"] == false)
        .await;
    Visitor::new().hit(node.http()).await;
    node.kill().await;
}

#[tokio::test]
async fn unused_session_ends() {
    let mut plan = plan("node1");
    plan.flags = ["--idle-timeout", "1"].map(str::to_owned).to_vec();
    let node = Node::start(plan).await;
    Visitor::new().hit(node.http()).await;
    node.until("without sessions", |status| status["sessions"] == 0)
        .await;
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

async fn connect(host: SocketAddr) -> TcpStream {
    TcpStream::connect(host).await.expect("it listens")
}

/// What comes until the other side closes, or is gone.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let read = tokio::time::timeout(PATIENCE, read).await;
    let is_whole = read.expect("it ends").is_ok();
    match is_whole {
        true => String::from_utf8(bytes).expect("it is text"),
        false => String::new(),
    }
}

/// Shows the session that an answer has begun, on another node.
async fn peek_with_the_cookie_of(answer: &str, host: SocketAddr) -> String {
    let (_, cookie) = answer.split_once("set-cookie: ").expect("a new session");
    let (cookie, _) = cookie.split_once(';').expect("it has attributes");
    let request = format!(
        "GET /peek HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
    );
    let mut heir = connect(host).await;
    let written = heir.write_all(request.as_bytes()).await;
    written.expect("it listens");
    rest_of(heir).await
}
