//! What a node has every node destroy, because another one may hold what it does not know.

use std::{fmt, sync::Arc};

use super::{SecretHash, SessionKey, Stamp};

/// An order to destroy sessions, or the report of a node that has carried one out. It goes to every
/// node that a path of links reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    /// Monotonic milliseconds of its issue on this node.
    pub(crate) issued_ms: u64,
    /// How many nodes have passed it on.
    pub(crate) hops: u8,
    pub(crate) content: OrderContent,
}

/// The name of an order, 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderId([u8; 16]);

/// What an order says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderContent {
    /// Destroy the session of this key.
    Session {
        key: SessionKey,
        /// What opens it, as whoever gave the order has proven. `None` if the app gave it.
        proof: Option<Proof>,
    },
    /// Destroy all sessions that a search finds.
    Search(Search),
    /// A node has carried out the order of this id.
    Report {
        search: OrderId,
        node: Arc<str>,
        destroyed: u64,
    },
}

/// What a client has presented to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) context: Arc<str>,
    pub(crate) secret: SecretHash,
}

/// The sessions of a context in which an attribute had a value when the order was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) context: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) json: Arc<[u8]>,
    /// One that is not meant.
    pub(crate) keep: Option<SessionKey>,
    /// What was written later was not meant.
    pub(crate) upto: Stamp,
}

/// The most bytes that a search may have, its parts together.
pub(crate) const MAX_SEARCH_BYTES: usize = 16 * 1024;
/// An order is passed on so many times at most, so that it ends its way even where nodes have
/// forgotten it.
pub(crate) const MAX_HOPS: u8 = 8;
/// How long an order is kept for nodes that are met later: as long as tombstones at least.
pub(crate) const ORDER_KEEP_MS: u64 = super::Tombstone::MIN_KEEP_MS;

impl Order {
    /// Returns about how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.content {
            OrderContent::Session { .. } => 0,
            OrderContent::Search(search) => search.weight(),
            OrderContent::Report { node, .. } => node.len(),
        };
        content + OVERHEAD
    }
}

impl Search {
    pub(crate) fn weight(&self) -> usize {
        self.context.len() + self.name.len() + self.json.len()
    }
}

impl OrderId {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderId({:02x}{:02x})", self.0[0], self.0[1])
    }
}

/// Of an order and its places in lists, about.
const OVERHEAD: usize = 256;
