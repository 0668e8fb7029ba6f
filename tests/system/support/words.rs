//! The words of a node that does not mean well: any message, whatever an honest node would say.
//!
//! They are written here byte by byte, as docs/protocol.md has it, and by none of the crate's code.

use std::net::SocketAddr;

/// What is said, without its frame.
#[derive(Clone, Debug)]
pub(crate) struct Words(Vec<u8>);

/// A session as it is claimed to be.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Of the session.
    pub(crate) key: [u8; 16],
    /// Who is said to have written it.
    pub(crate) boot: [u8; 8],
    /// When, as stamps count: wall milliseconds shifted by 16 bits.
    pub(crate) stamp: u64,
    /// So many origins of that boot.
    pub(crate) writers: u32,
    /// So many attributes.
    pub(crate) names: u32,
    /// Of so many bytes each.
    pub(crate) bytes: usize,
    /// So many secrets.
    pub(crate) secrets: u32,
    /// The app's.
    pub(crate) context: String,
    /// The limit of idleness.
    pub(crate) idle_ms: Option<u64>,
}

/// One session's part of a message, its key first.
#[derive(Clone, Debug)]
pub(crate) struct Part(Vec<u8>);

/// What a node said, as far as a test wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its log ends here.
    Resume { head: u64 },
    /// Changes up to a position.
    Batch { to: u64 },
    /// It goes on after this position.
    Skip { to: u64 },
    /// Questions for these sessions.
    Want { keys: Vec<[u8; 16]> },
    /// A hash of what it holds.
    Heartbeat { root: u64 },
    /// Bytes of sessions it was asked for, or of repairs.
    Sessions(Vec<u8>),
    /// Anything else.
    Other,
}

impl Claim {
    /// A small one.
    pub(crate) fn new(key: [u8; 16]) -> Self {
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
    pub(crate) fn full(&self) -> Part {
        let mut to = Bytes::of_item(self.key, 1);
        to.text(self.context.as_bytes()).numbers([0]);
        match self.idle_ms {
            Some(idle_ms) => to.numbers([1, idle_ms]),
            None => to.numbers([0]),
        };
        let (no_absolute_limit, created_ago, used_ago) = (0, 0, 0);
        to.numbers([no_absolute_limit, created_ago, used_ago]);
        // Stamps count from just before the oldest, and here all are the same.
        let (since, access) = (self.stamp - 1, 1);
        to.numbers([since, access, self.writers.into()]);
        for epoch in 0..self.writers {
            to.plain(&self.boot).numbers([epoch.into(), 1]);
        }
        self.registers(1, &mut to);
        to.numbers([self.secrets.into()]);
        for at in 0..self.secrets {
            let mut hash = [self.boot[0]; 16];
            hash[..4].copy_from_slice(&at.to_be_bytes());
            to.plain(&hash).numbers(BY_THE_FIRST).numbers([1, ALIVE]);
        }
        to.numbers([NONE]);
        Part(to.0)
    }

    /// What the first writer wrote after `since`.
    pub(crate) fn delta(&self, since: u64) -> Part {
        let mut to = Bytes::of_item(self.key, 0);
        let (epoch, beyond) = (0, self.stamp - since);
        to.plain(&self.boot).numbers([epoch, since, beyond]);
        // Neither metadata nor a use.
        to.numbers([NONE, NONE]);
        self.registers(beyond, &mut to);
        let no_secrets = 0;
        to.numbers([no_secrets, NONE]);
        Part(to.0)
    }

    /// All by the first writer.
    fn registers(&self, beyond: u64, to: &mut Bytes) {
        let value = vec![b'1'; self.bytes];
        to.numbers([self.names.into()]);
        for at in 0..self.names {
            let name = format!("{:02x}-{at:06}", self.boot[0]);
            to.text(name.as_bytes());
            to.numbers(BY_THE_FIRST)
                .numbers([beyond, JSON])
                .text(&value);
        }
    }
}

impl Part {
    /// That a session was destroyed, to be remembered for so long.
    pub(crate) fn tombstone(key: [u8; 16], keep_ms: u64) -> Self {
        let mut to = Bytes::of_item(key, 2);
        let ago = 0;
        to.numbers([ago, keep_ms]);
        Self(to.0)
    }

    /// That it is not there.
    pub(crate) fn absent(key: [u8; 16]) -> Self {
        Self(Bytes::of_item(key, 3).0)
    }
}

impl Words {
    /// The first word.
    pub(crate) fn hello(cluster: &str, node: &str, boot: [u8; 8]) -> Self {
        let mut to = Bytes(MAGIC.to_vec());
        to.hello(cluster, node, boot);
        Self(to.0)
    }

    /// The answer of one who was dialled.
    pub(crate) fn welcome(cluster: &str, node: &str, boot: [u8; 8]) -> Self {
        let mut to = Bytes(MAGIC.to_vec());
        to.numbers([0]).hello(cluster, node, boot);
        Self(to.0)
    }

    /// That it is linked with nodes at these addresses.
    pub(crate) fn peers(addresses: &[SocketAddr]) -> Self {
        let mut to = Bytes(Vec::new());
        let listens_nowhere = 0;
        to.numbers([22, listens_nowhere, addresses.len() as u64]);
        for (boot, address) in (1_u64..).zip(addresses) {
            let boot = boot.to_be_bytes();
            to.plain(&boot).text(address.to_string().as_bytes());
        }
        Self(to.0)
    }

    /// The last word of hello.
    pub(crate) fn go() -> Self {
        let mut to = Bytes(MAGIC.to_vec());
        to.numbers([0]);
        Self(to.0)
    }

    /// The first word of the link.
    pub(crate) fn live(applied: u64, head: u64, lineage_ms: u64) -> Self {
        let (holds, away) = (u64::from(lineage_ms > 0), 0);
        Self::of([0, applied, head, holds, away, lineage_ms])
    }

    /// Changes.
    pub(crate) fn batch(from: u64, to: u64, parts: Vec<Part>) -> Self {
        Self::of([1, from, to - from]).with_parts(parts)
    }

    /// That changes are left out.
    pub(crate) fn skip(to: u64) -> Self {
        Self::of([2, to])
    }

    /// An acknowledgement.
    pub(crate) fn ack(to: u64) -> Self {
        Self::of([3, to])
    }

    /// Questions.
    pub(crate) fn want(keys: &[[u8; 16]]) -> Self {
        Self::of([4]).with_keys(keys)
    }

    /// Answers.
    pub(crate) fn answer(parts: Vec<Part>) -> Self {
        Self::of([5]).with_parts(parts)
    }

    /// A sign of life.
    pub(crate) fn heartbeat(root: u64) -> Self {
        let Self(bytes) = Self::of([6]);
        let mut to = Bytes(bytes);
        to.plain(&root.to_le_bytes()).numbers([1]);
        Self(to.0)
    }

    /// A question for digests.
    pub(crate) fn ask_digests() -> Self {
        Self::of([7])
    }

    /// Digests, of a number of shards as an honest node has them.
    pub(crate) fn digests(digest: u64) -> Self {
        let Self(mut bytes) = Self::of([8, SHARDS]);
        bytes.extend((0..SHARDS).flat_map(|_| digest.to_le_bytes()));
        Self(bytes)
    }

    /// A listing, which skips nothing.
    pub(crate) fn listing(round: u32, shard: u32, keys: &[[u8; 16]]) -> Self {
        let complete = 1;
        let count = keys.len() as u64;
        let Self(mut bytes) = Self::of([9, round.into(), shard.into(), complete, count]);
        for key in keys {
            bytes.extend(key);
            bytes.extend(1_u64.to_le_bytes());
        }
        Self(bytes)
    }

    /// The last answer to a listing.
    pub(crate) fn differences(
        round: u32,
        shard: u32,
        parts: Vec<Part>,
        wants: &[[u8; 16]],
    ) -> Self {
        let last = 1;
        let head = Self::of([10, round.into(), shard.into(), last]);
        head.with_keys(wants).with_parts(parts)
    }

    /// Repair.
    pub(crate) fn supply(parts: Vec<Part>) -> Self {
        Self::of([11]).with_parts(parts)
    }

    /// Room for more repair.
    pub(crate) fn credit(bytes: u64) -> Self {
        Self::of([12, bytes])
    }

    /// Goodbye.
    pub(crate) fn leave() -> Self {
        Self::of([14])
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn of<const N: usize>(numbers: [u64; N]) -> Self {
        let mut to = Bytes(Vec::new());
        to.numbers(numbers);
        Self(to.0)
    }

    fn with_keys(self, keys: &[[u8; 16]]) -> Self {
        let mut to = Bytes(self.0);
        to.numbers([keys.len() as u64]).plain(&keys.concat());
        Self(to.0)
    }

    fn with_parts(self, parts: Vec<Part>) -> Self {
        let mut to = Bytes(self.0);
        to.numbers([parts.len() as u64]);
        to.0.extend(parts.into_iter().flat_map(|Part(bytes)| bytes));
        Self(to.0)
    }
}

impl Heard {
    /// What a node said once hello was done.
    pub(crate) fn of(message: &[u8]) -> Self {
        let (number, rest) = message.split_first().expect("a message");
        let from = &mut &*rest;
        match number {
            0 => {
                let _applied = take_number(from);
                let head = take_number(from);
                Self::Resume { head }
            }
            1 => {
                let first = take_number(from);
                let to = first + take_number(from);
                Self::Batch { to }
            }
            2 => Self::Skip {
                to: take_number(from),
            },
            4 => {
                let count = take_number(from);
                let keys = (0..count).map(|_| take_array(from)).collect();
                Self::Want { keys }
            }
            6 => Self::Heartbeat {
                root: u64::from_le_bytes(take_array(from)),
            },
            5 | 10 | 11 => Self::Sessions(rest.to_vec()),
            _ => Self::Other,
        }
    }

    /// Whether it brings something of a session. No other bytes are as a key.
    pub(crate) fn is_of(&self, key: &[u8; 16]) -> bool {
        matches!(self, Self::Sessions(bytes) if bytes.windows(16).any(|part| part == key))
    }
}

/// The boot in a node's answer to hello.
pub(crate) fn boot_of(greeting: &[u8]) -> Option<[u8; 8]> {
    let mut from = greeting.strip_prefix(MAGIC)?.strip_prefix(&[0])?;
    let _versions: [u8; 2] = take_array(&mut from);
    for _name in 0..2 {
        let length = usize::try_from(take_number(&mut from)).ok()?;
        from = from.get(length..)?;
    }
    Some(take_array(&mut from))
}

fn take_number(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let [byte] = take_array(from);
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn take_array<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let (array, rest) = from.split_first_chunk().expect("an honest node");
    *from = rest;
    *array
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn of_item(key: [u8; 16], kind: u8) -> Self {
        let mut bytes = key.to_vec();
        bytes.push(kind);
        Self(bytes)
    }

    /// In groups of seven bits, the lowest first.
    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) -> &mut Self {
        for mut number in numbers {
            while number >= 0x80 {
                self.0.push((number & 0x7f) as u8 | 0x80);
                number >>= 7;
            }
            self.0.push(number as u8);
        }
        self
    }

    fn text(&mut self, bytes: &[u8]) -> &mut Self {
        self.numbers([bytes.len() as u64]).plain(bytes)
    }

    fn plain(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn hello(&mut self, cluster: &str, node: &str, boot: [u8; 8]) {
        let (min_version, max_version) = (1, 1);
        self.numbers([min_version, max_version]);
        self.text(cluster.as_bytes()).text(node.as_bytes());
        self.plain(&boot).numbers([NONE]);
    }
}

const MAGIC: &[u8] = b"TwCS";
/// A tag: the number of its origin follows, and a stamp comes behind.
const BY_THE_FIRST: [u64; 2] = [0, 0];
const JSON: u64 = 0;
const ALIVE: u64 = 0;
/// Nothing of something optional.
const NONE: u64 = 0;
/// Of digests, in every node that nobody has built otherwise.
const SHARDS: u64 = 4096;
