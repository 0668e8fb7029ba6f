//! The handle of a user to a running node.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::log::{info, warn};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Env, Events, LinkSecurity, Member, Node, RecentEvent, Stats,
    disk::DataDirectory,
    net::{accept, discover::Discoverer, resolve, tls},
    requests::orders,
    tick::tick,
};
use crate::{
    cluster::{Awaited, Readiness, Source, boot_id},
    config::{Ack, ClusterConfig, ConfigError, PeerAddress, Security, Settings, StartError},
    session::SessionKey,
};

/// A handle to this node in its cluster, cheap to clone.
///
/// The node runs as long as a clone lives. Dropping the last one closes all links without a
/// goodbye, and the other nodes notice that at once. [`leave`](Self::leave) is the orderly way.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_cluster_sessions::{Cluster, ClusterConfig, Readiness};
///
/// let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
/// assert_eq!(cluster.ready().await, Readiness::Alone);
/// // … serve …
/// cluster.leave().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster(Arc<Running>);

/// The part of a node that ends with the last handle.
struct Running {
    node: Arc<Node>,
    /// Ends the dialling of each configured peer.
    dials: Mutex<HashMap<PeerAddress, CancellationToken>>,
    _tick: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Binds the listen address and begins to dial the peers. With a data directory, it first loads what
    /// is in it, on a thread for what blocks.
    ///
    /// It does not wait for the peers, and an absent peer is no error; see [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// [`StartError`] if the configuration cannot work, the address cannot be bound, a file of
    /// certificates or the data directory cannot be used, or there is no tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use tower_cluster_sessions::{Cluster, ClusterConfig};
    ///
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:0");
    /// match Cluster::start(config).await {
    ///     Ok(cluster) => println!("peers reach it at {:?}", cluster.local_address()),
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// let error = Cluster::start(ClusterConfig::new("node1").listen("4100")).await;
    /// assert!(error.is_err_and(|error| error.to_string().contains("write `host:4100`")));
    /// # }
    /// ```
    pub async fn start(config: ClusterConfig) -> Result<Self, StartError> {
        if !config.has_data_dir() {
            return Self::start_now(config);
        }
        // To load a directory takes seconds, and whatever else runs on this thread goes on meanwhile.
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let starting = runtime.spawn_blocking(|| Self::start_now(config));
        match starting.await {
            Ok(started) => started,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is ending.
                Err(_) => Err(StartError::NoRuntime),
            },
        }
    }

    /// Starts as [`start`](Self::start) does, for callers that cannot wait.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers give the configuration away, as in `start`"
    )]
    pub(crate) fn start_now(config: ClusterConfig) -> Result<Self, StartError> {
        Self::start_in(&config, Env::default())
    }

    /// Starts as [`start`](Self::start) does, in another network.
    #[cfg(test)]
    pub(crate) fn start_with(
        config: &ClusterConfig,
        transport: Arc<dyn super::net::transport::Transport>,
    ) -> Result<Self, StartError> {
        Self::start_in(config, Env::of(transport))
    }

    /// Starts as [`start`](Self::start) does, in an environment of the caller.
    pub(crate) fn start_in(config: &ClusterConfig, env: Env) -> Result<Self, StartError> {
        let mut settings = config.settings()?;
        Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let security = LinkSecurity::new(&settings, env.unix_time())?;
        settings.security.forget_secrets();
        let (links, peers) = (settings.security.kind(), listed(&settings));
        let max_mib = settings.limits.max_bytes >> 20;
        info!(
            node = %settings.node, cluster = %settings.cluster, version = VERSION, links, %peers,
            max_bytes = settings.limits.max_bytes,
            "Cluster is about to start: version [{VERSION}], links by [{links}], peers [{peers}], \
             sessions in [{max_mib}] MiB"
        );
        if let Security::Plaintext { anywhere: true } = settings.security {
            warn!(
                node = %settings.node,
                "links are neither encrypted nor authenticated: whoever reaches this node or is \
                 between it and a peer can read and change every session; set `secret` or `tls`"
            );
        }
        let directory = DataDirectory::open(&settings, &env)?;
        let discoverers = Discoverer::all(&settings.discover)?;
        let listen = settings.listen.as_ref();
        let acceptor = listen
            .map(|listen| env.transport.bind(listen))
            .transpose()?;
        let local_address = acceptor.as_ref().map(|acceptor| acceptor.local_address());
        let peers = settings.peers.clone();
        let boot = boot_id(&settings.node, env.random());
        let disk = directory.as_ref().map(DataDirectory::handle);
        let disk = disk.unwrap_or_default();
        let node = Node::new(settings, security, boot, env, local_address, disk);
        let node = Arc::new(node);
        if let Some(directory) = directory {
            directory.load(&node)?.start()?;
        }
        if let (Some(acceptor), Some(address)) = (acceptor, local_address) {
            info!(node = %node.settings.node, %address, "Receiver bound to [{address}]");
            node.net
                .tasks
                .spawn(accept::accept(Arc::clone(&node), acceptor));
        }
        node.net.tasks.spawn(tls::watch(Arc::clone(&node)));
        node.net
            .tasks
            .spawn(orders::carry_out_searches(Arc::clone(&node)));
        {
            let mut table = node.peers.table();
            for discoverer in &discoverers {
                table.add(discoverer.source());
            }
        }
        node.advance_join(node.now());
        let tick = tokio::spawn(tick(Arc::clone(&node)));
        let cluster = Self(Arc::new(Running {
            node,
            dials: Mutex::default(),
            _tick: AbortOnDropHandle::new(tick),
        }));
        for peer in peers {
            cluster.dial(&mut cluster.dials(), peer);
        }
        let node = cluster.node();
        for discoverer in discoverers {
            node.net.tasks.spawn(discoverer.run(Arc::clone(node)));
        }
        Ok(cluster)
    }

    /// Waits until the node has the sessions of its peers, or there is nobody to ask, or
    /// [`transfer_timeout`](ClusterConfig::transfer_timeout) is over.
    ///
    /// Requests may be served before: sessions that are not here yet are asked for one by one. Once
    /// it has answered, it gives the same answer at once for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, Readiness};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// match cluster.ready().await {
    ///     Readiness::Synced => println!("all sessions are here"),
    ///     Readiness::Alone => println!("there was nobody to ask"),
    ///     other => println!("serving all the same: {other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ready(&self) -> Readiness {
        self.0.node.availability.ready().await
    }

    /// Returns whom [`ready`](Self::ready) waits for, or has waited for when the transfer ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:0").min_peers(2);
    /// let cluster = Cluster::start(config).await?;
    /// let awaited = cluster.awaited();
    /// assert_eq!((awaited.linked.len(), awaited.min_peers), (0, 2));
    /// assert_eq!(awaited.to_string(), "linked with [], which must be [2] at least");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn awaited(&self) -> Awaited {
        self.0.node.awaited()
    }

    /// Returns whether a balancer should send requests here.
    ///
    /// It is so when [`ready`](Self::ready) has answered, and neither [`drain`](Self::drain) nor
    /// [`leave`](Self::leave) has been called. There are two exceptions, see
    /// [`ClusterConfig::min_peers`] and [`Readiness::Refused`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// cluster.ready().await;
    /// assert!(cluster.is_ready());
    /// cluster.drain();
    /// assert!(!cluster.is_ready());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.node.availability.is_ready()
    }

    /// Makes [`is_ready`](Self::is_ready) false, and nothing else.
    ///
    /// Call it first in a shutdown, so that the balancer sends requests elsewhere while this node
    /// still serves what it gets.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// cluster.drain();
    /// // .. wait until the balancer has seen it, stop serving ..
    /// cluster.leave().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(&self) {
        self.0.node.availability.drain();
    }

    /// Leaves the cluster in order.
    ///
    /// Sessions are no longer created here. The peers get all they lack of what this node has, also
    /// those that lag, join or have just lost their link. That takes
    /// [`leave_timeout`](ClusterConfig::leave_timeout) at most; the log names members that lack
    /// something then. After it they get a goodbye, and all links and the listener close. When nobody
    /// lacks anything, or there is no peer, it takes no longer than that.
    ///
    /// Sessions held here can still be used, but nobody else learns of it: stop serving first.
    /// Calling it again is harmless and waits for the same end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting, not leaving.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// // .. stop serving ..
    /// cluster.leave().await;
    /// assert!(!cluster.is_ready());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn leave(&self) {
        self.0.node.leave().await;
    }

    /// Returns where the node listens, with the real port; `None` for a node that only dials.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// let address = cluster.local_address().expect("it listens");
    /// assert_ne!(address.port(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.0.node.net.local_address
    }

    /// Returns this node's name.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// assert_eq!(cluster.node_name(), "node1");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.0.node.settings.node
    }

    /// Adds a peer by its `host:port`, and begins to dial it. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for an address that [`ClusterConfig::peer`] would not take either; nothing
    /// changes then.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// assert!(cluster.add_peer("127.0.0.1:4101")?);
    /// assert!(!cluster.add_peer("127.0.0.1:4101")?, "it is there already");
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a text, a reference to one and a `SocketAddr` will do"
    )]
    pub fn add_peer(&self, address: impl ToString) -> Result<bool, ConfigError> {
        let node = &self.0.node;
        let peer = node.settings.peer(&address.to_string())?;
        let mut dials = self.dials();
        let is_new = node.peers.table().add(&Source::Listed(peer.clone()));
        if is_new {
            self.dial(&mut dials, peer);
        }
        Ok(is_new)
    }

    /// Removes a peer from the list and closes its link. Returns whether it was there.
    ///
    /// A peer that still has this node on its own list dials on, and is let in if it may: remove it
    /// at both ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// cluster.add_peer("127.0.0.1:4101")?;
    /// assert!(cluster.remove_peer("127.0.0.1:4101"));
    /// assert!(!cluster.remove_peer("127.0.0.1:4101"));
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a text, a reference to one and a `SocketAddr` will do"
    )]
    pub fn remove_peer(&self, address: impl ToString) -> bool {
        let Ok(peer) = address.to_string().parse::<PeerAddress>() else {
            return false;
        };
        let mut dials = self.dials();
        if let Some(stop) = dials.remove(&peer) {
            stop.cancel();
        }
        self.0.node.forget_peer(peer)
    }

    /// Returns a stream of everything that happens from now on, to members and to sessions.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, Event};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// let mut events = cluster.events();
    /// tokio::spawn(async move {
    ///     while let Some(event) = events.recv().await {
    ///         match event {
    ///             Event::Member(member) => println!("{} is {:?}", member.name, member.kind),
    ///             Event::Missed(count) => println!("too slow for {count} events"),
    ///             _ => {}
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.node.monitor.events.subscribe()
    }

    /// Returns the last 200 events but those of sessions, the latest first.
    ///
    /// They are kept whether or not anybody [reads events](Self::events).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, Event, Readiness};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// cluster.ready().await;
    /// let recent = cluster.recent_events();
    /// assert_eq!(recent[0].event, Event::Ready(Readiness::Alone));
    /// println!("{:?} ago", recent[0].age);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn recent_events(&self) -> Vec<RecentEvent> {
        let node = &self.0.node;
        node.monitor.event_log.recent(node.now())
    }

    /// Destroys a session everywhere, and waits for the peers as [`Ack::All`] does. Returns whether
    /// there was such a session.
    ///
    /// The id is that of [`Session::id`](crate::Session::id). If this node does not hold the session,
    /// it asks the peers for it, for 500 ms at most. If none of them has it either, it returns
    /// `false`, and the order to destroy it goes to every node that a path of links reaches within
    /// 24 hours.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting; the session may be destroyed or not.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// // An id from an audit log, as `Session::id` returned it.
    /// let destroyed = cluster.destroy("zVgsCmrkLjvtoeYNl05I7A").await;
    /// assert!(!destroyed, "there is no such session");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn destroy(&self, id: &str) -> bool {
        let node = &self.0.node;
        let Some(key) = SessionKey::from_public_id(id) else {
            return false;
        };
        if node.replica.read(&key, |_| ()).is_err() {
            node.find(key).await;
        }
        let destroyed = node.destroy_now(&key);
        let is_destroyed = destroyed.is_ok();
        let position = match destroyed {
            Ok(position) => position,
            Err(_) => Some(node.destroy_everywhere(key)),
        };
        node.acknowledged(position, Ack::All).await;
        is_destroyed
    }

    /// Returns the contexts of the layers of this node, and of the sessions that it holds, sorted.
    ///
    /// The default context is `""`. Those of sessions that are gone may still be among them.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Changes, Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// cluster.sessions("shop").create(&Changes::new())?;
    /// assert_eq!(cluster.contexts(), ["shop"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn contexts(&self) -> Vec<String> {
        self.0.node.contexts()
    }

    /// Returns the number of sessions held here.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// assert_eq!(cluster.session_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.0.node.replica.sessions()
    }

    /// Returns the other nodes, as this node sees them.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// for member in cluster.members() {
    ///     println!("{} is {:?}", member.address, member.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.0.node.member_list()
    }

    /// Returns this node's figures in Prometheus' text format, for a route that it scrapes.
    ///
    /// docs/operations.md has the list, and what to alarm on. With the feature `metrics` the same
    /// figures also go to the recorder of the `metrics` crate that the app has installed. Install
    /// it before the cluster starts.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// let text = cluster.prometheus();
    /// assert!(text.contains("cluster_sessions_live{cluster=\"sessions\",node=\"node1\"} 0"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.0.node.prometheus()
    }

    /// Returns this node's figures, with its members.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// let stats = cluster.stats();
    /// assert_eq!((stats.sessions, stats.max_sessions), (0, 1_000_000));
    /// println!("{}", serde_json::to_string(&stats)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.node.stats()
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    fn dial(&self, dials: &mut HashMap<PeerAddress, CancellationToken>, peer: PeerAddress) {
        let node = &self.0.node;
        let stop = node.net.shutdown.child_token();
        dials.insert(peer.clone(), stop.clone());
        let source = Source::Listed(peer.clone());
        let keep = resolve::keep(Arc::clone(node), peer, source, stop);
        node.net.tasks.spawn(keep);
    }

    fn dials(&self) -> MutexGuard<'_, HashMap<PeerAddress, CancellationToken>> {
        self.0.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.node_name())
            .field("local_address", &self.local_address())
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.net.stop();
        self.node.disk.end();
    }
}

/// Writes as people list them by what members are found.
fn listed(settings: &Settings) -> String {
    let peers = settings.peers.iter().map(ToString::to_string);
    let sources = settings.discover.iter().map(ToString::to_string);
    let listed: Vec<String> = peers.chain(sources).collect();
    listed.join(", ")
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
