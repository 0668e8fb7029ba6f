//! How apps and clusters fit together: one line, no cluster at all, several apps on one.

use axum::{Router, routing::get};
use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, ConfigErrorKind, Readiness, Session, SessionError,
    StartError, test_util::TestCluster,
};

use crate::{
    app_support::{Server, get as fetch, layer_on, page, text},
    http_support::{cookie, start, value, visit},
};

#[tokio::test]
async fn one_line_makes_an_app_a_node() {
    async fn hit(session: Session) -> Result<String, SessionError> {
        let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
        Ok(format!("You have hit this page {hits} times."))
    }
    let app = |layer| Router::new().route("/", get(hit)).layer(layer);

    let one = ClusterSessionLayer::new(ClusterConfig::new("node1").listen("127.0.0.1:0"));
    let address = one
        .cluster()
        .local_address()
        .expect("it listens")
        .to_string();
    let two = ClusterSessionLayer::new(ClusterConfig::new("node2").peer(address));
    assert_eq!(two.cluster().ready().await, Readiness::Synced);
    let servers = [Server::start(app(one)).await, Server::start(app(two)).await];

    let first = fetch(servers[0].address, "/", "").await;
    let cookie = cookie(&first).expect("a session");
    assert_eq!(text(first).await, "You have hit this page 1 times.");
    for hits in 2..10 {
        let told = page(servers[hits % 2].address, "/", &cookie).await;
        assert_eq!(told, format!("You have hit this page {hits} times."));
    }
}

#[tokio::test(start_paused = true)]
async fn standalone_app_opens_no_socket_and_is_ready_at_once() {
    let cluster = Cluster::start(ClusterConfig::standalone()).await.unwrap();
    assert_eq!(cluster.ready().await, Readiness::Alone);
    assert!(cluster.is_ready());
    assert_eq!(cluster.local_address(), None);
    assert!(cluster.members().is_empty());
    let layer = ClusterSessionLayer::from_cluster(&cluster);
    let (cookie, _) = start(&layer, "a", 1).await;
    let replicated = visit(&layer, &cookie, async |session| {
        session.insert("a", 2).unwrap();
        session.replicated().await
    });
    assert_eq!(
        replicated.await.into_body(),
        0,
        "there is nobody to wait for"
    );
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
    cluster.leave().await;
    let with_peer = ClusterConfig::standalone().peer("127.0.0.1:4100");
    assert!(matches!(
        Cluster::start(with_peer).await,
        Err(StartError::Config(error))
            if (error.setting(), error.kind()) == ("peer", ConfigErrorKind::Conflict)
    ));
}

#[tokio::test(start_paused = true)]
async fn apps_share_a_cluster_without_mixing() {
    let cluster = TestCluster::start(2).await;
    let on = |node, context: &str| layer_on(&cluster, node).with_context(context);
    let (shop_cookie, shop_id) = start(&on(0, "shop"), "a", 1).await;
    let (blog_cookie, blog_id) = start(&on(0, "blog"), "a", 2).await;
    assert_ne!(shop_id, blog_id);
    let both = format!("{shop_cookie}; {blog_cookie}");
    for node in 0..2 {
        assert_eq!(value(&on(node, "shop"), &both, "a").await, Some(1));
        assert_eq!(value(&on(node, "blog"), &both, "a").await, Some(2));
        assert_eq!(value(&layer_on(&cluster, node), &both, "a").await, None);
    }
    // The credential of one app opens nothing in another, under whatever name it is sent.
    let (_, credential) = shop_cookie.split_once('=').expect("name and value");
    let planted = format!("__Host-id-blog={credential}");
    assert_eq!(value(&on(1, "blog"), &planted, "a").await, None);
    // One user's log-out in one app is none in the other.
    let ended = cluster
        .cluster(1)
        .sessions("shop")
        .destroy_where("a", &1)
        .await;
    assert_eq!(ended.unwrap().sessions, 1);
    assert_eq!(value(&on(0, "shop"), &both, "a").await, None);
    assert_eq!(value(&on(0, "blog"), &both, "a").await, Some(2));
}
