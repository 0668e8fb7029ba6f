//! A configuration that was checked.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "durable")]
use super::data_dir::DiskSettings;
use super::{
    address::{ListenAddress, PeerAddress},
    cluster::ClusterConfig,
    discovery::DiscoverySource,
    error::ConfigError,
    key::{ClusterSecret, KeyProblem},
    limits::{Limits, Shape},
    memory,
    security::{Security, plaintext},
};
use crate::session::{InvalidRoute, Route, ValuePath};

/// The settings a node runs by: a [`ClusterConfig`] after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) node: Arc<str>,
    pub(crate) cluster: Arc<str>,
    pub(crate) route: Option<Route>,
    /// `None`: the node only dials, or is standalone.
    pub(crate) listen: Option<ListenAddress>,
    pub(crate) advertise: Option<String>,
    /// Without duplicates, in the order they were given.
    pub(crate) peers: Vec<PeerAddress>,
    pub(crate) discover: Vec<DiscoverySource>,
    pub(crate) discovery_interval: Duration,
    pub(crate) forget_after: Duration,
    /// Whether members tell each other of members. Only who has proven to be one is listened to.
    pub(crate) peer_exchange: bool,
    pub(crate) security: Security,
    pub(crate) ack_timeout: Duration,
    /// The first signs, all are accepted.
    pub(crate) consistency_keys: Vec<ClusterSecret>,
    pub(crate) read_your_writes_timeout: Duration,
    pub(crate) transfer_timeout: Duration,
    pub(crate) alone_after: Duration,
    pub(crate) min_peers: usize,
    pub(crate) leave_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) down_after: Duration,
    pub(crate) max_link_age: Duration,
    pub(crate) limits: Limits,
    pub(crate) shape: Shape,
    /// Without duplicates.
    pub(crate) indexes: Vec<ValuePath>,
    pub(crate) destroy_sessions_on_leave: bool,
    pub(crate) notify_listeners_on_replication: bool,
    /// `None`: sessions are in memory alone.
    #[cfg(feature = "durable")]
    pub(crate) disk: Option<DiskSettings>,
}

impl ClusterConfig {
    /// Checks all but the secrets and certificates, for which files are read.
    #[cfg(feature = "config")]
    pub(crate) fn check_without_files(&self) -> Result<(), ConfigError> {
        let mut config = self.clone();
        config.secrets.clear();
        config.tls = None;
        config.tls_name = None;
        config.insecure_plaintext = true;
        config.settings().map(drop)
    }

    /// Checks everything that can be checked before a socket is opened.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let Self {
            node,
            standalone,
            cluster,
            route,
            listen,
            auto_bind,
            advertise,
            peers,
            discover,
            own_discoveries,
            discovery_interval,
            forget_after,
            peer_exchange,
            secrets: _,
            tls: _,
            tls_name: _,
            insecure_plaintext: _,
            ack_timeout,
            consistency_key,
            read_your_writes_timeout,
            transfer_timeout,
            alone_after,
            min_peers,
            leave_timeout,
            heartbeat_interval,
            down_after,
            max_link_age,
            max_sessions,
            max_session_bytes,
            max_attributes,
            max_bytes,
            max_tombstone_bytes,
            unconfirmed_timeout,
            log_records,
            indexes,
            destroy_sessions_on_leave,
            notify_listeners_on_replication,
            #[cfg(feature = "durable")]
                data_dir: _,
            #[cfg(feature = "durable")]
                sync: _,
            #[cfg(feature = "durable")]
                data_keys: _,
        } = self;
        let node = if *standalone && node.is_empty() {
            Self::STANDALONE_NODE
        } else {
            node
        };
        if !is_name(node) {
            return Err(ConfigError::invalid(
                "node",
                format!(
                    "node name {node:?} must be 1 to 64 of the characters A-Z, a-z, 0-9 and ._-; \
                     give it to `ClusterConfig::new` or set `node`"
                ),
            ));
        }
        if !is_name(cluster) {
            return Err(ConfigError::invalid(
                "cluster",
                format!(
                    "cluster name {cluster:?} must be 1 to 64 of the characters A-Z, a-z, 0-9 and \
                     ._-; set another with `cluster`"
                ),
            ));
        }
        let listen = listen
            .as_deref()
            .map(|address| ListenAddress::parse(address, *auto_bind))
            .transpose()?;
        let peers = distinct(peers)?;
        let mut sources = Vec::new();
        for text in discover {
            let source = DiscoverySource::parse(text)?;
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources.extend(own_discoveries.iter().cloned().map(DiscoverySource::Own));
        if *standalone {
            refuse_addresses(listen.as_ref(), &peers, &sources, advertise.as_deref())?;
            if *min_peers > 0 {
                return Err(ConfigError::conflict(
                    "min_peers",
                    "a standalone node never has a peer; remove `min_peers`, or use \
                     `ClusterConfig::new` to run in a cluster"
                        .to_owned(),
                ));
            }
        } else if listen.is_none() && peers.is_empty() && sources.is_empty() {
            return Err(ConfigError::missing(
                "listen",
                "the node neither listens nor has peers; set `listen` and `peer` or `discover`, or \
                 use `ClusterConfig::standalone()` to run without a cluster",
            ));
        }
        let security = self.security(listen.as_ref(), &peers, &sources)?;
        let consistency_keys = match consistency_key {
            Some(text) => vec![text.parse().map_err(unusable_key)?],
            None => derived_keys(&security, cluster),
        };
        #[cfg(feature = "durable")]
        let disk = self.disk(&security)?;
        let heartbeat_interval = positive("heartbeat_interval", *heartbeat_interval)?;
        let max_link_age = capped(*max_link_age);
        if max_link_age < LEAST_LINK_AGE {
            return Err(ConfigError::invalid(
                "max_link_age",
                format!(
                    "`max_link_age` ({} ms) must be at least a minute",
                    max_link_age.as_millis()
                ),
            ));
        }
        let down_after = capped(*down_after);
        if down_after < 2 * heartbeat_interval {
            // One heartbeat that is late would make a peer count as down.
            return Err(ConfigError::invalid(
                "down_after",
                format!(
                    "`down_after` ({} ms) must be at least twice `heartbeat_interval` ({} ms)",
                    down_after.as_millis(),
                    heartbeat_interval.as_millis()
                ),
            ));
        }
        Ok(Settings {
            node: node.into(),
            cluster: cluster.as_str().into(),
            route: route.as_deref().map(str::parse).transpose().map_err(
                |invalid: InvalidRoute| ConfigError::invalid("route", invalid.to_string()),
            )?,
            listen,
            advertise: advertise
                .as_deref()
                .map(|address| PeerAddress::parse("advertise", address))
                .transpose()?
                .map(|address| address.to_string()),
            peers,
            discover: sources,
            discovery_interval: positive("discovery_interval", *discovery_interval)?,
            // Nobody is gone before.
            forget_after: capped(*forget_after).max(down_after),
            peer_exchange: *peer_exchange && security.proves_each_member(),
            security,
            ack_timeout: positive("ack_timeout", *ack_timeout)?,
            consistency_keys,
            read_your_writes_timeout: positive(
                "read_your_writes_timeout",
                *read_your_writes_timeout,
            )?,
            transfer_timeout: capped(*transfer_timeout),
            alone_after: capped(*alone_after),
            min_peers: *min_peers,
            leave_timeout: capped(*leave_timeout),
            heartbeat_interval,
            down_after,
            max_link_age,
            limits: Limits {
                max_sessions: within("max_sessions", *max_sessions, MAX_SESSIONS)?,
                max_session_bytes: within(
                    "max_session_bytes",
                    *max_session_bytes,
                    MAX_SESSION_BYTES,
                )?,
                max_attributes: within("max_attributes", *max_attributes, MAX_ATTRIBUTES)?,
                max_bytes: match max_bytes {
                    Some(bytes) => within("max_bytes", *bytes, usize::MAX)?,
                    None => half_of_the_memory(),
                },
                max_tombstone_bytes: between(
                    "max_tombstone_bytes",
                    *max_tombstone_bytes,
                    MIN_TOMBSTONE_BYTES,
                    MAX_TOMBSTONE_BYTES,
                )?,
                unconfirmed_ms: match positive("unconfirmed_timeout", *unconfirmed_timeout)? {
                    time if time == capped(Duration::MAX) => u64::MAX,
                    time => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                },
            },
            shape: Shape {
                log_records: match within("log_records", *log_records, MAX_LOG_RECORDS)? {
                    // Nobody ever asks for what is in it.
                    _ if *standalone => 0,
                    records => records,
                },
                ..Shape::default()
            },
            indexes: indexed(indexes)?,
            destroy_sessions_on_leave: *destroy_sessions_on_leave,
            notify_listeners_on_replication: *notify_listeners_on_replication,
            #[cfg(feature = "durable")]
            disk,
        })
    }
}

impl Settings {
    /// Reads the address of a peer that is added at run time, under the rules of those that are
    /// configured.
    pub(crate) fn peer(&self, address: &str) -> Result<PeerAddress, ConfigError> {
        let peer: PeerAddress = address.parse()?;
        // Only a standalone node may have neither.
        if self.listen.is_none() && self.peers.is_empty() && self.discover.is_empty() {
            return Err(standalone_with("peer"));
        }
        if !self.security.allows_anywhere() && !peer.is_loopback() {
            return Err(plaintext("peer", &peer));
        }
        Ok(peer)
    }
}

/// Returns whether a node or cluster may be called so: short, and harmless wherever it is shown, in
/// a log line, a header, a page or a shell.
pub(crate) fn is_name(text: &str) -> bool {
    let may_hold = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(may_hold)
}

fn distinct(addresses: &[String]) -> Result<Vec<PeerAddress>, ConfigError> {
    let mut peers = Vec::with_capacity(addresses.len());
    for address in addresses {
        let peer: PeerAddress = address.parse()?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

fn indexed(names: &[String]) -> Result<Vec<ValuePath>, ConfigError> {
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        let path = ValuePath::parse(name);
        if !path.is_possible() {
            let message = format!(
                "no attribute has the name {name:?}: `index` takes one of 1 to 255 bytes, and a \
                 JSON pointer behind `#` if a field of its value is meant"
            );
            return Err(ConfigError::invalid("indexes", message));
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.len() > MAX_INDEXES {
        let message = format!(
            "sessions are to be found by {} names, but there can be {MAX_INDEXES}: leave some \
             `index` out",
            paths.len()
        );
        return Err(ConfigError::invalid("indexes", message));
    }
    Ok(paths)
}

fn refuse_addresses(
    listen: Option<&ListenAddress>,
    peers: &[PeerAddress],
    discover: &[DiscoverySource],
    advertise: Option<&str>,
) -> Result<(), ConfigError> {
    if listen.is_some() {
        Err(standalone_with("listen"))
    } else if !peers.is_empty() {
        Err(standalone_with("peer"))
    } else if !discover.is_empty() {
        Err(standalone_with("discover"))
    } else if advertise.is_some() {
        Err(standalone_with("advertise"))
    } else {
        Ok(())
    }
}

fn standalone_with(setting: &'static str) -> ConfigError {
    let message = format!(
        "a standalone node has no `{setting}`; remove it, or use `ClusterConfig::new` to \
         run in a cluster"
    );
    ConfigError::conflict(setting, message)
}

fn unusable_key(problem: KeyProblem) -> ConfigError {
    let message = format!(
        "`consistency_key` {problem}; make one with `openssl rand -hex 32`, the same for all nodes"
    );
    ConfigError::new("consistency_key", problem.kind(), message)
}

/// Returns the key of each secret for the token of
/// [`Consistency::ReadYourWrites`](super::Consistency).
fn derived_keys(security: &Security, cluster: &str) -> Vec<ClusterSecret> {
    match security {
        Security::Secrets(secrets) => secrets
            .iter()
            .map(|secret| secret.derive("consistency", cluster))
            .collect(),
        Security::Plaintext { .. } | Security::Certificates(_) => Vec::new(),
    }
}

fn positive(setting: &'static str, time: Duration) -> Result<Duration, ConfigError> {
    if time.is_zero() {
        let message = format!("`{setting}` must be longer than zero");
        return Err(ConfigError::invalid(setting, message));
    }
    Ok(capped(time))
}

/// Returns at most a year: longer than anybody waits, and safe to add to any instant.
fn capped(time: Duration) -> Duration {
    time.min(Duration::from_secs(366 * 24 * 60 * 60))
}

fn within(setting: &'static str, value: usize, max: usize) -> Result<usize, ConfigError> {
    between(setting, value, 1, max)
}

fn between(
    setting: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<usize, ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let message = format!("`{setting}` is {value} but must be {min} to {max}");
    Err(ConfigError::invalid(setting, message))
}

/// Returns half of the memory that this process may use.
fn half_of_the_memory() -> usize {
    let memory = memory::of_machine().unwrap_or(UNKNOWN_MEMORY);
    usize::try_from(memory / 2).unwrap_or(usize::MAX)
}

/// What a machine has of which nothing is known.
const UNKNOWN_MEMORY: u64 = 4 << 30;
/// Keys of a digest shard are counted in 32 bits.
const LEAST_LINK_AGE: Duration = Duration::from_secs(60);
const MAX_SESSIONS: usize = 1 << 31;
/// A full state is put together in memory, on each link.
const MAX_SESSION_BYTES: usize = 64 << 20;
const MAX_ATTRIBUTES: usize = 1 << 16;
/// Less is forgotten before a link that broke is back.
const MIN_TOMBSTONE_BYTES: usize = 64 * 1024;
const MAX_TOMBSTONE_BYTES: usize = 1 << 31;
/// Each is looked for in every session that changes.
const MAX_INDEXES: usize = 16;
const MAX_LOG_RECORDS: usize = 1 << 26;

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> ClusterConfig {
        ClusterConfig::new("node1").listen("127.0.0.1:4100")
    }

    fn refused(config: &ClusterConfig, words: &[&str]) -> ConfigError {
        let error = config.settings().expect_err(words[0]);
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
        error
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = node().settings().expect("valid");
        let expected = Settings {
            node: "node1".into(),
            cluster: "sessions".into(),
            route: None,
            listen: Some(ListenAddress {
                host: "127.0.0.1".to_owned(),
                port: 4100,
                auto_bind: 1,
            }),
            advertise: None,
            peers: Vec::new(),
            discover: Vec::new(),
            discovery_interval: Duration::from_secs(5),
            forget_after: Duration::from_secs(60),
            peer_exchange: false,
            security: Security::Plaintext { anywhere: false },
            ack_timeout: Duration::from_secs(1),
            consistency_keys: Vec::new(),
            read_your_writes_timeout: Duration::from_millis(50),
            transfer_timeout: Duration::from_secs(60),
            alone_after: Duration::from_secs(3),
            min_peers: 0,
            leave_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_millis(500),
            down_after: Duration::from_secs(3),
            max_link_age: Duration::from_secs(24 * 60 * 60),
            limits: Limits {
                max_sessions: 1_000_000,
                max_session_bytes: 262_144,
                max_attributes: 256,
                max_bytes: half_of_the_memory(),
                max_tombstone_bytes: 67_108_864,
                unconfirmed_ms: 120_000,
            },
            shape: Shape {
                lock_shards: 256,
                digests_per_lock: 16,
                log_records: 262_144,
            },
            indexes: Vec::new(),
            destroy_sessions_on_leave: false,
            notify_listeners_on_replication: false,
            #[cfg(feature = "durable")]
            disk: None,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn names_are_harmless_wherever_they_are_shown() {
        let long = "x".repeat(65);
        for name in [
            "", "node 1", "node\n1", "nöde", "<script>", "a&b", "a\"b", "$(id)", "a/b", &long,
        ] {
            refused(
                &ClusterConfig::new(name),
                &["node name", "`ClusterConfig::new`"],
            );
            refused(&node().cluster(name), &["cluster name", "`cluster`"]);
        }
        assert!(node().cluster("x".repeat(64)).settings().is_ok());
        let shop = ClusterConfig::new("shop-1.eu_West").listen("127.0.0.1:4100");
        assert!(shop.settings().is_ok());
    }

    #[test]
    fn route_is_checked() {
        refused(&node().route("a.b"), &["route \"a.b\"", "1 to 32"]);
        let settings = node().route("tomcat1").settings().expect("valid");
        assert_eq!(settings.route.expect("set").as_str(), "tomcat1");
    }

    #[test]
    fn names_to_find_sessions_by_are_checked() {
        for impossible in ["", "a#/~", &"a".repeat(256)] {
            refused(&node().index(impossible), &["`index`", "1 to 255 bytes"]);
        }
        let many = |count: usize| {
            let names = (0..count).map(|number| number.to_string());
            names.fold(node(), ClusterConfig::index)
        };
        refused(&many(17), &["17 names", "`index`"]);
        let sixteen = many(16).index("0").settings().expect("one is there twice");
        assert_eq!(sixteen.indexes.len(), 16);
    }

    #[test]
    fn consistency_key_is_checked_and_its_error_shows_how_to_make_one() {
        for weak in ["hunter2".to_owned(), "00".repeat(32)] {
            let error = refused(
                &node().consistency_key(&weak),
                &["`consistency_key`", "`openssl rand -hex 32`"],
            );
            assert!(!error.to_string().contains(&weak));
        }
        let none = node().read_your_writes_timeout(Duration::ZERO);
        refused(&none, &["`read_your_writes_timeout`"]);
    }

    #[test]
    fn each_address_error_names_its_setting() {
        refused(&node().listen("4100"), &["listen address \"4100\""]);
        for url in [
            "tcp://127.0.0.1:4100",
            "http://[::1]:4100",
            "127.0.0.1:4100/",
        ] {
            let error = refused(&node().listen(url), &["listen address", "without a scheme"]);
            assert!(!error.to_string().contains("brackets"), "{error}");
            refused(&node().peer(url), &["peer address", "without a scheme"]);
            refused(
                &node().advertise(url),
                &["advertise address", "without a scheme"],
            );
        }
        refused(&node().peer("::1"), &["peer address", "`[::1]:4100`"]);
        refused(&node().advertise("x:0"), &["advertise address", "port 0"]);
    }

    #[test]
    fn peers_are_merged_and_the_own_address_stays() {
        let settings = node()
            .peers(["[::1]:1", "LOCALHOST:2", "127.0.0.1:4100"])
            .peers(["[0::1]:1", "localhost:2"])
            .settings()
            .expect("valid");
        let peers: Vec<String> = settings.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["[::1]:1", "localhost:2", "127.0.0.1:4100"]);
    }

    #[test]
    fn a_node_must_be_reachable_or_dial_or_be_standalone() {
        refused(
            &ClusterConfig::new("n"),
            &["`listen`", "`ClusterConfig::standalone()`"],
        );
        let dials = ClusterConfig::new("n");
        for dials in [
            dials.clone().peer("localhost:1"),
            dials.discover("dns:localhost:1"),
        ] {
            assert!(dials.settings().expect("valid").listen.is_none());
        }
        let alone = ClusterConfig::standalone();
        assert_eq!(&*alone.settings().expect("valid").node, "standalone");
        let unnamed: ClusterConfig =
            serde_json::from_str(r#"{"standalone": true}"#).expect("valid");
        assert_eq!(unnamed.settings(), alone.settings());
        refused(
            &alone.clone().listen("localhost:1"),
            &["standalone", "`listen`"],
        );
        refused(
            &alone.clone().peer("localhost:1"),
            &["standalone", "`peer`"],
        );
        refused(
            &alone.clone().discover("dns:localhost:1"),
            &["standalone", "`discover`"],
        );
        refused(&alone.clone().min_peers(1), &["standalone", "`min_peers`"]);
        refused(
            &alone.advertise("localhost:1"),
            &["standalone", "`advertise`"],
        );
    }

    #[test]
    fn times_are_checked_and_capped() {
        let zero = Duration::ZERO;
        refused(
            &node().ack_timeout(zero),
            &["`ack_timeout`", "longer than zero"],
        );
        refused(&node().heartbeat_interval(zero), &["`heartbeat_interval`"]);
        assert!(
            node()
                .transfer_timeout(zero)
                .leave_timeout(zero)
                .settings()
                .is_ok()
        );
        let hasty = node().down_after(Duration::from_millis(999));
        refused(&hasty, &["`down_after` (999 ms)", "twice", "500 ms"]);
        assert!(node().down_after(Duration::from_secs(1)).settings().is_ok());
        let restless = node().max_link_age(Duration::from_secs(59));
        refused(&restless, &["`max_link_age` (59000 ms)", "a minute"]);
        let endless = node()
            .ack_timeout(Duration::MAX)
            .heartbeat_interval(Duration::MAX)
            .down_after(Duration::MAX);
        refused(&endless, &["twice"]);
        let endless = node().transfer_timeout(Duration::MAX).settings();
        assert!(endless.expect("valid").transfer_timeout < Duration::MAX / 2);
    }

    #[test]
    fn numbers_are_kept_in_range() {
        refused(&node().max_sessions(0), &["`max_sessions` is 0", "1 to"]);
        refused(
            &node().max_session_bytes(usize::MAX),
            &["`max_session_bytes`", "67108864"],
        );
        refused(
            &node().max_attributes(1 << 17),
            &["`max_attributes`", "65536"],
        );
        refused(&node().max_bytes(0), &["`max_bytes` is 0", "1 to"]);
        refused(
            &node().max_tombstone_bytes(65_535),
            &["`max_tombstone_bytes` is 65535", "65536 to"],
        );
        refused(&node().log_records(0), &["`log_records`"]);
        assert_eq!(
            node()
                .log_records(7)
                .settings()
                .expect("valid")
                .shape
                .log_records,
            7
        );
    }
}
