//! The quick start of the README.

use std::{env, error::Error};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, Session, SessionError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let args: Vec<String> = env::args().skip(1).collect();
    let [name, http, listen, peer] = args.as_slice() else {
        return Err("usage: counter NAME HTTP-ADDRESS LINK-ADDRESS PEERS-LINK-ADDRESS".into());
    };

    let config = ClusterConfig::new(name).listen(listen).peer(peer);
    let cluster = Cluster::start(config).await?;
    let sessions = ClusterSessionLayer::from_cluster(&cluster)
        // The cookie is for HTTPS only unless you say this. Leave it out in production.
        .insecure_for_development();
    let app = Router::new().route("/", get(hit)).layer(sessions);

    cluster.ready().await;
    let listener = TcpListener::bind(http).await;
    let listener = listener.map_err(|error| format!("cannot serve on {http}: {error}"))?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn hit(session: Session) -> Result<String, SessionError> {
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
    Ok(format!("You have hit this page {hits} times.\n"))
}
