//! Writes after the response's head: behind WebSockets and in streamed bodies.

use std::convert::Infallible;

use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::{Response, Sse, sse::Event},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use tower_cluster_sessions::{Session, test_util::TestCluster};

use crate::{
    app_support::{Server, Socket, get as fetch, layer_on, text},
    http_support::{cookie, start, value, visit},
};

/// Stores what it hears as `said`, and answers with what came of it.
async fn socket(session: Session, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        while let Some(Ok(Message::Text(said))) = socket.recv().await {
            let answer = match session.insert("said", said.as_str().parse::<u64>().ok()) {
                Ok(()) => "stored".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            if socket.send(Message::text(answer)).await.is_err() {
                break;
            }
        }
    })
}

/// Talks until the session ends, and says so.
async fn until_logout(session: Session, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let ended = tokio::select! {
            () = session.ended() => "logged out",
            _ = socket.recv() => "the client spoke",
        };
        let _ = socket.send(Message::text(ended)).await;
    })
}

/// Three events, each of which is stored as `told` when it is sent, and says what came of it.
async fn events(session: Session) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(1..=3).map(move |told: u64| {
        let came_of_it = match session.insert("told", told) {
            Ok(()) => told.to_string(),
            Err(error) => format!("{error:?}"),
        };
        Ok(Event::default().data(came_of_it))
    }))
}

async fn app(cluster: &TestCluster) -> Server {
    let app = Router::new()
        .route("/socket", get(socket))
        .route("/until-logout", get(until_logout))
        .route("/events", get(events))
        .layer(layer_on(cluster, 0));
    Server::start(app).await
}

#[tokio::test]
async fn websocket_writes_to_the_session_and_the_other_node_sees_it() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let mut client = Socket::open(server.address, "/socket", &cookie).await;
    for words in [1, 2, 3] {
        client.say(&words.to_string()).await;
        assert_eq!(client.hear().await.as_deref(), Some("stored"));
        cluster.converged().await;
        let seen = value(&layer_on(&cluster, 1), &cookie, "said").await;
        assert_eq!(seen, Some(words));
    }
}

#[tokio::test]
async fn websocket_cannot_create_a_session() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let mut client = Socket::open(server.address, "/socket", "").await;
    client.say("1").await;
    assert_eq!(client.hear().await.as_deref(), Some("HeadersSent"));
    assert_eq!(cluster.cluster(0).session_count(), 0);
}

#[tokio::test]
async fn websocket_of_a_session_destroyed_on_another_node_is_told_so() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let mut client = Socket::open(server.address, "/socket", &cookie).await;
    let layer = layer_on(&cluster, 1);
    visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    client.say("1").await;
    assert_eq!(client.hear().await.as_deref(), Some("Destroyed"));
}

#[tokio::test]
async fn websocket_learns_of_a_logout_on_another_node() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let mut client = Socket::open(server.address, "/until-logout", &cookie).await;
    let layer = layer_on(&cluster, 1);
    visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    assert_eq!(client.hear().await.as_deref(), Some("logged out"));
    let mut stranger = Socket::open(server.address, "/until-logout", "").await;
    assert_eq!(stranger.hear().await.as_deref(), Some("logged out"));
}

#[tokio::test]
async fn streamed_events_write_to_the_session_and_the_other_node_sees_it() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let response = fetch(server.address, "/events", &cookie).await;
    assert_eq!(self::cookie(&response), None);
    let told = text(response).await;
    assert_eq!(told, "data: 1\n\ndata: 2\n\ndata: 3\n\n");
    cluster.converged().await;
    let seen = value(&layer_on(&cluster, 1), &cookie, "told").await;
    assert_eq!(seen, Some(3));
}

#[tokio::test]
async fn streamed_events_cannot_create_a_session() {
    let cluster = TestCluster::start(2).await;
    let server = app(&cluster).await;
    let response = fetch(server.address, "/events", "").await;
    assert_eq!(cookie(&response), None);
    assert_eq!(text(response).await, "data: HeadersSent\n\n".repeat(3));
    assert_eq!(cluster.cluster(0).session_count(), 0);
}
