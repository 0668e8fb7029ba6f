//! Stopping a node in order: not ready, then no more requests, then no member.

use std::convert::Infallible;

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::{Response, Sse, sse::Event},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_cluster_sessions::{
    Cluster, Event as Told, MemberEventKind as Kind, Session, SessionError, test_util::TestCluster,
};

use crate::{
    app_support::{Server, Socket, get as fetch, in_time, layer_on, page, piece, until},
    http_support::{cookie, start, value, visit},
};

/// What an app needs to end its streams in time.
#[derive(Clone)]
struct Stopping {
    cluster: Cluster,
    /// Tells streams to end.
    streams: CancellationToken,
    /// A server does not wait for its WebSockets, so the app must.
    sockets: TaskTracker,
}

fn app(cluster: &TestCluster) -> (Router, Stopping) {
    let stopping = Stopping {
        cluster: cluster.cluster(0).clone(),
        streams: CancellationToken::new(),
        sockets: TaskTracker::new(),
    };
    let app = Router::new()
        .route("/ready", get(ready))
        .route("/hit", get(hit))
        .route("/socket", get(socket))
        .route("/events", get(events))
        .with_state(stopping.clone())
        .layer(layer_on(cluster, 0));
    (app, stopping)
}

async fn ready(State(stopping): State<Stopping>) -> StatusCode {
    match stopping.cluster.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn hit(session: Session) -> Result<String, SessionError> {
    Ok(session.increment("hits", 1)?.to_string())
}

async fn socket(
    State(stopping): State<Stopping>,
    session: Session,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Stopping {
        streams, sockets, ..
    } = stopping;
    let open = sockets.token();
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        loop {
            let said = tokio::select! {
                said = socket.recv() => said,
                () = streams.cancelled() => break,
            };
            if !matches!(said, Some(Ok(Message::Text(_)))) || session.increment("said", 1).is_err()
            {
                break;
            }
        }
        session.insert("last_words", 1).expect("it lives");
        // The client may be gone, which is as good.
        let _ = socket.send(Message::Close(None)).await;
        drop((session, open));
    })
}

async fn events(
    State(stopping): State<Stopping>,
    session: Session,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = stream::once(async { Ok(Event::default().data("hello")) });
    let last = async move {
        stopping.streams.cancelled().await;
        session.insert("last_event", 1).expect("it lives");
        Ok(Event::default().data("goodbye"))
    };
    Sse::new(hello.chain(stream::once(last)))
}

#[tokio::test]
async fn stop_in_order_turns_readiness_false_ends_streams_says_goodbye_and_loses_nothing() {
    let cluster = TestCluster::start(2).await;
    let mut peers_events = cluster.cluster(1).events();
    let (app, stopping) = app(&cluster);
    let server = Server::start(app).await;
    let at = server.address;
    let first = fetch(at, "/hit", "").await;
    let cookie = cookie(&first).expect("a session");
    let mut socket = Socket::open(at, "/socket", &cookie).await;
    let mut events = fetch(at, "/events", &cookie).await;
    assert_eq!(piece(&mut events).await.as_deref(), Some("data: hello\n\n"));
    assert_eq!(fetch(at, "/ready", "").await.status(), StatusCode::OK);

    // First the balancer is told, while what it still sends is served.
    cluster.cluster(0).drain();
    let not_ready = fetch(at, "/ready", "").await.status();
    assert_eq!(not_ready, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page(at, "/hit", &cookie).await, "2");
    socket.say("still here").await;
    in_time("it is heard", async {
        while count(&cluster, 0, &cookie, "said").await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // Then no more requests are taken, and streams come to their end.
    server.stop();
    stopping.streams.cancel();
    assert_eq!(socket.hear().await, None);
    let goodbye = piece(&mut events).await;
    assert_eq!(goodbye.as_deref(), Some("data: goodbye\n\n"));
    assert_eq!(piece(&mut events).await, None);
    server.stopped().await;
    stopping.sockets.close();
    in_time("sockets end", stopping.sockets.wait()).await;

    // Last the node leaves, and the others have all that was written, also behind the head.
    in_time("it leaves", cluster.cluster(0).leave()).await;
    let left = until(&mut peers_events, |event| {
        matches!(
            event,
            Told::Member(member) if matches!(member.kind, Kind::Left | Kind::Suspect | Kind::Down)
        )
    });
    let Told::Member(left) = left.await else {
        panic!("a member's event was waited for");
    };
    assert_eq!((&*left.name, left.kind), ("node0", Kind::Left));
    let survivor = layer_on(&cluster, 1);
    assert_eq!(value(&survivor, &cookie, "last_words").await, Some(1));
    assert_eq!(value(&survivor, &cookie, "last_event").await, Some(1));
    assert_eq!(count(&cluster, 1, &cookie, "hits").await, 2);
    assert_eq!(count(&cluster, 1, &cookie, "said").await, 1);
}

#[tokio::test]
async fn stream_that_does_not_end_does_not_hold_up_leaving() {
    let cluster = TestCluster::start(2).await;
    let (app, _stopping) = app(&cluster);
    let server = Server::start(app).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let mut events = fetch(server.address, "/events", &cookie).await;
    assert!(piece(&mut events).await.is_some());
    let mut socket = Socket::open(server.address, "/socket", &cookie).await;
    server.stop();
    in_time("it leaves", cluster.cluster(0).leave()).await;
    // What still writes then does it for this node alone, and is not torn.
    socket.say("too late").await;
    in_time("it is heard", async {
        while count(&cluster, 0, &cookie, "said").await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(count(&cluster, 1, &cookie, "said").await, 0);
}

#[tokio::test(start_paused = true)]
async fn node_that_left_serves_sessions_and_creates_none() {
    let cluster = TestCluster::start(2).await;
    let layer = layer_on(&cluster, 0);
    let (known, _) = start(&layer, "a", 1).await;
    cluster.cluster(0).leave().await;
    assert_eq!(value(&layer, &known, "a").await, Some(1));
    let refused = visit(&layer, (), async |session| session.insert("a", 1)).await;
    assert_eq!(cookie(&refused), None);
    assert!(matches!(refused.into_body(), Err(SessionError::Leaving)));
}

async fn count(cluster: &TestCluster, node: usize, cookie: &String, name: &str) -> i64 {
    let layer = layer_on(cluster, node);
    let counted = visit(&layer, cookie, async |session| session.counter(name)).await;
    counted.into_body().expect("it lives")
}
