#![cfg_attr(docsrs, feature(doc_cfg))]
//! HTTP sessions that survive any instance dying.
//!
//! The instances of an app keep its sessions in their own memory and send each other the changes.
//! Reads are local, writes are pushed to all peers, and there is nothing else to run. The balancer
//! may pick any instance for the next request: it knows the session, whichever other one died, was
//! deployed or restarted.
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use tower_cluster_sessions::{
//!     Cluster, ClusterConfig, ClusterSessionLayer, Expiry, Session, SessionError,
//! };
//!
//! async fn hit(session: Session) -> Result<String, SessionError> {
//!     let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
//!     Ok(format!("You have hit this page {hits} times."))
//! }
//!
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! # #[cfg(feature = "axum")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In production: ClusterConfig::new("node1").listen("127.0.0.1:4100").peer("127.0.0.1:4101")
//! let cluster = Cluster::start(ClusterConfig::standalone()).await?;
//! let app: Router = Router::new().route("/", get(hit)).layer(
//!     ClusterSessionLayer::from_cluster(&cluster)
//!         .with_filter(r".*\.(gif|js|jpg|png|html?|css|txt)")?
//!         .with_expiry(Expiry::idle(Duration::from_secs(1800))),
//! );
//! cluster.ready().await; // the sessions of the peers are here, or there is nobody to ask
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?;
//! # tokio::spawn(async move {
//! axum::serve(listener, app).await?;
//! # Ok::<(), std::io::Error>(())
//! # });
//! # use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! # let mut browser = tokio::net::TcpStream::connect(address).await?;
//! # browser.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! # let mut answer = String::new();
//! # browser.read_to_string(&mut answer).await?;
//! # assert!(answer.contains("set-cookie: __Host-id="), "{answer}");
//! # assert!(answer.ends_with("You have hit this page 1 times."), "{answer}");
//!
//! cluster.leave().await; // the peers get all they lack, and a goodbye
//! # Ok(())
//! # }
//! ```
//!
//! [`Cluster::start`] and [`ClusterSessionLayer::from_cluster`] are the way to start: errors come
//! back, several layers can share the cluster, and the handle to leave it is at hand. The others are
//! shorthands of it: [`ClusterSessionLayer::try_new`] does both where nothing can be awaited, and
//! [`ClusterSessionLayer::new`] panics with the error.
//!
//! # Guides
//!
//! The module [`recipes`] has what most apps need: a login guard, CSRF tokens, flash messages,
//! logging out everywhere, "remember me", and tests of one's own app. These documents are in the
//! folder [`docs`][docs] of the package:
//!
//! | document | holds |
//! |---|---|
//! | `operators.md` | tasks step by step: deploys, upgrades, secrets, what to watch, what to do when something is wrong |
//! | `operations.md` | configuration, secrets, deploys, shutdown, balancers, logs, sizing |
//! | `guarantees.md` | what is promised and what can be lost, with the test of each sentence |
//! | `performance.md` | what it costs |
//! | `from-tower-sessions.md` | what apps with tower-sessions, axum-login and the like have to change |
//! | `from-redis.md` | sessions in Redis or another store, and how to move them here without logging anybody out |
//! | `from-tomcat.md` | each element of Tomcat's `server.xml`, and what it becomes |
//! | `architecture.md`, `protocol.md`, `hostile-peers.md` | how it is built, what nodes say, and what a malicious one can do |
//!
//! [docs]: https://docs.rs/crate/tower-cluster-sessions/latest/source/docs/
//!
//! # Guarantees
//!
//! - **Acknowledged means held.** A response leaves after every live peer has merged its changes
//!   ([`Ack::All`], the default), or after [`ack_timeout`](ClusterConfig::ack_timeout). A peer that
//!   misses the timeout is not waited for until it has caught up. A response that read another
//!   request's unacknowledged changes waits for them, too. Attribute writes of
//!   [filtered](ClusterSessionLayer::with_filter) requests are the exception: they are replicated
//!   with the session's next commit.
//! - **Read your writes**, when asked for: with [`Consistency::ReadYourWrites`] a client that goes
//!   from node to node reads what it wrote, even if no response waited for peers.
//! - **All nodes converge** once faults end, whatever was lost, reordered, cut or restarted.
//! - **Deleted stays deleted.** The exception is a cut that lasts longer than the tombstone is kept
//!   (24 hours or more, or less in [floods](ClusterConfig::max_tombstone_bytes)), with the session in
//!   use on both sides.
//! - **Attributes merge one by one.** [`Session::update`] is atomic on its node. When two nodes
//!   write one attribute at once, the later write wins everywhere. [`Session::increment`] adds
//!   both.
//! - **A peer cannot hurt.** Slow, stuck or hostile, it costs bounded memory and time.
//! - **Sessions live in memory.** When all nodes stop, all sessions are gone, unless the nodes have a
//!   directory for them (`ClusterConfig::data_dir`, with the feature `durable`).
//!
//! # Sessions in a handler
//!
//! The [layer](ClusterSessionLayer) puts a [`SessionSlot`] into each request's extensions. Loading
//! it, or extracting a [`Session`] in an axum handler, gives the session. A request that does not
//! load it costs a look for the cookie. The first write creates the session; reading never does.
//! Only ids that the cluster minted are used. Peers hold only a hash of the secret half.
//!
//! # Sessions outside requests
//!
//! [`Cluster::sessions`] and [`ClusterSessionLayer::sessions`] give jobs, admin pages and stores the
//! [`Sessions`] of a context: they open a session by its public id or by the value of its cookie,
//! and create sessions. [`Changes`] are several writes that are made as one.
//!
//! # Several apps, one login
//!
//! Layers of several contexts can share a cluster. [`SingleSignOn`] has a visitor who has logged in at
//! one of them known at all.
//!
//! # Maps of the app
//!
//! [`Cluster::map`] returns a [`ReplicatedMap`], which has no client and no end: feature flags,
//! counters, small settings.
//!
//! # Cancel safety
//!
//! Writes apply at once and are never rolled back. A client may disconnect, a timeout fire or a
//! handler panic: the inner future is dropped first, then what it wrote is replicated, without
//! waiting for peers. The response was not sent, and so neither was its cookie. A session it
//! created stays unused until it expires. A client whose id it replaced with [`Session::cycle_id`]
//! has to log in again.
//!
//! Dropping [`SessionSlot::load`] loads nothing. Dropping [`Session::replicated`],
//! [`Cluster::ready`] or [`Events::recv`] changes nothing.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | yes | `Session`, `Option<Session>`, [`Typed`] and [`SessionSlot`] are extractors, [`SessionError`] is a response; filters see the path outside `nest` |
//! | `config` | no | [`Configuration`]: settings from a TOML file and the environment |
//! | `server-xml` | no | [`ServerXml`]: a Tomcat's `<Cluster>` as such a configuration |
//! | `srv` | no | [`ClusterConfig::discover`] by the `SRV` records of a service |
//! | `durable` | no | `ClusterConfig::data_dir`: sessions on this node's own disk, which outlive a stop of all nodes |
//! | `metrics` | no | the figures of [`Cluster::prometheus`] for the recorder of the `metrics` crate |
//! | `signed` | no | `with_signed`: session cookies that nobody else can make |
//! | `private` | no | `with_private`: session cookies that nobody else can make or read |
//! | `status` | no | [`StatusPage`]: a page by which operators see the cluster and its sessions |
//! | `aws-lc-rs` | no | links with the cryptography of aws-lc instead of ring, whose keys X25519 and ML-KEM-768 agree on together; it builds for longer |
//! | `test-util` | no | clusters in one process whose links can be cut and healed, for an app's own tests |

mod cluster;
mod config;
#[cfg(feature = "__internals")]
#[doc(hidden)]
pub mod internals;
mod log;
mod middleware;
mod node;
#[cfg(feature = "axum")]
mod probes;
mod replica;
mod session;
#[cfg(all(test, feature = "axum"))]
mod simulated;
#[cfg(feature = "config")]
mod sources;
#[cfg(feature = "status")]
mod status;
#[cfg(feature = "test-util")]
pub mod test_util;
mod wire;

#[cfg(feature = "durable")]
pub use crate::config::Sync;
#[cfg(any(feature = "signed", feature = "private"))]
pub use crate::middleware::{CookieKey, CookieKeys};
#[cfg(feature = "config")]
pub use crate::sources::Configuration;
#[cfg(feature = "server-xml")]
pub use crate::sources::{LeftOut, ServerXml};
#[cfg(feature = "status")]
pub use crate::status::StatusPage;
pub use crate::{
    cluster::{Awaited, Readiness},
    config::{
        Ack, AtLimit, ClusterConfig, ConfigError, ConfigErrorKind, Consistency, Discovery, Expiry,
        StartError,
    },
    middleware::{
        Attribute, ClusterSessionLayer, ClusterSessionService, FilterError, LayerError,
        LayerOptions, ReplicatedMap, ResponseFuture, SameSite, Session, SessionPage, SessionSlot,
        Sessions, SingleSignOn, Transport, Typed,
    },
    node::{
        Cluster, DestroyedWhere, DiskStats, Event, Events, Member, MemberEvent, MemberEventKind,
        MemberState, RecentEvent, SessionEvent, SessionEventKind, Stats, Transfer,
    },
    session::{Changes, CookieValue, SessionError, SessionInfo},
};
#[cfg(feature = "axum")]
pub use crate::{
    middleware::{MissingLayer, SignOnRejection},
    probes::probes,
};

#[cfg(all(any(doc, doctest), feature = "axum"))]
#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

/// The code in the documents, so that it compiles.
#[cfg(all(doctest, feature = "axum"))]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/from-tomcat.md")]
    mod from_tomcat {}
}
