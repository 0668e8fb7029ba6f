//! What a request on one node means to its peers: two nodes over a network in memory, with virtual
//! time. What one node alone promises is tested from outside.

mod consistency;
mod outside;
#[cfg(all(feature = "signed", feature = "private"))]
mod sealed;
mod secrecy;

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use http::{
    Request, Response,
    header::{COOKIE, SET_COOKIE},
};
use tower::{Layer as _, Service as _, service_fn};

use crate::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Event, MemberState, Session, SessionError,
    SessionEventKind, SessionSlot, node::net::transport::MemoryNetwork,
};

#[tokio::test(start_paused = true)]
async fn response_leaves_after_every_live_peer_has_merged_the_change() {
    let [one, two] = pair().await;
    let mut response = send(&one, "/", None, async |session| session.insert("a", 1));
    assert!(
        poll_once(&mut response).await.is_none(),
        "nobody has acknowledged"
    );
    let cookie = cookie(&response.await).expect("a new session");
    assert_eq!(read(&two, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn ack_none_waits_for_nobody() {
    let [one, _two] = pair().await;
    let one = one.with_ack(Ack::None);
    let mut response = send(&one, "/", None, async |session| session.insert("a", 1));
    assert!(poll_once(&mut response).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn response_that_read_unacknowledged_changes_waits_for_them_too() {
    let [one, two] = pair().await;
    let (mine, other) = (start(&one).await, start(&one).await);
    let mut writer = send(&one, "/", Some(&mine), async |session| {
        session.insert("a", 2)
    });
    assert!(poll_once(&mut writer).await.is_none());

    let value = async |session: Session| session.get::<u64>("a").map(drop);
    let mut of_other = send(&one, "/", Some(&other), value);
    assert!(poll_once(&mut of_other).await.is_some(), "another session");
    let mut without = send(&one, "/", None, value);
    assert!(poll_once(&mut without).await.is_some(), "no session");
    let mut reader = send(&one, "/", Some(&mine), value);
    assert!(poll_once(&mut reader).await.is_none());
    reader.await.into_body().expect("a living session");
    assert_eq!(read(&two, &mine, "a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn dropped_request_is_replicated_to_peers() {
    let [one, two] = pair().await;
    let cookie = start(&one).await;
    let mut response = send(&one, "/", Some(&cookie), async |session| {
        session.insert("a", 2)?;
        std::future::pending().await
    });
    assert!(poll_once(&mut response).await.is_none());
    drop(response);
    // The next response of the session waits for what the dropped one committed.
    assert_eq!(read(&one, &cookie, "a").await, Some(2));
    assert_eq!(read(&two, &cookie, "a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn any_node_serves_cycles_and_destroys_a_session() {
    let [one, two] = pair().await;
    let old = start(&one).await;
    let response = send(&two, "/", Some(&old), async |session| session.cycle_id()).await;
    let new = cookie(&response).expect("the new id");
    let response = send(&one, "/", Some(&old), async |session| {
        assert_eq!(session.get::<u64>("a")?, None);
        session.insert("a", 2)
    })
    .await;
    assert!(matches!(
        response.into_body(),
        Err(SessionError::Superseded)
    ));
    assert_eq!(read(&one, &new, "a").await, Some(1));
    send(&one, "/", Some(&new), async |session| session.destroy()).await;
    assert_eq!(read(&two, &new, "a").await, None);
    assert_eq!(two.cluster().session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_on_two_nodes_at_once_lose_nothing() {
    let [one, two] = pair().await;
    let cookie = start(&one).await;
    let mut first = send(&one, "/", Some(&cookie), async |session| {
        session.insert("b", 1)?;
        session.increment("hits", 1).map(drop)
    });
    let mut second = send(&two, "/", Some(&cookie), async |session| {
        session.insert("c", 1)?;
        session.increment("hits", 1).map(drop)
    });
    assert!(poll_once(&mut first).await.is_none());
    assert!(poll_once(&mut second).await.is_none());
    first.await.into_body().expect("written");
    second.await.into_body().expect("written");
    for node in [&one, &two] {
        let response = send(node, "/", Some(&cookie), async |session| {
            assert_eq!(session.keys()?, ["a", "b", "c", "hits"]);
            assert_eq!(session.counter("hits")?, 2);
            Ok(())
        });
        response.await.into_body().expect("read");
    }
}

#[tokio::test(start_paused = true)]
async fn filtered_writes_travel_with_the_next_commit() {
    let [one, two] = pair().await;
    let one = one.with_filter("/static/.*").expect("valid");
    let cookie = start(&one).await;
    let mut filtered = send(&one, "/static/x", Some(&cookie), async |session| {
        session.insert("b", 2)
    });
    assert!(poll_once(&mut filtered).await.is_some(), "waits for nobody");
    assert_eq!(read(&two, &cookie, "b").await, None);
    let response = send(&one, "/", Some(&cookie), async |session| {
        session.insert("c", 3)
    });
    response.await.into_body().expect("written");
    assert_eq!(read(&two, &cookie, "b").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn session_created_by_a_filtered_request_is_sent_and_acknowledged() {
    let [one, two] = pair().await;
    let one = one.with_filter("/static/.*").expect("valid");
    let mut response = send(&one, "/static/x", None, async |session| {
        session.insert("a", 1)
    });
    assert!(poll_once(&mut response).await.is_none());
    let cookie = cookie(&response.await).expect("a new session");
    assert_eq!(read(&two, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn replicated_counts_the_peers_that_hold_the_change() {
    let [one, two] = pair().await;
    let cookie = start(&one).await;
    let one = one.with_ack(Ack::None);
    let response = send(&one, "/", Some(&cookie), async |session| {
        session.insert("a", 2)?;
        assert_eq!(session.replicated().await, 1);
        Ok(())
    });
    response.await.into_body().expect("written");
    assert_eq!(read(&two, &cookie, "a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn unknown_id_is_asked_for_while_the_state_transfer_is_under_way() {
    let network = MemoryNetwork::default();
    let one = node(&network, 1, 2);
    one.cluster().ready().await;
    // Enough sessions for a transfer of many frames.
    let mut cookies = Vec::new();
    for _ in 0..5000 {
        cookies.push(start(&one).await);
    }
    let two = node(&network, 2, 1);
    let is_linked = || {
        let members = two.cluster().members();
        members.iter().any(|member| member.name.is_some())
    };
    while !is_linked() {
        tokio::task::yield_now().await;
    }
    for cookie in cookies {
        let was_asked_for = two.cluster().stats().lookups > 0;
        if was_asked_for || !two.cluster().node().awaits_transfer() {
            break;
        }
        assert_eq!(read(&two, &cookie, "a").await, Some(1));
    }
    assert_eq!(two.cluster().stats().lookups, 1);
}

#[tokio::test(start_paused = true)]
async fn node_that_left_serves_its_sessions_but_creates_none() {
    let [one, _two] = pair().await;
    let cookie = start(&one).await;
    one.cluster().leave().await;
    assert_eq!(read(&one, &cookie, "a").await, Some(1));
    let response = send(&one, "/", None, async |session| session.insert("a", 1)).await;
    assert!(matches!(response.into_body(), Err(SessionError::Leaving)));
}

#[tokio::test(start_paused = true)]
async fn what_requests_do_to_sessions_is_told() {
    let [one, _two] = pair().await;
    let mut events = one.cluster().events();
    send(&one, "/", None, async |session| {
        session.insert("a", 1)?;
        session.cycle_id()?;
        session.destroy()
    })
    .await;
    let mut told = Vec::new();
    while told.len() < 4 {
        if let Some(Event::Session(event)) = events.recv().await {
            told.push(event.kind);
        }
    }
    let name = "a".into();
    assert_eq!(
        told,
        [
            SessionEventKind::Created,
            SessionEventKind::AttributeChanged { name },
            SessionEventKind::IdCycled,
            SessionEventKind::Destroyed,
        ]
    );
}

type Answer = Response<Result<(), SessionError>>;

/// A request to a layer on this node. `handler` gets the loaded session.
fn send<'a>(
    layer: &ClusterSessionLayer,
    path: &str,
    cookie: Option<&str>,
    handler: impl AsyncFnOnce(Session) -> Result<(), SessionError> + 'a,
) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
    let mut handler = Some(handler);
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let handler = handler.take().expect("one request");
        async move {
            let slot = request.extensions().get::<SessionSlot>();
            let session = slot.expect("a layer").load().await;
            Ok::<_, Infallible>(Response::new(handler(session).await))
        }
    }));
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let response = service.call(request.body(()).expect("a request"));
    Box::pin(async { response.await.unwrap_or_else(|never| match never {}) })
}

async fn poll_once(response: &mut Pin<Box<dyn Future<Output = Answer> + '_>>) -> Option<Answer> {
    poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Starts a session with `a` = 1 and returns its cookie.
async fn start(layer: &ClusterSessionLayer) -> String {
    let response = send(layer, "/", None, async |session| session.insert("a", 1)).await;
    cookie(&response).expect("a new session")
}

async fn read(layer: &ClusterSessionLayer, cookie: &str, name: &str) -> Option<u64> {
    let mut value = None;
    let response = send(layer, "/", Some(cookie), async |session| {
        value = session.get(name)?;
        Ok(())
    });
    response.await.into_body().expect("readable");
    value
}

fn cookie(response: &Answer) -> Option<String> {
    let field = response.headers().get(SET_COOKIE)?.to_str().expect("text");
    Some(field.split(';').next().unwrap_or_default().to_owned())
}

/// Two nodes that are linked and ready.
async fn pair() -> [ClusterSessionLayer; 2] {
    let network = MemoryNetwork::default();
    let nodes = [node(&network, 1, 2), node(&network, 2, 1)];
    for node in &nodes {
        let members = || node.cluster().members();
        wait_until(|| {
            members()
                .iter()
                .all(|member| member.state == MemberState::Up)
        })
        .await;
    }
    nodes
}

fn node(network: &MemoryNetwork, port: u16, peer: u16) -> ClusterSessionLayer {
    let config = ClusterConfig::new(format!("node{port}"))
        .listen(format!("127.0.0.1:{port}"))
        .peer(format!("127.0.0.1:{peer}"));
    let cluster = Cluster::start_with(&config, Arc::new(network.transport(port)));
    ClusterSessionLayer::from_cluster(&cluster.expect("a valid configuration"))
}

/// Virtual time passes while it waits.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
    reached.expect("the condition within a minute");
}
