//! What balancers and Kubernetes are told when they ask how a node is.

use std::time::Duration;

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::CACHE_CONTROL};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_cluster_sessions::{Cluster, ClusterConfig, probes};

async fn probe(cluster: &Cluster, path: &str) -> (StatusCode, String) {
    let app: Router = probes(cluster);
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("it answers");
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let status = response.status();
    let body = response.into_body().collect().await.expect("it is whole");
    let text = String::from_utf8(body.to_bytes().into()).expect("text");
    (status, text)
}

fn not_ready(why: &str) -> (StatusCode, String) {
    let text = format!("not ready: {why}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[tokio::test]
async fn node_is_ready_until_it_is_about_to_stop() {
    let cluster = Cluster::start(ClusterConfig::standalone()).await;
    let cluster = cluster.expect("nothing is bound");
    cluster.ready().await;
    let alive = (StatusCode::OK, "alive\n".to_owned());
    assert_eq!(
        probe(&cluster, "/ready").await,
        (StatusCode::OK, "ready\n".to_owned())
    );
    assert_eq!(probe(&cluster, "/live").await, alive);
    cluster.drain();
    assert_eq!(
        probe(&cluster, "/ready").await,
        not_ready("it is about to stop")
    );
    assert_eq!(probe(&cluster, "/live").await, alive);
    cluster.leave().await;
    assert_eq!(
        probe(&cluster, "/ready").await,
        not_ready("it leaves the cluster")
    );
    assert_eq!(probe(&cluster, "/live").await, alive);
}

#[tokio::test(start_paused = true)]
async fn node_that_waits_for_peers_says_for_how_many_and_not_for_whom() {
    let config = ClusterConfig::new("secret-name")
        .listen("127.0.0.1:0")
        .peer("127.0.0.1:9")
        .min_peers(2);
    let cluster = Cluster::start(config).await.expect("a port is free");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = probe(&cluster, "/ready").await;
    assert_eq!(
        answer,
        not_ready("it has links to 0 of the 2 peers that it needs")
    );
    assert_eq!(probe(&cluster, "/live").await.0, StatusCode::OK);
}
