//! HTTP sessions that survive any instance dying.

pub mod config;
#[cfg(feature = "__internals")]
#[doc(hidden)]
pub mod internals;
mod middleware;
mod node;
mod replica;
mod session;
mod wire;

#[cfg(feature = "axum")]
pub use crate::middleware::MissingLayer;
pub use crate::{
    config::{Ack, ClusterConfig, ConfigError, Expiry, StartError},
    middleware::{
        Attribute, ClusterSessionLayer, ClusterSessionService, FilterError, LayerError,
        ResponseFuture, SameSite, Session, SessionSlot, Typed,
    },
    node::{
        Cluster, Event, Events, Member, MemberState, Readiness, SessionEvent, SessionEventKind,
        Stats,
    },
    session::{InvalidRoute, Route, SessionError},
};
