//! A configuration that was checked.

use std::{sync::Arc, time::Duration};

use super::{
    address::{ListenAddr, PeerAddr},
    cluster::ClusterConfig,
    error::ConfigError,
    limits::{Limits, Shape},
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
    pub(crate) plaintext_allowed: bool,
    pub(crate) ack_timeout: Duration,
    pub(crate) transfer_timeout: Duration,
    pub(crate) leave_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) down_after: Duration,
    pub(crate) limits: Limits,
    pub(crate) shape: Shape,
    pub(crate) expire_sessions_on_leave: bool,
    pub(crate) notify_on_replication: bool,
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
            insecure_plaintext,
            ack_timeout,
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
            ClusterConfig::STANDALONE_NODE
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
        if !*insecure_plaintext {
            refuse_plaintext(listen.as_ref(), &peers)?;
        }
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
            plaintext_allowed: *insecure_plaintext,
            ack_timeout: positive("ack_timeout", *ack_timeout)?,
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
                log_records: within("log_records", *log_records, MAX_LOG_RECORDS)?,
                ..Shape::default()
            },
            expire_sessions_on_leave: *expire_sessions_on_leave,
            notify_on_replication: *notify_listeners_on_replication,
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

fn refuse_plaintext(listen: Option<&ListenAddr>, peers: &[PeerAddr]) -> Result<(), ConfigError> {
    let plaintext = |setting, address: String| Err(ConfigError::Plaintext { setting, address });
    if let Some(listen) = listen.filter(|listen| !listen.is_loopback()) {
        return plaintext("listen", listen.to_string());
    }
    match peers.iter().find(|peer| !peer.is_loopback()) {
        Some(peer) => plaintext("peer", peer.to_string()),
        None => Ok(()),
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
