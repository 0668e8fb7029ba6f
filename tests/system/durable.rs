//! Nodes with a data directory as real processes, all of which are killed or end at once, and a disk
//! that is full.
//!
//! ```sh
//! cargo test --release --test durable -- --ignored --nocapture
//! ```
//!
//! `DURABLE_MIB` says how many mebibytes of changes are written to see that the room on disk is
//! bounded, 192 unless told. With `DURABLE_STRICT` set, a change that is lost with the default of `sync` must be younger than
//! 250 ms, which takes a machine with a free CPU. Without, a second is enough.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    reason = "how old what is lost is, only the real clock tells"
)]

mod support;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinSet,
};

use crate::support::{
    browser::Browser,
    data_dir::DataDirs,
    process::NodePlan,
    processes::{Node, PAUSE, TRIES, plan, plans, start_all},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten seconds"]
async fn kill_of_all_nodes_at_once_loses_nothing_acknowledged_that_waited_for_the_disk() {
    let _turn = turn().await;
    let lost = kill_all("response", SHORT_ROUND, Duration::ZERO).await;
    assert_eq!(lost.hits, 0, "{lost:?}");
}

/// A round takes longer than what may be lost is old: what is never written fails.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute"]
async fn kill_of_all_nodes_at_once_loses_what_is_younger_than_the_interval() {
    let _turn = turn().await;
    let longest = match env::var_os("DURABLE_STRICT") {
        Some(_) => Duration::from_millis(250),
        None => Duration::from_secs(1),
    };
    let lost = kill_all("100ms", LONG_ROUND, longest).await;
    println!("with an interval of 100 ms: {lost:?}");
    assert!(lost.oldest <= longest, "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_end_in_order_lose_nothing_however_seldom_they_write() {
    let _turn = turn().await;
    let dirs = DataDirs::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a place for files");
    let mut plans = plans(&["node1", "node2"]);
    for plan in &mut plans {
        plan.data_dir = Some(dirs.of(&plan.name));
        // The longest that there is.
        plan.flags.extend(["--sync", "60000ms"].map(str::to_owned));
    }
    let mut browsers: Vec<_> = (0..8).map(|_| Browser::new()).collect();
    for round in 0..2 {
        let nodes = start_all(plans).await;
        for (at, browser) in browsers.iter_mut().enumerate() {
            for turn in 0..3 {
                let node = &nodes[(at + turn) % nodes.len()];
                hit(browser, node.http(), (round * 3 + turn + 1) as u64).await;
            }
        }
        let mut ending = JoinSet::new();
        for (at, node) in nodes.into_iter().enumerate() {
            ending.spawn(async move { (at, node.terminate().await) });
        }
        let mut ended = ending.join_all().await;
        ended.sort_by_key(|(at, _)| *at);
        plans = Vec::new();
        for (_, (plan, status, log)) in ended {
            assert!(status.success(), "{log}");
            plans.push(plan);
        }
    }
    let nodes = start_all(plans).await;
    for browser in &mut browsers {
        for node in &nodes {
            let page = browser.get(node.http(), "/peek").await.expect("it runs");
            assert_eq!(page.hits(), Some(6), "{}", page.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes five seconds, and root mounts a small file system"]
async fn node_on_a_full_disk_goes_on_and_catches_up() {
    let _turn = turn().await;
    let mounted = SmallDisk::mount();
    let mut plan = plan("node1");
    plan.data_dir = Some(mounted.path().join("data"));
    let node = Node::start(plan).await;
    node.until_ready().await;
    node.until_logged(&["WARN", "in plain text", "`data_key`"])
        .await;
    let mut browser = Browser::new();
    hit(&mut browser, node.http(), 1).await;

    mounted.fill();
    for count in 2..40 {
        // Each is a change of 64 KiB, more than is left in any block.
        let page = browser.get(node.http(), "/hit?pad=65536").await;
        assert_eq!(page.expect("it runs").hits(), Some(count));
    }
    let status = node
        .until("told of the full disk", |status| {
            status["disk"]["failing"] == true
        })
        .await;
    assert_eq!(status["ready"], true, "{status:#}");
    assert!(status["disk"]["unsaved"].as_u64() > Some(0), "{status:#}");
    node.until_logged(&["WARN", "data directory", "in memory alone"])
        .await;
    hit(&mut browser, node.http(), 40).await;

    mounted.free();
    node.until("on disk again", |status| {
        status["disk"]["failing"] == false && status["disk"]["unsaved"] == 0
    })
    .await;
    let node = Node::start(node.kill().await).await;
    node.until_ready().await;
    hit(&mut browser, node.http(), 41).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes five seconds"]
async fn endless_updates_take_bounded_room_on_disk() {
    const SESSIONS: usize = 64;
    const BYTES: usize = 64 * 1024;
    let mebibytes = env::var("DURABLE_MIB").map_or(Ok(192), |number| number.parse());
    let written = mebibytes.map_or(0, |mebibytes: u64| mebibytes << 20);
    assert!(written > 0, "DURABLE_MIB is a number");
    let _turn = turn().await;
    let dirs = DataDirs::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a place for files");
    let mut plan = plan("node1");
    plan.data_dir = Some(dirs.of("node1"));
    plan.flags.extend(["--sync", "20ms"].map(str::to_owned));
    let node = Node::start(plan).await;
    node.until_ready().await;
    let http = node.http();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for _ in 0..SESSIONS {
        let is_over = Arc::clone(&is_over);
        writers.spawn(async move {
            let mut browser = Browser::new();
            while !is_over.load(Ordering::Relaxed) {
                let page = browser.get(http, &format!("/hit?pad={BYTES}")).await;
                assert!(page.expect("it runs").hits().is_some());
            }
        });
    }
    let mut most = 0;
    loop {
        let disk = node.status().await["disk"].clone();
        most = most.max(disk["bytes"].as_u64().expect("a number"));
        if disk["written_bytes"].as_u64().expect("a number") >= written {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    is_over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    let held = (SESSIONS * BYTES) as u64;
    println!("{written} bytes of changes to {held} bytes of sessions took {most} bytes on disk");
    assert!(most < 3 * held + ROOM, "{most}");
}

/// What was lost, at most, in all rounds.
#[derive(Debug, Default)]
struct Lost {
    hits: u64,
    /// How old the oldest lost hit was when the nodes were killed.
    oldest: Duration,
    answered: usize,
}

/// Kills both nodes of a pair at once under load, ten times. Hits that were answered longer than that
/// before must be there again, and logouts as well.
async fn kill_all(sync: &str, round_time: Duration, may_lose: Duration) -> Lost {
    let dirs = DataDirs::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a place for files");
    let mut plans = plans(&["node1", "node2"]);
    for plan in &mut plans {
        plan.data_dir = Some(dirs.of(&plan.name));
        plan.flags.extend(["--sync", sync].map(str::to_owned));
    }
    let mut lost = Lost::default();
    let mut visitors: Vec<_> = (0..VISITORS).map(|_| Visitor::default()).collect();
    for round in 0..ROUNDS {
        let nodes = start_all(plans).await;
        let hosts: Vec<SocketAddr> = nodes.iter().map(Node::http).collect();
        if round > 0 {
            for visitor in &mut visitors {
                visitor.compare(&hosts, may_lose, &mut lost).await;
            }
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for (at, visitor) in visitors.into_iter().enumerate() {
            running.spawn(visitor.run(hosts.clone(), at, Arc::clone(&is_over)));
        }
        tokio::time::sleep(round_time).await;
        let killed = Instant::now();
        plans = kill_at_once(nodes).await;
        is_over.store(true, Ordering::Relaxed);
        visitors = running.join_all().await;
        for visitor in &mut visitors {
            visitor.killed = Some(killed);
        }
    }
    let nodes = start_all(plans).await;
    let hosts: Vec<SocketAddr> = nodes.iter().map(Node::http).collect();
    for visitor in &mut visitors {
        visitor.compare(&hosts, may_lose, &mut lost).await;
    }
    assert!(lost.answered > ROUNDS * VISITORS, "{lost:?}");
    drop(nodes);
    lost
}

/// Sends SIGKILL to all before it waits for any.
async fn kill_at_once(nodes: Vec<Node>) -> Vec<NodePlan> {
    let mut killing = JoinSet::new();
    for (at, node) in nodes.into_iter().enumerate() {
        killing.spawn(async move { (at, node.kill().await) });
    }
    let mut plans = killing.join_all().await;
    plans.sort_by_key(|(at, _)| *at);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

/// Somebody who hits the page as fast as answers come, and knows when each came.
#[derive(Debug)]
struct Visitor {
    browser: Browser,
    /// The counts that were answered in this round, and when.
    answers: Vec<(Instant, u64)>,
    /// Requests of which nobody knows whether they counted.
    unknown: u64,
    count: u64,
    /// Somebody who was logged out, and when that was answered.
    logged_out: Option<(Browser, Instant)>,
    killed: Option<Instant>,
}

impl Default for Visitor {
    fn default() -> Self {
        Self {
            browser: Browser::new(),
            answers: Vec::new(),
            unknown: 0,
            count: 0,
            logged_out: None,
            killed: None,
        }
    }
}

impl Visitor {
    async fn run(mut self, hosts: Vec<SocketAddr>, first: usize, is_over: Arc<AtomicBool>) -> Self {
        self.answers.clear();
        self.logged_out = log_out(hosts[first % hosts.len()]).await;
        for host in hosts.iter().cycle().skip(first) {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            match self.browser.get(*host, "/hit").await {
                Ok(page) => {
                    let hits = page.hits().expect("a page with a count");
                    let span = self.count + 1..=self.count + 1 + self.unknown;
                    assert!(span.contains(&hits), "{hits} instead of {span:?}");
                    self.unknown -= hits - span.start();
                    self.count = hits;
                    self.answers.push((Instant::now(), hits));
                }
                // Without a cookie it was in a session that this visitor will never see.
                Err(_) => self.unknown += u64::from(self.count > 0),
            }
        }
        self
    }

    /// Looks what is left after a kill.
    async fn compare(&mut self, hosts: &[SocketAddr], may_lose: Duration, lost: &mut Lost) {
        let killed = self.killed.expect("there was a round before");
        lost.answered += self.answers.len();
        let page = self.browser.get(hosts[0], "/peek").await;
        let left = page.expect("it runs").hits().expect("a page with a count");
        assert!(left <= self.count + self.unknown, "{left} is too many");
        for (answered, count) in &self.answers {
            if *count > left {
                lost.hits += 1;
                lost.oldest = lost.oldest.max(killed.saturating_duration_since(*answered));
            }
        }
        (self.count, self.unknown) = (left, 0);
        let Some((mut browser, answered)) = self.logged_out.take() else {
            return;
        };
        if killed.saturating_duration_since(answered) < may_lose {
            return;
        }
        for host in hosts {
            let page = browser.get(*host, "/peek").await.expect("it runs");
            assert_eq!(page.hits(), Some(0), "a session came back: {}", page.text);
        }
    }
}

/// Makes a session and logs it out. Returns a browser that still has its cookie.
async fn log_out(host: SocketAddr) -> Option<(Browser, Instant)> {
    let mut browser = Browser::new();
    browser.get(host, "/hit").await.ok()?;
    let kept = browser.clone();
    let page = browser.send(Method::POST, host, "/logout").await.ok()?;
    page.status.is_success().then(|| (kept, Instant::now()))
}

async fn hit(browser: &mut Browser, host: SocketAddr, count: u64) {
    let page = browser.get(host, "/hit").await.expect("it runs");
    assert_eq!(page.hits(), Some(count), "{}", page.text);
}

/// A file system of a few mebibytes in memory, gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Self {
        let name = format!("durable-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a writable directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&path)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "mounting a tmpfs takes root"
        );
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("room for a name");
        let block = [0; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("just written");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The node may be about to end.
        for _ in 0..TRIES {
            let unmounted = Command::new("umount").arg(&self.0).output();
            if unmounted.is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Each test wants the machine for itself.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

const ROUNDS: usize = 10;
const SHORT_ROUND: Duration = Duration::from_millis(500);
const LONG_ROUND: Duration = Duration::from_millis(2_500);
const VISITORS: usize = 24;
/// What the engine may take beside three times the sessions: logs that become a base, and those that are
/// written meanwhile.
const ROOM: u64 = 100 << 20;
