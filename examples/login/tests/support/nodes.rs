//! Two nodes of the example as child processes.

use std::{
    fs::{File, create_dir, read_to_string, remove_dir_all},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    process::{NodePlan, NodeProcess},
    secret::SecretFile,
    visitor::Visitor,
};

/// Two nodes with one database. Dropping them kills them.
#[derive(Debug)]
pub(crate) struct Nodes {
    plans: [NodePlan; 2],
    running: [Option<NodeProcess>; 2],
    folder: Folder,
}

impl Nodes {
    /// Starts both, with the users of the demonstration, and waits until they are ready.
    pub(crate) async fn start(door: &str) -> Self {
        let folder = Folder::new();
        let database = folder.0.join("users.sqlite");
        let database = database.to_str().expect("the target directory is text");
        let flags = [
            "--drain",
            "0",
            "--demo-users",
            "--database",
            database,
            "--door",
            door,
        ];
        let plan = |name| NodePlan::new(name).expect("there are free ports");
        let mut plans = [plan("node1"), plan("node2")];
        let secret = Arc::new(SecretFile::new().expect("files can be written for a while"));
        let addresses = [plans[0].listen, plans[1].listen];
        for (index, plan) in plans.iter_mut().enumerate() {
            plan.peers = vec![addresses[1 - index]];
            plan.secret = Some(Arc::clone(&secret));
            plan.flags = flags.map(str::to_owned).to_vec();
        }
        let mut nodes = Self {
            plans,
            running: [None, None],
            folder,
        };
        for node in [0, 1] {
            nodes.launch(node).await;
        }
        for node in [0, 1] {
            nodes.until_ready(node).await;
        }
        nodes
    }

    /// The address of a node.
    pub(crate) fn http(&self, node: usize) -> SocketAddr {
        self.plans[node].http
    }

    /// The address of a page on a node.
    pub(crate) fn url(&self, node: usize, path: &str) -> String {
        format!("http://{}{path}", self.http(node))
    }

    /// Kills a node, as by `kill -9`, and returns when it is gone.
    pub(crate) async fn kill(&mut self, node: usize) {
        let process = self.running[node].take().expect("it runs");
        process.kill().await.expect("a child can be killed");
    }

    /// Starts a node again, and waits until it has all sessions.
    pub(crate) async fn restart(&mut self, node: usize) {
        self.launch(node).await;
        self.until_ready(node).await;
    }

    async fn launch(&mut self, node: usize) {
        let plan = &self.plans[node];
        let log = self.folder.0.join(format!("{}.log", plan.name));
        let stderr = File::create(&log).expect("the target directory can be written");
        let mut command = plan.command(Path::new(env!("CARGO_BIN_EXE_login")));
        command.env("RUST_LOG", "info").stderr(stderr);
        let started = NodeProcess::start(command).await;
        let process = started.unwrap_or_else(|failure| {
            panic!("{failure}\n{}", read_to_string(log).unwrap_or_default())
        });
        self.running[node] = Some(process);
    }

    async fn until_ready(&self, node: usize) {
        let mut probe = Visitor::new("probe");
        for _ in 0..TRIES {
            if probe
                .get(self.http(node), "/ready")
                .await
                .status
                .is_success()
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{} is never ready", self.plans[node].name);
    }
}

/// A folder of its own, kept when a test fails.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("login-{}-{count}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        create_dir(&path).expect("the target directory can be written");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = remove_dir_all(&self.0)
        {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

const PAUSE: Duration = Duration::from_millis(20);
/// Waiting ends after a minute at the earliest.
const TRIES: u32 = 3000;
