//! A page that counts your visits, served by nodes that may die at any time.
//!
//! The whole story on one machine, two nodes and a balancer that does not stick:
//!
//! ```sh
//! cargo run --release -p hit_counter
//! cargo run --release -p hit_counter -- --serve   # then look at it in a browser
//! ```
//!
//! One node, to be run behind a balancer of your own:
//!
//! ```sh
//! openssl rand -hex 32 > secret
//! cargo run --release -p hit_counter -- node --name node1 --http 127.0.0.1:8081 \
//!     --listen 127.0.0.1:4101 --peer 127.0.0.1:4102 --secret-file secret
//! ```

mod app;
mod balancer;
mod browser;
mod data_dir;
mod node;
mod operators;
mod page;
mod process;
mod scenario;
mod secret;
mod stop;
mod visitor;

use std::{
    env,
    error::Error,
    fs,
    io::{IsTerminal, Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use tokio::runtime::Builder;
use tower_cluster_sessions::ServerXml;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{node::NodeArgs, scenario::ScenarioArgs};

/// Gives memory back when sessions are gone, which not every system's own allocator does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type BoxError = Box<dyn Error + Send + Sync>;

/// Counts hits in a session that outlives the node it was made on.
///
/// Without a command: starts two nodes and a round-robin balancer, kills the nodes by turns, gives
/// them directories for their sessions, kills both at once, and tells whether any hit was lost.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node until it is told to stop by SIGTERM or ctrl-C
    Node(Box<NodeArgs>),
    /// Shows what the `<Cluster>` of a Tomcat's server.xml becomes: a file for `node --config`, and
    /// in its comments what is not carried over
    ServerXml {
        /// The server.xml
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    log_to_stderr();
    run(Cli::parse()).unwrap_or_else(|error| {
        // Where nobody reads it, the exit code still tells.
        let _ = writeln!(stderr(), "error: {}", with_causes(&*error));
        ExitCode::FAILURE
    })
}

/// Logs what `RUST_LOG` asks for, such as `debug` or `tower_cluster_sessions=debug,info`.
fn log_to_stderr() {
    let wanted = env::var("RUST_LOG").ok();
    let wanted = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
    let info = || Targets::new().with_default(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        // It would tell of a line that cannot be written with `eprintln!`, which panics then.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted.unwrap_or_else(info))
        .init();
}

fn run(cli: Cli) -> Result<ExitCode, BoxError> {
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all();
    match cli.command {
        Some(Command::Node(args)) => {
            if let Some(workers) = args.workers {
                runtime.worker_threads(workers.get());
            }
            runtime.build()?.block_on(node::run(*args))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::ServerXml { file }) => {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            write!(stdout(), "{}", ServerXml::parse(&text)?)?;
            Ok(ExitCode::SUCCESS)
        }
        None => runtime.build()?.block_on(scenario::run(cli.scenario)),
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // An error that shows its cause itself need not say it twice.
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
