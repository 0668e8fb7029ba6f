//! The command line, of the benchmark and of the processes it starts.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{bare::BareArgs, group::Links, node::NodeArgs};

/// Measures nodes of a cluster beside bare axum.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// What `cargo bench` says to every benchmark
    #[arg(long = "bench", hide = true, global = true)]
    _bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Latency at half of the highest rate, and the time until another node has a write
    Latency,
    /// What many sessions cost: CPU of a hit and of idling, and memory
    Held,
    /// How long a restarted node takes to get all sessions, and what its donor's users notice
    Transfer,
    /// Bytes between nodes for each hit
    Wire,
    /// What one node more costs: CPU, latency and bytes of a hit, and how long a restart takes
    Nodes,
    /// What other users notice while many sessions end at the same instant
    Expiry,
    /// What sessions on disk cost, beside Redis, and how long a pair takes to come back
    Durable,
    #[command(hide = true)]
    Node(NodeArgs),
    #[command(hide = true)]
    Bare(BareArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Setup {
    /// How often everything is measured; medians are shown
    #[arg(long, default_value = "5", global = true)]
    pub(crate) rounds: NonZeroUsize,
    /// How long each row is measured in each round
    #[arg(long, default_value = "0.4", value_parser = seconds, global = true)]
    pub(crate) seconds: Duration,
    /// Requests under way at a time
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,8,64",
        value_name = "N,N",
        global = true
    )]
    pub(crate) connections: Vec<NonZeroUsize>,
    /// Sessions to hold or to transfer [default: 1000000, and 100000 below the table]
    #[arg(long, global = true)]
    pub(crate) sessions: Option<NonZeroUsize>,
    /// Sizes of clusters, for `nodes`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "2,3,4,8,12",
        value_name = "N,N",
        global = true
    )]
    pub(crate) nodes: Vec<NonZeroUsize>,
    /// Hits in a second in all, for `nodes`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "200,2000,5000",
        value_name = "N,N",
        global = true
    )]
    pub(crate) rates: Vec<u32>,
    /// Encrypt the links between nodes
    #[arg(long, global = true)]
    tls: bool,
    /// Only rows of the table whose name has this text, beside bare axum
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Measure tower-sessions as well, with Redis where redis-server is installed
    #[arg(long, global = true)]
    pub(crate) peers: bool,
}

impl Setup {
    pub(crate) fn links(&self) -> Links {
        if self.tls {
            Links::Tls
        } else {
            Links::Plaintext
        }
    }

    pub(crate) fn many_sessions(&self) -> usize {
        self.sessions.map_or(1_000_000, NonZeroUsize::get)
    }

    pub(crate) fn some_sessions(&self) -> usize {
        self.sessions.map_or(100_000, NonZeroUsize::get)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if seconds < 0.1 {
        return Err("less than 0.1 s says nothing".into());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
