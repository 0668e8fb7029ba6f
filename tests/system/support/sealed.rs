//! Visitors whose cookies are sealed with keys of the app: the route is behind the seal.

use std::{collections::BTreeSet, net::SocketAddr};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, CookieKey, Session, SessionError,
};

use super::browser::Browser;

pub(crate) type Seal = fn(ClusterSessionLayer) -> ClusterSessionLayer;

/// All ways to seal.
pub(crate) const SEALS: [(&str, Seal); 2] = [
    ("signed", |layer| layer.with_signed(CookieKey::generate())),
    ("private", |layer| layer.with_private(CookieKey::generate())),
];

/// Two apps without peers: a request that goes astray finds no session there.
pub(crate) async fn start_two_alone(seal: Seal) -> [SocketAddr; 2] {
    [
        start_alone("node1", seal).await,
        start_alone("node2", seal).await,
    ]
}

async fn start_alone(name: &'static str, seal: Seal) -> SocketAddr {
    let config = ClusterConfig::standalone().route(name);
    let sessions = ClusterSessionLayer::new(config).insecure_for_development();
    let hit = async move |session: Session| {
        let hits = session.increment("hits", 1)?;
        Ok::<_, SessionError>(format!("{name} {hits}"))
    };
    let app = Router::new()
        .route("/hit", get(hit))
        .layer(seal(sessions))
        .route("/plain", get(async || "It needs no session."))
        .route("/ready", get(async || "ready"));
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("loopback has a free port");
    let http = listener.local_addr().expect("it is bound");
    tokio::spawn(axum::serve(listener, app).into_future());
    http
}

/// Visitors of these two apps stay where their sessions are.
pub(crate) async fn stick_by_sealed_cookies(http: SocketAddr) {
    let mut homes = BTreeSet::new();
    for _ in 0..4 {
        let mut browser = Browser::new();
        let first = browser.get(http, "/hit").await.expect("a page");
        let (home, _) = first.text.split_once(' ').expect("a name and a count");
        for hits in 2..=6 {
            let page = browser.get(http, "/hit").await.expect("a page");
            assert_eq!(page.text, format!("{home} {hits}"));
        }
        homes.insert(home.to_owned());
    }
    assert_eq!(homes.len(), 2, "new sessions are spread: {homes:?}");
}
