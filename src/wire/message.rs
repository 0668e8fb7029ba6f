//! The messages of an established link, and their bytes.
//!
//! A message is its number and its fields. Numbers keep their meaning for ever: a message that
//! changes gets another number.

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    item::{Form, Items, KEY, read_key, write_items, write_key},
    limits::DecodeLimits,
    order::{ORDER, read_order, write_order},
    peers::{PeerList, read_peers, write_peers},
    position::Position,
};
use crate::session::{Item, Order, Retention, SessionKey};

/// What nodes say to each other once hello is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first message each way: how far the sender has applied the receiver's log (of the
    /// receiver's boot), where the sender's own log ends, and how it has fared.
    Resume {
        applied: Option<Position>,
        head: Option<Position>,
        lineage: Lineage,
    },
    /// The changes of log positions `(from, to]`.
    Batch {
        from: Option<Position>,
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
    /// Compares sums of digests, one for each group of shards. Of the groups in `below`, a bit each,
    /// the sender wants the digests if their sums differ.
    CompareSums {
        sums: Vec<u32>,
        below: u64,
    },
    /// Answers: the groups whose sums differ, and the digests that are wanted of them.
    SumsDiffer {
        differing: u64,
        digests: Vec<u64>,
    },
    /// Whether acknowledgements are to come at once, as at the beginning, because requests wait for
    /// them; or within some time.
    ExpectAcks {
        at_once: bool,
    },
    /// Orders that every node carries out and passes on.
    Orders {
        orders: Vec<Order>,
    },
    /// What the sender remembers of destroyed sessions: right behind [`Message::Resume`], and again
    /// whenever retentions change.
    Memory(Memory),
    /// The sender's state transfer is under way, and within so many hops of nodes whose transfer is
    /// under way, the sender included, nobody has anybody left to wait for.
    Settled {
        hops: u8,
    },
    /// Whom the sender is linked with, for who does not know them. It takes the place of what was told
    /// before, and goes only to peers whose hello asks for it.
    Peers(PeerList),
}

/// What two nodes must know of each other's past before they exchange sessions: one that was away
/// for longer than tombstones are kept may hold sessions that the other has destroyed and forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Whether the sender holds any session.
    pub(crate) holds: bool,
    /// Whether it has completed no round with anybody for nearly as long as tombstones are kept.
    pub(crate) away: bool,
    /// How long the sender's data goes back, by itself or through those it got them from.
    pub(crate) lineage_ms: u64,
}

/// What a node remembers of destroyed sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The shortest retention within so many hops of the sender, its own first.
    pub(crate) retentions: [Retention; RETENTION_HOPS],
    /// What was destroyed within that time is remembered, by the sender and by those that its data
    /// came from.
    pub(crate) remembered_ms: u64,
    /// How long ago the sender and another node had told each other all they held.
    pub(crate) apart_ms: u64,
}

impl Message {
    /// Appends the message to `buffer`. Instants travel as ages at `now_ms`.
    pub(crate) fn encode(&self, now_ms: u64, buffer: &mut Vec<u8>) {
        let to = &mut Writer(buffer);
        match self {
            Self::Resume {
                applied,
                head,
                lineage,
            } => {
                to.byte(RESUME);
                to.u64(Position::number(*applied));
                to.u64(Position::number(*head));
                to.bool(lineage.holds);
                to.bool(lineage.away);
                to.u64(lineage.lineage_ms);
            }
            Self::Batch {
                from,
                to: upto,
                items,
            } => {
                to.byte(BATCH);
                let from = Position::number(*from);
                to.u64(from);
                to.u64(Position::number(Some(*upto)).saturating_sub(from));
                write_items(items, now_ms, to);
            }
            Self::Skip { to: upto } => {
                to.byte(SKIP);
                to.u64(Position::number(Some(*upto)));
            }
            Self::Ack { to: upto } => {
                to.byte(ACK);
                to.u64(Position::number(Some(*upto)));
            }
            Self::Want { keys } => {
                to.byte(WANT);
                to.list(keys.iter(), |to, key| write_key(key, to));
            }
            Self::Answer { items } => {
                to.byte(ANSWER);
                write_items(items, now_ms, to);
            }
            Self::Heartbeat { root, ready } => {
                to.byte(HEARTBEAT);
                to.hash(*root);
                to.bool(*ready);
            }
            Self::AskDigests => to.byte(ASK_DIGESTS),
            Self::Digests { shards } => {
                to.byte(DIGESTS);
                to.list(shards.iter(), |to, digest| to.hash(*digest));
            }
            Self::Listing {
                round,
                shard,
                complete,
                entries,
            } => {
                to.byte(LISTING);
                to.u64((*round).into());
                to.u64((*shard).into());
                to.bool(*complete);
                to.list(entries.iter(), |to, (key, version)| {
                    write_key(key, to);
                    to.hash(*version);
                });
            }
            Self::Differences {
                round,
                shard,
                last,
                items,
                wants,
            } => {
                to.byte(DIFFERENCES);
                to.u64((*round).into());
                to.u64((*shard).into());
                to.bool(*last);
                to.list(wants.iter(), |to, key| write_key(key, to));
                write_items(items, now_ms, to);
            }
            Self::Supply { items } => {
                to.byte(SUPPLY);
                write_items(items, now_ms, to);
            }
            Self::Credit { bytes } => {
                to.byte(CREDIT);
                to.u64(*bytes);
            }
            Self::RoundDone => to.byte(ROUND_DONE),
            Self::Leave => to.byte(LEAVE),
            Self::CompareSums { sums, below } => {
                to.byte(COMPARE_SUMS);
                to.hash(*below);
                to.list(sums.iter(), |to, sum| to.array(&sum.to_le_bytes()));
            }
            Self::SumsDiffer { differing, digests } => {
                to.byte(SUMS_DIFFER);
                to.hash(*differing);
                to.list(digests.iter(), |to, digest| to.hash(*digest));
            }
            Self::ExpectAcks { at_once } => {
                to.byte(EXPECT_ACKS);
                to.bool(*at_once);
            }
            Self::Orders { orders } => {
                to.byte(ORDERS);
                to.list(orders.iter(), |to, order| write_order(order, now_ms, to));
            }
            Self::Memory(memory) => {
                to.byte(MEMORY);
                to.array(&memory.retentions.map(Retention::doublings));
                to.u64(memory.remembered_ms);
                to.u64(memory.apart_ms);
            }
            Self::Settled { hops } => {
                to.byte(SETTLED);
                to.byte(*hops);
            }
            Self::Peers(peers) => {
                to.byte(PEERS);
                write_peers(peers, to);
            }
        }
    }

    /// Returns the longest encoding that is accepted, its parts put together: a session of the hard
    /// limit, or a listing of a digest shard with twice its share of sessions and tombstones.
    pub(crate) fn max_length(limits: &DecodeLimits) -> usize {
        let session = limits.max_session_bytes.saturating_mul(2);
        let share = limits.max_entries / limits.digest_shards.max(1);
        let listing = share.saturating_mul(2 * LISTED);
        session.max(listing).saturating_add(MIN_LENGTH)
    }

    /// Reads a message, which must be all of `bytes`.
    ///
    /// # Errors
    ///
    /// For anything an honest node of the same protocol version would not send.
    pub(crate) fn decode(
        bytes: &[u8],
        now_ms: u64,
        limits: &DecodeLimits,
    ) -> Result<Self, Malformed> {
        let from = &mut Reader::new(bytes);
        let hot = Items::new(now_ms, limits, Form::Hot);
        let packed = Items::new(now_ms, limits, Form::Packed);
        let message = match from.byte()? {
            RESUME => Self::Resume {
                applied: Position::new(from.u64()?),
                head: Position::new(from.u64()?),
                lineage: Lineage {
                    holds: from.bool()?,
                    away: from.bool()?,
                    lineage_ms: from.u64()?,
                },
            },
            BATCH => {
                let first = from.u64()?;
                let upto = first.checked_add(from.u64()?);
                Self::Batch {
                    from: Position::new(first),
                    to: position(upto.ok_or(Malformed("position overflow"))?)?,
                    items: hot.read(from)?,
                }
            }
            SKIP => Self::Skip {
                to: position(from.u64()?)?,
            },
            ACK => Self::Ack {
                to: position(from.u64()?)?,
            },
            WANT => Self::Want {
                keys: from.list(KEY, read_key)?,
            },
            ANSWER => Self::Answer {
                items: hot.read(from)?,
            },
            HEARTBEAT => Self::Heartbeat {
                root: from.hash()?,
                ready: from.bool()?,
            },
            ASK_DIGESTS => Self::AskDigests,
            DIGESTS => {
                let count = from.count(HASH)?;
                if count != limits.digest_shards {
                    return Err(Malformed("another number of digest shards"));
                }
                Self::Digests {
                    shards: from.repeat(count, Reader::hash)?,
                }
            }
            LISTING => Self::Listing {
                round: from.u32()?,
                shard: read_shard(from, limits)?,
                complete: from.bool()?,
                entries: from.list(KEY + HASH, |from| Ok((read_key(from)?, from.hash()?)))?,
            },
            DIFFERENCES => Self::Differences {
                round: from.u32()?,
                shard: read_shard(from, limits)?,
                last: from.bool()?,
                wants: from.list(KEY, read_key)?,
                items: packed.read(from)?,
            },
            SUPPLY => Self::Supply {
                items: packed.read(from)?,
            },
            CREDIT => Self::Credit { bytes: from.u64()? },
            ROUND_DONE => Self::RoundDone,
            LEAVE => Self::Leave,
            COMPARE_SUMS => {
                let below = read_groups(from, limits)?;
                let count = from.count(SUM)?;
                if count != limits.digest_groups() {
                    return Err(Malformed("another number of groups of digests"));
                }
                let sum = |from: &mut Reader<'_>| from.array().map(u32::from_le_bytes);
                Self::CompareSums {
                    sums: from.repeat(count, sum)?,
                    below,
                }
            }
            SUMS_DIFFER => Self::SumsDiffer {
                differing: read_groups(from, limits)?,
                digests: from.list(HASH, Reader::hash)?,
            },
            EXPECT_ACKS => Self::ExpectAcks {
                at_once: from.bool()?,
            },
            ORDERS => Self::Orders {
                orders: from.list(ORDER, |from| read_order(from, now_ms))?,
            },
            MEMORY => Self::Memory(Memory {
                retentions: read_retentions(from)?,
                remembered_ms: from.u64()?,
                apart_ms: from.u64()?,
            }),
            SETTLED => match from.byte()? {
                hops @ 0..=MAX_SETTLED_HOPS => Self::Settled { hops },
                _ => return Err(Malformed("more hops than are counted")),
            },
            PEERS => Self::Peers(read_peers(from)?),
            _ => return Err(UNKNOWN),
        };
        if from.remaining().is_empty() {
            Ok(message)
        } else {
            Err(Malformed("bytes behind the message"))
        }
    }

    /// Returns the sessions that it brings something of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.items().iter().map(|(key, _)| *key)
    }

    pub(crate) fn items(&self) -> &[(SessionKey, Item)] {
        match self {
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
            | Self::Leave
            | Self::CompareSums { .. }
            | Self::SumsDiffer { .. }
            | Self::ExpectAcks { .. }
            | Self::Orders { .. }
            | Self::Memory(_)
            | Self::Settled { .. }
            | Self::Peers(_) => &[],
        }
    }
}

fn position(number: u64) -> Result<Position, Malformed> {
    Position::new(number).ok_or(Malformed("no such position"))
}

fn read_shard(from: &mut Reader<'_>, limits: &DecodeLimits) -> Result<u32, Malformed> {
    let shard = from.u32()?;
    if usize::try_from(shard).is_ok_and(|shard| shard < limits.digest_shards) {
        Ok(shard)
    } else {
        Err(Malformed("no such digest shard"))
    }
}

fn read_retentions(from: &mut Reader<'_>) -> Result<[Retention; RETENTION_HOPS], Malformed> {
    let doublings: [u8; RETENTION_HOPS] = from.array()?;
    let mut retentions = [Retention::UNBOUNDED; RETENTION_HOPS];
    for (retention, doublings) in retentions.iter_mut().zip(doublings) {
        *retention =
            Retention::from_doublings(doublings).ok_or(Malformed("a retention beyond all"))?;
    }
    Ok(retentions)
}

fn read_groups(from: &mut Reader<'_>, limits: &DecodeLimits) -> Result<u64, Malformed> {
    let groups = from.hash()?;
    let beyond = groups.checked_shr(u32::try_from(limits.digest_groups()).unwrap_or(u64::BITS));
    if beyond.unwrap_or(0) == 0 {
        Ok(groups)
    } else {
        Err(Malformed("no such group of digests"))
    }
}

const RESUME: u8 = 0;
const BATCH: u8 = 1;
const SKIP: u8 = 2;
const ACK: u8 = 3;
const WANT: u8 = 4;
const ANSWER: u8 = 5;
const HEARTBEAT: u8 = 6;
const ASK_DIGESTS: u8 = 7;
const DIGESTS: u8 = 8;
const LISTING: u8 = 9;
const DIFFERENCES: u8 = 10;
const SUPPLY: u8 = 11;
const CREDIT: u8 = 12;
const ROUND_DONE: u8 = 13;
const LEAVE: u8 = 14;
const COMPARE_SUMS: u8 = 15;
const SUMS_DIFFER: u8 = 16;
const EXPECT_ACKS: u8 = 17;
const ORDERS: u8 = 18;
const MEMORY: u8 = 20;
const SETTLED: u8 = 21;
const PEERS: u8 = 22;
/// Retentions are told over so many links.
pub(crate) const RETENTION_HOPS: usize = 4;
/// Hops are counted up to this.
pub(crate) const MAX_SETTLED_HOPS: u8 = 4;
/// Bytes of a digest, a version or a root.
const HASH: usize = 8;
/// Bytes of a sum.
const SUM: usize = 4;
/// Bytes that any message may have, whatever the limits.
const MIN_LENGTH: usize = 1024 * 1024;
/// Bytes of a key and its version in a listing.
const LISTED: usize = KEY + HASH;
