//! One node as a process of its own, which can be killed.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::secret::SecretFile;

/// How a node is to be run, the first time and after each crash.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    pub(crate) name: String,
    pub(crate) http: SocketAddr,
    pub(crate) listen: SocketAddr,
    pub(crate) peers: Vec<SocketAddr>,
    /// By what it proves itself, and its peers prove themselves.
    pub(crate) secret: Option<Arc<SecretFile>>,
    /// Where it keeps its sessions, if it does.
    pub(crate) data_dir: Option<PathBuf>,
    /// Further flags.
    pub(crate) flags: Vec<String>,
}

impl NodePlan {
    /// A node on free ports, without peers.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            http: free_addr()?,
            listen: free_addr()?,
            peers: Vec::new(),
            secret: None,
            data_dir: None,
            flags: Vec::new(),
        })
    }

    /// The command line that runs the node with this executable.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command
            .args(["node", "--name", &self.name])
            .args(["--http", &self.http.to_string()])
            .args(["--listen", &self.listen.to_string()]);
        for peer in &self.peers {
            command.args(["--peer", &peer.to_string()]);
        }
        if let Some(secret) = &self.secret {
            command.arg("--secret-file").arg(secret.path());
        }
        if let Some(directory) = &self.data_dir {
            command.arg("--data-dir").arg(directory);
        }
        command.args(&self.flags);
        command
    }
}

/// A node that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    pub(crate) child: Child,
    /// Where browsers connect.
    pub(crate) http: SocketAddr,
}

impl NodeProcess {
    /// Runs the command until the node says that it listens.
    pub(crate) async fn start(mut command: Command) -> Result<Self, StartFailure> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("a child without the pipe it was given"))?;
        let first_line = async { BufReader::new(stdout).lines().next_line().await };
        let line = tokio::time::timeout(PATIENCE, first_line)
            .await
            .map_err(|_| StartFailure::Silent)??;
        let Some(line) = line else {
            return Err(StartFailure::Exited(child.wait().await?));
        };
        let http = http_addr(&line).ok_or(StartFailure::Gibberish { line })?;
        Ok(Self { child, http })
    }

    /// Ends it as a crash does, and returns when it is gone: SIGKILL, `kill -9`.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    #[error("the node cannot be run: {0}")]
    Spawn(#[from] io::Error),
    #[error("the node ended before it listened: {0}")]
    Exited(ExitStatus),
    #[error("the node does not listen after {PATIENCE:?}")]
    Silent,
    #[error("the node says {line:?} instead of its address")]
    Gibberish { line: String },
}

/// An address on this machine that nobody listens on, another one at each call.
///
/// The port is below those that systems give to outgoing connections. One of these could be taken
/// by anybody while the node is down, and dialling it could even connect a socket to itself.
pub(crate) fn free_addr() -> io::Result<SocketAddr> {
    // Processes begin at random places, so that two at a time seldom meet.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        AtomicUsize::new(RandomState::new().build_hasher().finish() as u16 as usize)
    });
    let mut last_error = None;
    for _ in PORTS {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len();
        let Some(port) = PORTS.clone().nth(offset) else {
            continue;
        };
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Reads `node1 serves http://127.0.0.1:8081 and links to 127.0.0.1:4101`.
fn http_addr(line: &str) -> Option<SocketAddr> {
    let (_, addr) = line.split_once(" serves http://")?;
    addr.split(' ').next()?.parse().ok()
}

const PORTS: Range<u16> = 20_000..30_000;
const PATIENCE: Duration = Duration::from_secs(30);
