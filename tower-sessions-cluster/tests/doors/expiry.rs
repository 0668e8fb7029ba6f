//! The kinds of expiry, and what saves a session that was not changed.

use std::{sync::Arc, time::Duration};

use http::header::SET_COOKIE;
use time::{Duration as Span, OffsetDateTime};
use tower_cluster_sessions::{ClusterSessionLayer, Expiry as Limits, test_util::TestCluster};

use super::visitor::{DOORS, Door, Handler, Seal, Visitor, app, send, shown};
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
    for door in DOORS {
        for kind in ["idle", "date", "browser"] {
            let cluster = TestCluster::start(2).await;
            let mut visitor = Visitor::new(&cluster, door, &[0, 1]);
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
            let read = |visitor: &mut Visitor<'_>| {
                let cookie = visitor.cookie.clone();
                let mut again = Visitor::new(&cluster, door, &[1]);
                again.cookie = cookie;
                async move { again.visit(async |s| shown(s.get::<u64>("a").await)).await }
            };
            assert_eq!(read(&mut visitor).await, "Some(1)", "{door:?} {kind}");
            pass(20).await;
            let lives = match (door, kind) {
                // Reading is use for the layer, and not for the store.
                (Door::Layer, "idle") | (_, "browser") => "Some(1)",
                _ => "None",
            };
            assert_eq!(read(&mut visitor).await, lives, "{door:?} {kind}");
            if kind == "idle" {
                pass(70).await;
                assert_eq!(read(&mut visitor).await, "None", "{door:?} {kind}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn store_that_always_saves_puts_the_end_off_by_reading() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| {
        SessionManagerLayer::new(ClusterStore::new(cluster.cluster(node)))
            .with_expiry(Expiry::OnInactivity(Span::seconds(60)))
            .with_always_save(true)
    });
    let routes = axum::Router::new().route("/", axum::routing::get(begin));
    let mut cookie: Option<String> = None;
    for round in 0..5 {
        let app = routes.clone().layer(layers[round % 2].clone());
        let (_, text, headers) = send(app, "/", cookie.as_deref()).await;
        assert_eq!(text, if round == 0 { "()" } else { "1" });
        assert!(max_age(&headers).is_some(), "the cookie is renewed");
        let field = headers[SET_COOKIE].to_str().expect("text");
        cookie = field.split(';').next().map(str::to_owned);
        pass(40).await;
    }
    pass(40).await;
    let app = routes.layer(layers[0].clone());
    assert_eq!(
        send(app, "/", cookie.as_deref()).await.1,
        "()",
        "it has ended"
    );
}

#[tokio::test(start_paused = true)]
async fn expiry_of_the_layer_holds_unless_the_app_sets_one() {
    let cluster = TestCluster::start(1).await;
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0))
        .with_expiry(Limits::absolute(Duration::from_secs(60)))
        .with_persistent_cookie();
    let routes = axum::Router::new().route("/", axum::routing::get(begin));
    let app = routes.layer(SessionLayer::new(layer));
    let (_, _, headers) = send(app.clone(), "/", None).await;
    assert_eq!(max_age(&headers), Some(60));
    let field = headers[SET_COOKIE].to_str().expect("text");
    let cookie = field.split(';').next();
    pass(50).await;
    assert_eq!(send(app.clone(), "/", cookie).await.1, "1");
    pass(20).await;
    assert_eq!(send(app, "/", cookie).await.1, "()");
}

#[tokio::test(start_paused = true)]
async fn store_gives_back_what_it_was_given() {
    let cluster = TestCluster::start(2).await;
    let stores = [0, 1].map(|node| ClusterStore::new(cluster.cluster(node)));
    let mut record = Record {
        id: Id::default(),
        data: serde_json::from_str(r#"{"a": {"b": [1, 2.5, null]}, "c": "ü"}"#).expect("JSON"),
        expiry_date: OffsetDateTime::now_utc() + Span::minutes(30),
    };
    stores[0].create(&mut record).await.expect("there is room");
    for store in &stores {
        assert_eq!(
            store.load(&record.id).await.expect("it lives").as_ref(),
            Some(&record)
        );
    }
    let mut other = record.clone();
    stores[1].create(&mut other).await.expect("there is room");
    assert_ne!(other.id, record.id, "the id was taken");

    stores[1].delete(&record.id).await.expect("it lives");
    stores[0].save(&record).await.expect("nothing to be done");
    for store in &stores {
        assert_eq!(store.load(&record.id).await.expect("no failure"), None);
    }
    let mut again = record.clone();
    stores[0].create(&mut again).await.expect("there is room");
    assert_ne!(again.id, record.id, "a session of that id was destroyed");
    stores[0]
        .delete(&Id::default())
        .await
        .expect("nothing to be done");

    let mut over = record.clone();
    over.expiry_date = OffsetDateTime::now_utc() - Span::seconds(1);
    stores[0].create(&mut over).await.expect("there is room");
    assert_eq!(stores[1].load(&over.id).await.expect("no failure"), None);
}

#[tokio::test(start_paused = true)]
async fn store_works_as_a_cache_and_behind_one() {
    let cluster = TestCluster::start(1).await;
    let store = || ClusterStore::new(cluster.cluster(0));
    let routes = axum::Router::new().route("/", axum::routing::get(begin));
    let apps = [
        routes
            .clone()
            .layer(SessionManagerLayer::new(CachingSessionStore::new(
                store(),
                MemoryStore::default(),
            ))),
        routes.layer(SessionManagerLayer::new(CachingSessionStore::new(
            MemoryStore::default(),
            store(),
        ))),
    ];
    for app in apps {
        let (_, text, headers) = send(app.clone(), "/", None).await;
        assert_eq!(text, "()");
        let field = headers[SET_COOKIE].to_str().expect("text");
        let cookie = field.split(';').next();
        for _ in 0..2 {
            assert_eq!(send(app.clone(), "/", cookie).await.1, "1");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_response_saves_nothing_and_a_cycle_that_failed_keeps_the_session() {
    let cluster = TestCluster::start(1).await;
    let mut visitor = Visitor::new(&cluster, Door::Layer, &[0]);
    visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
    let cookie = visitor.cookie.clone();
    let handler = async |s: Session| {
        s.cycle_id().await.expect("it lives");
        s.insert("b", 2).await.expect("it can be written");
        http::StatusCode::INTERNAL_SERVER_ERROR
    };
    let routes = axum::Router::new().route("/", axum::routing::get(handler));
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0));
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
