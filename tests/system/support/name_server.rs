//! A name server of its own for one test: the test runs again as a process in a network namespace,
//! where everything that asks the system for a name asks dnsmasq.

use std::{
    env,
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::net::lookup_host;

use super::{
    balancer::program,
    processes::{PAUSE, Signal, TRIES, send_signal},
};

/// Runs a test of this file, by its name, in a namespace of its own. Returns whether this process is
/// there already, and so is to do the test.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return true;
    }
    let space = Space::new().expect("it needs root, and `ip` of iproute2");
    let status = Command::new("ip")
        .args(["netns", "exec", &space.name])
        .arg(env::current_exe().expect("a test has a path"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(INSIDE, test)
        .status();
    let status = status.expect("it can be run");
    assert!(status.success(), "{test} in its namespace: {status}");
    false
}

/// A network namespace whose resolver asks the loopback.
struct Space {
    name: String,
    etc: PathBuf,
}

impl Space {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("names-{}-{count}", process::id());
        let etc = Path::new("/etc/netns").join(&name);
        // From here on what is there is taken down again.
        let space = Self { name, etc };
        fs::create_dir_all(&space.etc)?;
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        fs::write(space.etc.join("resolv.conf"), resolver)?;
        ip(&["netns", "add", &space.name])?;
        ip(&["-n", &space.name, "link", "set", "lo", "up"])?;
        Ok(space)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Either may not have been made.
        let _ = ip(&["netns", "delete", &self.name]);
        let _ = fs::remove_dir_all(&self.etc);
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments:?}: {complaint}")))
}

/// dnsmasq, which knows one name. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct NameServer {
    child: Child,
    directory: PathBuf,
}

impl NameServer {
    /// Starts one that tells 127.0.0.1. `options` are further ones.
    pub(crate) async fn start(directory: PathBuf, options: &[String]) -> Self {
        let hosts = directory.join(HOSTS);
        fs::write(&hosts, format!("127.0.0.1 {NAME}\n")).expect("the directory is new");
        let log = File::create(directory.join("dnsmasq.log")).expect("the directory is new");
        let child = Command::new(program(
            &["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"],
            "dnsmasq-base",
        ))
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
        ])
        .args([
            "--no-resolv",
            "--no-hosts",
            "--cache-size=0",
            "--local-ttl=0",
        ])
        .args(["--bind-interfaces", "--listen-address=127.0.0.1"])
        .args(["--user=root", "--group=root", "--local=/test/"])
        .arg(format!("--addn-hosts={}", hosts.display()))
        .arg(format!("--txt-record={NAME},known"))
        .args(options)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn();
        let mut server = Self {
            child: child.expect("it is there"),
            directory,
        };
        // Before it is there, a signal would end it.
        server.until_it_tells(&["127.0.0.1"]).await;
        server
    }

    /// Has it tell these addresses from now on, or give an answer with nothing in it.
    pub(crate) async fn set(&mut self, addresses: &[&str]) {
        let lines: String = addresses
            .iter()
            .map(|address| format!("{address} {NAME}\n"))
            .collect();
        fs::write(self.directory.join(HOSTS), lines).expect("it can be written");
        self.signal("HUP");
        self.until_it_tells(addresses).await;
    }

    async fn until_it_tells(&mut self, addresses: &[&str]) {
        let wanted: Vec<IpAddr> = addresses
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        for _ in 0..TRIES {
            let exited = self.child.try_wait().expect("a child can be waited for");
            assert_eq!(exited, None, "dnsmasq ended: {}", self.log());
            let found = lookup_host((NAME, 1)).await;
            let found = found.map(|found| found.map(|at| at.ip()).collect::<Vec<_>>());
            // Nothing is told as an error.
            let found = found.unwrap_or_default();
            if found.len() == wanted.len() && wanted.iter().all(|ip| found.contains(ip)) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("dnsmasq never tells {addresses:?}: {}", self.log());
    }

    /// Waits until the name was asked for so many times from now on. It must be told to log that.
    pub(crate) async fn until_asked_again(&self, times: usize) {
        let question = format!("query[AAAA] {NAME} ");
        let before = self.log().matches(&question).count();
        for _ in 0..TRIES {
            if self.log().matches(&question).count() >= before + times {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("nobody asks for {NAME}: {}", self.log());
    }

    /// Has it answer nobody, as one that is down or cut off.
    pub(crate) fn stop(&self) {
        send_signal(self.child.id(), Signal::Stop);
    }

    /// Has it answer again.
    pub(crate) fn go_on(&self) {
        send_signal(self.child.id(), Signal::Continue);
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.child.id())])
            .status();
        assert!(status.expect("there is a shell").success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("dnsmasq.log")).unwrap_or_default()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a node in the namespace, whose loopback has 127.0.0.0/8.
pub(crate) fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, host], port))
}

/// The name that it knows.
pub(crate) const NAME: &str = "nodes.test";
/// How long a node waits for an answer that does not come, and somewhat more.
pub(crate) const DEAF: Duration = Duration::from_secs(3);
const HOSTS: &str = "hosts";
const INSIDE: &str = "SESSIONS_TEST_INSIDE";
