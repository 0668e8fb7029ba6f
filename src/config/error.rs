//! What can be wrong with a configuration, and with a start.

use std::{fmt, io, ops::RangeInclusive, path::PathBuf};

use super::{key::KeyProblem, secret::SecretProblem};
use crate::session::InvalidRoute;

/// A configuration that cannot work. Nothing was started; each message names the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The node has no name, or one that would be unreadable in a log line.
    #[error(
        "node name {0:?} must be 1 to 64 printable ASCII characters without spaces; \
         give it to `ClusterConfig::new` or set `node`"
    )]
    NodeName(String),
    /// The cluster's name would be unreadable in a log line.
    #[error(
        "cluster name {0:?} must be 1 to 64 printable ASCII characters without spaces; \
         set another with `cluster`"
    )]
    ClusterName(String),
    /// The route cannot be part of a session id.
    #[error(transparent)]
    Route(InvalidRoute),
    /// An address is not written as `host:port`.
    #[error("{setting} address {address:?}: {problem}")]
    Address {
        /// Which setting holds it: `listen`, `advertise` or `peer`.
        setting: &'static str,
        /// The address as configured.
        address: String,
        /// What is wrong with it.
        problem: AddressProblem,
    },
    /// The node neither listens nor has peers, so it would be alone for ever.
    #[error(
        "the node neither listens nor has peers; set `listen` and `peer`, \
         or use `ClusterConfig::standalone()` to run without a cluster"
    )]
    Alone,
    /// A standalone node was given addresses.
    #[error(
        "a standalone node has no `{0}` address; remove it, \
         or use `ClusterConfig::new` to run in a cluster"
    )]
    StandaloneWith(&'static str),
    /// Sessions would cross a network where anybody can read them and join the cluster.
    #[error(
        "{setting} address `{address}` is not loopback, and links are not encrypted; give all nodes \
         the same `secret` (`openssl rand -hex 32` makes one) or `tls` certificates, or call \
         `insecure_plaintext()` if nobody else can reach this network"
    )]
    Plaintext {
        /// Which setting holds it: `listen` or `peer`.
        setting: &'static str,
        /// The address as configured.
        address: String,
    },
    /// A secret cannot be used.
    #[error(
        "`{setting}` {problem}; make a secret with `openssl rand -hex 32`, the same for all nodes"
    )]
    Secret {
        /// Which setting holds it: `secret`, `secret_file` or `secret_env`, with file or variable.
        setting: String,
        /// What is wrong with it.
        problem: SecretProblem,
    },
    /// Two settings that exclude each other.
    #[error(
        "`{0}` and `{1}` exclude each other: links are protected in one way; remove one of them"
    )]
    Contradiction(&'static str, &'static str),
    /// A node that is dialled by nodes it does not know could not tell them from others that have
    /// a certificate of the same authority.
    #[error(
        "a node that listens with `tls` and lists no `peer` must know the name in the certificates \
         of those that dial it; set `tls_name`, or list them with `peer`"
    )]
    TlsNameMissing,
    /// There are no certificates that the name could be in.
    #[error("`tls_name` is the name in certificates; give them with `tls`, or remove it")]
    TlsNameWithoutTls,
    /// The key is not one that nobody can guess.
    #[error("`consistency_key` {0}; make one with `openssl rand -hex 32`, the same for all nodes")]
    ConsistencyKey(KeyProblem),
    /// A number is outside what the crate can work with.
    #[error("`{setting}` is {value} but must be {} to {}", range.start(), range.end())]
    OutOfRange {
        /// The setter's name.
        setting: &'static str,
        /// The number as configured.
        value: usize,
        /// What is possible.
        range: RangeInclusive<usize>,
    },
    /// A time that must pass is zero.
    #[error("`{0}` must be longer than zero")]
    Zero(&'static str),
    /// A single heartbeat that is late would make a peer count as down.
    #[error(
        "`down_after` ({down_after_ms} ms) must be at least twice `heartbeat_interval` \
         ({heartbeat_ms} ms)"
    )]
    DownTooSoon {
        /// `down_after` in milliseconds.
        down_after_ms: u128,
        /// `heartbeat_interval` in milliseconds.
        heartbeat_ms: u128,
    },
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressProblem {
    /// There is nothing before the port.
    NoHost,
    /// There is no port, or what is there is no port.
    NoPort,
    /// Nobody can be reached at port 0.
    PortZero,
    /// An IPv6 address is not in brackets, or what is in brackets is none.
    Brackets,
    /// The host is neither an IP address nor a DNS name.
    Host,
}

impl fmt::Display for AddressProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => {
                "the host is missing; `0.0.0.0:4100` or `[::]:4100` means all addresses"
            }
            Self::NoPort => "the port is missing or no number up to 65535; write `host:4100`",
            Self::PortZero => "port 0 cannot be reached; write the port the node listens on",
            Self::Brackets => "write an IPv6 address in brackets: `[::1]:4100`",
            Self::Host => "the host is neither an IP address nor a DNS name",
        })
    }
}

/// A node that could not start. An absent peer is no such error: it is dialled for ever.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listen address cannot be used.
    #[error("cannot listen on {address}: {}", bind_advice(source))]
    Bind {
        /// The address, with all ports tried.
        address: String,
        /// Why the last port tried could not be bound.
        source: io::Error,
    },
    /// A file of `tls` cannot be used.
    #[error("the file {} given to `tls` {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no runtime to run the node's tasks.
    #[error(
        "no tokio runtime is running here; start the cluster inside one, as in `#[tokio::main]`"
    )]
    NoRuntime,
}

fn bind_advice(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; stop the process that has it, listen on \
            another port, or allow a range with `auto_bind`"
            .to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; listen on one of \
            its own, or on 0.0.0.0 or [::] for all of them"
            .to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this process may not use the port; listen on one from 1024 on".to_owned()
        }
        _ => format!("{source}; check the address given to `listen`"),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_failed_bind_says_where_why_and_what_to_do() {
        for (kind, words) in [
            (io::ErrorKind::AddrInUse, &["in use", "`auto_bind`"][..]),
            (
                io::ErrorKind::AddrNotAvailable,
                &["no such address", "[::]"],
            ),
            (io::ErrorKind::PermissionDenied, &["may not", "1024"]),
            (io::ErrorKind::Other, &["`listen`"]),
        ] {
            let error = StartError::Bind {
                address: "10.0.0.1:41".to_owned(),
                source: kind.into(),
            };
            let text = error.to_string();
            assert!(text.contains("10.0.0.1:41"), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
            assert!(error.source().is_some());
        }
    }

    #[test]
    fn a_wrong_configuration_speaks_for_itself() {
        let error = ConfigError::Alone;
        assert_eq!(
            StartError::from(error.clone()).to_string(),
            error.to_string()
        );
    }

    #[test]
    fn each_address_problem_shows_the_right_form() {
        use AddressProblem as P;
        for (problem, word) in [
            (P::NoHost, "`[::]:4100`"),
            (P::NoPort, "`host:4100`"),
            (P::PortZero, "listens on"),
            (P::Brackets, "`[::1]:4100`"),
            (P::Host, "DNS name"),
        ] {
            let error = ConfigError::Address {
                setting: "peer",
                address: "x".to_owned(),
                problem,
            };
            let text = error.to_string();
            assert!(text.starts_with("peer address \"x\": "), "{text}");
            assert!(text.contains(word), "{text}");
        }
    }
}
