//! One node: its flags, its start and its orderly end.

use std::{
    io::{self, Write as _, stdout},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_cluster_sessions::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Configuration, Consistency, Expiry, Sync,
};

use crate::{
    BoxError,
    app::{DEFAULT_FILTER, app},
    operators::Operators,
    stop::stop_signal,
};

/// How long open requests may take to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Known to everybody who reads this. Whoever has it can only make requests wait a moment.
const DEVELOPMENT_KEY: &str = "yU54DwKnU7nMgAqXz5LOoK7F3g2b0f6hRkRZ1tXqS3c=";

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Where browsers or the balancer connect, such as 127.0.0.1:8080; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    http: String,
    /// Threads that serve requests [default: one for each core]
    #[arg(long)]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Seconds to serve on after the signal to stop, not ready, so that the balancer sees it first
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    drain: u64,
    /// Holds all that the flags below say, and more, as TOML; variables such as
    /// SESSIONS_ACK_TIMEOUT win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Holds the password for the page at /status, with any user name; without it only a node whose
    /// --http is on loopback has the page, for browsers on this machine
    #[arg(long, value_name = "FILE")]
    status_password_file: Option<PathBuf>,
    #[command(flatten)]
    flags: NodeFlags,
}

#[derive(Debug, Args)]
#[group(id = "flags", multiple = true, conflicts_with = "config")]
struct NodeFlags {
    /// The node's own name, another one on each node
    #[arg(long, required_unless_present = "config", default_value = "")]
    name: String,
    /// Where the other nodes connect, such as 127.0.0.1:4100; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDR",
        required_unless_present = "config",
        default_value = ""
    )]
    listen: String,
    /// Where another node listens; repeat it for each
    #[arg(long = "peer", value_name = "ADDR")]
    peers: Vec<String>,
    /// By what other nodes are found, such as dns:counter:4100; repeat it for each
    #[arg(long, value_name = "SOURCE")]
    discover: Vec<String>,
    /// Seconds between two questions to the name server [default: 5]
    #[arg(long, value_name = "SECONDS")]
    discovery_interval: Option<u64>,
    /// Seconds for which a node that is gone is looked for when nobody tells of it [default: 60]
    #[arg(long, value_name = "SECONDS")]
    forget_after: Option<u64>,
    /// Whether nodes tell each other of nodes, where they prove who they are [default: true]
    #[arg(long, value_name = "BOOL")]
    peer_exchange: Option<bool>,
    /// The name of the cluster, whose nodes refuse those of others [default: sessions]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// With how many peers the node must be linked before it is ready after its start
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_peers: usize,
    /// How many peers must hold a change before the response leaves
    #[arg(long, value_enum, default_value_t)]
    ack: AckArg,
    /// Whether a visitor who meets another node each time reads what he wrote on the last one
    #[arg(long, value_enum, default_value_t)]
    consistency: ConsistencyArg,
    /// Seconds after which an unused session ends [default: 1800]
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u64>,
    /// Holds the secret by which nodes know each other, the same on all, as `openssl rand -hex 32`
    /// makes it; a second line holds the one to come or the one that was [default: none, peers on
    /// this machine only]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_plaintext")]
    secret_file: Option<PathBuf>,
    /// Keeps the sessions in this directory, too, so that they outlive a stop of all nodes
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// When changes are on disk: so often, such as 100ms, or before the response leaves, which is
    /// `response` [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = sync, requires = "data_dir")]
    sync: Option<Sync>,
    /// Sessions that are held at most [default: 1000000]
    #[arg(long)]
    max_sessions: Option<usize>,
    /// Bytes of memory for destroyed sessions, of which 64 is one [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    max_tombstone_bytes: Option<usize>,
    /// Seconds for which a session is kept whose client does not come back [default: 120]
    #[arg(long, value_name = "SECONDS")]
    unconfirmed_timeout: Option<u64>,
    /// Talk to peers beyond this machine without encryption
    #[arg(long)]
    insecure_plaintext: bool,
    /// What the session id ends in, for balancers that stick to the node named there
    #[arg(long)]
    route: Option<String>,
    /// The name of the cookie [default: id]
    #[arg(long, value_name = "NAME")]
    cookie: Option<String>,
    /// Paths of files, whose requests are not use of the session
    #[arg(long, value_name = "REGEX", default_value = DEFAULT_FILTER)]
    filter: String,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum AckArg {
    /// Nobody's: fast, and a crash may lose the last change
    None,
    /// One peer's
    One,
    /// Every live peer's
    #[default]
    All,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ConsistencyArg {
    /// It reads what the node has
    #[default]
    Eventual,
    /// The node gets what it lacks first
    ReadYourWrites,
}

/// Runs the node until SIGTERM or ctrl-C.
pub(crate) async fn run(args: NodeArgs) -> Result<(), BoxError> {
    let stop = stop_signal()?;
    let (cluster, sessions) = match &args.config {
        None => start(&args.flags).await?,
        Some(file) => start_configured(file).await?,
    };
    sessions.check()?;
    let listener = TcpListener::bind(&args.http)
        .await
        .map_err(|source| HttpBindError {
            addr: args.http,
            source,
        })?;

    // Parents and scripts read this line, so that they need not guess when it is up, and where.
    let http = listener.local_addr()?;
    let links = cluster.local_address();
    let links = links.map_or_else(String::new, |links| format!(" and links to {links}"));
    // Nobody needs to read it.
    let _ = writeln!(
        stdout(),
        "{} serves http://{http}{links}",
        cluster.node_name()
    );

    let password = args.status_password_file.as_deref();
    let operators = Operators::new(password, http)
        .map_err(|error| format!("cannot read the password for /status: {error}"))?;
    let app = app(cluster.clone(), sessions, operators);
    let drain = Duration::from_secs(args.drain);
    serve(listener, &cluster, app, (stop, drain)).await?;
    cluster.leave().await;
    Ok(())
}

/// Serves until told to stop and until open requests have ended, within bounds.
async fn serve(
    listener: TcpListener,
    cluster: &Cluster,
    app: Router,
    (stop, drain): (impl Future<Output = ()>, Duration),
) -> Result<(), BoxError> {
    let stopped = CancellationToken::new();
    let server = axum::serve(listener, app)
        .with_graceful_shutdown(stopped.clone().cancelled_owned())
        .into_future();
    let stopping = async {
        stop.await;
        // First the readiness probe turns false, and the balancer has the time to see it.
        cluster.drain();
        tokio::time::sleep(drain).await;
        stopped.cancel();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served?,
        () = stopping => tracing::warn!("requests still open after {GRACE:?} are cut off"),
    }
    Ok(())
}

async fn start_configured(file: &Path) -> Result<(Cluster, ClusterSessionLayer), BoxError> {
    let configuration = Configuration::from_file_and_env(file, "SESSIONS_")?;
    let cluster = Cluster::start(configuration.cluster).await?;
    let layer = ClusterSessionLayer::from_cluster(&cluster).with_options(configuration.layer);
    Ok((cluster, layer))
}

async fn start(args: &NodeFlags) -> Result<(Cluster, ClusterSessionLayer), BoxError> {
    let cluster = Cluster::start(cluster_config(args)).await?;
    let layer = session_layer(args, &cluster)?;
    Ok((cluster, layer))
}

fn cluster_config(args: &NodeFlags) -> ClusterConfig {
    let mut config = ClusterConfig::new(&args.name)
        .listen(&args.listen)
        .peers(&args.peers)
        .min_peers(args.min_peers);
    for source in &args.discover {
        config = config.discover(source);
    }
    if let Some(seconds) = args.discovery_interval {
        config = config.discovery_interval(Duration::from_secs(seconds));
    }
    if let Some(seconds) = args.forget_after {
        config = config.forget_after(Duration::from_secs(seconds));
    }
    if let Some(exchange) = args.peer_exchange {
        config = config.peer_exchange(exchange);
    }
    if let Some(name) = &args.cluster {
        config = config.cluster(name);
    }
    if let Some(file) = &args.secret_file {
        config = config.secret_file(file);
    } else if let ConsistencyArg::ReadYourWrites = args.consistency {
        tracing::warn!("without --secret-file: for development only");
        config = config.consistency_key(DEVELOPMENT_KEY);
    }
    if let Some(directory) = &args.data_dir {
        config = config.data_dir(directory);
    }
    if let Some(sync) = args.sync {
        config = config.sync(sync);
    }
    if let Some(sessions) = args.max_sessions {
        config = config.max_sessions(sessions);
    }
    if let Some(bytes) = args.max_tombstone_bytes {
        config = config.max_tombstone_bytes(bytes);
    }
    if let Some(seconds) = args.unconfirmed_timeout {
        config = config.unconfirmed_timeout(Duration::from_secs(seconds));
    }
    if let Some(route) = &args.route {
        config = config.route(route);
    }
    if args.insecure_plaintext {
        config = config.insecure_plaintext();
    }
    config
}

fn session_layer(args: &NodeFlags, cluster: &Cluster) -> Result<ClusterSessionLayer, BoxError> {
    let mut layer = ClusterSessionLayer::from_cluster(cluster)
        // Browsers send `Secure` cookies over plain HTTP to localhost only, other clients never.
        .insecure_for_development()
        .with_filter(&args.filter)?
        .with_ack(match args.ack {
            AckArg::None => Ack::None,
            AckArg::One => Ack::One,
            AckArg::All => Ack::All,
        })
        .with_consistency(match args.consistency {
            ConsistencyArg::Eventual => Consistency::Eventual,
            ConsistencyArg::ReadYourWrites => Consistency::ReadYourWrites,
        });
    if let Some(seconds) = args.idle_timeout {
        layer = layer.with_expiry(Expiry::idle(Duration::from_secs(seconds)));
    }
    if let Some(name) = &args.cookie {
        layer = layer.with_name(name);
    }
    Ok(layer)
}

/// Reads a time as configurations have it.
fn sync(text: &str) -> Result<Sync, String> {
    let text = serde_json::Value::from(text);
    serde_json::from_value(text).map_err(|error| error.to_string())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot serve http on {addr}: choose another --http address, or port 0 for a free one")]
struct HttpBindError {
    addr: String,
    source: io::Error,
}
