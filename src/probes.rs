//! Routes by which balancers and Kubernetes ask how a node is.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::node::{Cluster, Unready};

/// Returns the routes `/ready` and `/live`, for balancers and Kubernetes.
///
/// | route | answers 200 | answers 503 |
/// |---|---|---|
/// | `/ready` | as long as [`Cluster::is_ready`] | and says why in its body, and as long as it joins, [whom it waits for](Cluster::awaited) |
/// | `/live` | as long as the node runs, ready or not | when its clockwork has stopped for ten seconds, which only a restart mends |
///
/// Probe readiness with the first, and never liveness: a node that receives its sessions is alive,
/// and killing it would begin that anew. Keep the routes from visitors: a node that joins names its
/// peers and their addresses. Add them behind the layer of sessions, so that probes have no part in
/// these.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::Router;
/// use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, probes};
///
/// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let app: Router = Router::new()
///     // .. the routes of the app ..
///     .layer(ClusterSessionLayer::from_cluster(&cluster))
///     .merge(probes(&cluster));
/// # Ok(())
/// # }
/// ```
pub fn probes<S>(cluster: &Cluster) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/ready", get(ready))
        .route("/live", get(live))
        .with_state(cluster.clone())
}

async fn ready(State(cluster): State<Cluster>) -> Response {
    let node = cluster.node();
    match node.unready() {
        None => answer(StatusCode::OK, "ready\n".to_owned()),
        Some(unready) => {
            let awaited = cluster.awaited();
            let mut why = reason(unready, awaited.linked.len(), awaited.min_peers);
            if unready == Unready::Joining {
                why = format!("{why}: {awaited}");
            }
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {why}\n"),
            )
        }
    }
}

async fn live(State(cluster): State<Cluster>) -> Response {
    if cluster.node().is_ticking().await {
        answer(StatusCode::OK, "alive\n".to_owned())
    } else {
        let why = "its clockwork has stopped; restart it";
        answer(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not alive: {why}\n"),
        )
    }
}

/// Returns why a node is not ready, in words that whoever reads them may know.
pub(crate) fn reason(unready: Unready, links: usize, min_peers: usize) -> String {
    match unready {
        Unready::Leaving => "it leaves the cluster".to_owned(),
        Unready::Draining => "it is about to stop".to_owned(),
        Unready::Refused => "no peer lets it in; its log says why".to_owned(),
        Unready::Joining if links == 0 && min_peers == 1 => {
            "it has no link yet, and needs one peer".to_owned()
        }
        Unready::Joining if links < min_peers => {
            format!("it has links to {links} of the {min_peers} peers that it needs")
        }
        Unready::Joining if links == 0 => "it looks for its peers".to_owned(),
        Unready::Joining if links == 1 => "it receives sessions from 1 peer".to_owned(),
        Unready::Joining => format!("it receives sessions from {links} peers"),
    }
}

fn answer(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_count_peers_and_name_none() {
        for (unready, links, min_peers, expected) in [
            (Unready::Joining, 0, 0, "it looks for its peers"),
            (
                Unready::Joining,
                0,
                1,
                "it has no link yet, and needs one peer",
            ),
            (
                Unready::Joining,
                1,
                2,
                "it has links to 1 of the 2 peers that it needs",
            ),
            (Unready::Joining, 2, 2, "it receives sessions from 2 peers"),
            (Unready::Joining, 1, 1, "it receives sessions from 1 peer"),
            (Unready::Draining, 2, 0, "it is about to stop"),
            (Unready::Leaving, 2, 0, "it leaves the cluster"),
            (
                Unready::Refused,
                0,
                0,
                "no peer lets it in; its log says why",
            ),
        ] {
            assert_eq!(reason(unready, links, min_peers), expected);
        }
    }
}
