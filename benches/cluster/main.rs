//! What replicated sessions cost: nodes as processes of their own, driven by a load generator that
//! checks every answer, beside bare axum processes that answer the same.
//!
//! ```sh
//! cargo bench --bench cluster                                # the table, in less than two minutes
//! cargo bench --bench cluster -- --rounds 15 --seconds 5     # the same for the record
//! cargo bench --bench cluster -- --peers                     # with tower-sessions beside it
//! cargo bench --bench cluster -- latency                     # or held, transfer, wire, nodes, expiry
//! cargo bench --bench cluster -- durable                     # sessions on disk, beside Redis
//! cargo bench --bench cluster -- --tls                       # with encrypted links
//! ```
//!
//! It reads `/proc`, so it needs Linux. What the figures mean is in `docs/performance.md`.

mod bare;
mod client;
mod clock;
mod cpu;
#[path = "../../examples/hit_counter/src/data_dir.rs"]
mod data_dir;
mod durable;
mod echo;
mod expiry;
mod figures;
mod fill;
mod group;
mod held;
mod latency;
mod load;
mod node;
mod nodes;
mod options;
mod pages;
mod peers;
#[path = "../../examples/hit_counter/src/process.rs"]
mod process;
mod queue;
mod rows;
mod sample;
#[path = "../../examples/hit_counter/src/secret.rs"]
mod secret;
mod served;
mod table;
mod throughput;
mod transfer;
mod visible;
mod visitor;
mod wire;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use tokio::runtime::Builder;

use crate::options::{Command, Options};

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), BoxError> {
    let setup = options.setup;
    match options.command {
        Some(Command::Node(args)) => return served::run(node::serve(args)),
        Some(Command::Bare(args)) => return served::run(bare::serve(args)),
        _ => {}
    }
    // One thread, so that the load leaves the processors to the nodes.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.command {
            Some(Command::Latency) => latency::run(&setup).await,
            Some(Command::Held) => held::run(&setup).await,
            Some(Command::Transfer) => transfer::run(&setup).await,
            Some(Command::Wire) => wire::run(&setup).await,
            Some(Command::Nodes) => nodes::run(&setup).await,
            Some(Command::Expiry) => expiry::run(&setup).await,
            Some(Command::Durable) => durable::run(&setup).await,
            _ => throughput::run(&setup).await,
        }
    })
}
