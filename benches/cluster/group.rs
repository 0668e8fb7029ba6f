//! Servers that belong together, as processes of their own.

use std::{
    collections::VecDeque,
    env::current_exe,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    BoxError,
    client::{Connection, ask_json},
    clock::now,
    cpu::{CpuTime, resident_bytes},
    process::{NodePlan, NodeProcess, free_addr},
    secret::SecretFile,
    visitor::Visitor,
};

/// Ends with all its processes when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    servers: Vec<NodeProcess>,
    /// A process that the servers need, such as a database.
    helper: Option<NodeProcess>,
    kind: Kind,
}

/// What nodes talk through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links {
    Plaintext,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cluster,
    /// Knows nothing of `/stats`.
    Other,
}

impl Group {
    pub(crate) async fn bare(count: usize) -> Result<Self, BoxError> {
        let executable = current_exe()?;
        Self::of_commands(count, None, |http| command(&executable, http, &["bare"])).await
    }

    pub(crate) async fn standalone() -> Result<Self, BoxError> {
        let mut plan = NodePlan::new("alone")?;
        plan.flags.push("--standalone".to_owned());
        Self::of_nodes(vec![start_node(&plan).await?]).await
    }

    /// Nodes that know each other, once they do.
    pub(crate) async fn cluster(
        count: usize,
        links: Links,
        flags: &[String],
    ) -> Result<Self, BoxError> {
        let mut nodes = Vec::new();
        for plan in plans(count, links, flags)? {
            nodes.push(start_node(&plan).await?);
        }
        Self::of_nodes(nodes).await
    }

    pub(crate) async fn of_nodes(servers: Vec<NodeProcess>) -> Result<Self, BoxError> {
        let group = Self {
            servers,
            helper: None,
            kind: Kind::Cluster,
        };
        let peers = group.servers.len() - 1;
        group
            .until("linked", |stats| {
                let members = stats["members"].as_array();
                let up = members.into_iter().flatten().filter(|m| m["state"] == "up");
                stats["ready"] == true && up.count() == peers
            })
            .await?;
        Ok(group)
    }

    /// A node that others will join later.
    pub(crate) fn of_one(server: NodeProcess) -> Self {
        Self {
            servers: vec![server],
            helper: None,
            kind: Kind::Cluster,
        }
    }

    /// Servers that are told where to serve HTTP.
    pub(crate) async fn of_commands(
        count: usize,
        helper: Option<NodeProcess>,
        command: impl Fn(SocketAddr) -> Command,
    ) -> Result<Self, BoxError> {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(NodeProcess::start(command(free_addr()?)).await?);
        }
        Ok(Self {
            servers,
            helper,
            kind: Kind::Other,
        })
    }

    pub(crate) fn servers(&self) -> &[NodeProcess] {
        &self.servers
    }

    /// Kills all servers before it waits for any to be gone.
    pub(crate) async fn kill_all(mut self) -> Result<(), BoxError> {
        for server in &mut self.servers {
            server.child.start_kill()?;
        }
        for server in self.servers.drain(..) {
            server.kill().await?;
        }
        Ok(())
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.http).collect()
    }

    /// The CPU time of the first `servers` servers, and of what they need.
    pub(crate) fn cpu_times(&self, servers: usize) -> Result<Vec<CpuTime>, BoxError> {
        let servers = self.servers.iter().take(servers);
        let times = servers
            .chain(&self.helper)
            .map(|process| Ok(CpuTime::of(process_id(process)?)?));
        times.collect()
    }

    /// The memory of each server, and of what they need.
    pub(crate) fn resident_bytes(&self) -> Result<Vec<u64>, BoxError> {
        let processes = self.servers.iter().chain(&self.helper);
        let bytes = processes.map(|process| Ok(resident_bytes(process_id(process)?)?));
        bytes.collect()
    }

    /// The same once it hardly changes any more: sessions come to rest in the second after their last
    /// use, and allocators give back what is free when it has been free for a while.
    pub(crate) async fn settled_bytes(&self) -> Result<Vec<u64>, BoxError> {
        let mut looks = VecDeque::from([self.resident_bytes()?]);
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.resident_bytes()?;
            let is_near = |before: &Vec<u64>| {
                let mut changes = before.iter().zip(&now);
                changes.all(|(before, now)| before.abs_diff(*now) <= now / 1000)
            };
            if looks.len() == SETTLED_LOOKS && looks.iter().all(is_near) {
                return Ok(now);
            }
            looks.truncate(SETTLED_LOOKS - 1);
            looks.push_front(now);
        }
    }

    /// What its nodes have sent each other; `None` if they are no nodes of a cluster.
    pub(crate) async fn sent_bytes(&self) -> Result<Option<Vec<u64>>, BoxError> {
        if self.kind == Kind::Other || self.servers.len() < 2 {
            return Ok(None);
        }
        let mut sent = Vec::new();
        for stats in self.stats().await? {
            let members = stats["members"].as_array().into_iter().flatten();
            sent.push(members.filter_map(|m| m["sent_bytes"].as_u64()).sum());
        }
        Ok(Some(sent))
    }

    /// Makes sessions at the first server. The visitors who own them have one hit, and come in no
    /// order that the server's memory could have.
    pub(crate) async fn fill(&self, sessions: usize) -> Result<Vec<Visitor>, BoxError> {
        let address = self.addresses()[0];
        let mut connection = Connection::open(address).await?;
        let mut visitors = Vec::with_capacity(sessions);
        while visitors.len() < sessions {
            let some = (sessions - visitors.len()).min(1000);
            let path = format!("/fill?sessions={some}");
            let cookies = connection.get(&path, "").await?.body.lines();
            visitors.extend(cookies.map(|cookie| Visitor::new(cookie, 1, 0)));
        }
        // Ids are random, so their ends are.
        visitors.sort_by(|one, two| one.cookie().bytes().rev().cmp(two.cookie().bytes().rev()));
        Ok(visitors)
    }

    /// Makes so many sessions at each server.
    pub(crate) async fn fill_each(&self, sessions: usize) -> Result<(), BoxError> {
        for address in self.addresses() {
            let mut connection = Connection::open(address).await?;
            let path = format!("/fill?sessions={sessions}");
            connection.get(&path, "").await?;
        }
        Ok(())
    }

    /// Makes sessions at the first server that all end then.
    pub(crate) async fn fill_ending(&self, sessions: usize, end: Instant) -> Result<(), BoxError> {
        let mut connection = Connection::open(self.addresses()[0]).await?;
        let mut left = sessions;
        while left > 0 {
            let some = left.min(1000);
            left -= some;
            let in_ms = end.saturating_duration_since(now()).as_millis();
            let path = format!("/fill?sessions={some}&end_in_ms={in_ms}");
            connection.get(&path, "").await?;
        }
        Ok(())
    }

    /// Kills the last node and starts it again. Returns how many seconds it took from its start until
    /// it had all sessions.
    pub(crate) async fn restart_last(&mut self, plan: &NodePlan) -> Result<f64, BoxError> {
        let last = self.servers.pop().ok_or("a group without servers")?;
        last.kill().await?;
        let node = start_node(plan).await?;
        let ready = ask_json(node.http, "/ready").await?;
        self.servers.push(node);
        let took = ready["ready_after_s"].as_f64();
        took.ok_or_else(|| "a node that does not say when it was ready".into())
    }

    pub(crate) async fn until_all_hold(&self, sessions: usize) -> Result<(), BoxError> {
        let what = format!("holding {sessions} sessions");
        self.until(&what, |stats| stats["sessions"] == sessions)
            .await
    }

    /// Waits until all changes are on the disks of the nodes.
    pub(crate) async fn until_all_saved(&self) -> Result<(), BoxError> {
        self.until("saved", |stats| stats["disk"]["unsaved"] == 0)
            .await
    }

    /// The bytes of changes that all nodes have written.
    pub(crate) async fn disk_figures(&self) -> Result<u64, BoxError> {
        let written = self.stats().await?.into_iter().map(|stats| {
            let written = stats["disk"]["written_bytes"].as_u64();
            written.ok_or_else(|| format!("a node without a disk: {stats}"))
        });
        Ok(written.sum::<Result<u64, String>>()?)
    }

    /// Waits until all nodes together have written so many.
    pub(crate) async fn until_written(&self, bytes: u64) -> Result<(), BoxError> {
        while self.disk_figures().await? < bytes {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<(), BoxError> {
        let mut last = Vec::new();
        for _ in 0..TRIES {
            last = self.stats().await?;
            if last.iter().all(&wanted) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("the nodes are never {what}: {last:?}").into())
    }

    async fn stats(&self) -> Result<Vec<Value>, BoxError> {
        let mut stats = Vec::new();
        for server in &self.servers {
            stats.push(ask_json(server.http, "/stats").await?);
        }
        Ok(stats)
    }
}

/// Plans for nodes that know each other.
pub(crate) fn plans(
    count: usize,
    links: Links,
    flags: &[String],
) -> Result<Vec<NodePlan>, BoxError> {
    let secret = match links {
        Links::Plaintext => None,
        Links::Tls => Some(Arc::new(SecretFile::new()?)),
    };
    let plans: Result<Vec<_>, _> = (1..=count)
        .map(|number| NodePlan::new(&format!("node{number}")))
        .collect();
    let mut plans = plans?;
    let addresses: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
    for plan in &mut plans {
        plan.peers = addresses.clone();
        plan.peers.retain(|peer| *peer != plan.listen);
        plan.secret.clone_from(&secret);
        plan.flags = flags.to_vec();
    }
    Ok(plans)
}

pub(crate) async fn start_node(plan: &NodePlan) -> Result<NodeProcess, BoxError> {
    let command = plan.command(&current_exe()?);
    Ok(NodeProcess::start(command).await?)
}

pub(crate) fn command(executable: &Path, http: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(executable);
    command.args(args).args(["--http", &http.to_string()]);
    command
}

pub(crate) fn process_id(process: &NodeProcess) -> Result<u32, BoxError> {
    let id = process.child.id();
    id.ok_or_else(|| "a server has ended by itself".into())
}

const PAUSE: Duration = Duration::from_millis(100);
/// Ten minutes.
const TRIES: u32 = 6000;
const LOOK: Duration = Duration::from_secs(1);
/// So far apart are the looks between which memory must not change.
const SETTLED_LOOKS: usize = 6;
