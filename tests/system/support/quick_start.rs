//! The quick start of the README as child processes.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::process::{Child, Command};

use super::{
    browser::Browser,
    process::free_addr,
    processes::{PATIENCE, PAUSE, TRIES},
};

/// A quick start that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct QuickStart {
    child: Child,
    /// Its name, and where it serves, where it listens, and where its peer does.
    arguments: [String; 4],
    http: SocketAddr,
}

impl QuickStart {
    /// Starts two that know each other, and waits until they serve.
    pub(crate) async fn pair() -> [Self; 2] {
        let [http1, http2, links1, links2] =
            [(); 4].map(|()| free_addr().expect("there are free ports"));
        let pair = [
            Self::start("node1", http1, links1, links2),
            Self::start("node2", http2, links2, links1),
        ];
        for node in &pair {
            node.until_it_serves().await;
        }
        pair
    }

    pub(crate) fn start(name: &str, http: SocketAddr, links: SocketAddr, peer: SocketAddr) -> Self {
        let [at, links, peer] = [http, links, peer].map(|address| address.to_string());
        Self::run([name.to_owned(), at, links, peer], http)
    }

    fn run(arguments: [String; 4], http: SocketAddr) -> Self {
        let child = Command::new(Path::new(env!("CARGO_BIN_EXE_quick_start")))
            .args(&arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be run");
        Self {
            child,
            arguments,
            http,
        }
    }

    /// Kills it with SIGKILL, starts it again, and waits until it serves.
    pub(crate) async fn restarted(self) -> Self {
        let (arguments, http) = (self.arguments.clone(), self.http);
        self.killed().await;
        let node = Self::run(arguments, http);
        node.until_it_serves().await;
        node
    }

    pub(crate) async fn until_it_serves(&self) {
        for _ in 0..TRIES {
            // A browser of its own each time: nobody else's count changes.
            if Browser::new().get(self.http, "/").await.is_ok() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("it never serves: {self:?}");
    }

    /// Closes the pipes of its output, as the death of who reads them does.
    pub(crate) fn close_output(&mut self) {
        self.child.stdout = None;
        self.child.stderr = None;
    }

    /// Kills it with SIGKILL. Returns what it has written to its standard output and error.
    pub(crate) async fn killed(mut self) -> (String, String) {
        self.child.start_kill().expect("a child can be killed");
        self.ended().await
    }

    /// Waits until it has ended. Returns what it has written to its standard output and error.
    pub(crate) async fn ended(self) -> (String, String) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await;
        let output = ended.expect("it ends").expect("a child can be waited for");
        let text = |bytes| String::from_utf8(bytes).expect("logs are text");
        (text(output.stdout), text(output.stderr))
    }

    /// A client without a session.
    pub(crate) fn visitor() -> CountingVisitor {
        CountingVisitor(Browser::new())
    }
}

/// A client of the quick start.
#[derive(Debug)]
pub(crate) struct CountingVisitor(Browser);

impl CountingVisitor {
    /// Hits the page. Returns the count.
    pub(crate) async fn hit(&mut self, node: &QuickStart) -> u64 {
        let page = self.0.get(node.http, "/").await.expect("it serves");
        page.hits().expect("a count")
    }
}
