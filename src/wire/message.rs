//! The messages of an established link, and their `postcard` form.

use bytes::BytesMut;

use crate::session::{Item, Locator};

/// A place in a node's change log. Positions start at 1 in each boot; 0 is "nothing".
pub(crate) type Position = u64;

/// What nodes say to each other once hello is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first message each way: how far the sender has applied the receiver's log (of the
    /// receiver's boot), and where the sender's own log ends.
    Live {
        applied: Position,
        head: Position,
    },
    /// The changes of log positions `(from, to]`.
    Batch {
        from: Position,
        to: Position,
        items: Vec<(Locator, Item)>,
    },
    /// The log no longer reaches back to where the receiver is: it goes on after `to`.
    Skip {
        to: Position,
    },
    /// All batches up to `to` are merged.
    Ack {
        to: Position,
    },
    /// Asks for full states, ahead of everything but acks and heartbeats.
    Want {
        keys: Vec<Locator>,
    },
    /// Answers [`Message::Want`], or a delta that met a tombstone.
    Answer {
        items: Vec<(Locator, Item)>,
    },
    /// Sent every heartbeat interval, busy or not: the sender's digest root.
    Heartbeat {
        root: u64,
        ready: bool,
    },
    /// Asks for the digests of all shards.
    AskDigests,
    Digests {
        shards: Vec<u64>,
    },
    /// The sender's keys and versions of one digest shard. `complete` skips nothing.
    Listing {
        round: u32,
        shard: u32,
        complete: bool,
        entries: Vec<(Locator, u64)>,
    },
    /// Answers a listing: states the lister lacks, and keys the answerer lacks. `last` ends it.
    Differences {
        round: u32,
        shard: u32,
        last: bool,
        items: Vec<(Locator, Item)>,
        wants: Vec<Locator>,
    },
    /// States wanted by [`Message::Differences`].
    Supply {
        items: Vec<(Locator, Item)>,
    },
    /// The sender has merged this many bytes of repair.
    Credit {
        bytes: u64,
    },
    /// The sender has completed a round that began after the receiver's latest skip.
    RoundDone,
    /// The sender leaves the cluster in order.
    Leave,
}

/// What a decoder accepts, from this node's own configuration.
#[derive(Clone, Debug)]
pub(crate) struct DecodeLimits {
    pub(crate) max_session_bytes: usize,
    pub(crate) max_names: usize,
    pub(crate) digest_shards: usize,
}

/// The peer sent bytes that are no message.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Message {
    /// Appends the message to `buffer`. Instants travel as ages at `now_ms`.
    pub(crate) fn encode(&self, _now_ms: u64, _buffer: &mut BytesMut) {
        todo!()
    }

    /// The longest encoding this node accepts, fragments put together.
    pub(crate) fn max_length(_limits: &DecodeLimits) -> usize {
        todo!()
    }

    /// # Errors
    ///
    /// For anything an honest node of the same protocol version would not send.
    pub(crate) fn decode(
        _bytes: &[u8],
        _now_ms: u64,
        _limits: &DecodeLimits,
    ) -> Result<Self, Malformed> {
        todo!()
    }
}
