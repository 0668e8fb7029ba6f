//! Two nodes in this process, over TCP, with a wire in between that can be cut.

use std::time::Duration;

use tower_cluster_sessions::{Ack, Cluster, ClusterConfig, ClusterSessionLayer, MemberState};

use super::{
    http::{visit, visit_at},
    proxy::{Proxy, Wire},
};

/// Two linked nodes, each with an app on it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) one: ClusterSessionLayer,
    pub(crate) two: ClusterSessionLayer,
    pub(crate) wires: Wires,
}

/// Both ways to dial.
#[derive(Debug)]
pub(crate) struct Wires {
    to_one: Proxy,
    to_two: Proxy,
}

impl Wires {
    pub(crate) async fn new() -> Self {
        Self {
            to_one: Proxy::new().await,
            to_two: Proxy::new().await,
        }
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.to_one.set(wire);
        self.to_two.set(wire);
    }

    /// Keeps all that passes on connections from now on.
    pub(crate) fn record(&self) {
        self.to_one.record();
        self.to_two.record();
    }

    /// What has passed since then.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        [self.to_one.recorded(), self.to_two.recorded()].concat()
    }

    /// The first node, which reaches the second by wire.
    pub(crate) async fn start_one(
        &self,
        setup: impl FnOnce(ClusterConfig) -> ClusterConfig,
    ) -> Cluster {
        start("one", &self.to_two, &self.to_one, setup).await
    }

    /// The second node, which reaches the first by wire.
    pub(crate) async fn start_two(
        &self,
        setup: impl FnOnce(ClusterConfig) -> ClusterConfig,
    ) -> Cluster {
        start("two", &self.to_one, &self.to_two, setup).await
    }
}

impl Pair {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// Two nodes whose configuration `setup` completes.
    pub(crate) async fn start_with(setup: impl Fn(ClusterConfig) -> ClusterConfig) -> Self {
        let wires = Wires::new().await;
        let one = wires.start_one(&setup).await;
        let two = wires.start_two(&setup).await;
        Self::of(wires, &one, &two).await
    }

    /// Nodes that run already.
    pub(crate) async fn of(wires: Wires, one: &Cluster, two: &Cluster) -> Self {
        let pair = Self {
            one: ClusterSessionLayer::from_cluster(one),
            two: ClusterSessionLayer::from_cluster(two),
            wires,
        };
        pair.settle(&[MemberState::Up]).await;
        pair
    }

    /// Changes the wire.
    pub(crate) fn wire(&self, wire: Wire) {
        self.wires.set(wire);
    }

    /// Cuts the wire and waits until both nodes know.
    pub(crate) async fn cut(&self, wire: Wire) {
        self.wire(wire);
        let gone = [MemberState::Suspect, MemberState::Down];
        self.settle(&gone).await;
    }

    /// Heals the wire and waits until both nodes have a link.
    pub(crate) async fn heal(&self) {
        self.wire(Wire::Whole);
        let linked = [MemberState::Up, MemberState::Lagging, MemberState::Syncing];
        self.settle(&linked).await;
    }

    /// Waits until both nodes see each other in one of these states.
    pub(crate) async fn settle(&self, states: &[MemberState]) {
        for layer in [&self.one, &self.two] {
            wait_until(
                &format!("{:?} sees {states:?}", layer.cluster()),
                async || states.contains(&peer_of(layer.cluster())),
            )
            .await;
        }
    }

    /// Waits until the session has this value on both nodes.
    pub(crate) async fn until_both_have(&self, cookie: &str, name: &str, value: Option<u64>) {
        for layer in [&self.one, &self.two] {
            wait_until(
                &format!("{:?} has {name} = {value:?}", layer.cluster()),
                async || get(layer, cookie, name).await == value,
            )
            .await;
        }
    }
}

/// The state of a node's only peer.
pub(crate) fn peer_of(cluster: &Cluster) -> MemberState {
    cluster.members()[0].state
}

/// Sets an attribute in a request of its own.
pub(crate) async fn set(layer: &ClusterSessionLayer, cookie: &str, name: &str, value: u64) {
    visit(layer, cookie, async |session| session.insert(name, value))
        .await
        .into_body()
        .expect("the session lives");
}

/// An attribute, read without use of the session.
pub(crate) async fn get(layer: &ClusterSessionLayer, cookie: &str, name: &str) -> Option<u64> {
    visit_at(layer, "/", cookie, async |session| session.get(name))
        .await
        .into_body()
        .expect("it is a number")
}

pub(crate) async fn increment(layer: &ClusterSessionLayer, cookie: &str, name: &str) {
    visit(layer, cookie, async |session| session.increment(name, 1))
        .await
        .into_body()
        .expect("the session lives");
}

pub(crate) async fn counter(layer: &ClusterSessionLayer, cookie: &str, name: &str) -> i64 {
    visit(layer, cookie, async |session| session.counter(name))
        .await
        .into_body()
        .expect("it is a counter")
}

pub(crate) async fn destroy(layer: &ClusterSessionLayer, cookie: &str) {
    visit(layer, cookie, async |session| session.destroy())
        .await
        .into_body()
        .expect("the session lives");
}

/// Whether the cookie opens a session.
pub(crate) async fn is_alive(layer: &ClusterSessionLayer, cookie: &str) -> bool {
    let id = visit(layer, cookie, async |session| session.id()).await;
    id.into_body().is_some()
}

/// The same app, whose responses wait for nobody.
pub(crate) fn hasty(layer: &ClusterSessionLayer) -> ClusterSessionLayer {
    ClusterSessionLayer::from_cluster(layer.cluster()).with_ack(Ack::None)
}

pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES {
        if holds().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("waited in vain: {what}");
}

async fn start(
    name: &str,
    peer: &Proxy,
    own: &Proxy,
    setup: impl FnOnce(ClusterConfig) -> ClusterConfig,
) -> Cluster {
    let config = ClusterConfig::new(name)
        .listen("127.0.0.1:0")
        .peer(peer.address().to_string());
    let cluster = Cluster::start(setup(config)).await;
    let cluster = cluster.expect("loopback has a free port");
    own.lead_to(cluster.local_address().expect("it listens"));
    cluster
}

const PAUSE: Duration = Duration::from_millis(5);
/// Waiting ends after a minute at the earliest.
const TRIES: u32 = 12_000;
