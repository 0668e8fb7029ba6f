//! The words of a node that does not mean well: any message, whatever an honest node would say.
//!
//! Ids, boots and origins are plain bytes here, so that a test can name them.

use std::sync::Arc;

use bytes::BytesMut;

use super::{NOW, encode};
use crate::{
    config::{Expiry, Limits, Shape},
    session::{
        BootId, Content, CreatedMs, Delta, Item, Origin, Register, SecretSet, SecretState,
        SessionKey, SessionMeta, SessionParts, SessionSecret, SessionState, Stamp, Tag, Tombstone,
        Vector,
    },
    wire::{Confirm, DecodeLimits, Greeting, Hello, Message, PROTOCOL, message::Lineage},
};

/// What is said, without its frame.
#[derive(Clone, Debug)]
pub struct Words(Vec<u8>);

/// A session as it is claimed to be.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Of the session.
    pub key: [u8; 16],
    /// Who is said to have written it.
    pub boot: [u8; 8],
    /// When, as stamps count: wall milliseconds shifted by 16 bits. At most `i64::MAX`.
    pub stamp: u64,
    /// So many origins of that boot.
    pub writers: u32,
    /// So many attributes.
    pub names: u32,
    /// Of so many bytes each.
    pub bytes: usize,
    /// So many secrets.
    pub secrets: u32,
    /// The app's.
    pub context: String,
    /// The limit of idleness.
    pub idle_ms: Option<u64>,
}

/// One session's part of a message.
#[derive(Clone, Debug)]
pub struct Part(SessionKey, Item);

/// What a node said, as far as a test wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// Its log ends here.
    Resume {
        /// The position.
        head: u64,
    },
    /// Changes up to a position, of these sessions.
    Batch {
        /// The position.
        to: u64,
        /// Of sessions.
        keys: Vec<[u8; 16]>,
    },
    /// It goes on after this position.
    Skip {
        /// The position.
        to: u64,
    },
    /// Questions.
    Want {
        /// For these sessions.
        keys: Vec<[u8; 16]>,
    },
    /// A hash of what it holds.
    Heartbeat {
        /// The hash.
        root: u64,
    },
    /// A question for digests.
    AskDigests,
    /// A listing of one shard.
    Listing {
        /// Of this round.
        round: u32,
        /// The shard.
        shard: u32,
        /// What it holds.
        keys: Vec<[u8; 16]>,
    },
    /// Sessions it was asked for, or repairs.
    Sessions {
        /// Which.
        keys: Vec<[u8; 16]>,
    },
    /// Anything else.
    Other,
}

impl Claim {
    /// A small one.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            key,
            boot: [0x66; 8],
            stamp: 1_800_000_000_000 << 16,
            writers: 1,
            names: 1,
            bytes: 1,
            secrets: 1,
            context: String::new(),
            idle_ms: Some(30 * 60 * 1000),
        }
    }

    /// All of it.
    ///
    /// # Panics
    ///
    /// Beyond the last stamp.
    #[must_use]
    pub fn full(&self) -> Part {
        let state = SessionState::from_parts(self.parts());
        Part(
            SessionKey::from_bytes(self.key),
            Item::Full(Box::new(state)),
        )
    }

    /// What the first writer wrote after `since`.
    ///
    /// # Panics
    ///
    /// Beyond the last stamp.
    #[must_use]
    pub fn delta(&self, since: u64) -> Part {
        let parts = self.parts();
        let delta = Delta {
            origin: self.origin(0),
            since: Stamp::new(since).expect("within the stamps"),
            upto: self.at(),
            meta: None,
            access: None,
            registers: parts.registers,
            secrets: SecretSet::default(),
            expiry: None,
        };
        Part(
            SessionKey::from_bytes(self.key),
            Item::Delta(Box::new(delta)),
        )
    }

    fn parts(&self) -> SessionParts {
        let tag = |at| Tag {
            stamp: self.at(),
            origin: self.origin(at),
        };
        let register = |at: u32| {
            let content = Content::Json(vec![b'1'; self.bytes].into());
            let name = format!("{:02x}-{at:06}", self.boot[0]);
            (
                name.as_str().into(),
                Register {
                    tag: tag(0),
                    content,
                },
            )
        };
        let secret = |at: u32| {
            let mut bytes = [self.boot[0]; 16];
            bytes[..4].copy_from_slice(&at.to_le_bytes());
            SecretState {
                hash: SessionSecret::from_bytes(bytes).hash(),
                tag: tag(0),
                dead_at_ms: None,
            }
        };
        let mut secrets: Vec<_> = (0..self.secrets).map(secret).collect();
        secrets.sort_by_key(|secret| secret.hash);
        let origins = (0..self.writers).map(|at| (self.origin(at), self.at()));
        SessionParts {
            meta: Arc::new(SessionMeta {
                context: self.context.as_str().into(),
                route: None,
                expiry: Expiry::from_millis(self.idle_ms, None),
            }),
            created: CreatedMs(NOW.mono_ms),
            vector: Vector::from_sorted(origins.collect()).expect("in order"),
            access: self.at(),
            accessed_ms: NOW.mono_ms,
            registers: (0..self.names).map(register).collect(),
            secrets: SecretSet::from_sorted(secrets).expect("sorted"),
            expiry: None,
        }
    }

    fn at(&self) -> Stamp {
        Stamp::new(self.stamp).expect("within the stamps")
    }

    const fn origin(&self, epoch: u32) -> Origin {
        Origin {
            boot: BootId::from_bytes(self.boot),
            epoch,
        }
    }
}

impl Part {
    /// That a session was destroyed, to be remembered for so long.
    #[must_use]
    pub const fn tombstone(key: [u8; 16], keep_ms: u64) -> Self {
        let tombstone = Tombstone {
            destroyed_ms: NOW.mono_ms,
            keep_ms,
        };
        Self(SessionKey::from_bytes(key), Item::Destroyed(tombstone))
    }

    /// That it is not there.
    #[must_use]
    pub const fn absent(key: [u8; 16]) -> Self {
        Self(SessionKey::from_bytes(key), Item::Absent)
    }
}

impl Words {
    /// The first word.
    #[must_use]
    pub fn hello(cluster: &str, node: &str, boot: [u8; 8]) -> Self {
        let mut out = BytesMut::new();
        hello(cluster, node, boot).encode(&mut out);
        Self(out.to_vec())
    }

    /// The answer of one who was dialled.
    #[must_use]
    pub fn welcome(cluster: &str, node: &str, boot: [u8; 8]) -> Self {
        let mut out = BytesMut::new();
        Greeting::Welcome(hello(cluster, node, boot)).encode(&mut out);
        Self(out.to_vec())
    }

    /// The last word of hello.
    #[must_use]
    pub fn go() -> Self {
        let mut out = BytesMut::new();
        Confirm::Go.encode(&mut out);
        Self(out.to_vec())
    }

    /// The first word of the link.
    #[must_use]
    pub fn live(applied: u64, head: u64, lineage_ms: u64) -> Self {
        let past = Lineage {
            holds: lineage_ms > 0,
            away: false,
            lineage_ms,
        };
        Self::of(&Message::Resume {
            applied,
            head,
            past,
        })
    }

    /// Changes.
    #[must_use]
    pub fn batch(from: u64, to: u64, parts: Vec<Part>) -> Self {
        let items = items(parts);
        Self::of(&Message::Batch { from, to, items })
    }

    /// A gap.
    #[must_use]
    pub fn skip(to: u64) -> Self {
        Self::of(&Message::Skip { to })
    }

    /// An acknowledgement.
    #[must_use]
    pub fn ack(to: u64) -> Self {
        Self::of(&Message::Ack { to })
    }

    /// Questions.
    #[must_use]
    pub fn want(keys: &[[u8; 16]]) -> Self {
        let keys = locators(keys);
        Self::of(&Message::Want { keys })
    }

    /// Answers.
    #[must_use]
    pub fn answer(parts: Vec<Part>) -> Self {
        let items = items(parts);
        Self::of(&Message::Answer { items })
    }

    /// A sign of life.
    #[must_use]
    pub fn heartbeat(root: u64) -> Self {
        Self::of(&Message::Heartbeat { root, ready: true })
    }

    /// A question for digests.
    #[must_use]
    pub fn ask_digests() -> Self {
        Self::of(&Message::AskDigests)
    }

    /// Digests, of a number of shards as an honest node has them.
    #[must_use]
    pub fn digests(digest: u64) -> Self {
        let shards = vec![digest; limits().digest_shards];
        Self::of(&Message::Digests { shards })
    }

    /// A listing.
    #[must_use]
    pub fn listing(round: u32, shard: u32, keys: &[[u8; 16]]) -> Self {
        let keys = locators(keys).into_iter();
        Self::of(&Message::Listing {
            round,
            shard,
            complete: true,
            entries: keys.map(|key| (key, 1)).collect(),
        })
    }

    /// An answer to a listing.
    #[must_use]
    pub fn differences(round: u32, shard: u32, parts: Vec<Part>, wants: &[[u8; 16]]) -> Self {
        Self::of(&Message::Differences {
            round,
            shard,
            last: true,
            items: items(parts),
            wants: locators(wants),
        })
    }

    /// Repair.
    #[must_use]
    pub fn supply(parts: Vec<Part>) -> Self {
        let items = items(parts);
        Self::of(&Message::Supply { items })
    }

    /// Room for more repair.
    #[must_use]
    pub fn credit(bytes: u64) -> Self {
        Self::of(&Message::Credit { bytes })
    }

    /// Goodbye.
    #[must_use]
    pub fn leave() -> Self {
        Self::of(&Message::Leave)
    }

    /// Any bytes.
    #[must_use]
    pub const fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn of(message: &Message) -> Self {
        Self(encode(message, NOW))
    }
}

impl Heard {
    /// What a node said once hello was done. `None` if it is not of this version.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        let message = Message::decode(message, NOW.mono_ms, &limits()).ok()?;
        let keys = message.keys().map(|key| *key.bytes()).collect();
        Some(match message {
            Message::Resume { head, .. } => Self::Resume { head },
            Message::Batch { to, .. } => Self::Batch { to, keys },
            Message::Skip { to } => Self::Skip { to },
            Message::Want { keys } => Self::Want {
                keys: keys.iter().map(|key| *key.bytes()).collect(),
            },
            Message::Heartbeat { root, .. } => Self::Heartbeat { root },
            Message::AskDigests => Self::AskDigests,
            Message::Listing {
                round,
                shard,
                entries,
                ..
            } => Self::Listing {
                round,
                shard,
                keys: entries.iter().map(|entry| *entry.0.bytes()).collect(),
            },
            Message::Answer { .. } | Message::Differences { .. } | Message::Supply { .. } => {
                Self::Sessions { keys }
            }
            Message::Ack { .. }
            | Message::Digests { .. }
            | Message::Credit { .. }
            | Message::RoundDone
            | Message::Leave => Self::Other,
        })
    }
}

/// The boot in a node's answer to hello.
#[must_use]
pub fn boot_of(greeting: &[u8]) -> Option<[u8; 8]> {
    match Greeting::decode(greeting).ok()? {
        Greeting::Welcome(hello) => Some(hello.boot.bytes()),
        Greeting::Refused(_) => None,
    }
}

fn hello(cluster: &str, node: &str, boot: [u8; 8]) -> Hello {
    Hello {
        min_version: *PROTOCOL.start(),
        max_version: *PROTOCOL.end(),
        cluster: cluster.to_owned(),
        node: node.to_owned(),
        boot: BootId::from_bytes(boot),
        advertise: None,
    }
}

fn items(parts: Vec<Part>) -> Vec<(SessionKey, Item)> {
    let item = |Part(key, item)| (key, item);
    parts.into_iter().map(item).collect()
}

fn locators(keys: &[[u8; 16]]) -> Vec<SessionKey> {
    keys.iter()
        .map(|key| SessionKey::from_bytes(*key))
        .collect()
}

/// Those of a node as it is by default.
fn limits() -> DecodeLimits {
    DecodeLimits::new(&Limits::default(), &Shape::default())
}
