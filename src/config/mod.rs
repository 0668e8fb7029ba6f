//! What a user configures, checked once at start.

mod ack;
mod address;
mod cluster;
mod error;
mod expiry;
mod limits;
mod settings;

pub use self::{
    ack::Ack,
    cluster::ClusterConfig,
    error::{AddressProblem, ConfigError, StartError},
    expiry::Expiry,
};
pub(crate) use self::{
    address::{ListenAddr, PeerAddr},
    limits::{Limits, Shape},
    settings::{Settings, is_name},
};
