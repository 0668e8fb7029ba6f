//! The configuration of a node, checked once at start.

mod ack;
mod address;
mod at_limit;
mod cluster;
mod consistency;
#[cfg(feature = "durable")]
mod data_dir;
mod discovery;
mod duration;
mod error;
mod expiry;
mod key;
mod limits;
mod memory;
mod secret;
mod secret_file;
mod security;
mod settings;
#[cfg(feature = "durable")]
mod sync;
mod tls_files;

#[cfg(feature = "durable")]
pub(crate) use self::data_dir::DiskSettings;
#[cfg(feature = "durable")]
pub use self::sync::Sync;
pub use self::{
    ack::Ack,
    at_limit::AtLimit,
    cluster::ClusterConfig,
    consistency::Consistency,
    discovery::Discovery,
    error::{ConfigError, ConfigErrorKind, StartError},
    expiry::Expiry,
};
pub(crate) use self::{
    address::{ListenAddress, PeerAddress},
    discovery::{AnyDiscovery, DiscoverySource, Found},
    expiry::ZERO_LIMIT,
    key::ClusterSecret,
    limits::{Limits, Shape},
    secret_file::{open_regular, warn_if_too_open},
    security::{Certificates, Security},
    settings::{Settings, is_name},
    tls_files::TlsFiles,
};
