//! One connection to one peer: what to say next, and what an incoming message means.

use super::{Change, Replica};
use crate::{
    session::{BootId, Locator, Now},
    wire::{Message, message::Position},
};

/// The decisions of one established link. Sans-I/O: after hello call [`Link::new`]; then
/// [`Link::handle`] for every message that arrives, [`Link::tick`] every 100 ms, and
/// [`Link::poll`] for messages to send, again after each of these and whenever the log grew, until
/// it returns `None`. Time is monotonic.
#[derive(Debug)]
pub(crate) struct Link {}

/// What the acknowledgements of this link mean: positions in `(base, acked]` are held by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkAcks {
    pub(crate) base: Position,
    pub(crate) acked: Position,
    /// Whether requests wait for this peer.
    pub(crate) counted: bool,
}

/// What an outsider must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// [`Link::acks`] changed.
    Acks,
    /// The peer answered for a key asked for with [`Link::want`].
    Answered(Locator),
    /// The round asked for with [`Link::begin_round`] is complete.
    RoundCompleted { sessions: u64, bytes: u64 },
    /// The peer missed `ack_timeout` or fell out of the log; requests do not wait for it.
    Lagging,
    /// It is waited for again.
    CaughtUp,
    /// The peer said goodbye.
    Left,
    /// A replicated change, when asked for at construction.
    Changed(Change),
}

/// The peer broke the protocol or a limit: close the link and say why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    #[error("over limit: {0}")]
    OverLimit(&'static str),
}

/// Figures of one link's queues.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkGauges {
    /// Log positions not acknowledged yet.
    pub(crate) acked_lag: u64,
    /// Bytes of repair sent and not yet merged by the peer.
    pub(crate) queued_bytes: u64,
}

impl Link {
    /// `ours_to_repair`: whether this side starts background repair (the lower boot id of the two).
    /// `collect`: whether [`LinkEvent::Changed`] is wanted.
    pub(crate) fn new(
        _replica: &Replica,
        _peer: BootId,
        _ack_timeout_ms: u64,
        _collect: bool,
        _now: Now,
    ) -> Self {
        todo!()
    }

    /// # Errors
    ///
    /// The link must then be closed; the store is unharmed.
    pub(crate) fn handle(
        &mut self,
        _replica: &Replica,
        _message: Message,
        _bytes: usize,
        _now: Now,
    ) -> Result<Vec<LinkEvent>, Violation> {
        todo!()
    }

    pub(crate) fn tick(&mut self, _replica: &Replica, _now: Now) -> Vec<LinkEvent> {
        todo!()
    }

    /// The next message by priority: acks, heartbeats, answers, deltas, repair.
    pub(crate) fn poll(&mut self, _replica: &Replica, _now: Now) -> Option<Message> {
        todo!()
    }

    /// Tells the link how many bytes the message just polled took, for its windows.
    pub(crate) fn sent(&mut self, _bytes: usize) {
        todo!()
    }

    /// Starts a complete round: everything the peer has and we lack comes here, and the reverse.
    pub(crate) fn begin_round(&mut self, _replica: &Replica) {
        todo!()
    }

    /// Whether a round begun with [`Link::begin_round`] has completed and the position the peer
    /// announced at the start of this link is applied.
    pub(crate) fn is_settled(&self) -> bool {
        todo!()
    }

    /// Asks the peer for one session; [`LinkEvent::Answered`] follows.
    pub(crate) fn want(&mut self, _key: Locator) {
        todo!()
    }

    /// Whether the peer has told that it is ready (its transfer is over).
    pub(crate) fn peer_is_ready(&self) -> bool {
        todo!()
    }

    /// Whether our own ready state is to be told in heartbeats.
    pub(crate) fn set_ready(&mut self, _ready: bool) {
        todo!()
    }

    pub(crate) fn is_lagging(&self) -> bool {
        todo!()
    }

    pub(crate) fn acks(&self) -> LinkAcks {
        todo!()
    }

    pub(crate) fn gauges(&self, _replica: &Replica) -> LinkGauges {
        todo!()
    }

    /// Queues the goodbye, behind everything that is due.
    pub(crate) fn leave(&mut self) {
        todo!()
    }
}
