#![cfg_attr(docsrs, feature(doc_cfg))]
//! Apps that use [tower-sessions], on a cluster of [`tower_cluster_sessions`].
//!
//! The sessions of tower-sessions, and of axum-login, axum-messages and what else stands on it, are
//! then held by all instances of the app, in their own memory. There are two ways in:
//!
//! | | [`ClusterStore`](core_0_14::ClusterStore) | [`SessionLayer`](core_0_14::SessionLayer) |
//! |---|---|---|
//! | it takes the place of | a store | `SessionManagerLayer` |
//! | what changes in an app | the line that makes the store | the lines that make the layer |
//! | cookies, expiry, keys | as tower-sessions has them | as [`ClusterSessionLayer`] has them |
//! | `cycle_id` | a new session; writes of parallel requests to the old one are lost | the session stays, and so do they |
//! | reading counts as use | no | yes |
//!
//! With both, requests at once lose none of each other's attributes, and a request that ends after a
//! logout does not bring the session back.
//!
//! tower-sessions 0.14 and 0.15 have types of their own. The feature `core-0-14`, which is on by
//! default because axum-login and axum-messages are on that line, gives the module [`core_0_14`],
//! the feature `core-0-15` the same for the other line.
//!
//! The document `from-tower-sessions.md` of `tower-cluster-sessions` says what to change, method by
//! method what it becomes, and what is different.
//!
//! [tower-sessions]: https://docs.rs/tower-sessions
//! [`ClusterSessionLayer`]: tower_cluster_sessions::ClusterSessionLayer

#[cfg(feature = "core-0-14")]
#[cfg_attr(docsrs, doc(cfg(feature = "core-0-14")))]
pub mod core_0_14;
#[cfg(feature = "core-0-15")]
#[cfg_attr(docsrs, doc(cfg(feature = "core-0-15")))]
pub mod core_0_15;

/// The code in the documents, so that it compiles.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/from-tower-sessions.md")]
    mod from_tower_sessions {}
    #[doc = include_str!("../../docs/from-redis.md")]
    mod from_redis {}
}
