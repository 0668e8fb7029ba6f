//! One node: its flags, its start and its orderly end.

use std::{
    io::{Write as _, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_cluster_sessions::{Cluster, ClusterConfig};

use crate::{
    BoxError,
    app::{App, Scheme},
    database::Database,
    door::DoorKind,
    login::{SERIES, USER},
    stop::stop_signal,
    users::Users,
};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's own name, another one on each node
    #[arg(long)]
    name: String,
    /// Where browsers or the balancer connect, such as 127.0.0.1:8080; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    http: String,
    /// Where the other nodes connect, such as 127.0.0.1:4100; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Where another node listens; repeat it for each
    #[arg(long = "peer", value_name = "ADDR")]
    peers: Vec<String>,
    /// Holds the secret by which nodes know each other, the same on all, as `openssl rand -hex 32`
    /// makes it [default: none, peers on this machine only]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Holds the users; all nodes of a machine can share it
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// Adds users whose passwords everybody knows
    #[arg(long)]
    demo_users: bool,
    /// By which of the two ways the sessions of tower-sessions come from the cluster
    #[arg(long, value_enum, default_value_t)]
    door: DoorKind,
    /// Browsers reach the app by HTTPS: cookies are for HTTPS alone
    #[arg(long)]
    https: bool,
    /// Seconds to serve on after the signal to stop, not ready, so that the balancer sees it first
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    drain: u64,
}

/// Runs the node until SIGTERM or ctrl-C.
pub(crate) async fn run(args: NodeArgs) -> Result<(), BoxError> {
    let stop = stop_signal()?;
    let users = Users::new(Database::open(&args.database)?);
    if args.demo_users {
        users.add_demo_users().await?;
    }
    let cluster = Cluster::start(cluster_config(&args)).await?;
    let scheme = if args.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let app = App::new(cluster.clone(), users, args.door, scheme);
    let listener = TcpListener::bind(&args.http)
        .await
        .map_err(|error| format!("cannot serve http on {}: {error}", args.http))?;

    // Parents and scripts read this line, so that they need not guess when it is up, and where.
    let http = listener.local_addr()?;
    let links = cluster.local_address();
    let links = links.map_or_else(String::new, |links| format!(" and links to {links}"));
    // Nobody needs to read it.
    let _ = writeln!(stdout(), "{} serves http://{http}{links}", args.name);

    let drain = Duration::from_secs(args.drain);
    serve(listener, &cluster, app, (stop, drain)).await?;
    cluster.leave().await;
    Ok(())
}

fn cluster_config(args: &NodeArgs) -> ClusterConfig {
    let config = ClusterConfig::new(&args.name)
        .listen(&args.listen)
        .peers(&args.peers);
    let config = indexed(config);
    match &args.secret_file {
        Some(file) => config.secret_file(file),
        None => config,
    }
}

/// Adds what sessions are found by: devices by their user, and what goes with a remembered login.
pub(crate) fn indexed(config: ClusterConfig) -> ClusterConfig {
    config.index(USER).index(SERIES)
}

/// Serves until told to stop and until open requests have ended, within bounds.
async fn serve(
    listener: TcpListener,
    cluster: &Cluster,
    app: App,
    (stop, drain): (impl Future<Output = ()>, Duration),
) -> Result<(), BoxError> {
    let stopped = CancellationToken::new();
    let sockets = app.stopping.clone();
    let server = axum::serve(listener, app.router())
        .with_graceful_shutdown(stopped.clone().cancelled_owned())
        .into_future();
    let stopping = async {
        stop.await;
        // First the readiness probe turns false, and the balancer has the time to see it.
        cluster.drain();
        tokio::time::sleep(drain).await;
        // Browsers open their WebSockets again, at another node.
        sockets.cancel();
        stopped.cancel();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served?,
        () = stopping => tracing::warn!("requests still open after {GRACE:?} are cut off"),
    }
    Ok(())
}

/// How long open requests may take to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);
