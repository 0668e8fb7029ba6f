//! Two nodes and a balancer, to be looked at in a browser.

use std::{
    env::{current_exe, temp_dir},
    fs::{DirBuilder, remove_dir_all},
    io::{self, Write as _, stderr, stdout},
    path::PathBuf,
    process,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    BoxError,
    balancer::Balancer,
    door::DoorKind,
    process::{NodePlan, NodeProcess, StartFailure},
    secret::SecretFile,
    stop::stop_signal,
    users::DEMO_USERS,
};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// By which of the two ways the sessions of tower-sessions come from the cluster
    #[arg(long, value_enum, default_value_t)]
    door: DoorKind,
}

/// Runs them until ctrl-C. A node that ends is started again after a while.
pub(crate) async fn run(args: DemoArgs) -> Result<(), BoxError> {
    let stop = stop_signal()?;
    let folder = Folder::new()?;
    let plans = plans(&folder, args.door)?;
    let balancer = Balancer::start(plans.iter().map(|plan| plan.http).collect()).await?;
    let stopping = CancellationToken::new();
    let mut nodes = JoinSet::new();
    // One after the other: the first makes the database.
    for plan in plans {
        let node = start(&plan).await?;
        nodes.spawn(keep_running(plan, node, stopping.clone()));
    }
    tell(&format!("Open http://{}/ and log in.", balancer.addr()));
    for (name, password, _) in DEMO_USERS {
        tell(&format!("  name {name}, password {password}"));
    }
    tell("Kill a node: it is started again ten seconds later. Ctrl-C ends all.");
    tokio::select! {
        () = stop => stopping.cancel(),
        Some(ended) = nodes.join_next() => ended??,
    }
    while let Some(ended) = nodes.join_next().await {
        ended??;
    }
    Ok(())
}

fn plans(folder: &Folder, door: DoorKind) -> Result<Vec<NodePlan>, BoxError> {
    let door = door.to_possible_value().ok_or("a door without a name")?;
    let database = folder.0.join("users.sqlite");
    let database = database
        .to_str()
        .ok_or("a temporary folder whose name is no text")?;
    let secret = Arc::new(SecretFile::new()?);
    let mut plans = vec![NodePlan::new("node1")?, NodePlan::new("node2")?];
    let addresses: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
    for plan in &mut plans {
        plan.peers.clone_from(&addresses);
        plan.peers.retain(|peer| *peer != plan.listen);
        plan.secret = Some(Arc::clone(&secret));
        let flags = [
            "--demo-users",
            "--database",
            database,
            "--door",
            door.get_name(),
        ];
        plan.flags = flags.map(str::to_owned).to_vec();
    }
    Ok(plans)
}

async fn start(plan: &NodePlan) -> Result<NodeProcess, StartFailure> {
    let node = NodeProcess::start(plan.command(&current_exe()?)).await?;
    let id = node.child.id().unwrap_or_default();
    tell(&format!("{} runs: kill -9 {id}", plan.name));
    Ok(node)
}

/// Starts a node again whenever it has ended, until all are to stop.
async fn keep_running(
    plan: NodePlan,
    mut node: NodeProcess,
    stopping: CancellationToken,
) -> Result<(), StartFailure> {
    loop {
        let status = tokio::select! {
            status = node.child.wait() => status?,
            () = stopping.cancelled() => return Ok(node.kill().await?),
        };
        tell(&format!("{} has ended: {status}", plan.name));
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stopping.cancelled() => return Ok(()),
        }
        node = start(&plan).await?;
    }
}

fn tell(what: &str) {
    // Nobody needs to read it.
    let _ = writeln!(stdout(), "{what}");
}

/// A folder that only this user can read, gone when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = temp_dir().join(format!("login-{}", process::id()));
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove_dir_all(&self.0) {
            // Where nobody reads it, there is nobody to tell.
            let _ = writeln!(stderr(), "{} stays: {error}", self.0.display());
        }
    }
}

const PAUSE: Duration = Duration::from_secs(10);
