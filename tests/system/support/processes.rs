//! Nodes of the hit counter as child processes, and waiting for what they do.

use std::{
    fmt::Debug,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    browser::Browser,
    process::{NodePlan, NodeProcess, StartFailure},
    secret::SecretFile,
};

/// A node that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Node {
    plan: NodePlan,
    process: NodeProcess,
    log: Log,
}

impl Node {
    /// Starts a node, which must come up.
    pub(crate) async fn start(plan: NodePlan) -> Self {
        Self::start_as(plan, hit_counter()).await
    }

    /// As [`Node::start`], by an executable that knows where to run the example.
    pub(crate) async fn start_as(plan: NodePlan, executable: &Path) -> Self {
        match Self::try_start_as(plan, executable).await {
            Ok(node) => node,
            Err(refusal) => panic!("{}\n{}", refusal.failure, refusal.log),
        }
    }

    /// Starts a node, which must come up, and which logs elsewhere.
    pub(crate) async fn start_logging_to(plan: NodePlan, stderr: Stdio) -> Self {
        let started = Self::launch(plan, hit_counter(), |log| {
            log.file()?;
            Ok(stderr)
        });
        match started.await {
            Ok(node) => node,
            Err(refusal) => panic!("{}", refusal.failure),
        }
    }

    /// Starts a node.
    pub(crate) async fn try_start(plan: NodePlan) -> Result<Self, Refusal> {
        Self::try_start_as(plan, hit_counter()).await
    }

    async fn try_start_as(plan: NodePlan, executable: &Path) -> Result<Self, Refusal> {
        Self::launch(plan, executable, |log| log.file().map(Stdio::from)).await
    }

    async fn launch(
        plan: NodePlan,
        executable: &Path,
        stderr: impl FnOnce(&Log) -> io::Result<Stdio>,
    ) -> Result<Self, Refusal> {
        let log = Log::new(&plan.name);
        let stderr = stderr(&log).expect("the directory for logs can be written");
        let mut command = plan.command(executable);
        command.env("RUST_LOG", "info").stderr(stderr);
        match NodeProcess::start(command).await {
            Ok(process) => Ok(Self { plan, process, log }),
            Err(failure) => Err(Refusal {
                failure,
                log: log.text(),
            }),
        }
    }

    /// Kills it with SIGKILL, and returns what starts it again.
    pub(crate) async fn kill(self) -> NodePlan {
        self.process.kill().await.expect("a child can be killed");
        self.plan
    }

    /// Ends it with SIGTERM, and returns what starts it again, how it ended and what it logged.
    pub(crate) async fn terminate(mut self) -> (NodePlan, ExitStatus, String) {
        self.signal(Signal::Terminate);
        let exit = tokio::time::timeout(PATIENCE, self.process.child.wait()).await;
        let Ok(status) = exit else {
            panic!("{} does not end:\n{}", self.plan.name, self.log.text());
        };
        (
            self.plan,
            status.expect("a child can be waited for"),
            self.log.text(),
        )
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self
            .process
            .child
            .id()
            .expect("it runs until it is consumed");
        send_signal(id, signal);
    }

    /// The memory it occupies.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> u64 {
        let id = self.process.child.id();
        let id = id.expect("it runs until it is consumed");
        let status = fs::read_to_string(format!("/proc/{id}/status"));
        let status = status.expect("a process that runs has a status");
        let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = field.and_then(|field| field.trim().strip_suffix(" kB"));
        number.expect("in KiB").parse::<u64>().expect("a number") * 1024
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.process.http
    }

    /// Where other nodes connect.
    pub(crate) fn links(&self) -> SocketAddr {
        self.plan.listen
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Its state, as `/cluster.json` tells it.
    pub(crate) async fn status(&self) -> Value {
        let page = Browser::new().get(self.http(), "/cluster.json").await;
        let page = page.expect("a node that runs tells its state");
        serde_json::from_str(&page.text).expect("it is JSON")
    }

    /// Waits until the node's state is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..TRIES {
            last = self.status().await;
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let name = self.name();
        panic!("{name} is never {what}: {last:#}\n{}", self.log());
    }

    /// Waits until it has all sessions, or found nobody to ask.
    pub(crate) async fn until_ready(&self) -> Value {
        self.until("ready", |status| status["ready"] == true).await
    }

    /// Waits until it holds the member to be in one of these states.
    pub(crate) async fn until_sees(&self, member: &Self, states: &[&str]) -> Value {
        let what = format!("seeing {} as {states:?}", member.name());
        self.until(&what, |status| {
            state_of(status, member.name()).is_some_and(|state| states.contains(&state))
        })
        .await
    }

    /// Waits until it logs a line with all these parts.
    pub(crate) async fn until_logged(&self, parts: &[&str]) -> String {
        for _ in 0..TRIES {
            let log = self.log();
            let mut lines = log.lines();
            if let Some(line) = lines.find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{} never logs {parts:?}:\n{}", self.name(), self.log());
    }
}

/// Why a node did not come up, and what it wrote about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: StartFailure,
    pub(crate) log: String,
}

/// What a process can be told from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Terminate,
    Stop,
    Continue,
}

/// Tells one process, through the shell: the standard library knows no signal but SIGKILL.
pub(crate) fn send_signal(process: u32, signal: Signal) {
    let signal = match signal {
        Signal::Terminate => "TERM",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
    };
    let status = process::Command::new("sh")
        .args(["-c", &format!("kill -{signal} {process}")])
        .status();
    assert!(status.expect("there is a shell").success());
    #[cfg(target_os = "linux")]
    if signal == "STOP" {
        until_stopped(process);
    }
}

/// Waits until no thread of a process runs any more. The signal is taken by one of them, and the
/// others go on until that one has had its turn.
#[cfg(target_os = "linux")]
fn until_stopped(process: u32) {
    let tasks = format!("/proc/{process}/task");
    let is_stopped = |task: io::Result<fs::DirEntry>| {
        let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
        // The state stands behind the name, which is in parentheses.
        stat.is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" T"))
        })
    };
    let stopped = || fs::read_dir(&tasks).is_ok_and(|tasks| tasks.into_iter().all(is_stopped));
    for _ in 0..TRIES {
        if stopped() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("process {process} does not stop");
}

/// Plans for nodes of these names, each of which knows all others, and the secret of all.
pub(crate) fn plans(names: &[&str]) -> Vec<NodePlan> {
    let mut plans: Vec<_> = names.iter().map(|name| plan(name)).collect();
    let secret = SecretFile::new().expect("files can be written for a while");
    let secret = Arc::new(secret);
    let addresses: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
    for plan in &mut plans {
        plan.peers = addresses.clone();
        plan.peers.retain(|peer| *peer != plan.listen);
        plan.secret = Some(Arc::clone(&secret));
    }
    plans
}

/// A plan for a node without peers, on free ports.
pub(crate) fn plan(name: &str) -> NodePlan {
    let mut plan = NodePlan::new(name).expect("there are free ports");
    // No balancer asks whether it is ready.
    plan.flags = ["--drain", "0"].map(str::to_owned).to_vec();
    plan
}

/// Starts nodes, and waits until all are ready and linked.
pub(crate) async fn start_all(plans: Vec<NodePlan>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for plan in plans {
        nodes.push(Node::start(plan).await);
    }
    for node in &nodes {
        node.until_ready().await;
        for member in nodes.iter().filter(|other| other.name() != node.name()) {
            node.until_sees(member, &["up"]).await;
        }
    }
    nodes
}

/// The state of a member of this name.
pub(crate) fn state_of<'a>(status: &'a Value, name: &str) -> Option<&'a str> {
    let members = status["members"].as_array()?;
    let member = members.iter().find(|member| member["name"] == name)?;
    member["state"].as_str()
}

/// The example, which Cargo builds for the tests.
pub(crate) fn hit_counter() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hit_counter"))
}

/// What one process writes to its standard error.
#[derive(Debug)]
struct Log(PathBuf);

impl Log {
    fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = format!("{}-{count}-{name}.log", process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(file))
    }

    fn file(&self) -> io::Result<File> {
        File::create(&self.0)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Those of a failed test are kept, to be read.
        if !thread::panicking()
            && let Err(error) = fs::remove_file(&self.0)
        {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// Waiting ends after a minute at the earliest.
pub(crate) const TRIES: u32 = 3000;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
