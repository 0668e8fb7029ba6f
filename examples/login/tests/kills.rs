//! Two nodes as real processes, which are killed as by `kill -9`.

mod support;

use std::net::SocketAddr;

use futures_util::StreamExt as _;
use http::{StatusCode, header::COOKIE};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::support::{
    balancer::Balancer,
    nodes::Nodes,
    visitor::{Page, Visitor},
};

const DOORS: [&str; 2] = ["store", "layer"];
const ALICE: [(&str, &str); 2] = [("name", "alice"), ("password", "down the rabbit hole")];
const BOB: [(&str, &str); 2] = [("name", "bob"), ("password", "can we fix it")];

async fn log_in(visitor: &mut Visitor, host: SocketAddr, who: &[(&str, &str)]) -> Page {
    let page = visitor.post(host, "/login", who).await;
    assert_eq!(page.location.as_deref(), Some("/"), "{page:?}");
    page
}

async fn greets(visitor: &mut Visitor, host: SocketAddr, user: &str) -> bool {
    let page = visitor.get(host, "/").await;
    page.text.contains(&format!("Hello, {user}."))
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens the WebSocket of a page.
async fn connect(visitor: &Visitor, host: SocketAddr) -> Socket {
    let request = format!("ws://{host}/live").into_client_request();
    let mut request = request.expect("an address");
    let cookies = visitor.cookies().parse().expect("valid");
    request.headers_mut().insert(COOKIE, cookies);
    let (socket, _) = connect_async(request).await.expect("it opens");
    socket
}

/// The node that has taken the WebSocket, which it says first.
async fn node_of(socket: &mut Socket) -> String {
    let hello = socket.next().await.expect("it goes on");
    let hello = hello.expect("it is whole").into_text().expect("it is text");
    let hello: Value = serde_json::from_str(&hello).expect("it is JSON");
    hello["node"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn login_permission_and_logout_hold_over_kill_9() {
    for door in DOORS {
        let mut nodes = Nodes::start(door).await;
        let (mut alice, mut bob) = (Visitor::new("curl/8"), Visitor::new("curl/8"));
        log_in(&mut alice, nodes.http(0), &ALICE).await;
        log_in(&mut bob, nodes.http(0), &BOB).await;

        nodes.kill(0).await;
        assert!(greets(&mut alice, nodes.http(1), "alice").await, "{door}");
        assert!(greets(&mut bob, nodes.http(1), "bob").await, "{door}");
        let allowed = alice.get(nodes.http(1), "/users").await;
        assert_eq!(allowed.status, StatusCode::OK, "{door}");
        let forbidden = bob.get(nodes.http(1), "/users").await;
        assert_eq!(forbidden.status, StatusCode::FORBIDDEN, "{door}");

        nodes.restart(0).await;
        nodes.kill(1).await;
        let mut kept = alice.clone();
        let out = alice.post(nodes.http(0), "/logout", &[]).await;
        assert_eq!(out.location.as_deref(), Some("/login"), "{door}");
        assert!(greets(&mut bob, nodes.http(0), "bob").await, "{door}");
        nodes.restart(1).await;
        for node in [0, 1] {
            assert!(
                !greets(&mut kept, nodes.http(node), "alice").await,
                "{door}"
            );
            assert!(greets(&mut bob, nodes.http(node), "bob").await, "{door}");
        }
    }
}

#[tokio::test]
async fn remembered_login_holds_over_kill_9() {
    for door in DOORS {
        let mut nodes = Nodes::start(door).await;
        let mut alice = Visitor::new("curl/8");
        let form = [ALICE[0], ALICE[1], ("remember", "on")];
        log_in(&mut alice, nodes.http(0), &form).await;
        alice.restart();
        nodes.kill(0).await;
        assert!(greets(&mut alice, nodes.http(1), "alice").await, "{door}");
        nodes.restart(0).await;
        nodes.kill(1).await;
        alice.restart();
        assert!(greets(&mut alice, nodes.http(0), "alice").await, "{door}");
    }
}

#[tokio::test]
async fn websocket_ends_with_the_session_that_is_ended_on_another_node() {
    for door in DOORS {
        let nodes = Nodes::start(door).await;
        let mut alice = Visitor::new("curl/8");
        log_in(&mut alice, nodes.http(0), &ALICE).await;
        let mut socket = connect(&alice, nodes.http(1)).await;
        assert_eq!(node_of(&mut socket).await, "node2", "{door}");

        alice.post(nodes.http(0), "/devices/end-all", &[]).await;
        let last = socket
            .next()
            .await
            .expect("it says why")
            .expect("it is whole");
        let Message::Close(Some(frame)) = last else {
            panic!("{door}: {last:?}");
        };
        assert_eq!(u16::from(frame.code), 4401, "{door}");
    }
}

#[tokio::test]
async fn websocket_goes_through_the_balancer_to_whichever_node_runs() {
    let mut nodes = Nodes::start("layer").await;
    let http = vec![nodes.http(0), nodes.http(1)];
    let balancer = Balancer::start(http).await.expect("there are free ports");
    let mut alice = Visitor::new("curl/8");
    log_in(&mut alice, balancer.addr(), &ALICE).await;
    let mut first = connect(&alice, balancer.addr()).await;
    let node = node_of(&mut first).await;
    let (dies, stays) = match &*node {
        "node1" => (0, "node2"),
        _ => (1, "node1"),
    };
    nodes.kill(dies).await;
    let last = first.next().await;
    assert!(last.is_none_or(|last| last.is_err()), "it breaks off");
    let mut second = connect(&alice, balancer.addr()).await;
    assert_eq!(node_of(&mut second).await, stays);
}
