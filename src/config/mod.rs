//! What a user configures, checked once at start.

mod ack;
mod address;
mod cluster;
mod consistency;
mod error;
mod expiry;
mod key;
mod limits;
mod secret;
mod security;
mod settings;

pub use self::{
    ack::Ack,
    cluster::ClusterConfig,
    consistency::Consistency,
    error::{AddressProblem, ConfigError, StartError},
    expiry::Expiry,
    key::KeyProblem,
    secret::SecretProblem,
};
pub(crate) use self::{
    address::{ListenAddress, PeerAddress},
    key::ClusterSecret,
    limits::{Limits, Shape},
    security::{Certificates, Security, TlsFiles},
    settings::{Settings, is_name},
};
