//! Logs that cannot be written, and tasks that panic.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_core::future::BoxFuture;
use tracing::{
    Dispatch, Event as Line, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, NoSubscriber},
};

use super::*;
use crate::{
    config::{ListenAddress, PeerAddress, StartError},
    node::{
        CookieUse, Env, SystemTime,
        net::transport::{Acceptor, BoxIo, Transport},
    },
    session::SessionError,
};

/// A log that panics at each line and at each end of a span, as `eprintln!` does on a pipe whose reader
/// is gone.
struct DeadLog;

impl Subscriber for DeadLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        panic!("nobody reads this log");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Line<'_>) {
        panic!("nobody reads this log");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn try_close(&self, _: Id) -> bool {
        panic!("nobody reads this log");
    }
}

/// Spans as whoever collects them is told of them.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<ToldSpan>>>);

#[derive(Clone, Debug, Default)]
struct ToldSpan {
    name: &'static str,
    /// Such as ` member=n1`.
    fields: String,
    lines: usize,
    has_ended: bool,
}

impl Spans {
    fn told(&self) -> Vec<ToldSpan> {
        self.0.lock().expect("no panic").clone()
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut ToldSpan)) {
        let at = usize::try_from(id.into_u64()).expect("few spans") - 1;
        change(&mut self.0.lock().expect("no panic")[at]);
    }
}

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        *self.0 += &format!(" {field}={value:?}");
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        *self.0 += &format!(" {field}={value}");
    }
}

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<Id>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut told = ToldSpan {
            name: span.metadata().name(),
            ..ToldSpan::default()
        };
        span.record(&mut Fields(&mut told.fields));
        let mut spans = self.0.lock().expect("no panic");
        spans.push(told);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.change(id, |told| values.record(&mut Fields(&mut told.fields)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Line<'_>) {
        if let Some(id) = ENTERED.with_borrow(|entered| entered.last().cloned()) {
            self.change(&id, |told| told.lines += 1);
        }
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.clone()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(Vec::pop);
    }

    fn try_close(&self, id: Id) -> bool {
        self.change(&id, |told| told.has_ended = true);
        true
    }
}

#[tokio::test(start_paused = true)]
async fn transfer_and_rounds_of_repair_are_spans_with_what_they_have_brought() {
    let spans = Spans::default();
    let _log = tracing::subscriber::set_default(spans.clone());
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    one.ready().await;
    for _ in 0..3 {
        create(one.node());
    }
    let two = start(&network, "n2", 2, &[1]);
    assert_eq!(two.ready().await, Readiness::Synced);
    let told = spans.told();
    let named = |name: &str, fields: &str| {
        let mut found = told
            .iter()
            .filter(|span| span.name == name && span.fields.starts_with(fields));
        let first = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {told:?}"));
        first.clone()
    };
    let transfer = named("session_transfer", " node=n2 member=n1");
    assert!(
        transfer.fields.contains(" sessions=3 bytes="),
        "{transfer:?}"
    );
    assert!(transfer.has_ended && transfer.lines == 2, "{transfer:?}");
    let repair = named("session_repair", " node=n2 member=n1 complete=true");
    // What it has to bring, the changes have brought.
    assert!(repair.fields.contains(" sessions=0 bytes="), "{repair:?}");
    assert!(repair.has_ended, "{repair:?}");

    // What is under way when a link ends, ends with it.
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    drop((one, two));
    wait_until("all have ended", || {
        spans.told().iter().all(|span| span.has_ended)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn line_that_cannot_be_written_ends_no_task() {
    let _log = tracing::subscriber::set_default(DeadLog);
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    two.node().kill();
    until_seen(&one, "n2", MemberState::Down).await;
    drop(two);
    let two = start(&network, "n2", 2, &[]);
    until_seen(&one, "n2", MemberState::Up).await;
    let key = create(one.node());
    one.leave().await;
    assert!(holds(&two, &key), "flushed before the goodbye");
    until_seen(&two, "n1", MemberState::Left).await;
    assert_eq!((one.stats().task_panics, two.stats().task_panics), (0, 0));
}

/// Panics once, at what comes next, when armed.
#[derive(Clone, Debug, Default)]
struct Trap(Arc<AtomicBool>);

impl Trap {
    fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn step(&self) {
        assert!(!self.0.swap(false, Ordering::Relaxed), "a defect");
    }
}

impl SystemTime for Trap {
    fn unix_ms(&self) -> u64 {
        self.step();
        1_000_000
    }
}

/// A network that can be armed to panic.
#[derive(Debug)]
struct Trapped<T> {
    network: T,
    dial: Trap,
    accept: Trap,
}

impl<T: Transport> Transport for Trapped<T> {
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError> {
        let acceptor = self.network.bind(listen)?;
        Ok(Box::new(TrappedAcceptor(acceptor, self.accept.clone())))
    }

    fn resolve<'a>(&'a self, peer: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.network.resolve(peer)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>> {
        self.dial.step();
        self.network.connect(address)
    }
}

struct TrappedAcceptor(Box<dyn Acceptor>, Trap);

impl Acceptor for TrappedAcceptor {
    fn local_address(&self) -> SocketAddr {
        self.0.local_address()
    }

    fn accept(&mut self) -> BoxFuture<'_, (BoxIo, SocketAddr)> {
        self.1.step();
        self.0.accept()
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_panics_is_begun_again_and_counted() {
    let network = MemoryNetwork::default();
    let [tick, dial, accept] = [(); 3].map(|()| Trap::default());
    let mut env = Env::of(Arc::new(Trapped {
        network: network.transport(1),
        dial: dial.clone(),
        accept: accept.clone(),
    }));
    env.system = Arc::new(tick.clone());
    let one = Cluster::start_in(&config("n1", 1, &[2]), env).expect("the port is free");
    let panics = |expected: u64| {
        let one = one.clone();
        // Figures would take a look at the armed clock.
        move || {
            let panics = &one.node().monitor.counters.task_panics;
            panics.load(Ordering::Relaxed) == expected
        }
    };

    tick.arm();
    wait_until("the tick panics", panics(1)).await;
    dial.arm();
    wait_until("the dialler panics", panics(2)).await;
    accept.arm();
    let two = start(&network, "n2", 2, &[]);
    until_seen(&one, "n2", MemberState::Up).await;
    let three = start(&network, "n3", 3, &[1]);
    until_seen(&one, "n3", MemberState::Up).await;
    wait_until("the acceptor panics", panics(3)).await;
    let four = start(&network, "n4", 4, &[1]);
    until_seen(&one, "n4", MemberState::Up).await;

    drop((two, three, four));
    until_seen(&one, "n2", MemberState::Down).await;
    one.leave().await;
}

#[tokio::test(start_paused = true)]
async fn leaving_that_panics_is_over_all_the_same() {
    let tick = Trap::default();
    let network = MemoryNetwork::default();
    let mut env = Env::of(Arc::new(network.transport(1)));
    env.system = Arc::new(tick.clone());
    let config = config("n1", 1, &[]).destroy_sessions_on_leave(true);
    let one = Cluster::start_in(&config, env).expect("the port is free");
    create(one.node());
    one.ready().await;
    // Time stands still until this task waits, so leaving is the first to ask for it.
    tokio::time::advance(Duration::from_millis(50)).await;
    tick.arm();
    one.leave().await;
    assert_eq!(one.stats().task_panics, 1);
    let again = start(&network, "n1", 1, &[]);
    assert!(again.local_address().is_some(), "the port is free");
}

impl fmt::Debug for TrappedAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrappedAcceptor")
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Keeps the lines from now on.
    pub(super) fn kept() -> (Self, DefaultGuard) {
        // As long as there is but one subscriber, a line that another thread reaches first, which has
        // none, is held to interest nobody, ever.
        static OTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));
        LazyLock::force(&OTHER);
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the lines that hold all of `words`.
    pub(super) fn with(&self, words: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8(bytes).expect("lines are text");
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(has_all).map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().expect("nobody panics with it");
        kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn start_line_tells_version_protection_and_peers() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let _one = start_with(&network, 1, &config("n1", 1, &[2, 3]).secret(SECRET));
    let _two = start(&network, "n2", 2, &[]);
    let version = format!("version [{}]", env!("CARGO_PKG_VERSION"));
    let told = lines.with(&["INFO", "about to start", &version, "links by [secret]"]);
    assert!(
        told[0].contains("peers [127.0.0.1:2, 127.0.0.1:3]"),
        "{told:?}"
    );
    assert_eq!(
        lines
            .with(&["about to start", "[plaintext]", "peers []"])
            .len(),
        1
    );
    assert_eq!(lines.with(&[SECRET]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn absent_peer_is_logged_ever_more_seldom_and_soon_again_after_a_link() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[2]);
    let absent = || {
        lines
            .with(&["INFO", "no link to [127.0.0.1:2], dialling on"])
            .len()
    };
    tokio::time::sleep(Duration::from_secs(30 * 60)).await;
    let before = absent();
    // At once, after 10, 30, 70, 150, 310 and 630 s, and then every ten minutes.
    assert!((8..=9).contains(&before), "{before}");
    let two = start(&network, "n2", 2, &[]);
    until_seen(&one, "n2", MemberState::Up).await;
    two.node().kill();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(absent() - before, 3, "at once, after 10 and 30 s");
}

#[tokio::test(start_paused = true)]
async fn peer_that_left_is_not_taken_for_something_else() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    two.leave().await;
    until_seen(&one, "n2", MemberState::Left).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lines.with(&["WARN"]), [""; 0]);
    assert_eq!(lines.with(&["something else"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn end_of_an_encrypted_link_is_told_in_plain_words() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let one = start_with(&network, 1, &config("n1", 1, &[2]).secret(SECRET));
    let two = start_with(&network, 2, &config("n2", 2, &[1]).secret(SECRET));
    until_seen(&one, "n2", MemberState::Up).await;
    two.node().kill();
    until_seen(&one, "n2", MemberState::Down).await;
    let told = lines.with(&["WARN", "member suspect", "node=n1"]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("the other side closed the connection"),
        "{told:?}"
    );
    assert_eq!(lines.with(&["http"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn member_that_was_silent_is_told_of_once() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let (one, _two) = pair(&network).await;
    network.hold();
    until_seen(&one, "n2", MemberState::Down).await;
    let told = lines.with(&["WARN", "node=n1"]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("member disappeared"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn default_context_has_a_name_in_the_log() {
    let (lines, _guard) = Lines::kept();
    let one = Cluster::start_now(ClusterConfig::standalone()).expect("nothing to bind");
    let context: Arc<str> = "".into();
    one.node().claim_cookie("id", CookieUse::Id, &context);
    assert_eq!(lines.with(&["context []"]), [""; 0]);
    let told = lines.with(&["Register context [the default one] with session cookie [id]"]);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn full_node_says_so_once_in_ten_seconds_and_counts() {
    let (lines, _guard) = Lines::kept();
    let config = ClusterConfig::standalone()
        .max_sessions(1)
        .max_session_bytes(100)
        .unconfirmed_timeout(Duration::MAX);
    let one = Cluster::start_now(config).expect("nothing to bind");
    let key = create(one.node());
    let meta = Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry: Expiry::default(),
    });
    let refuse_both = || {
        let full = one.node().create(&meta, &one.node().fresh_id(), 0);
        assert!(matches!(full, Err(SessionError::Full)));
        let large = one.node().write(&key, Replicate::Now, u64::MAX, |writer| {
            writer.set("a", vec![b'1'; 200].into())
        });
        assert!(matches!(large, Err(SessionError::TooLarge { .. })));
    };
    for expected in 1..=2 {
        for _ in 0..100 {
            refuse_both();
        }
        for words in ["`max_sessions`", "too large: bytes"] {
            let told = lines.with(&["WARN", "refused", words]);
            assert_eq!(told.len(), expected, "{words}: {told:?}");
        }
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
    let stats = one.stats();
    assert_eq!((stats.sessions, stats.max_sessions), (1, 1));
    assert_eq!((stats.full, stats.too_large), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn node_says_once_in_ten_seconds_that_it_is_nearly_full() {
    let configs = [
        ClusterConfig::standalone().max_sessions(5),
        ClusterConfig::standalone().max_bytes(8_000),
    ];
    for config in configs {
        let (lines, _guard) = Lines::kept();
        let one = Cluster::start_now(config).expect("nothing to bind");
        let told = || lines.with(&["WARN", "nearly full"]).len();
        for _ in 0..4 {
            create(one.node());
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(told(), 0);
        create_in(one.node(), "", &serde_json::json!("x".repeat(5_000)));
        for expected in 1..=2 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(told(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn node_with_hardly_room_for_destroyed_sessions_says_so_and_all_remember_them_for_less() {
    const ROOM: usize = 64 * 1024;
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let small = config("n1", 1, &[2]).max_tombstone_bytes(ROOM);
    let one = start_with(&network, 1, &small);
    let two = start(&network, "n2", 2, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    let told = || {
        lines
            .with(&["WARN", "destroyed sessions", "`max_tombstone_bytes`"])
            .len()
    };
    let come_and_go = |visitors: usize| {
        for _ in 0..visitors {
            let key = create(one.node());
            one.node().destroy_now(&key).expect("there");
        }
        tokio::time::sleep(Duration::from_secs(1))
    };
    come_and_go(819).await;
    assert_eq!(told(), 0, "a little less than four fifths");
    come_and_go(1).await;
    assert_eq!(told(), 1);
    let stats = one.stats();
    assert_eq!((stats.tombstones, stats.tombstone_bytes), (820, 820 * 64));
    assert_eq!(stats.max_tombstone_bytes, ROOM);
    assert_eq!(stats.tombstone_retention_ms, None);
    come_and_go(76).await;
    for node in [&one, &two] {
        assert_eq!(node.stats().tombstone_retention_ms, Some(60_000));
        assert_eq!(node.stats().tombstones, 896);
    }
    come_and_go(500).await;
    assert_eq!(told(), 1, "within ten seconds");
    let stats = one.stats();
    let lost = usize::try_from(stats.tombstones_lost).expect("few");
    assert_eq!(stats.tombstones, 1396 - lost);
    assert!(
        stats.tombstone_bytes <= ROOM + ROOM / 4,
        "no room for a minute's: {stats:?}"
    );
    tokio::time::sleep(Duration::from_secs(61)).await;
    for node in [&one, &two] {
        let stats = node.stats();
        assert_eq!((stats.sessions, stats.tombstones), (0, 0));
    }
    assert_eq!(one.stats().full, 0, "nobody was refused");
}

const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
