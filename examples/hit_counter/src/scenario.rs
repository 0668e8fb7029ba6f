//! The how-to's test: hits through a balancer while the nodes are killed and restarted by turns. Then
//! they keep their sessions on disk, too, and are killed at once.

use std::{
    env::{current_exe, temp_dir},
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use crate::{
    BoxError,
    balancer::Balancer,
    browser::Browser,
    data_dir::DataDirs,
    process::{NodePlan, NodeProcess, StartFailure},
    secret::SecretFile,
    stop::stop_signal,
    visitor::Visitor,
};

#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    /// How many times each node is killed
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Go on afterwards, for a browser, until ctrl-C
    #[arg(long)]
    serve: bool,
}

/// Plays it and tells how it went. The code is a failure if a hit or the session was lost.
pub(crate) async fn run(args: ScenarioArgs) -> Result<ExitCode, BoxError> {
    let mut stop = pin!(stop_signal()?);
    let playing = async {
        let mut nodes = Nodes::start().await?;
        let balancer = Balancer::start(nodes.http()).await?;
        let code = play(args.rounds, &mut nodes, balancer.addr()).await?;
        Ok::<_, BoxError>((nodes, balancer, code))
    };
    let (nodes, balancer, code) = tokio::select! {
        played = playing => played?,
        // Dropping the nodes kills them.
        () = &mut stop => return Ok(ExitCode::FAILURE),
    };
    if args.serve {
        let addr = balancer.addr();
        println!("Open http://{addr}/ and reload it. Ctrl-C ends it.");
        stop.await;
    }
    nodes.end().await?;
    Ok(code)
}

async fn play(rounds: u32, nodes: &mut Nodes, balancer: SocketAddr) -> Result<ExitCode, BoxError> {
    let mut visitor = Visitor::new(balancer);
    let all = 0..nodes.running.len();
    println!("request | served by | session id                   | hits");
    println!("--------+-----------+------------------------------+-----");
    for _ in 0..rounds {
        for victim in all.clone() {
            visitor.hit().await;
            nodes.kill(victim).await?;
            visitor.hit().await;
            nodes.restart(victim).await?;
        }
    }
    // Up to here sessions are in memory alone, and one of the nodes has to be there.
    nodes.keep_on_disk()?;
    for victim in all.clone() {
        visitor.hit().await;
        nodes.kill(victim).await?;
        nodes.restart(victim).await?;
    }
    visitor.hit().await;
    nodes.kill_all().await?;
    nodes.restart_all().await?;
    visitor.hit().await;
    println!("{}", visitor.verdict());
    Ok(if visitor.is_content() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The nodes of the cluster, each of which may be dead.
#[derive(Debug)]
struct Nodes {
    executable: PathBuf,
    plans: Vec<NodePlan>,
    running: Vec<Option<NodeProcess>>,
    /// Removed once the nodes are gone, which fields before this one see to.
    data: Option<DataDirs>,
}

impl Nodes {
    async fn start() -> Result<Self, BoxError> {
        // Another process may take a port between its choice and its use.
        const TRIES: usize = 3;
        let mut tries = 1;
        loop {
            match Self::try_start().await {
                Ok(nodes) => return Ok(nodes),
                Err(NodesError::Start(StartFailure::Exited(_))) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_start() -> Result<Self, NodesError> {
        let executable = current_exe()?;
        let secret = Arc::new(SecretFile::new()?);
        let mut plans = vec![NodePlan::new("node1")?, NodePlan::new("node2")?];
        let addresses: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
        for plan in &mut plans {
            plan.peers = addresses.clone();
            plan.peers.retain(|peer| *peer != plan.listen);
            plan.flags = vec!["--route".to_owned(), plan.name.clone()];
            plan.secret = Some(Arc::clone(&secret));
        }
        let mut nodes = Self {
            executable,
            running: plans.iter().map(|_| None).collect(),
            plans,
            data: None,
        };
        for index in 0..nodes.plans.len() {
            nodes.running[index] = Some(nodes.spawn(index).await?);
        }
        for node in nodes.running.iter().flatten() {
            until(node.http, "ready and linked", |status| {
                is_ready(status) && sees_all_up(status)
            })
            .await?;
        }
        Ok(nodes)
    }

    async fn spawn(&self, index: usize) -> Result<NodeProcess, StartFailure> {
        let mut command = self.plans[index].command(&self.executable);
        if std::env::var_os("RUST_LOG").is_none() {
            // Their own lines would tear the table.
            command.env("RUST_LOG", "error");
        }
        NodeProcess::start(command).await
    }

    async fn kill(&mut self, index: usize) -> Result<(), BoxError> {
        if let Some(node) = self.running[index].take() {
            node.kill().await?;
            tell(&self.plans[index].name, "killed with SIGKILL");
        }
        Ok(())
    }

    /// Kills all before it waits for any to be gone.
    async fn kill_all(&mut self) -> io::Result<()> {
        for node in self.running.iter_mut().flatten() {
            node.child.start_kill()?;
        }
        for node in self.running.iter_mut().filter_map(Option::take) {
            node.kill().await?;
        }
        tell("both", "killed with SIGKILL at once");
        Ok(())
    }

    async fn restart(&mut self, index: usize) -> Result<(), BoxError> {
        self.running[index] = Some(self.spawn(index).await?);
        let plan = &self.plans[index];
        let status = until(plan.http, "ready", is_ready).await?;
        let sessions = &status["sessions"];
        let how = match plan.data_dir {
            Some(_) => "restarted with a data directory and ready",
            None => "restarted and ready",
        };
        tell(&plan.name, &format!("{how}, sessions: {sessions}"));
        Ok(())
    }

    /// Starts all nodes that are dead, and then waits for them: the first that comes up waits a
    /// moment for the others.
    async fn restart_all(&mut self) -> Result<(), BoxError> {
        for index in 0..self.plans.len() {
            self.running[index] = Some(self.spawn(index).await?);
        }
        let mut sessions = Vec::new();
        for plan in &self.plans {
            let status = until(plan.http, "ready", is_ready).await?;
            sessions.push(status["sessions"].to_string());
        }
        let sessions = sessions.join(" and ");
        let what = format!("restarted with their data directories and ready, sessions: {sessions}");
        tell("both", &what);
        Ok(())
    }

    /// Has each node keep its sessions on disk from its next start on, before a response leaves.
    fn keep_on_disk(&mut self) -> io::Result<()> {
        let data = self.data.insert(DataDirs::new(&temp_dir())?);
        for plan in &mut self.plans {
            plan.data_dir = Some(data.of(&plan.name));
            plan.flags.extend(["--sync", "response"].map(str::to_owned));
        }
        Ok(())
    }

    async fn end(self) -> io::Result<()> {
        let Self { running, data, .. } = self;
        for node in running.into_iter().flatten() {
            node.kill().await?;
        }
        drop(data);
        Ok(())
    }

    fn http(&self) -> Vec<SocketAddr> {
        self.plans.iter().map(|plan| plan.http).collect()
    }
}

/// A line of the table that is no request.
fn tell(node: &str, what: &str) {
    println!("        | {node:<9} | {what}");
}

/// Asks a node for its state until it is as wanted.
async fn until(
    http: SocketAddr,
    what: &'static str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, NodesError> {
    const PAUSE: Duration = Duration::from_millis(20);
    // Longer than the longest time a state transfer may take.
    const PATIENCE: Duration = Duration::from_secs(75);
    let asking = async {
        let mut browser = Browser::new();
        loop {
            if let Ok(page) = browser.get(http, "/cluster.json").await
                && let Ok(status) = serde_json::from_str(&page.text)
                && wanted(&status)
            {
                return status;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .map_err(|_| NodesError::Never { http, what })
}

fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}

fn sees_all_up(status: &Value) -> bool {
    status["members"]
        .as_array()
        .is_some_and(|members| members.iter().all(|member| member["state"] == "up"))
}

#[derive(Debug, thiserror::Error)]
enum NodesError {
    #[error(transparent)]
    Start(#[from] StartFailure),
    #[error("ports or the executable cannot be had: {0}")]
    Io(#[from] io::Error),
    #[error("the node at {http} is not {what} in time")]
    Never {
        http: SocketAddr,
        what: &'static str,
    },
}
