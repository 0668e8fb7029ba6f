//! A balancer that is a program of its own, with what it writes in a directory of its own.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use http::StatusCode;

use super::{
    browser::Browser,
    processes::{PAUSE, Signal, TRIES, send_signal},
};

/// A balancer that runs. Dropping it stops it with all its processes.
#[derive(Debug)]
pub(crate) struct Balancer {
    child: Child,
    http: SocketAddr,
    run_dir: PathBuf,
}

impl Balancer {
    /// Runs the command, which stays in the foreground, until pages of nodes come through.
    pub(crate) async fn start(mut command: Command, http: SocketAddr, run_dir: PathBuf) -> Self {
        let log = File::create(run_dir.join(STDERR)).expect("the directory is new");
        let child = command.stdin(Stdio::null()).stderr(log).spawn();
        let mut balancer = Self {
            child: child.expect("it is there"),
            http,
            run_dir,
        };
        balancer.until_it_serves().await;
        balancer
    }

    /// Where browsers connect.
    pub(crate) const fn http(&self) -> SocketAddr {
        self.http
    }

    async fn until_it_serves(&mut self) {
        for _ in 0..TRIES {
            let page = Browser::new().get(self.http, "/plain").await;
            if page.is_ok_and(|page| page.status == StatusCode::OK) {
                return;
            }
            let exited = self.child.try_wait().expect("a child can be waited for");
            assert_eq!(exited, None, "it ended: {}", self.log());
            tokio::time::sleep(PAUSE).await;
        }
        panic!("it never serves: {}", self.log());
    }

    fn log(&self) -> String {
        let texts = [STDERR, "error.log"].map(|name| {
            // The second one is not there before it is needed.
            fs::read_to_string(self.run_dir.join(name)).unwrap_or_default()
        });
        texts.concat()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Only the parent knows its workers: it must not be killed before it has ended them.
        send_signal(self.child.id(), Signal::Terminate);
        for _ in 0..TRIES {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(PAUSE);
        }
        eprintln!("it does not end: {}", self.log());
    }
}

/// A new directory.
pub(crate) fn run_dir(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            panic!("{} stays: {error}", path.display())
        }
        _ => fs::create_dir_all(&path).expect("the target directory can be written"),
    }
    path
}

/// The first of these that exists.
pub(crate) fn program(places: &[&str], package: &str) -> PathBuf {
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("it is missing: run `apt-get install {package}`"))
}

const STDERR: &str = "stderr.log";
