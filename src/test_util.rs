//! Clusters in one process, for an app's own tests: their links can be cut and healed, their nodes
//! killed and restarted.
//!
//! The nodes are real ones and speak their real protocol, only over memory instead of sockets.
//! Tests need no ports, run in parallel, and with tokio's paused time take no time: what waits for
//! a timeout, an expiry or a peer that is gone is over at once.
//!
//! Keep the feature out of releases: enable it in `[dev-dependencies]`, beside the dependency
//! itself.
//!
//! ```toml
//! [dev-dependencies]
//! tower-cluster-sessions = { version = "0.1", features = ["test-util"] }
//! tokio = { version = "1", features = ["full", "test-util"] }
//! ```
//!
//! # Examples
//!
//! An app's session survives the death of the node that made it.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response, header};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//! use tower_cluster_sessions::{
//!     Cluster, ClusterSessionLayer, SessionSlot, test_util::TestCluster,
//! };
//!
//! /// Sends a request to the app on one node.
//! async fn hit(cluster: &Cluster, cookie: &str) -> Response<i64> {
//!     let app = service_fn(async |request: Request<()>| {
//!         let slot = request.extensions().get::<SessionSlot>().expect("a layer around");
//!         let hits = slot.load().await.increment("hits", 1).expect("there is room");
//!         Ok::<_, Infallible>(Response::new(hits))
//!     });
//!     let request = Request::builder().header(header::COOKIE, cookie).body(());
//!     let layer = ClusterSessionLayer::from_cluster(cluster);
//!     layer.layer(app).oneshot(request.expect("valid")).await.expect("it cannot fail")
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test: #[tokio::test(start_paused = true)]
//! let mut cluster = TestCluster::start(2).await;
//! let first = hit(cluster.cluster(0), "").await;
//! let cookie = first.headers()[header::SET_COOKIE].to_str()?;
//! let cookie = cookie.split(';').next().expect("its name and value");
//!
//! cluster.kill(0);
//! assert_eq!(*hit(cluster.cluster(1), cookie).await.body(), 2);
//!
//! cluster.restart(0).await;
//! assert_eq!(*hit(cluster.cluster(0), cookie).await.body(), 3);
//! # Ok(())
//! # }
//! ```

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    cluster::Readiness,
    config::ClusterConfig,
    node::{
        Cluster, Env, Member, MemberState, Node, RuntimeTime, SystemTime,
        net::transport::MemoryNetwork,
    },
};

/// Nodes that run in this process and have each other on their lists of peers.
///
/// Nodes are numbered from 0 and called `node0`, `node1` and so on. Their clocks agree, and stand still
/// while tokio's time is paused. Dropping the cluster kills those whose handles and layers are
/// dropped, too.
pub struct TestCluster {
    network: MemoryNetwork,
    time: Arc<RuntimeTime>,
    nodes: Vec<TestNode>,
}

impl TestCluster {
    /// Starts `nodes` nodes with the default configuration, and waits until they have
    /// [converged](Self::converged).
    ///
    /// # Panics
    ///
    /// As [`start_with`](Self::start_with).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(3).await;
    /// assert_eq!(cluster.cluster(2).members().len(), 2);
    /// # }
    /// ```
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, |config| config).await
    }

    /// Starts `nodes` nodes, each with what `configure` makes of its configuration, and waits until
    /// they have [converged](Self::converged).
    ///
    /// The address and the peers are added to the configuration.
    ///
    /// # Panics
    ///
    /// When `nodes` is over 65 535, outside a tokio runtime, or when the configuration cannot work,
    /// as [`Cluster::start`] would tell.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start_with(2, |config| config.max_sessions(100)).await;
    /// assert_eq!(cluster.cluster(0).stats().max_sessions, 100);
    /// # }
    /// ```
    pub async fn start_with(
        nodes: usize,
        configure: impl Fn(ClusterConfig) -> ClusterConfig,
    ) -> Self {
        let count = u16::try_from(nodes).expect("at most 65 535 nodes");
        let network = MemoryNetwork::default();
        let time = Arc::new(RuntimeTime::new());
        let mut started = Vec::with_capacity(nodes);
        for port in 1..=count {
            let config = configure(ClusterConfig::new(name(port)))
                .listen(address(port))
                .peers((1..=count).filter(|peer| *peer != port).map(address));
            started.push(TestNode::start(env(&network, &time, port), port, config));
        }
        let cluster = Self {
            network,
            time,
            nodes: started,
        };
        cluster.converged().await;
        cluster
    }

    /// Kills a node: its links close without a goodbye, and what it has not sent is lost.
    ///
    /// It does nothing to a node that is killed already. Layers and handles of the node that the
    /// test still holds go on alone, as no killed process would. Drop them, and take no answer of
    /// theirs for one of the cluster.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let mut cluster = TestCluster::start(2).await;
    /// cluster.kill(0);
    /// tokio::time::sleep(std::time::Duration::from_secs(5)).await; // over at once, time is paused
    /// assert_eq!(cluster.cluster(1).members()[0].state, MemberState::Down);
    /// # }
    /// ```
    pub fn kill(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        if let Some(cluster) = node.running.take() {
            cluster.node().kill();
            node.dead.push(Arc::clone(cluster.node()));
        }
    }

    /// Starts a node again, empty, as a new process would, and waits until it is
    /// [ready](Cluster::ready).
    ///
    /// It kills the node first if it runs. The layers made before are still those of the old one:
    /// make new ones from [`cluster`](Self::cluster).
    ///
    /// # Panics
    ///
    /// When there is no such node.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the node killed, or starting.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let mut cluster = TestCluster::start(2).await;
    /// assert_eq!(cluster.restart(0).await, Readiness::Synced);
    /// # }
    /// ```
    pub async fn restart(&mut self, node: usize) -> Readiness {
        self.kill(node);
        let node = &mut self.nodes[node];
        while let Some(dead) = node.dead.last() {
            dead.stopped().await;
            node.dead.pop();
        }
        let env = env(&self.network, &self.time, node.port);
        *node = TestNode::start(env, node.port, node.config.clone());
        node.running().ready().await
    }

    /// Returns the handle of a node.
    ///
    /// # Panics
    ///
    /// When there is no such node, or it is killed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(2).await;
    /// assert_eq!(cluster.cluster(1).node_name(), "node1");
    /// # }
    /// ```
    #[must_use]
    pub fn cluster(&self, node: usize) -> &Cluster {
        self.nodes[node].running()
    }

    /// Breaks all links at once, and lets no new ones be made until [`heal`](Self::heal).
    ///
    /// Every node is then on its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(2).await;
    /// cluster.cut();
    /// // .. each node serves alone ..
    /// cluster.heal();
    /// cluster.converged().await;
    /// # }
    /// ```
    pub fn cut(&self) {
        self.network.cut();
    }

    /// Ends all cuts.
    ///
    /// The nodes dial each other again within a second; wait for [`converged`](Self::converged).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(2).await;
    /// cluster.cut();
    /// cluster.heal();
    /// cluster.converged().await;
    /// assert_eq!(cluster.cluster(0).members()[0].state, MemberState::Up);
    /// # }
    /// ```
    pub fn heal(&self) {
        self.network.heal();
    }

    /// Breaks the link between two nodes, and lets no new one be made until
    /// [`heal_between`](Self::heal_between) or [`heal`](Self::heal).
    ///
    /// # Panics
    ///
    /// When there are no such nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(3).await;
    /// cluster.cut_between(0, 1);
    /// // .. both still reach node 2 ..
    /// cluster.heal_between(0, 1);
    /// cluster.converged().await;
    /// # }
    /// ```
    pub fn cut_between(&self, one: usize, other: usize) {
        let (one, other) = (self.nodes[one].port, self.nodes[other].port);
        self.network.cut_between(one, other);
    }

    /// Ends the cut between two nodes. A cut of the [whole network](Self::cut) stays.
    ///
    /// # Panics
    ///
    /// When there are no such nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(3).await;
    /// cluster.cut_between(0, 1);
    /// cluster.heal_between(0, 1);
    /// cluster.converged().await;
    /// # }
    /// ```
    pub fn heal_between(&self, one: usize, other: usize) {
        let (one, other) = (self.nodes[one].port, self.nodes[other].port);
        self.network.heal_between(one, other);
    }

    /// Waits until the cluster has converged: all nodes that run are linked, except where the
    /// network is cut, and linked nodes hold the same sessions.
    ///
    /// Writes of a request count once its response is there, not before.
    ///
    /// # Panics
    ///
    /// When it takes longer than five minutes of tokio's time. Then it will never be: the nodes
    /// were given different clusters or limits, or something writes without a pause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};
    /// let cluster = TestCluster::start(2).await;
    /// // .. requests on node 0 ..
    /// cluster.converged().await;
    /// // .. node 1 holds what they wrote ..
    /// let held = [0, 1].map(|node| cluster.cluster(node).session_count());
    /// assert_eq!(held[0], held[1]);
    /// # }
    /// ```
    pub async fn converged(&self) {
        let convergence = async {
            while self.difference().is_some() {
                sleep(POLL).await;
            }
        };
        if timeout(PATIENCE, convergence).await.is_err()
            && let Some(why) = self.difference()
        {
            panic!("the cluster does not converge: {why}");
        }
    }

    /// Returns what two nodes still lack, in words.
    fn difference(&self) -> Option<String> {
        let present: Vec<&TestNode> = self.nodes.iter().filter(|node| node.is_member()).collect();
        for (at, one) in present.iter().enumerate() {
            for other in &present[at + 1..] {
                let is_cut = self.network.is_cut(one.port, other.port);
                if let Some(why) = one.differs_from(other).filter(|_| !is_cut) {
                    let (one, other) = (name(one.port), name(other.port));
                    return Some(format!("{one} and {other} {why}"));
                }
            }
        }
        let joining = |node: &&&TestNode| node.running().node().awaits_transfer();
        let joining = present.iter().find(joining);
        joining.map(|node| format!("{} still receives sessions", name(node.port)))
    }
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self
            .nodes
            .iter()
            .map(|node| (name(node.port), &node.running));
        f.debug_map().entries(nodes).finish()
    }
}

struct TestNode {
    port: u16,
    config: ClusterConfig,
    running: Option<Cluster>,
    /// Killed before, and perhaps not yet off the network.
    dead: Vec<Arc<Node>>,
}

impl TestNode {
    fn start(env: Env, port: u16, config: ClusterConfig) -> Self {
        let running = Cluster::start_in(&config, env)
            .unwrap_or_else(|error| panic!("{} cannot start: {error}", name(port)));
        Self {
            port,
            config,
            running: Some(running),
            dead: Vec::new(),
        }
    }

    fn running(&self) -> &Cluster {
        match &self.running {
            Some(cluster) => cluster,
            None => panic!("{} is killed: restart it first", name(self.port)),
        }
    }

    /// Returns whether the node runs and has not left.
    fn is_member(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|cluster| cluster.node().may_create())
    }

    /// Returns what two nodes that are not cut off from each other still lack.
    fn differs_from(&self, other: &Self) -> Option<&'static str> {
        let views = [self.view_of(other), other.view_of(self)];
        if views == [None, None] {
            // Taken off each other's lists.
            return None;
        }
        if views != [Some(MemberState::Up); 2] {
            return Some("are not linked");
        }
        let replicas = [self, other].map(|node| node.running().node().replica());
        (!replicas[0].holds_the_same_as(replicas[1])).then_some("hold different sessions")
    }

    fn view_of(&self, other: &Self) -> Option<MemberState> {
        let address = address(other.port);
        let members = self.running().members();
        let found = members.into_iter().find(|member| member.address == address);
        found.map(|Member { state, .. }| state)
    }
}

fn env(network: &MemoryNetwork, time: &Arc<RuntimeTime>, port: u16) -> Env {
    let mut env = Env::of(Arc::new(network.transport(port)));
    env.system = Arc::clone(time) as Arc<dyn SystemTime>;
    env
}

fn name(port: u16) -> String {
    format!("node{}", port - 1)
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The time between two looks at whether the cluster has converged.
const POLL: Duration = Duration::from_millis(10);
/// A time longer than anything a cluster does by itself: the longest default is the transfer's
/// minute.
const PATIENCE: Duration = Duration::from_secs(300);
