//! Logins by axum-login that outlive the node they were made on.
//!
//! Two nodes and a balancer, to be looked at in a browser:
//!
//! ```sh
//! cargo run --release -p login
//! ```
//!
//! One node, to be run behind a balancer of your own:
//!
//! ```sh
//! openssl rand -hex 32 > secret
//! cargo run --release -p login -- node --name node1 --http 127.0.0.1:8081 \
//!     --listen 127.0.0.1:4101 --peer 127.0.0.1:4102 --secret-file secret \
//!     --database users.sqlite --demo-users
//! ```

mod account;
mod app;
mod assets;
// The hit counter's own code: what runs nodes as processes is the same.
#[path = "../../hit_counter/src/balancer.rs"]
mod balancer;
mod browser_name;
mod database;
mod demo;
mod devices;
mod door;
mod failure;
mod live;
mod login;
mod node;
mod page;
mod password;
#[path = "../../hit_counter/src/process.rs"]
#[expect(dead_code, reason = "the hit counter uses more of it")]
mod process;
mod remember;
#[path = "../../hit_counter/src/secret.rs"]
mod secret;
#[path = "../../hit_counter/src/stop.rs"]
mod stop;
#[cfg(test)]
mod tests;
mod users;

use std::{
    env,
    error::Error,
    io::{IsTerminal as _, Write as _, stderr},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use tokio::runtime::Runtime;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{demo::DemoArgs, node::NodeArgs};

/// Gives memory back when sessions are gone, which not every system's own allocator does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type BoxError = Box<dyn Error + Send + Sync>;

/// Logs users in, on nodes that may die.
///
/// Without a command: starts two nodes and a round-robin balancer, for a browser.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node until it is told to stop by SIGTERM or ctrl-C
    Node(Box<NodeArgs>),
}

fn main() -> ExitCode {
    log_to_stderr();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads it, the exit code still tells.
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), BoxError> {
    let runtime = Runtime::new()?;
    match cli.command {
        Some(Command::Node(args)) => runtime.block_on(node::run(*args)),
        None => runtime.block_on(demo::run(cli.demo)),
    }
}

/// Logs what `RUST_LOG` asks for, such as `debug` or `login=debug,info`.
fn log_to_stderr() {
    let wanted = env::var("RUST_LOG").ok();
    let wanted = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
    let info = || Targets::new().with_default(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted.unwrap_or_else(info))
        .init();
}
