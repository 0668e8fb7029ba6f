//! What balancers and Kubernetes are told when they ask how a node is.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::CACHE_CONTROL};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_cluster_sessions::{Cluster, ClusterConfig, Discovery, probes};

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

#[tokio::test]
async fn node_that_joins_says_for_whom_it_waits() {
    let one = ClusterConfig::new("one").listen("127.0.0.1:0");
    let one = Cluster::start(one).await.expect("a port is free");
    let address = one.local_address().expect("it listens").to_string();
    let two = ClusterConfig::new("two")
        .listen("127.0.0.1:0")
        .peers([&address, "127.0.0.1:9"])
        .min_peers(2);
    let two = Cluster::start(two).await.expect("a port is free");
    let linked = async {
        while two.awaited().linked.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), linked).await;
    waited.expect("they are linked in time");
    assert_eq!(
        probe(&two, "/ready").await,
        not_ready(
            "it has links to 1 of the 2 peers that it needs: linked with [one], which must be [2] \
             at least, no link with [127.0.0.1:9]"
        )
    );
    assert_eq!(probe(&two, "/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn node_that_looks_for_others_says_by_what() {
    let config = ClusterConfig::new("one")
        .listen("127.0.0.1:0")
        .discover_with(Silent)
        .min_peers(1);
    let cluster = Cluster::start(config).await.expect("a port is free");
    assert_eq!(
        probe(&cluster, "/ready").await,
        not_ready(
            "it has no link yet, and needs one peer: linked with [], which must be [1] at \
             least, no link with [discover_with]"
        )
    );
}

/// A discovery that never tells of anybody.
struct Silent;

impl Discovery for Silent {
    async fn next(&mut self) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        std::future::pending().await
    }
}
