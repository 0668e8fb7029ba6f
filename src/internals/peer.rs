//! A node without sockets, and the messages that it says and hears.

use std::sync::Arc;

use super::{FullStore, NOW, READER, SessionCopy, WRITER, create, json, key, new_session, write};
use crate::{
    config::{Limits, Shape},
    replica::{Link, LinkOptions, Observer, Replica},
    session::{BootId, Item, Now, SessionKey},
    wire::{DecodeLimits, Message, Position},
};

/// A node and its link to one peer, with hello done. Time stands still until it is told to go on.
#[derive(Debug)]
pub struct Peer {
    replica: Replica,
    link: Link,
    limits: DecodeLimits,
    now: Now,
}

impl Peer {
    /// Makes a full node, and an empty one that joins it.
    pub fn pair(donor: FullStore) -> [Self; 2] {
        let (limits, shape) = (Limits::default(), Shape::default());
        let decode_limits = DecodeLimits::new(&limits, &shape);
        let joiner = Replica::new(READER.boot, limits, &shape, NOW);
        let donor = Self::new(donor.replica, READER.boot, decode_limits.clone(), false);
        let mut joiner = Self::new(joiner, WRITER.boot, decode_limits, false);
        joiner.link.begin_round();
        [donor, joiner]
    }

    /// Makes a small node with a session and a tombstone of its own, and with listeners.
    pub fn small() -> Self {
        let replica = Replica::new(BootId::from_bytes([9; 8]), SMALL.0, &SMALL.1, NOW);
        // A node that has no link yet remembers nothing.
        let peer = Self::new(replica, BootId::from_bytes([1; 8]), SMALL_LIMITS, true);
        let replica = &peer.replica;
        let meta = Arc::clone(new_session().meta());
        let [live, destroyed] = [1, 2].map(|byte| SessionKey::from_bytes([byte; 16]));
        create(replica, &meta, live, json(20));
        create(replica, &meta, destroyed, json(20));
        replica.destroy(&destroyed, NOW);
        replica.commit(&destroyed, NOW);
        peer
    }

    fn new(replica: Replica, peer: BootId, limits: DecodeLimits, is_listening: bool) -> Self {
        let options = LinkOptions {
            heartbeat_ms: 500,
            ack_timeout_ms: 1_000,
            notify_listeners_on_replication: is_listening,
        };
        let (mut link, now) = (Link::new(&replica, peer, options, NOW), NOW);
        link.set_ready();
        Self {
            replica,
            link,
            limits,
            now,
        }
    }

    /// Takes in a message of the peer. Returns whether the link stays.
    pub fn hear(&mut self, bytes: &[u8]) -> bool {
        let (replica, now) = (&self.replica, self.now);
        Message::decode(bytes, now.mono_ms, &self.limits)
            .is_ok_and(|message| self.link.handle(replica, message, bytes.len(), now).is_ok())
    }

    /// Returns what it has to say: 64 messages, or about as much as a link's writer sends at once.
    pub fn say(&mut self) -> Vec<Vec<u8>> {
        let mut said = Vec::<Vec<u8>>::new();
        while said.len() < 64
            && said.iter().map(Vec::len).sum::<usize>() < 64 * 1024
            && let Some(message) = self.link.poll(&self.replica, self.now)
        {
            let mut bytes = Vec::new();
            message.encode(self.now.mono_ms, &mut bytes);
            self.link.sent(&message, bytes.len());
            said.push(bytes);
        }
        said
    }

    /// Lets time pass, and does what a node does every tenth of a second.
    pub fn wait(&mut self, ms: u64) {
        let is_tick = self.now.mono_ms % 100 + ms >= 100;
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        if is_tick {
            self.replica.sweep(self.now, &mut Observer::new(true));
            self.link.tick(&self.replica, false, self.now);
        }
    }

    /// Returns how many sessions and tombstones it holds.
    pub fn entries(&self) -> usize {
        self.replica.sessions() + self.replica.tombstones()
    }
}

/// A message of an established link.
#[derive(Debug, PartialEq, Eq)]
pub struct Words(Message);

impl Words {
    /// Makes a batch of so many sessions that each counted one hit.
    pub fn hits(sessions: u64) -> Self {
        let hit = |at| {
            let mut state = new_session();
            let since = state.vector().of(WRITER);
            write(&mut state, "hits", b"42");
            let delta = state.delta(WRITER, since, false);
            (key(at), Item::Delta(Box::new(delta)))
        };
        Self(Message::Batch {
            from: None,
            to: Position::following(sessions.saturating_sub(1)),
            items: (0..sessions).map(hit).collect(),
        })
    }

    /// Makes an answer with a whole session.
    pub fn full_state(session: SessionCopy) -> Self {
        let items = vec![(key(0), Item::Full(Box::new(session.0)))];
        Self(Message::Answer { items })
    }

    /// Reads a message as a small node does. `None` for anything an honest one would not send.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = Message::decode(bytes, NOW.mono_ms, &SMALL_LIMITS);
        message.ok().map(Self)
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(NOW.mono_ms, out);
    }

    /// Returns about how many bytes of memory it takes, without those of the message itself.
    pub fn memory(&self) -> usize {
        let items = self.0.items().iter().map(|(_, item)| item.memory());
        let beside = match &self.0 {
            Message::Want { keys: wants } | Message::Differences { wants, .. } => {
                size_of_val(wants.as_slice())
            }
            Message::Digests { shards: digests } | Message::SumsDiffer { digests, .. } => {
                size_of_val(digests.as_slice())
            }
            Message::CompareSums { sums, .. } => size_of_val(sums.as_slice()),
            Message::Listing { entries, .. } => size_of_val(entries.as_slice()),
            _ => 0,
        };
        items.sum::<usize>() + beside
    }

    /// Returns the longest message that a small node takes.
    pub fn max_length() -> usize {
        Message::max_length(&SMALL_LIMITS)
    }
}

/// So that limits are reached soon.
const SMALL: (Limits, Shape) = (
    Limits {
        max_sessions: 16,
        max_session_bytes: 1024,
        max_attributes: 4,
        max_bytes: usize::MAX,
        max_tombstone_bytes: 64 * Limits::TOMBSTONE_BYTES,
        unconfirmed_ms: u64::MAX,
    },
    Shape {
        lock_shards: 2,
        digests_per_lock: 4,
        log_records: 4,
    },
);
const SMALL_LIMITS: DecodeLimits = DecodeLimits::new(&SMALL.0, &SMALL.1);
