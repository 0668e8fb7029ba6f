//! HTTP sessions that survive any instance dying.

pub mod config;
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

/// The code in the documents compiles.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/from-tomcat.md")]
    mod from_tomcat {}
}
