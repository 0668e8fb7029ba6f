//! A page that counts hits, on nodes that find each other by the API of Kubernetes.
//!
//! It takes the name of the pod from `POD_NAME`, and the secret of the cluster from a file.

use std::{env, error::Error};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use kubernetes_discovery::EndpointSlices;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, Session, SessionError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt::init();
    let config = ClusterConfig::new(env::var("POD_NAME")?)
        .listen("0.0.0.0:4100")
        .discover_with(EndpointSlices::in_pod("counter", "links")?)
        .min_peers(1)
        .secret_file("/run/secrets/sessions/cluster-secret");
    let cluster = Cluster::start(config).await?;
    let app = Router::new()
        .route("/", get(hit))
        .layer(ClusterSessionLayer::from_cluster(&cluster))
        .route("/ready", get(ready))
        .with_state(cluster.clone());
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("0.0.0.0:8080").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            terminated.recv().await;
        })
        .await?;
    cluster.leave().await;
    Ok(())
}

async fn hit(session: Session) -> Result<String, SessionError> {
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
    Ok(format!("You have hit this page {hits} times.\n"))
}

async fn ready(State(cluster): State<Cluster>) -> StatusCode {
    if cluster.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
