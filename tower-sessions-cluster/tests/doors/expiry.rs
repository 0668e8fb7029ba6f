//! The kinds of expiry, and what saves a session that was not changed.

use std::{sync::Arc, time::Duration};

use http::header::SET_COOKIE;
use time::{Duration as Span, OffsetDateTime};
use tower_cluster_sessions::{ClusterSessionLayer, Expiry as Limits, test_util::TestCluster};

use super::visitor::{Door, Handler, NODES, Seal, Visitor, app, everywhere, send, shown};
use crate::{
    doors::{ClusterStore, SessionLayer},
    tower_sessions::{
        CachingSessionStore, Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore as _,
        session::{Id, Record},
    },
};

fn max_age(headers: &http::HeaderMap) -> Option<i64> {
    let field = headers.get(SET_COOKIE)?.to_str().expect("text");
    let (_, behind) = field.split_once("Max-Age=")?;
    behind.split(';').next()?.parse().ok()
}

/// Writes `a`, or shows it.
async fn begin(s: Session) -> String {
    match s.get::<u64>("a").await {
        Ok(Some(held)) => held.to_string(),
        Ok(None) => shown(s.insert("a", 1).await),
        Err(error) => panic!("{error}"),
    }
}

fn of_kind(kind: &str) -> Expiry {
    match kind {
        "idle" => Expiry::OnInactivity(Span::seconds(60)),
        "date" => Expiry::AtDateTime(OffsetDateTime::now_utc() + Span::seconds(60)),
        _ => Expiry::OnSessionEnd,
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_expiry_ends_the_session_on_all_nodes_and_tells_the_cookie() {
    for kind in ["idle", "date", "browser"] {
        everywhere(async |_, mut visitor| {
            let door = visitor.door;
            let (_, _, headers) = visitor
                .answer(move |s| async move {
                    s.set_expiry(Some(of_kind(kind)));
                    assert_eq!(
                        s.expiry().is_some_and(|set| set == Expiry::OnSessionEnd),
                        kind == "browser"
                    );
                    assert!(s.expiry_date() > OffsetDateTime::now_utc());
                    assert!(s.expiry_age() > Span::seconds(50));
                    shown(s.insert("a", 1).await)
                })
                .await;
            let told = max_age(&headers);
            match (door, kind) {
                (_, "browser") => assert_eq!(told, None, "{door:?}"),
                (Door::Layer, "idle") => assert!(told > Some(60), "it is renewed by use: {told:?}"),
                _ => assert!(
                    told.is_some_and(|told| (55..=60).contains(&told)),
                    "{told:?}"
                ),
            }
            pass(50).await;
            // Where nobody has written.
            let last = visitor.nodes.last().copied();
            visitor.nodes = last.into_iter().collect();
            let read = async |visitor: &Visitor<'_>| {
                let mut again = visitor.clone();
                again.visit(async |s| shown(s.get::<u64>("a").await)).await
            };
            assert_eq!(read(&visitor).await, "Some(1)", "{door:?} {kind}");
            pass(20).await;
            let lives = match (door, kind) {
                // Reading is use for the layer, and not for the store.
                (Door::Layer, "idle") | (_, "browser") => "Some(1)",
                _ => "None",
            };
            assert_eq!(read(&visitor).await, lives, "{door:?} {kind}");
            if kind == "idle" {
                pass(70).await;
                assert_eq!(read(&visitor).await, "None", "{door:?} {kind}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn store_that_always_saves_puts_the_end_off_by_reading() {
    for nodes in NODES {
        let cluster = TestCluster::start(nodes.len()).await;
        let routes = axum::Router::new().route("/", axum::routing::get(begin));
        let app = |round: usize| {
            let node = nodes[round % nodes.len()];
            let layer = SessionManagerLayer::new(ClusterStore::new(cluster.cluster(node)))
                .with_expiry(Expiry::OnInactivity(Span::seconds(60)))
                .with_always_save(true);
            routes.clone().layer(layer)
        };
        let mut cookie: Option<String> = None;
        for round in 0..5 {
            let (_, text, headers) = send(app(round), "/", cookie.as_deref()).await;
            assert_eq!(text, if round == 0 { "()" } else { "1" });
            assert!(max_age(&headers).is_some(), "the cookie is renewed");
            let field = headers[SET_COOKIE].to_str().expect("text");
            cookie = field.split(';').next().map(str::to_owned);
            pass(40).await;
        }
        pass(40).await;
        let text = send(app(5), "/", cookie.as_deref()).await.1;
        assert_eq!(text, "()", "it has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn expiry_of_the_layer_holds_unless_the_app_sets_one() {
    for nodes in NODES {
        let cluster = TestCluster::start(nodes.len()).await;
        let routes = axum::Router::new().route("/", axum::routing::get(begin));
        let app = |round: usize| {
            let node = nodes[round % nodes.len()];
            let layer = ClusterSessionLayer::from_cluster(cluster.cluster(node))
                .with_expiry(Limits::absolute(Duration::from_secs(60)))
                .with_persistent_cookie();
            routes.clone().layer(SessionLayer::new(layer))
        };
        let (_, _, headers) = send(app(0), "/", None).await;
        assert_eq!(max_age(&headers), Some(60));
        let field = headers[SET_COOKIE].to_str().expect("text");
        let cookie = field.split(';').next();
        pass(50).await;
        assert_eq!(send(app(1), "/", cookie).await.1, "1");
        pass(20).await;
        assert_eq!(send(app(2), "/", cookie).await.1, "()");
    }
}

#[tokio::test(start_paused = true)]
async fn store_gives_back_what_it_was_given() {
    for nodes in NODES {
        let cluster = TestCluster::start(nodes.len()).await;
        let stores = nodes
            .iter()
            .map(|node| ClusterStore::new(cluster.cluster(*node)));
        let stores: Vec<_> = stores.collect();
        let (first, last) = (&stores[0], &stores[stores.len() - 1]);
        let mut record = Record {
            id: Id::default(),
            data: serde_json::from_str(r#"{"a": {"b": [1, 2.5, null]}, "c": "ü"}"#).expect("JSON"),
            expiry_date: OffsetDateTime::now_utc() + Span::minutes(30),
        };
        first.create(&mut record).await.expect("there is room");
        for store in &stores {
            assert_eq!(
                store.load(&record.id).await.expect("it lives").as_ref(),
                Some(&record)
            );
        }
        let mut other = record.clone();
        last.create(&mut other).await.expect("there is room");
        assert_ne!(other.id, record.id, "the id was taken");

        last.delete(&record.id).await.expect("it lives");
        first.save(&record).await.expect("nothing to be done");
        for store in &stores {
            assert_eq!(store.load(&record.id).await.expect("no failure"), None);
        }
        let mut again = record.clone();
        first.create(&mut again).await.expect("there is room");
        assert_ne!(again.id, record.id, "a session of that id was destroyed");
        let unknown = first.delete(&Id::default()).await;
        unknown.expect("nothing to be done");

        let mut over = record.clone();
        over.expiry_date = OffsetDateTime::now_utc() - Span::seconds(1);
        first.create(&mut over).await.expect("there is room");
        assert_eq!(last.load(&over.id).await.expect("no failure"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn store_works_as_a_cache_and_behind_one() {
    for nodes in NODES {
        let cluster = TestCluster::start(nodes.len()).await;
        let store = |node: usize| ClusterStore::new(cluster.cluster(node));
        let routes = axum::Router::new().route("/", axum::routing::get(begin));
        // All nodes have one store behind the cache, and each a cache of its own before one.
        let behind = MemoryStore::default();
        let as_cache = |node: usize| {
            let stores = CachingSessionStore::new(store(node), behind.clone());
            routes.clone().layer(SessionManagerLayer::new(stores))
        };
        let behind_one = |node: usize| {
            let stores = CachingSessionStore::new(MemoryStore::default(), store(node));
            routes.clone().layer(SessionManagerLayer::new(stores))
        };
        for app in [&as_cache as &dyn Fn(usize) -> axum::Router, &behind_one] {
            let (_, text, headers) = send(app(0), "/", None).await;
            assert_eq!(text, "()");
            let field = headers[SET_COOKIE].to_str().expect("text");
            let cookie = field.split(';').next();
            for round in 0..2 {
                let node = nodes[round % nodes.len()];
                assert_eq!(send(app(node), "/", cookie).await.1, "1");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_response_saves_nothing_and_a_cycle_that_failed_keeps_the_session() {
    for nodes in NODES {
        let cluster = TestCluster::start(nodes.len()).await;
        let mut visitor = Visitor::new(&cluster, Door::Layer, nodes);
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let cookie = visitor.cookie.clone();
        let handler = async |s: Session| {
            s.cycle_id().await.expect("it lives");
            s.insert("b", 2).await.expect("it can be written");
            http::StatusCode::INTERNAL_SERVER_ERROR
        };
        let routes = axum::Router::new().route("/", axum::routing::get(handler));
        let last = cluster.cluster(nodes[nodes.len() - 1]);
        let layer = ClusterSessionLayer::from_cluster(last);
        let failing = routes.layer(SessionLayer::new(layer));
        let (_, _, headers) = send(failing, "/", cookie.as_deref()).await;
        assert!(!headers.contains_key(SET_COOKIE));
        let handler: Handler = Arc::new(|s| {
            Box::pin(async move {
                let [a, b] = [s.get::<u64>("a").await, s.get::<u64>("b").await].map(shown);
                format!("{a} {b}")
            })
        });
        let app = app(cluster.cluster(0), Door::Layer, Seal::None, handler);
        assert_eq!(send(app, "/", cookie.as_deref()).await.1, "Some(1) None");
    }
}
