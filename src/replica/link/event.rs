//! The options, events and figures of a link.

use std::sync::Arc;

use super::agreement::Agreement;
use crate::{
    replica::Change,
    session::{Order, SessionKey},
    wire::{PeerList, Position},
};

/// The part of the cluster's configuration that a link needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkOptions {
    /// How long requests wait for the peer before it counts as lagging.
    pub(crate) ack_timeout_ms: u64,
    pub(crate) heartbeat_ms: u64,
    /// Whether [`LinkEvent::Changed`] is wanted.
    pub(crate) notify_listeners_on_replication: bool,
}

/// The meaning of a link's acknowledgements: positions in `(base, acked]` are held by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkAcks {
    pub(crate) base: Option<Position>,
    pub(crate) acked: Option<Position>,
    /// Whether requests wait for this peer.
    pub(crate) counted: bool,
}

/// What the peer has yet to get of what this node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrears {
    /// The peer has spoken.
    pub(crate) is_open: bool,
    pub(crate) is_lagging: bool,
    /// How many changes it has not acknowledged.
    pub(crate) changes: u64,
    /// States, answers or orders are on their way, or it has yet to repair what it skipped.
    pub(crate) has_repairs: bool,
    /// The complete round asked for last has ended.
    pub(crate) is_compared: bool,
    /// Both held the same when the peer said last what it holds.
    pub(crate) is_equal: bool,
    pub(crate) transfer: PeersTransfer,
}

/// The news of a link for who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// [`Link::acks`](super::Link::acks) changed.
    Acks,
    /// The peer answered for a key asked for with [`Link::want`](super::Link::want), and the
    /// question's number.
    Answered(SessionKey, u64),
    /// The round asked for with [`Link::begin_round`](super::Link::begin_round) is complete.
    RoundCompleted { sessions: u64, bytes: u64 },
    /// The peer missed `ack_timeout` or fell out of the log; requests do not wait for it.
    Lagging,
    /// It is waited for again.
    CaughtUp,
    /// This node was away for longer than tombstones are kept, and has dropped what the peer lacks.
    DroppedOutdated { sessions: usize },
    /// The peer has come further with its own state transfer, see
    /// [`Link::peers_transfer`](super::Link::peers_transfer).
    PeersTransfer,
    /// The peer sent what is beyond twice a limit of this node, which is not merged.
    OverLimit(&'static str),
    /// There is something to say on other links: an order, or what came of one.
    Grew,
    /// A session of this age was destroyed here, as an order wants it.
    Destroyed(u64),
    /// A search is to be carried out here.
    SearchOrdered,
    /// A node has carried out a search.
    Reported(Arc<Order>),
    /// The peer has told of the members that it is linked with.
    Peers(PeerList),
    /// The peer said goodbye.
    Left,
    /// A replicated change, when asked for at construction.
    Changed(Change),
}

/// How far the peer has come with its own state transfer, as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeersTransfer {
    /// It has told nothing yet.
    Unknown,
    /// Within so many hops of the peer, itself included, nobody has anybody left to wait for.
    UnderWay {
        settled_hops: u8,
    },
    Over,
}

impl PeersTransfer {
    /// Returns the same of a peer that has told that its transfer is under way.
    pub(super) const fn or_under_way(self) -> Self {
        match self {
            Self::UnderWay { .. } => self,
            Self::Unknown | Self::Over => Self::UnderWay { settled_hops: 0 },
        }
    }
}

/// The error of a peer that broke the protocol: close the link and say why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
}

/// The figures of one link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkGauges {
    /// Log positions not acknowledged yet.
    pub(crate) acked_lag: u64,
    /// Bytes of repair sent and not yet merged by the peer.
    pub(crate) queued_bytes: u64,
    pub(crate) agreement: Agreement,
    /// The complete round that this node has begun.
    pub(crate) receiving: Option<Flow>,
    /// What the peer has been given since it asked for all sessions, until its transfer is over.
    pub(crate) sending: Option<Flow>,
}

/// How many rounds of repair a link has begun and ended, and what the latest has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundMark {
    pub(crate) begun: u64,
    /// As many as were begun when none is under way.
    pub(crate) ended: u64,
    /// Whether the latest leaves nothing out.
    pub(crate) is_complete: bool,
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
}

/// Sessions on their way in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) began_ms: u64,
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
}
