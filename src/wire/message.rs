//! The messages of an established link, and their `postcard` form.

use bytes::BytesMut;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::{
    error::Malformed,
    item::Form,
    limits::DecodeLimits,
    packed::{WireItems, items_from_wire},
};
use crate::session::{Item, SessionKey};

/// A place in a node's change log. Positions start at 1 in each boot; 0 is "nothing".
pub(crate) type Position = u64;

/// What nodes say to each other once hello is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first message each way: how far the sender has applied the receiver's log (of the
    /// receiver's boot), where the sender's own log ends, and how it has fared.
    Resume {
        applied: Position,
        head: Position,
        past: Lineage,
    },
    /// The changes of log positions `(from, to]`.
    Batch {
        from: Position,
        to: Position,
        items: Vec<(SessionKey, Item)>,
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
        keys: Vec<SessionKey>,
    },
    /// Answers [`Message::Want`], or a delta that met a tombstone.
    Answer {
        items: Vec<(SessionKey, Item)>,
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
        entries: Vec<(SessionKey, u64)>,
    },
    /// Answers a listing: states the lister lacks, and keys the answerer lacks. `last` ends it.
    Differences {
        round: u32,
        shard: u32,
        last: bool,
        items: Vec<(SessionKey, Item)>,
        wants: Vec<SessionKey>,
    },
    /// States wanted by [`Message::Differences`].
    Supply {
        items: Vec<(SessionKey, Item)>,
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

/// What two nodes must know of each other's past before they exchange sessions: one that was away
/// for longer than tombstones are kept may hold sessions that the other has destroyed and forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// Whether the sender holds any session.
    pub(crate) holds: bool,
    /// Whether it has completed no round with anybody for nearly as long as tombstones are kept.
    pub(crate) away: bool,
    /// How long the sender's data goes back, by itself or through those it got them from.
    pub(crate) lineage_ms: u64,
}

impl Message {
    /// Appends the message to `buffer`. Instants travel as ages at `now_ms`.
    pub(crate) fn encode(&self, now_ms: u64, buffer: &mut BytesMut) {
        let wire = self.to_wire(now_ms);
        postcard::serialize_with_flavor(&wire, Buffer(buffer))
            .expect("a growing buffer takes every message, and messages are plain data");
    }

    /// The longest encoding this node accepts, fragments put together: a session of the hard limit,
    /// or a listing of a digest shard with twice its share of sessions and tombstones.
    pub(crate) fn max_length(limits: &DecodeLimits) -> usize {
        let session = limits.max_session_bytes.saturating_mul(2);
        let share = limits.max_entries / limits.digest_shards.max(1);
        let listing = share.saturating_mul(2 * LISTED);
        session.max(listing).saturating_add(MIN_LENGTH)
    }

    /// # Errors
    ///
    /// For anything an honest node of the same protocol version would not send.
    pub(crate) fn decode(
        bytes: &[u8],
        now_ms: u64,
        limits: &DecodeLimits,
    ) -> Result<Self, Malformed> {
        let (wire, rest) = postcard::take_from_bytes::<Wire<'_>>(bytes)
            .map_err(|_| Malformed("no message of this protocol version"))?;
        if !rest.is_empty() {
            return Err(Malformed("bytes behind the message"));
        }
        wire.into_message(now_ms, limits)
    }

    /// The sessions that it brings something of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        let items: &[(SessionKey, Item)] = match self {
            Self::Batch { items, .. }
            | Self::Answer { items }
            | Self::Differences { items, .. }
            | Self::Supply { items } => items,
            Self::Resume { .. }
            | Self::Skip { .. }
            | Self::Ack { .. }
            | Self::Want { .. }
            | Self::Heartbeat { .. }
            | Self::AskDigests
            | Self::Digests { .. }
            | Self::Listing { .. }
            | Self::Credit { .. }
            | Self::RoundDone
            | Self::Leave => &[],
        };
        items.iter().map(|(key, _)| *key)
    }

    fn to_wire(&self, now_ms: u64) -> Wire<'_> {
        let items = |items| WireItems::Plain(items, now_ms);
        match self {
            &Self::Resume {
                applied,
                head,
                past,
            } => Wire::Resume {
                applied,
                head,
                past,
            },
            Self::Batch {
                from,
                to,
                items: changes,
            } => Wire::Batch {
                from: *from,
                to: to.saturating_sub(*from),
                items: items(changes),
            },
            &Self::Skip { to } => Wire::Skip { to },
            &Self::Ack { to } => Wire::Ack { to },
            Self::Want { keys } => Wire::Want { keys: keys.clone() },
            Self::Answer { items: answers } => Wire::Answer {
                items: items(answers),
            },
            &Self::Heartbeat { root, ready } => Wire::Heartbeat { root, ready },
            Self::AskDigests => Wire::AskDigests,
            Self::Digests { shards } => Wire::Digests {
                shards: shards
                    .iter()
                    .map(|digest| Fixed(digest.to_le_bytes()))
                    .collect(),
            },
            Self::Listing {
                round,
                shard,
                complete,
                entries,
            } => Wire::Listing {
                round: *round,
                shard: *shard,
                complete: *complete,
                entries: entries
                    .iter()
                    .map(|(key, version)| (*key, Fixed(version.to_le_bytes())))
                    .collect(),
            },
            Self::Differences {
                round,
                shard,
                last,
                items: states,
                wants,
            } => Wire::Differences {
                round: *round,
                shard: *shard,
                last: *last,
                items: items(states),
                wants: wants.clone(),
            },
            Self::Supply { items: states } => Wire::Supply {
                items: items(states),
            },
            &Self::Credit { bytes } => Wire::Credit { bytes },
            Self::RoundDone => Wire::RoundDone,
            Self::Leave => Wire::Leave,
        }
    }
}

/// The postcard form. Variants keep their place for ever; a changed message is a new variant.
#[derive(Serialize, Deserialize)]
enum Wire<'a> {
    Resume {
        applied: Position,
        head: Position,
        past: Lineage,
    },
    Batch {
        from: Position,
        /// Beyond `from`.
        to: Position,
        #[serde(borrow)]
        items: WireItems<'a>,
    },
    Skip {
        to: Position,
    },
    Ack {
        to: Position,
    },
    Want {
        keys: Vec<SessionKey>,
    },
    Answer {
        items: WireItems<'a>,
    },
    Heartbeat {
        root: u64,
        ready: bool,
    },
    AskDigests,
    Digests {
        shards: Vec<Fixed>,
    },
    Listing {
        round: u32,
        shard: u32,
        complete: bool,
        entries: Vec<(SessionKey, Fixed)>,
    },
    Differences {
        round: u32,
        shard: u32,
        last: bool,
        items: WireItems<'a>,
        wants: Vec<SessionKey>,
    },
    Supply {
        items: WireItems<'a>,
    },
    Credit {
        bytes: u64,
    },
    RoundDone,
    Leave,
}

/// A 64-bit hash in eight bytes; a varint would take ten.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Fixed([u8; 8]);

impl Fixed {
    const fn get(&self) -> u64 {
        u64::from_le_bytes(self.0)
    }
}

impl Wire<'_> {
    fn into_message(self, now_ms: u64, limits: &DecodeLimits) -> Result<Message, Malformed> {
        let items = |items| items_from_wire(items, Form::Awake, now_ms, limits);
        let kept = |items| items_from_wire(items, Form::PackedSession, now_ms, limits);
        Ok(match self {
            Self::Resume {
                applied,
                head,
                past,
            } => Message::Resume {
                applied,
                head,
                past,
            },
            Self::Batch {
                from,
                to,
                items: changes,
            } => Message::Batch {
                from,
                to: from.checked_add(to).ok_or(Malformed("position overflow"))?,
                items: items(changes)?,
            },
            Self::Skip { to } => Message::Skip { to },
            Self::Ack { to } => Message::Ack { to },
            Self::Want { keys } => Message::Want { keys },
            Self::Answer { items: answers } => Message::Answer {
                items: items(answers)?,
            },
            Self::Heartbeat { root, ready } => Message::Heartbeat { root, ready },
            Self::AskDigests => Message::AskDigests,
            Self::Digests { shards } => {
                if shards.len() != limits.digest_shards {
                    return Err(Malformed("another number of digest shards"));
                }
                Message::Digests {
                    shards: shards.iter().map(Fixed::get).collect(),
                }
            }
            Self::Listing {
                round,
                shard,
                complete,
                entries,
            } => Message::Listing {
                round,
                shard: shard_number(shard, limits)?,
                complete,
                entries: entries
                    .into_iter()
                    .map(|(key, version)| (key, version.get()))
                    .collect(),
            },
            Self::Differences {
                round,
                shard,
                last,
                items: states,
                wants,
            } => Message::Differences {
                round,
                shard: shard_number(shard, limits)?,
                last,
                items: kept(states)?,
                wants,
            },
            Self::Supply { items: states } => Message::Supply {
                items: kept(states)?,
            },
            Self::Credit { bytes } => Message::Credit { bytes },
            Self::RoundDone => Message::RoundDone,
            Self::Leave => Message::Leave,
        })
    }
}

fn shard_number(shard: u32, limits: &DecodeLimits) -> Result<u32, Malformed> {
    if usize::try_from(shard).is_ok_and(|shard| shard < limits.digest_shards) {
        Ok(shard)
    } else {
        Err(Malformed("no such digest shard"))
    }
}

/// A postcard sink that appends to a buffer.
struct Buffer<'a>(&'a mut BytesMut);

impl Flavor for Buffer<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes that any message may have, whatever the limits.
const MIN_LENGTH: usize = 1024 * 1024;
/// Bytes of a key and its version in a listing.
const LISTED: usize = 24;
