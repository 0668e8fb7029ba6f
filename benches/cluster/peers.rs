//! Servers with other people's sessions, from a package of their own that is built when asked for.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{net::TcpStream, process::Command};

use crate::{
    BoxError,
    group::{Group, command},
    process::{NodeProcess, free_addr},
};

#[derive(Debug)]
pub(crate) struct Peers {
    /// Two tower-sessions, each with a MemoryStore.
    pub(crate) memory: Group,
    /// Two with one Redis.
    pub(crate) redis: Option<Group>,
}

impl Peers {
    /// Says what is left out.
    pub(crate) async fn start_if(wanted: bool) -> Result<Option<Self>, BoxError> {
        if !wanted {
            println!("without tower-sessions; `-- --peers` builds and measures it as well\n");
            return Ok(None);
        }
        let programs = build().await?;
        let memory = programs.join("memory");
        let memory = Group::of_commands(2, None, |http| command(&memory, http, &[])).await?;
        let redis = match find_on_path("redis-server") {
            Some(server) => {
                let program = programs.join("redis");
                Some(with_redis(&server, &program, &["--appendonly", "no"]).await?)
            }
            None => {
                println!("without Redis: there is no redis-server on the path\n");
                None
            }
        };
        Ok(Some(Self { memory, redis }))
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&'static str, &Group)> {
        let memory = (
            "tower-sessions, MemoryStore, the first of two",
            &self.memory,
        );
        let redis = self.redis.as_ref();
        let redis = redis.map(|redis| ("tower-sessions, two servers and Redis", redis));
        [memory].into_iter().chain(redis)
    }
}

/// The folder of the programs.
async fn build() -> Result<PathBuf, BoxError> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    println!("building {manifest}");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            manifest,
        ])
        .arg("--target-dir")
        .arg(&target)
        .status()
        .await?;
    if !status.success() {
        return Err("the programs to compare with cannot be built".into());
    }
    Ok(target.join("release"))
}

/// tower-sessions with a Redis that keeps them on disk.
#[derive(Debug)]
pub(crate) struct DurableRedis {
    server: PathBuf,
    program: PathBuf,
}

/// When a Redis has changes on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Persistence {
    EverySecond,
    /// Before it answers.
    Always,
}

/// Builds what asks a Redis; `None` where there is none.
pub(crate) async fn redis() -> Result<Option<DurableRedis>, BoxError> {
    let Some(server) = find_on_path("redis-server") else {
        return Ok(None);
    };
    let program = build().await?.join("redis");
    Ok(Some(DurableRedis { server, program }))
}

impl DurableRedis {
    /// Two servers with one Redis, which has its files there.
    pub(crate) async fn start(
        &self,
        persistence: Persistence,
        directory: &Path,
    ) -> Result<Group, BoxError> {
        fs::create_dir_all(directory)?;
        let directory = directory.to_str().ok_or("a path that is no text")?;
        let fsync = match persistence {
            Persistence::EverySecond => "everysec",
            Persistence::Always => "always",
        };
        let args = [
            "--appendonly",
            "yes",
            "--appendfsync",
            fsync,
            "--dir",
            directory,
        ];
        with_redis(&self.server, &self.program, &args).await
    }
}

async fn with_redis(server: &Path, program: &Path, args: &[&str]) -> Result<Group, BoxError> {
    let address = free_addr()?;
    let child = Command::new(server)
        .args(["--port", &address.port().to_string()])
        .args(["--bind", "127.0.0.1", "--save", ""])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let redis = NodeProcess {
        child,
        http: address,
    };
    until_it_listens(address).await?;
    let address = address.to_string();
    let args = ["--redis", address.as_str()];
    Group::of_commands(2, Some(redis), |http| command(program, http, &args)).await
}

async fn until_it_listens(address: SocketAddr) -> Result<(), BoxError> {
    for _ in 0..TRIES {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("nothing listens on {address}").into())
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let mut files = env::split_paths(&folders).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

const PAUSE: Duration = Duration::from_millis(20);
const TRIES: u32 = 500;
