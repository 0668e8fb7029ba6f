//! What bytes from outside go through: frames, first words, messages, cookies, patterns of paths.

use std::sync::Arc;

use bytes::BytesMut;

use super::{ATTRIBUTE, COUNTER, NOW, encode, json, new_session, secret};
pub use crate::middleware::internals::{CookieHeaders, PathFilter};
use crate::{
    config::{Limits, Shape},
    replica::{Link, LinkOptions, Replica, Replicate},
    session::{BootId, Item, Now, SessionKey},
    wire::{Confirm, DecodeLimits, FrameCodec, Greeting, Hello, Message, PROTOCOL},
};

/// The bytes that come from a socket, on their way into messages.
#[derive(Debug)]
pub struct Stream {
    frames: FrameCodec,
    buffer: BytesMut,
}

impl Stream {
    /// Of a peer that has not said hello.
    #[must_use]
    pub fn of_a_stranger() -> Self {
        Self::new(FrameCodec::before_hello())
    }

    /// Of an established link, with messages of so many bytes at most.
    #[must_use]
    pub fn of_a_peer(max_message: usize) -> Self {
        Self::new(FrameCodec::established(max_message))
    }

    fn new(frames: FrameCodec) -> Self {
        let buffer = BytesMut::new();
        Self { frames, buffer }
    }

    /// Takes in bytes and appends the messages that they complete.
    ///
    /// # Errors
    ///
    /// As text, when the link would be closed.
    pub fn feed(&mut self, bytes: &[u8], messages: &mut Vec<Vec<u8>>) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.frames.decode(&mut self.buffer) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The end of the bytes.
    ///
    /// # Errors
    ///
    /// As text, when it is within a message.
    pub fn end(self) -> Result<(), String> {
        if self.held() == 0 {
            Ok(())
        } else {
            Err("the stream ended within a message".to_owned())
        }
    }

    /// Bytes kept that are no message yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() + self.frames.held()
    }

    /// A message in frames. `None` if it is too long.
    pub fn encode(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        let encoded = self.frames.encode_message(message, &mut out);
        encoded.ok().map(|()| out.to_vec())
    }
}

/// A hello, or one of the answers to it.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstWords(Words);

#[derive(Debug, PartialEq, Eq)]
enum Words {
    Hello(Hello),
    Greeting(Greeting),
    Confirm(Confirm),
}

impl FirstWords {
    /// The same bytes as each of the three, as far as they are that.
    #[must_use]
    pub fn all_in(bytes: &[u8]) -> Vec<Self> {
        let hello = Hello::decode(bytes).map(Words::Hello);
        let greeting = Greeting::decode(bytes).map(Words::Greeting);
        let confirm = Confirm::decode(bytes).map(Words::Confirm);
        let all = [hello, greeting, confirm].into_iter();
        all.flatten().map(Self).collect()
    }

    /// Their bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        match &self.0 {
            Words::Hello(hello) => hello.encode(&mut out),
            Words::Greeting(greeting) => greeting.encode(&mut out),
            Words::Confirm(confirm) => confirm.encode(&mut out),
        }
        out.to_vec()
    }

    /// What of them may get into a log.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.0 {
            Words::Hello(hello) | Words::Greeting(Greeting::Welcome(hello)) => {
                let advertise = hello.advertise.as_deref().unwrap_or_default();
                format!("{}{}{}{advertise}", hello.cluster, hello.node, hello.boot)
            }
            Words::Greeting(Greeting::Refused(refusal))
            | Words::Confirm(Confirm::Refused(refusal)) => refusal.to_string(),
            Words::Confirm(Confirm::Go) => String::new(),
        }
    }

    /// Whether this node and the one that said a hello both agree to a link, or both do not.
    #[must_use]
    pub fn is_judged_alike(&self) -> bool {
        let Words::Hello(theirs) = &self.0 else {
            return true;
        };
        let ours = Hello {
            min_version: *PROTOCOL.start(),
            max_version: *PROTOCOL.end(),
            cluster: "sessions".to_owned(),
            node: "node1".to_owned(),
            boot: BootId::from_bytes([1; 8]),
            advertise: None,
        };
        ours.judge(theirs).ok() == theirs.judge(&ours).ok()
    }
}

/// A message of an established link.
#[derive(Debug, PartialEq, Eq)]
pub struct Received(Message);

impl Received {
    /// `None` for anything an honest node would not send.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = Message::decode(bytes, NOW.mono_ms, &LIMITS);
        message.ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.0, NOW)
    }

    /// Bytes of memory that it takes, about, without those of the message itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |items: &[(SessionKey, Item)]| items.iter().map(|(_, item)| item.memory()).sum();
        match &self.0 {
            Message::Batch { items, .. }
            | Message::Answer { items }
            | Message::Supply { items } => of(items),
            Message::Differences { items, wants, .. } => of(items) + size_of_val(wants.as_slice()),
            Message::Want { keys } => size_of_val(keys.as_slice()),
            Message::Digests { shards } => size_of_val(shards.as_slice()),
            Message::Listing { entries, .. } => size_of_val(entries.as_slice()),
            Message::Resume { .. }
            | Message::Skip { .. }
            | Message::Ack { .. }
            | Message::Heartbeat { .. }
            | Message::AskDigests
            | Message::Credit { .. }
            | Message::RoundDone
            | Message::Leave => 0,
        }
    }

    /// The longest there is.
    #[must_use]
    pub fn max_length() -> usize {
        Message::max_length(&LIMITS)
    }
}

/// A node with a session and a tombstone of its own, and its link to one peer. Time goes on by a
/// tenth of a second with each message.
#[derive(Debug)]
pub struct Conversation {
    replica: Replica,
    link: Link,
    now: Now,
}

impl Conversation {
    /// Hello is done.
    ///
    /// # Panics
    ///
    /// Never: the session is within the limits.
    #[must_use]
    pub fn new() -> Self {
        let boot = BootId::from_bytes([9; 8]);
        let limits = Limits {
            max_sessions: 16,
            max_session_bytes: LIMITS.max_session_bytes,
            max_attributes: 4,
        };
        let shape = Shape {
            lock_shards: 2,
            digests_per_lock: LIMITS.digest_shards / 2,
            log_records: 4,
        };
        let replica = Replica::new(boot, limits, &shape, NOW);
        create(&replica, LIVE);
        create(&replica, DESTROYED);
        replica.store().destroy(&DESTROYED, NOW);
        replica.commit(&DESTROYED, NOW);
        let options = LinkOptions {
            ack_timeout_ms: 1_000,
            heartbeat_ms: 500,
            collect: true,
        };
        let link = Link::new(&replica, BootId::from_bytes([1; 8]), options, NOW);
        let now = NOW;
        Self { replica, link, now }
    }

    /// Takes in a message of the peer, and returns what is said after it, 64 messages at most.
    /// `None` when the link would be closed.
    pub fn hear(&mut self, message: &[u8]) -> Option<Vec<Vec<u8>>> {
        let Self { replica, link, now } = self;
        let bytes = message.len();
        let message = Message::decode(message, now.mono_ms, &LIMITS).ok()?;
        link.handle(replica, message, bytes, *now).ok()?;
        now.mono_ms += 100;
        now.wall_ms += 100;
        replica.sweep(*now, true);
        link.tick(replica, *now);
        let mut said = Vec::new();
        while said.len() < 64
            && let Some(message) = link.poll(replica, *now)
        {
            let bytes = encode(&message, *now);
            link.sent(&message, bytes.len());
            said.push(bytes);
        }
        Some(said)
    }

    /// Sessions and tombstones that the node holds.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.replica.store().sessions() + self.replica.store().tombstones()
    }

    /// The most that it may hold.
    #[must_use]
    pub const fn max_entries() -> usize {
        LIMITS.max_entries
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

fn create(replica: &Replica, key: SessionKey) {
    let store = replica.store();
    let meta = Arc::clone(new_session().meta());
    let created = store.create(meta, key, secret(), NOW);
    created.expect("there is room for a session");
    let written = store.write(&key, Replicate::Now, false, NOW, |writer| {
        writer.set(ATTRIBUTE, json(20))?;
        writer.add(COUNTER, 1).map(drop)
    });
    written.expect("it was just created, and is small");
    replica.release(&key, Replicate::Now, NOW);
}

const LIVE: SessionKey = SessionKey::from_bytes([1; 16]);
const DESTROYED: SessionKey = SessionKey::from_bytes([2; 16]);
/// Those of a node with few sessions.
const LIMITS: DecodeLimits = DecodeLimits {
    max_session_bytes: 1024,
    max_names: 32,
    max_entries: 160,
    digest_shards: 8,
};
