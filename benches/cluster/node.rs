//! A node, and its small app.

use std::{path::PathBuf, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    response::IntoResponse,
    routing::get,
};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tower_cluster_sessions::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Expiry, Session, SessionError, Sync,
};

use crate::{
    BoxError,
    clock::now,
    fill::fill,
    pages::{NO_ID, PADDING, PLAIN, sentences},
    served,
};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    name: String,
    #[arg(long)]
    http: String,
    #[arg(long)]
    listen: String,
    #[arg(long)]
    peer: Vec<String>,
    /// Encrypt links with the secret in this file
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// Keep sessions in this directory, too
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// When to write them
    #[arg(long, value_parser = sync)]
    sync: Option<Sync>,
    /// No cluster at all
    #[arg(long)]
    standalone: bool,
    /// Seconds after which an unused session ends
    #[arg(long)]
    idle_timeout: Option<u64>,
}

#[derive(Clone, Debug)]
struct Figures {
    cluster: Cluster,
    /// How long the node took from its start until it had all sessions.
    start: watch::Receiver<Option<Duration>>,
}

pub(crate) async fn serve(args: NodeArgs) -> Result<(), BoxError> {
    let began = now();
    let cluster = Cluster::start(config(&args)).await?;
    let (ready, start) = watch::channel(None);
    let mut layer = ClusterSessionLayer::from_cluster(&cluster).insecure_for_development();
    if let Some(seconds) = args.idle_timeout {
        layer = layer.with_expiry(Expiry::idle(Duration::from_secs(seconds)));
    }
    let waiting = cluster.clone();
    tokio::spawn(async move {
        waiting.ready().await;
        ready.send_replace(Some(now() - began));
    });
    // Apart from the app, so that a hit does not pay for what these handlers need.
    let figures = Router::new()
        .route("/stats", get(stats))
        .route("/ready", get(took))
        .with_state(Figures { cluster, start });
    served::serve(&args.name, &args.http, app(layer).merge(figures)).await
}

/// What the links are made of is decided here alone.
fn config(args: &NodeArgs) -> ClusterConfig {
    let mut config = if args.standalone {
        ClusterConfig::standalone()
    } else {
        ClusterConfig::new(&args.name)
            .listen(&args.listen)
            .peers(&args.peer)
    };
    if let Some(file) = &args.secret_file {
        config = config.secret_file(file);
    }
    if let Some(directory) = &args.data_dir {
        config = config.data_dir(directory);
    }
    if let Some(sync) = args.sync {
        config = config.sync(sync);
    }
    // Those that are made to fill a node have no client that comes back.
    config
        .max_sessions(MAX_SESSIONS)
        .max_bytes(usize::MAX)
        .unconfirmed_timeout(Duration::MAX)
}

fn sync(text: &str) -> Result<Sync, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn app(layer: ClusterSessionLayer) -> Router {
    let acknowledged = Router::new()
        .route("/plain", get(|| async { PLAIN }))
        .route("/hit", get(hit))
        .route("/peek", get(peek))
        .layer(layer.clone().with_ack(Ack::All));
    let unacknowledged = Router::new()
        .route("/hit-none", get(hit))
        .route("/padded", get(padded))
        .route("/ending", get(ending))
        .layer(layer.with_ack(Ack::None));
    let fills = fill(unacknowledged.clone());
    acknowledged.merge(unacknowledged).merge(fills)
}

async fn hit(session: Session) -> Result<String, SessionError> {
    let hits = session.update(HITS, |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
    Ok(page(hits, &session))
}

async fn padded(session: Session) -> Result<String, SessionError> {
    let hits = session.update(HITS, |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
    // Something else each time, so that it is a change.
    let letter = if hits % 2 == 0 { "x" } else { "y" };
    session.insert("padding", letter.repeat(PADDING))?;
    Ok(page(hits, &session))
}

#[derive(Debug, Deserialize)]
struct Ending {
    in_ms: u64,
}

async fn ending(
    session: Session,
    Query(ending): Query<Ending>,
) -> Result<&'static str, SessionError> {
    session.insert("padding", "x".repeat(PADDING))?;
    session.set_expiry(Expiry::absolute(Duration::from_millis(ending.in_ms)))?;
    Ok(PLAIN)
}

async fn peek(session: Session) -> Result<String, SessionError> {
    let hits = session.get(HITS)?.unwrap_or(0);
    Ok(page(hits, &session))
}

fn page(hits: u64, session: &Session) -> String {
    sentences(hits, session.id().as_deref().unwrap_or(NO_ID))
}

async fn stats(State(figures): State<Figures>) -> impl IntoResponse {
    Json(figures.cluster.stats())
}

/// Answers as soon as the node is ready.
async fn took(State(mut figures): State<Figures>) -> impl IntoResponse {
    let took = figures.start.wait_for(Option::is_some).await;
    let took = took.ok().and_then(|took| *took).unwrap_or_default();
    Json(json!({ "ready_after_s": took.as_secs_f64() }))
}

const HITS: &str = "hits";
const MAX_SESSIONS: usize = 4_000_000;
