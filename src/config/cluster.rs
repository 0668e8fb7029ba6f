//! The configuration of a node and its cluster, as users give it.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

#[cfg(feature = "durable")]
use super::sync::Sync;
use super::{
    discovery::{Discovery, OwnDiscovery},
    duration,
    key::KeyText,
    limits::{Limits, Shape},
    secret::{self, SecretSource},
    tls_files::TlsFiles,
};

/// The configuration of a node and of the cluster it belongs to.
///
/// The values are checked when the cluster starts.
///
/// It can be read with `serde`, from a file in any format. Fields are called like the methods, the
/// name of the node `node`, the list of peers `peers`. Times are texts with a unit: `250ms`, `5s`,
/// `30m`, `12h` or `7d`. An unknown field is an error.
///
/// ```
/// use std::time::Duration;
/// use tower_cluster_sessions::ClusterConfig;
///
/// let in_code = ClusterConfig::new("node1")
///     .listen("127.0.0.1:4100")
///     .peer("127.0.0.1:4101")
///     .ack_timeout(Duration::from_millis(250));
/// let from_file: ClusterConfig = serde_json::from_str(
///     r#"{
///         "node": "node1",
///         "listen": "127.0.0.1:4100",
///         "peers": ["127.0.0.1:4101"],
///         "ack_timeout": "250ms"
///     }"#,
/// )?;
/// assert_eq!(from_file, in_code);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default = "ClusterConfig::unnamed")]
pub struct ClusterConfig {
    pub(super) node: String,
    pub(super) standalone: bool,
    pub(super) cluster: String,
    pub(super) route: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) auto_bind: u16,
    pub(super) advertise: Option<String>,
    pub(super) peers: Vec<String>,
    pub(super) discover: Vec<String>,
    #[serde(skip)]
    pub(super) own_discoveries: Vec<OwnDiscovery>,
    #[serde(deserialize_with = "duration::read")]
    pub(super) discovery_interval: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) forget_after: Duration,
    pub(super) peer_exchange: bool,
    #[serde(deserialize_with = "secret::list")]
    pub(super) secrets: Vec<SecretSource>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) tls_name: Option<String>,
    pub(super) insecure_plaintext: bool,
    #[serde(deserialize_with = "duration::read")]
    pub(super) ack_timeout: Duration,
    pub(super) consistency_key: Option<KeyText>,
    #[serde(deserialize_with = "duration::read")]
    pub(super) read_your_writes_timeout: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) transfer_timeout: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) alone_after: Duration,
    pub(super) min_peers: usize,
    #[serde(deserialize_with = "duration::read")]
    pub(super) leave_timeout: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) heartbeat_interval: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) down_after: Duration,
    #[serde(deserialize_with = "duration::read")]
    pub(super) max_link_age: Duration,
    pub(super) max_sessions: usize,
    pub(super) max_session_bytes: usize,
    pub(super) max_attributes: usize,
    pub(super) max_bytes: Option<usize>,
    pub(super) max_tombstone_bytes: usize,
    #[serde(deserialize_with = "duration::read")]
    pub(super) unconfirmed_timeout: Duration,
    pub(super) log_records: usize,
    pub(super) indexes: Vec<String>,
    pub(super) destroy_sessions_on_leave: bool,
    pub(super) notify_listeners_on_replication: bool,
    #[cfg(feature = "durable")]
    pub(super) data_dir: Option<PathBuf>,
    #[cfg(feature = "durable")]
    pub(super) sync: Option<Sync>,
    #[cfg(feature = "durable")]
    pub(super) data_keys: Vec<KeyText>,
}

impl ClusterConfig {
    pub(super) const STANDALONE_NODE: &'static str = "standalone";

    /// Returns the default configuration of a node called `node`.
    ///
    /// The name is 1 to 64 of the characters `A-Z`, `a-z`, `0-9` and `._-`, and different for each
    /// node of a cluster. It is a label in logs; nothing else depends on it.
    ///
    /// Give the node at least [`listen`](Self::listen) or a [`peer`](Self::peer).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .peers(["10.0.0.2:4100", "10.0.0.3:4100"])
    ///     .secret_file("/run/secrets/cluster-secret");
    /// ```
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            ..Self::unnamed()
        }
    }

    /// Returns the configuration of a node without a cluster.
    ///
    /// It opens no socket and has no peers; its sessions live and die with the process. It is for
    /// development, or for an app that may grow.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_cluster_sessions::StartError> {
    /// use tower_cluster_sessions::{Cluster, ClusterConfig};
    ///
    /// let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// assert_eq!(cluster.local_address(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn standalone() -> Self {
        Self {
            standalone: true,
            ..Self::new(Self::STANDALONE_NODE)
        }
    }

    /// Sets the name of the cluster: 1 to 64 of the characters `A-Z`, `a-z`, `0-9` and `._-`.
    ///
    /// Default: `sessions`. Nodes of differently named clusters refuse each other, so that a wrong
    /// address cannot mix staging with production. It is a guard against mistakes, not a secret.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .cluster("shop-staging");
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "cluster": "shop-staging"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// Sets the route, which ids of sessions made here end in, behind a dot: Tomcat's `jvmRoute`.
    ///
    /// Default: none. It is 1 to 32 characters of `A-Z a-z 0-9 _ -`. A session keeps the route of
    /// the node that created it, also after that node died, so its id never changes.
    ///
    /// A balancer that sticks by the route saves peers from asking each other. Nothing needs it to
    /// be right.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .route("node1");
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "route": "node1"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn route(mut self, route: impl Into<String>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Sets the address at which peers reach this node, as `host:port`.
    ///
    /// Default: none, the node only dials. The host is an IPv4 address, an IPv6 address in brackets
    /// or a DNS name. Port 0 lets the system choose. A [`SocketAddr`](std::net::SocketAddr) will do
    /// as well as a text.
    ///
    /// `0.0.0.0:4100` and `[::]:4100` listen on all addresses, which is more than most nodes need.
    /// Any address but loopback needs a [`secret`](Self::secret) or [`tls`](Self::tls).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("[fd00::1]:4100");
    /// ```
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a text, a reference to one and a `SocketAddr` will do"
    )]
    pub fn listen(mut self, address: impl ToString) -> Self {
        self.listen = Some(address.to_string());
        self
    }

    /// Sets how many ports to try, from the one of [`listen`](Self::listen) on, until one is free:
    /// Tomcat's `autoBind`.
    ///
    /// Default: 0, which like 1 means exactly that port. With more, several nodes can share one
    /// machine and one configuration, but peers must list all ports of the range.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .auto_bind(10);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "auto_bind": 10}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn auto_bind(mut self, ports: u16) -> Self {
        self.auto_bind = ports;
        self
    }

    /// Sets the `host:port` that other nodes show for this one, and by which they
    /// [tell each other](Self::peer_exchange) of it.
    ///
    /// Default: the address of [`listen`](Self::listen), or if that is `0.0.0.0` or `[::]` the one that
    /// they see, with its port. Set it where that address differs, as behind NAT.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("0.0.0.0:4100")
    ///     .advertise("203.0.113.7:4100");
    /// ```
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a text, a reference to one and a `SocketAddr` will do"
    )]
    pub fn advertise(mut self, address: impl ToString) -> Self {
        self.advertise = Some(address.to_string());
        self
    }

    /// Adds a peer by its `host:port`.
    ///
    /// Default: no peers. A name stands for a node at each of its addresses, and is looked up every
    /// ten seconds. It is enough that one of two nodes lists the other, and repetitions do no harm.
    /// The same list, or one name of all nodes, may go to all: a node recognises itself.
    ///
    /// Any address but loopback needs a [`secret`](Self::secret) or [`tls`](Self::tls).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .peer("node2.internal:4100")
    ///     .peer("[fd00::3]:4100");
    /// ```
    #[must_use]
    pub fn peer(self, address: impl ToString) -> Self {
        self.peers([address])
    }

    /// Adds several peers, as [`peer`](Self::peer) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::ClusterConfig;
    ///
    /// let all = ["10.0.0.1:4100", "10.0.0.2:4100", "10.0.0.3:4100"];
    /// let config = ClusterConfig::new("node1").peers(&all);
    /// assert_eq!(config, ClusterConfig::new("node1").peers(all.map(str::to_owned)));
    /// ```
    #[must_use]
    pub fn peers<A: ToString>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        let addresses = addresses.into_iter();
        self.peers
            .extend(addresses.map(|address| address.to_string()));
        self
    }

    /// Adds a way to find the other nodes without a list of them: `dns:name:port`, or `srv:name` with
    /// the feature `srv`.
    ///
    /// Default: none. `dns:` looks the name up, such as that of a headless service, every
    /// [`discovery_interval`](Self::discovery_interval). Each address is that of a node that listens at
    /// the port. `srv:` looks up the records of a service, such as `srv:_links._tcp.sessions`, which
    /// bring the ports. This node may be among them, and so may others that do not fit: nodes of another
    /// cluster are left alone.
    ///
    /// A member that has a link keeps it when the name server fails, answers with nothing or forgets
    /// it. One that is gone is looked for until [`forget_after`](Self::forget_after).
    ///
    /// A node that starts waits for the first answer, and does not take a name server that fails for
    /// the word that it is alone. [`min_peers`](Self::min_peers) says how many others it expects.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .discover("dns:localhost:4100");
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "discover": ["dns:localhost:4100"]}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn discover(mut self, source: impl Into<String>) -> Self {
        self.discover.push(source.into());
        self
    }

    /// Adds a way of the app's own to find the other nodes, as [`discover`](Self::discover) does.
    ///
    /// Copies of the configuration share it, and the first node that starts takes it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{error::Error, future, net::SocketAddr};
    /// use tower_cluster_sessions::{ClusterConfig, Discovery};
    ///
    /// /// A list that is told once.
    /// struct Once(Option<Vec<SocketAddr>>);
    ///
    /// impl Discovery for Once {
    ///     async fn next(&mut self) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    ///         match self.0.take() {
    ///             Some(found) => Ok(found),
    ///             None => future::pending().await,
    ///         }
    ///     }
    /// }
    ///
    /// let others = vec!["127.0.0.1:4101".parse()?, "127.0.0.1:4102".parse()?];
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .discover_with(Once(Some(others)));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn discover_with(mut self, discovery: impl Discovery) -> Self {
        self.own_discoveries.push(OwnDiscovery::new(discovery));
        self
    }

    /// Sets how often the names of [`discover`](Self::discover) are looked up.
    ///
    /// Default: 5 s. A node that starts asks twice a second until it is ready. Short: nodes find each
    /// other sooner, for more questions to the name server.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .discover("dns:localhost:4100")
    ///     .discovery_interval(Duration::from_secs(30));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "discover": ["dns:localhost:4100"],
    /// #     "discovery_interval": "30s"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn discovery_interval(mut self, interval: Duration) -> Self {
        self.discovery_interval = interval;
        self
    }

    /// Sets for how long a member that is gone is looked for, and shown, when nobody tells of it any
    /// more: no list, no [discovery](Self::discover) and no member.
    ///
    /// Default: 60 s; it is [`down_after`](Self::down_after) at least. Long: a cluster that a network cut
    /// in two finds together again without the name server. Short: nodes that were replaced leave
    /// [`members`](crate::Cluster::members) sooner. One that said goodbye is not looked for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .forget_after(Duration::from_secs(600));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "forget_after": "10m"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// Sets whether members tell this node of others, and it tells them.
    ///
    /// Default: `true`. So a node that lists one other, a seed, comes to have links to all. It happens
    /// where links prove who is there: with a [`secret`](Self::secret), or with [`tls`](Self::tls) and
    /// a [`tls_name`](Self::tls_name). Who is told of is dialled, and proves the same.
    ///
    /// Members tell of each other by what they [advertise](Self::advertise), or else by the address that
    /// they see and the port of [`listen`](Self::listen). Turn it off where some nodes must not dial
    /// each other.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .peer_exchange(false);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "peer_exchange": false}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn peer_exchange(mut self, exchange: bool) -> Self {
        self.peer_exchange = exchange;
        self
    }

    /// Adds a secret that all nodes share: 32 random bytes as 64 hex digits or as base64.
    ///
    /// Default: none. `openssl rand -hex 32` makes one. Links are then TLS 1.3, and both ends prove
    /// that they know the secret. Whoever knows it can read and change every session. Its text is
    /// wiped after use, and never shown.
    ///
    /// It must be random. A hash of a passphrase looks random, but is as easy to guess as the
    /// passphrase: whoever reaches the port can check guesses without being noticed.
    ///
    /// Of several secrets, the first is presented and all are accepted. So a secret can be changed
    /// without stopping the cluster. Restart the nodes one by one with the new one added behind the
    /// old, then with the two swapped, then without the old one.
    ///
    /// In a configuration file it is one of `secrets`: `[{"file": "/run/secrets/sessions"}]`, or
    /// `{"env": "NAME"}` or `{"value": "0e9d…"}`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let secret = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    /// let config = ClusterConfig::new("node1").listen("10.0.0.1:4100").secret(secret);
    /// assert!(!format!("{config:?}").contains(secret));
    /// ```
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(SecretSource::Value(KeyText::new(secret)));
        self
    }

    /// Adds the secrets in a file, one in each line, as [`secret`](Self::secret) does.
    ///
    /// The file is read when the cluster starts. It is a regular file and may have 8 KiB. If others
    /// on this machine can read or change it, a warning says so.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .secret_file("/run/secrets/cluster-secret");
    /// ```
    #[must_use]
    pub fn secret_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.secrets.push(SecretSource::File(path.into()));
        self
    }

    /// Adds the secret in an environment variable, as [`secret`](Self::secret) does.
    ///
    /// The variable may hold several, with spaces between them. It is read when the cluster starts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .secret_env("CLUSTER_SECRET");
    /// ```
    #[must_use]
    pub fn secret_env(mut self, variable: impl Into<String>) -> Self {
        self.secrets.push(SecretSource::Env(variable.into()));
        self
    }

    /// Protects links by certificates, instead of a secret: the files of this node's certificate,
    /// of its key, and of the authority, each in PEM form.
    ///
    /// Default: none. Links are then TLS 1.3. The first file also holds what is between the
    /// certificate and the authority; all nodes' certificates come from that authority.
    ///
    /// Both ends verify each other. The certificate of a peer that is dialled must be for the host
    /// by which it is [listed](Self::peer). The certificate of a peer that dials must be for the
    /// host of any peer on the list. With a [`tls_name`](Self::tls_name), both must be for that
    /// name instead.
    ///
    /// The files are looked at every ten seconds. When they have changed and are valid, links made
    /// from then on use them. A certificate that ends within 14 days is logged once a day.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .peer("node2.internal:4100")
    ///     .tls("/tls/tls.crt", "/tls/tls.key", "/tls/ca.crt");
    /// ```
    #[must_use]
    pub fn tls(
        mut self,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        ca: impl Into<PathBuf>,
    ) -> Self {
        self.tls = Some(TlsFiles {
            cert: cert.into(),
            key: key.into(),
            ca: ca.into(),
        });
        self
    }

    /// Sets the DNS name or IP address that the certificate of each node is for, however it is
    /// dialled.
    ///
    /// Default: none, each node's certificate is for its own address. With [`tls`](Self::tls) it is
    /// needed where nodes share a certificate, or dial this one without being on its list.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.0.0.1:4100")
    ///     .tls("/tls/tls.crt", "/tls/tls.key", "/tls/ca.crt")
    ///     .tls_name("sessions.internal");
    /// ```
    #[must_use]
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.tls_name = Some(name.into());
        self
    }

    /// Allows addresses other than loopback without a [`secret`](Self::secret) or
    /// [`tls`](Self::tls).
    ///
    /// Default: not allowed. Each start logs a warning. Links are then neither encrypted nor
    /// authenticated: everybody who can reach the port can read and change every session. Use it
    /// only in a network that nobody else can reach.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// // Inside a tunnel that nobody else can reach.
    /// let config = ClusterConfig::new("node1")
    ///     .listen("10.99.0.1:4100")
    ///     .peer("10.99.0.2:4100")
    ///     .insecure_plaintext();
    /// ```
    #[must_use]
    pub fn insecure_plaintext(mut self) -> Self {
        self.insecure_plaintext = true;
        self
    }

    /// Sets how long a response waits for peers to acknowledge.
    ///
    /// Default: 1 s. A peer that takes longer is not waited for until it has caught up. One whose link
    /// breaks is waited for until it is back, for this time at most, unless it is known to be gone. A
    /// short time limits the harm a slow peer does to latency. A long time makes it rarer that a change
    /// is on one node alone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .ack_timeout(Duration::from_millis(250));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "ack_timeout": "250ms"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn ack_timeout(mut self, time: Duration) -> Self {
        self.ack_timeout = time;
        self
    }

    /// Sets the key that [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites) signs
    /// its cookie with: 32 random bytes as 64 hex digits or as base64, the same on all nodes.
    ///
    /// Default: one that is derived from the [`secret`](Self::secret). Without a secret, a layer
    /// that needs the key is an error. `openssl rand -hex 32` makes a good one.
    ///
    /// It opens no session: whoever knows it can have requests wait in vain. A node with another
    /// key ignores the others' cookies.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let key = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100").consistency_key(key);
    /// assert!(!format!("{config:?}").contains(key));
    /// ```
    #[must_use]
    pub fn consistency_key(mut self, key: impl Into<String>) -> Self {
        self.consistency_key = Some(KeyText::new(key));
        self
    }

    /// Sets how long a request waits in all for what its client has written on another node, with
    /// [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites).
    ///
    /// Default: 50 ms. Afterwards the request gets what the node has, and
    /// [`Stats::stale_reads`](crate::Stats::stale_reads) counts it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .read_your_writes_timeout(Duration::from_millis(20));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "read_your_writes_timeout": "20ms"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn read_your_writes_timeout(mut self, time: Duration) -> Self {
        self.read_your_writes_timeout = time;
        self
    }

    /// Sets how long a joining node waits for all sessions before it says that it timed out:
    /// Tomcat's `stateTransferTimeout`.
    ///
    /// Default: 60 s. Zero does not wait. The transfer goes on either way.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .transfer_timeout(Duration::from_secs(30));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "transfer_timeout": "30s"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn transfer_timeout(mut self, time: Duration) -> Self {
        self.transfer_timeout = time;
        self
    }

    /// Sets how long a starting node looks for peers that cannot be reached, before it takes itself
    /// for the only one and is ready as [`Readiness::Alone`](crate::Readiness::Alone).
    ///
    /// Default: 3 s. Zero dials each peer once. A node without peers does not wait. A peer that is
    /// there but does not let this node in is waited for longer, for
    /// [`transfer_timeout`](Self::transfer_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("127.0.0.1:4100")
    ///     .peer("127.0.0.1:4101")
    ///     .alone_after(Duration::from_secs(10));
    /// # assert!(format!("{config:?}").contains("node1"));
    /// ```
    #[must_use]
    pub fn alone_after(mut self, time: Duration) -> Self {
        self.alone_after = time;
        self
    }

    /// Sets how many peers a starting node must be linked with before it is ready.
    ///
    /// Default: 0. With more, [`Cluster::is_ready`](crate::Cluster::is_ready) is false until the
    /// node has the sessions of so many peers at least, however long that takes. So a node that
    /// finds nobody, or whose transfer timed out, gets no requests. It does not matter any more once
    /// the node was ready: it stays so when its peers die.
    ///
    /// At the first start of a cluster so many other nodes must start, too: with 1, a single node
    /// is never ready.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1")
    ///     .listen("127.0.0.1:4100")
    ///     .peer("127.0.0.1:4101")
    ///     .min_peers(1);
    /// # assert!(format!("{config:?}").contains("node1"));
    /// ```
    #[must_use]
    pub fn min_peers(mut self, peers: usize) -> Self {
        self.min_peers = peers;
        self
    }

    /// Sets how long a leaving node waits for peers to have all that it has.
    ///
    /// Default: 5 s. Keep it shorter than the time your supervisor gives a process to stop.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .leave_timeout(Duration::from_secs(2));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "leave_timeout": "2s"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn leave_timeout(mut self, time: Duration) -> Self {
        self.leave_timeout = time;
        self
    }

    /// Sets how often a node tells each peer that it lives and what it holds: Tomcat's `frequency`.
    ///
    /// Default: 500 ms. A shorter interval notices and repairs differences sooner, for more
    /// traffic.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .heartbeat_interval(Duration::from_millis(200));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "heartbeat_interval": "200ms"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn heartbeat_interval(mut self, time: Duration) -> Self {
        self.heartbeat_interval = time;
        self
    }

    /// Sets how long a silent peer counts as alive: Tomcat's `dropTime`.
    ///
    /// Default: 3 s; at least two heartbeat intervals. A long time keeps a peer through a stall of
    /// its process, a short one tells sooner that it is gone. A process that is killed closes its
    /// link and needs no timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .down_after(Duration::from_secs(10));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "down_after": "10s"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn down_after(mut self, time: Duration) -> Self {
        self.down_after = time;
        self
    }

    /// Sets how old a link may be.
    ///
    /// Default: 24 hours; at least a minute. Before it is so old, the node that dialled it dials
    /// again, which proves both ends anew, and the new link takes its place without a pause. The
    /// other node ends a link for which that does not happen. So whoever cannot prove that it
    /// belongs to the cluster any more is out of it within that time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_link_age(Duration::from_secs(60 * 60));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_link_age": "1h"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_link_age(mut self, time: Duration) -> Self {
        self.max_link_age = time;
        self
    }

    /// Sets how many sessions a node holds.
    ///
    /// Default: 1 000 000, at most 2 147 483 648. When they are reached, the oldest
    /// [unconfirmed](Self::unconfirmed_timeout) session makes room for a new one. Where there is none,
    /// creating a session fails; no other is evicted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_sessions(50_000);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_sessions": 50000}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets for how long a session is kept whose client does not come back.
    ///
    /// Default: 120 s; a year or more turns it off. A session is *unconfirmed* until a request
    /// presents its cookie, on whatever node. Until then this is its idle limit, if its own is not
    /// shorter. So bots without cookies cost memory for two minutes and not for half an hour. A
    /// request or handle that uses a session confirms it, too, when it lasts longer than a twentieth
    /// of this time, and so does [`Session::cycle_id`](crate::Session::cycle_id).
    ///
    /// When the node is full, the unconfirmed session that was used longest ago makes room for a new
    /// one, if that is five seconds ago and nobody uses it here.
    ///
    /// A client that needs longer for its second request gets a new session then. If your app has
    /// such clients, a form of one page that takes minutes or a program that logs in without
    /// `cycle_id`, raise it. Set the same on all nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .unconfirmed_timeout(Duration::from_secs(600));
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "unconfirmed_timeout": "600s"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn unconfirmed_timeout(mut self, time: Duration) -> Self {
        self.unconfirmed_timeout = time;
        self
    }

    /// Sets how many bytes of memory all sessions of a node may take together.
    ///
    /// Default: half of the machine's memory, or of the process's cgroup's (version 1 or 2) if that
    /// has less. Where neither can be read, which is elsewhere than on Linux, 2 GiB. The node logs
    /// the number when it starts.
    ///
    /// When it is reached, creating a session fails with
    /// [`SessionError::Full`](crate::SessionError::Full), and so does a write that would make one
    /// larger. The last sixteenth is kept for sessions whose clients have come back, so that a flood of
    /// new ones does not stop their writes. All other writes go on. From four fifths on a warning is logged every ten seconds.
    /// What peers have taken in is merged up to half as many bytes again, since it would be lost
    /// otherwise; beyond that it is counted as [`Stats::over_limit`](crate::Stats::over_limit).
    ///
    /// [`Stats::session_bytes`](crate::Stats::session_bytes) is what counts against it: the bytes
    /// that the node has asked the allocator for, and of which it uses somewhat more. Sessions in use
    /// take more than others, so reading may go beyond the limit for a second or so.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_bytes(1 << 30);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_bytes": 1073741824}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets how many bytes of names and values one session may hold.
    ///
    /// Default: 262 144 (256 KiB), at most 64 MiB. A write beyond it fails and changes nothing.
    ///
    /// Set the same on all nodes. A node does not merge what a peer sends of a session over twice
    /// its own limit: it counts that as [`Stats::over_limit`](crate::Stats::over_limit) and logs
    /// it, and the link stays.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_session_bytes(64 * 1024);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_session_bytes": 65536}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_session_bytes(mut self, bytes: usize) -> Self {
        self.max_session_bytes = bytes;
        self
    }

    /// Sets how many attributes one session may hold.
    ///
    /// Default: 256, at most 65 536. A write beyond it fails and changes nothing.
    ///
    /// Set the same on all nodes. A session with more than eight times as many names, removed ones
    /// included, is not merged from a peer, as with [`max_session_bytes`](Self::max_session_bytes).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_attributes(1_000);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_attributes": 1000}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_attributes(mut self, attributes: usize) -> Self {
        self.max_attributes = attributes;
        self
    }

    /// Sets how many bytes of memory a node has for destroyed sessions, which it remembers so that
    /// they stay destroyed.
    ///
    /// Default: 67 108 864 (64 MiB), which is a million of them; 64 KiB to 2 GiB. When there is no
    /// room for more, all nodes remember them for a shorter time, which is
    /// [`Stats::tombstone_retention_ms`](crate::Stats::tombstone_retention_ms), and the oldest are
    /// forgotten. Creating and destroying sessions never fails for it. A node that has never had a
    /// peer remembers none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .max_tombstone_bytes(256 * 1024 * 1024);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "max_tombstone_bytes": 268435456}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn max_tombstone_bytes(mut self, bytes: usize) -> Self {
        self.max_tombstone_bytes = bytes;
        self
    }

    /// Sets how many changes a node remembers for a peer that reconnects.
    ///
    /// Default: 262 144, at most 67 108 864. A peer that misses more is compared session by
    /// session, which costs more traffic. Each remembered change costs memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .log_records(1 << 20);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "log_records": 1048576}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn log_records(mut self, records: usize) -> Self {
        self.log_records = records;
        self
    }

    /// Adds a name by which sessions are found: that of an attribute.
    ///
    /// Default: none. [`Sessions::find`](crate::Sessions::find) needs it, and
    /// [`destroy_where`](crate::Sessions::destroy_where) need not look at every session with it. It
    /// holds for all contexts. Where an attribute is an object, a JSON pointer behind `#` leads to a
    /// field of it: `axum-login.data#/user_id`. There can be 16 of them.
    ///
    /// A session that has such an attribute takes about 24 bytes more memory, and one that has not
    /// takes none. Any JSON value can be found. Counters are not indexed.
    ///
    /// It is a matter of each node alone: nodes with different indexes work together.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .index("user_id");
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "indexes": ["user_id"]}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.indexes.push(name.into());
        self
    }

    /// Sets whether a node that leaves in order destroys all sessions on all nodes: Tomcat's
    /// `expireSessionsOnShutdown`.
    ///
    /// Default: `false`, they live on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .destroy_sessions_on_leave(true);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "destroy_sessions_on_leave": true}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn destroy_sessions_on_leave(mut self, destroy: bool) -> Self {
        self.destroy_sessions_on_leave = destroy;
        self
    }

    /// Sets whether session events are also sent for changes that come from peers: Tomcat's
    /// `notifyListenersOnReplication`.
    ///
    /// Default: `false`, each event is sent on one node, that which made the change. The exception
    /// is expiry, which each node tells of its own copy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .notify_listeners_on_replication(true);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "notify_listeners_on_replication": true}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn notify_listeners_on_replication(mut self, notify: bool) -> Self {
        self.notify_listeners_on_replication = notify;
        self
    }

    /// Returns whether a directory is to be loaded at a start.
    pub(crate) const fn has_data_dir(&self) -> bool {
        #[cfg(feature = "durable")]
        {
            self.data_dir.is_some()
        }
        #[cfg(not(feature = "durable"))]
        {
            false
        }
    }

    /// Returns all defaults. It is not public because no cluster starts without a name.
    fn unnamed() -> Self {
        let Limits {
            max_sessions,
            max_session_bytes,
            max_attributes,
            max_bytes: _,
            max_tombstone_bytes,
            unconfirmed_ms: _,
        } = Limits::default();
        Self {
            node: String::new(),
            standalone: false,
            cluster: "sessions".to_owned(),
            route: None,
            listen: None,
            auto_bind: 0,
            advertise: None,
            peers: Vec::new(),
            discover: Vec::new(),
            own_discoveries: Vec::new(),
            discovery_interval: Duration::from_secs(5),
            forget_after: Duration::from_secs(60),
            peer_exchange: true,
            secrets: Vec::new(),
            tls: None,
            tls_name: None,
            insecure_plaintext: false,
            ack_timeout: Duration::from_secs(1),
            consistency_key: None,
            read_your_writes_timeout: Duration::from_millis(50),
            transfer_timeout: Duration::from_secs(60),
            alone_after: Duration::from_secs(3),
            min_peers: 0,
            leave_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_millis(500),
            down_after: Duration::from_secs(3),
            max_link_age: Duration::from_secs(24 * 60 * 60),
            max_sessions,
            max_session_bytes,
            max_attributes,
            max_bytes: None,
            max_tombstone_bytes,
            unconfirmed_timeout: Duration::from_secs(120),
            log_records: Shape::default().log_records,
            indexes: Vec::new(),
            destroy_sessions_on_leave: false,
            notify_listeners_on_replication: false,
            #[cfg(feature = "durable")]
            data_dir: None,
            #[cfg(feature = "durable")]
            sync: None,
            #[cfg(feature = "durable")]
            data_keys: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ClusterConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_setting_can_be_read() {
        let json = r#"{
            "node": "n1", "cluster": "shop", "route": "r1", "listen": "[::]:4100", "auto_bind": 5,
            "advertise": "shop1:4100", "peers": ["a:1", "b:2"], "insecure_plaintext": true,
            "discover": ["dns:c:3"], "discovery_interval": "15ms", "forget_after": "16ms",
            "peer_exchange": false,
            "secrets": [{"value": "s"}, {"file": "/f"}, {"env": "E"}],
            "tls": {"cert": "c", "key": "k", "ca": "a"}, "tls_name": "t",
            "consistency_key": "k", "read_your_writes_timeout": "9ms",
            "ack_timeout": "1ms", "transfer_timeout": "2ms",
            "alone_after": "10ms", "min_peers": 11, "leave_timeout": "3ms",
            "heartbeat_interval": "4ms", "down_after": "8ms", "max_link_age": "13ms",
            "max_sessions": 5, "max_session_bytes": 6, "max_attributes": 7, "max_bytes": 12,
            "max_tombstone_bytes": 13, "unconfirmed_timeout": "14ms", "log_records": 8,
            "indexes": ["user", "login#/id"],
            "destroy_sessions_on_leave": true, "notify_listeners_on_replication": true,
            "data_dir": "/d", "sync": "15ms", "data_keys": ["k1", "k2"]
        }"#;
        let ms = Duration::from_millis;
        let set = ClusterConfig::new("n1")
            .cluster("shop")
            .route("r1")
            .listen("[::]:4100")
            .auto_bind(5)
            .advertise("shop1:4100")
            .peer("a:1")
            .peers(["b:2"])
            .discover("dns:c:3")
            .discovery_interval(ms(15))
            .forget_after(ms(16))
            .peer_exchange(false)
            .insecure_plaintext()
            .secret("s")
            .secret_file("/f")
            .secret_env("E")
            .tls("c", "k", "a")
            .tls_name("t")
            .consistency_key("k")
            .read_your_writes_timeout(ms(9))
            .ack_timeout(ms(1))
            .transfer_timeout(ms(2))
            .alone_after(ms(10))
            .min_peers(11)
            .leave_timeout(ms(3))
            .heartbeat_interval(ms(4))
            .down_after(ms(8))
            .max_link_age(ms(13))
            .max_sessions(5)
            .max_session_bytes(6)
            .max_attributes(7)
            .max_bytes(12)
            .max_tombstone_bytes(13)
            .unconfirmed_timeout(ms(14))
            .log_records(8)
            .index("user")
            .index("login#/id")
            .destroy_sessions_on_leave(true)
            .notify_listeners_on_replication(true)
            .data_dir("/d")
            .sync(Sync::Every(ms(15)))
            .data_key("k1")
            .data_key("k2");
        assert_eq!(read(json).expect("valid"), set);
    }

    #[test]
    fn a_field_that_is_absent_has_its_default() {
        assert_eq!(
            read(r#"{"node": "n1"}"#).expect("valid"),
            ClusterConfig::new("n1")
        );
        let alone = read(r#"{"node": "standalone", "standalone": true}"#);
        assert_eq!(alone.expect("valid"), ClusterConfig::standalone());
    }

    #[test]
    fn misspelt_and_misplaced_values_are_errors() {
        for (json, word) in [
            (r#"{"ack_timeout": 250}"#, "\"250ms\""),
            (r#"{"ack_timeout": "-1s"}"#, "\"250ms\""),
            (r#"{"ack_timout": "1s"}"#, "ack_timeout"),
            (r#"{"peer": "a:1"}"#, "peers"),
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
