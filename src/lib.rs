//! HTTP sessions that survive any instance dying.

pub mod config;
mod node;
mod replica;
mod session;
mod wire;

pub use crate::{
    config::{Ack, ClusterConfig, ConfigError, Expiry, StartError},
    node::{
        Cluster, Event, Events, Member, MemberState, Readiness, SessionEvent, SessionEventKind,
        Stats,
    },
    session::{Route, SessionError},
};
