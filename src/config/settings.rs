//! A configuration that was checked.

use std::{sync::Arc, time::Duration};

use super::{
    address::{ListenAddr, PeerAddr},
    cluster::ClusterConfig,
    error::ConfigError,
    key::ClusterSecret,
    limits::{Limits, Shape},
    security::Security,
};
use crate::session::Route;

/// What a node runs by: a [`ClusterConfig`] after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) node: Arc<str>,
    pub(crate) cluster: Arc<str>,
    pub(crate) route: Option<Route>,
    /// `None`: the node only dials, or is standalone.
    pub(crate) listen: Option<ListenAddr>,
    pub(crate) advertise: Option<String>,
    /// Without duplicates, in the order they were given.
    pub(crate) peers: Vec<PeerAddr>,
    pub(crate) security: Security,
    pub(crate) ack_timeout: Duration,
    /// The first signs, all are accepted.
    pub(crate) consistency_keys: Vec<ClusterSecret>,
    pub(crate) read_your_writes_timeout: Duration,
    pub(crate) transfer_timeout: Duration,
    pub(crate) leave_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) down_after: Duration,
    pub(crate) limits: Limits,
    pub(crate) shape: Shape,
    pub(crate) expire_sessions_on_leave: bool,
    pub(crate) notify_listeners_on_replication: bool,
}

impl ClusterConfig {
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
            secrets: _,
            tls: _,
            tls_name: _,
            insecure_plaintext: _,
            ack_timeout,
            consistency_key,
            read_your_writes_timeout,
            transfer_timeout,
            leave_timeout,
            heartbeat_interval,
            down_after,
            max_sessions,
            max_session_bytes,
            max_attributes,
            log_records,
            expire_sessions_on_leave,
            notify_listeners_on_replication,
        } = self;
        let node = if *standalone && node.is_empty() {
            Self::STANDALONE_NODE
        } else {
            node
        };
        if !is_name(node) {
            return Err(ConfigError::NodeName(node.to_owned()));
        }
        if !is_name(cluster) {
            return Err(ConfigError::ClusterName(cluster.clone()));
        }
        let listen = listen
            .as_deref()
            .map(|address| ListenAddr::parse(address, *auto_bind))
            .transpose()?;
        let peers = distinct(peers)?;
        if *standalone {
            refuse_addresses(listen.as_ref(), &peers, advertise.as_deref())?;
        } else if listen.is_none() && peers.is_empty() {
            return Err(ConfigError::Alone);
        }
        let security = self.security(listen.as_ref(), &peers)?;
        let consistency_keys = match consistency_key {
            Some(text) => vec![text.parse().map_err(ConfigError::ConsistencyKey)?],
            None => derived_keys(&security, cluster),
        };
        let heartbeat_interval = positive("heartbeat_interval", *heartbeat_interval)?;
        let down_after = capped(*down_after);
        if down_after < 2 * heartbeat_interval {
            return Err(ConfigError::DownTooSoon {
                down_after_ms: down_after.as_millis(),
                heartbeat_ms: heartbeat_interval.as_millis(),
            });
        }
        Ok(Settings {
            node: node.into(),
            cluster: cluster.as_str().into(),
            route: route
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(ConfigError::Route)?,
            listen,
            advertise: advertise
                .as_deref()
                .map(|address| PeerAddr::parse("advertise", address))
                .transpose()?
                .map(|address| address.to_string()),
            peers,
            security,
            ack_timeout: positive("ack_timeout", *ack_timeout)?,
            consistency_keys,
            read_your_writes_timeout: positive("catch_up_timeout", *read_your_writes_timeout)?,
            transfer_timeout: capped(*transfer_timeout),
            leave_timeout: capped(*leave_timeout),
            heartbeat_interval,
            down_after,
            limits: Limits {
                max_sessions: within("max_sessions", *max_sessions, MAX_SESSIONS)?,
                max_session_bytes: within(
                    "max_session_bytes",
                    *max_session_bytes,
                    MAX_SESSION_BYTES,
                )?,
                max_attributes: within("max_attributes", *max_attributes, MAX_ATTRIBUTES)?,
            },
            shape: Shape {
                log_records: match within("log_records", *log_records, MAX_LOG_RECORDS)? {
                    // Nobody ever asks for what is in it.
                    _ if *standalone => 0,
                    records => records,
                },
                ..Shape::default()
            },
            expire_sessions_on_leave: *expire_sessions_on_leave,
            notify_listeners_on_replication: *notify_listeners_on_replication,
        })
    }
}

/// Whether a node or cluster may be called so: short, and harmless in a log line.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn distinct(addresses: &[String]) -> Result<Vec<PeerAddr>, ConfigError> {
    let mut peers = Vec::with_capacity(addresses.len());
    for address in addresses {
        let peer: PeerAddr = address.parse()?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

fn refuse_addresses(
    listen: Option<&ListenAddr>,
    peers: &[PeerAddr],
    advertise: Option<&str>,
) -> Result<(), ConfigError> {
    if listen.is_some() {
        Err(ConfigError::StandaloneWith("listen"))
    } else if !peers.is_empty() {
        Err(ConfigError::StandaloneWith("peer"))
    } else if advertise.is_some() {
        Err(ConfigError::StandaloneWith("advertise"))
    } else {
        Ok(())
    }
}

/// Each secret's key for what [`Consistency::ReadYourWrites`](super::Consistency) signs.
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
        return Err(ConfigError::Zero(setting));
    }
    Ok(capped(time))
}

/// A year is longer than anybody waits and safe to add to any instant.
fn capped(time: Duration) -> Duration {
    time.min(Duration::from_secs(366 * 24 * 60 * 60))
}

fn within(setting: &'static str, value: usize, max: usize) -> Result<usize, ConfigError> {
    let range = 1..=max;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::OutOfRange {
            setting,
            value,
            range,
        })
    }
}

/// Keys of a digest shard are counted in 32 bits.
const MAX_SESSIONS: usize = 1 << 31;
/// A full state is put together in memory on each link.
const MAX_SESSION_BYTES: usize = 64 << 20;
const MAX_ATTRIBUTES: usize = 1 << 16;
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
            listen: Some(ListenAddr {
                host: "127.0.0.1".to_owned(),
                port: 4100,
                auto_bind: 1,
            }),
            advertise: None,
            peers: Vec::new(),
            security: Security::Plaintext { anywhere: false },
            ack_timeout: Duration::from_secs(1),
            consistency_keys: Vec::new(),
            read_your_writes_timeout: Duration::from_millis(50),
            transfer_timeout: Duration::from_secs(60),
            leave_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_millis(500),
            down_after: Duration::from_secs(3),
            limits: Limits {
                max_sessions: 1_000_000,
                max_session_bytes: 262_144,
                max_attributes: 256,
            },
            shape: Shape {
                lock_shards: 256,
                digests_per_lock: 16,
                log_records: 262_144,
            },
            expire_sessions_on_leave: false,
            notify_listeners_on_replication: false,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn names_must_be_fit_for_a_log_line() {
        let long = "x".repeat(65);
        for name in ["", "node 1", "node\n1", "nöde", &long] {
            refused(
                &ClusterConfig::new(name),
                &["node name", "`ClusterConfig::new`"],
            );
            refused(&node().cluster(name), &["cluster name", "`cluster`"]);
        }
        assert!(node().cluster("x".repeat(64)).settings().is_ok());
    }

    #[test]
    fn route_is_checked() {
        refused(&node().route("a.b"), &["route \"a.b\"", "1 to 32"]);
        let settings = node().route("tomcat1").settings().expect("valid");
        assert_eq!(settings.route.expect("set").as_str(), "tomcat1");
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
        refused(&none, &["`catch_up_timeout`"]);
    }

    #[test]
    fn each_address_error_names_its_setting() {
        refused(&node().listen("4100"), &["listen address \"4100\""]);
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
        let dials = ClusterConfig::new("n").peer("localhost:1").settings();
        assert!(dials.expect("valid").listen.is_none());
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
