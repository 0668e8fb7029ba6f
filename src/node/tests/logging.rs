//! Logs that cannot be written, and tasks that panic.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_core::future::BoxFuture;
use tracing::{
    Event as Line, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use super::*;
use crate::{
    config::{ListenAddress, PeerAddress, StartError},
    node::{
        Env, TimeOfDay,
        net::transport::{Acceptor, BoxIo, Transport},
    },
};

/// A log that panics at each line, as `eprintln!` does on a pipe whose reader is gone.
struct DeadLog;

impl Subscriber for DeadLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Line<'_>) {
        panic!("nobody reads this log");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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

impl TimeOfDay for Trap {
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

    fn connect<'a>(
        &'a self,
        peer: &'a PeerAddress,
    ) -> BoxFuture<'a, io::Result<(BoxIo, SocketAddr)>> {
        self.dial.step();
        self.network.connect(peer)
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
    env.time_of_day = Arc::new(tick.clone());
    let one = Cluster::start_in(&config("n1", 1, &[2]), env).expect("the port is free");
    let panics = |expected: u64| {
        let one = one.clone();
        move || one.stats().task_panics == expected
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
    env.time_of_day = Arc::new(tick.clone());
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
