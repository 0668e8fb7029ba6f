//! A door for benchmarks and fuzzing into what is private. Not part of the API: everything in here
//! may change in any release.
//!
//! Each type sets one operation up and runs it; the types behind them stay inside. Time stands
//! still in all of them, except where [`untrusted`] says otherwise.

pub mod hostile;
pub mod secure;
pub mod transfer;
pub mod untrusted;

use std::sync::Arc;

use bytes::BytesMut;

use crate::{
    config::{Expiry, Limits, Shape},
    replica::{Replica, Replicate, SessionWriter},
    session::{
        BootId, Delta, Item, Now, Origin, SecretHash, SessionError, SessionKey, SessionMeta,
        SessionSecret, SessionState, Stamp, Tag,
    },
    wire::{DecodeLimits, FrameCodec, Message},
};

/// One node's copy of a session.
#[derive(Clone, Debug)]
pub struct SessionCopy(SessionState);

/// The write of one attribute, as it travels to the other nodes.
#[derive(Clone, Debug)]
pub struct Change(Delta);

impl SessionCopy {
    /// A session of so many attributes, each of so many bytes.
    #[must_use]
    pub fn new(attributes: usize, bytes: usize) -> Self {
        let mut state = new_session();
        for at in 0..attributes {
            write(&mut state, &format!("attribute-{at:03}"), &json(bytes));
        }
        Self(state)
    }

    /// Sets the attribute in the middle, and returns what other copies have to take in.
    ///
    /// # Panics
    ///
    /// Without attributes.
    pub fn change(&mut self, bytes: usize) -> Change {
        let Self(state) = self;
        let name = Arc::clone(&state.registers()[state.registers().len() / 2].0);
        let since = state.vector().of(WRITER);
        write(state, &name, &json(bytes));
        Change(state.delta(WRITER, since, false))
    }

    /// Takes in a change of another copy. Returns whether that was possible.
    pub fn apply(&mut self, change: Change) -> bool {
        self.0.apply(change.0, READER).is_some()
    }

    /// Takes in the whole of another copy.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0, READER);
    }
}

/// A message on its way into bytes and back, frames included.
#[derive(Debug)]
pub struct Codec {
    message: Message,
    frames: FrameCodec,
    buffer: BytesMut,
}

/// Frames as they come from a socket.
#[derive(Clone, Debug, Default)]
pub struct Frames(BytesMut);

impl Codec {
    /// So many sessions that each counted one hit.
    #[must_use]
    pub fn hits(sessions: u64) -> Self {
        let hit = |at| {
            let mut state = new_session();
            let since = state.vector().of(WRITER);
            write(&mut state, "hits", b"42");
            let delta = state.delta(WRITER, since, false);
            (locator(at), Item::Delta(Box::new(delta)))
        };
        Self::new(Message::Batch {
            from: 0,
            to: sessions,
            items: (0..sessions).map(hit).collect(),
        })
    }

    /// One whole session.
    #[must_use]
    pub fn full_state(session: SessionCopy) -> Self {
        Self::new(Message::Answer {
            items: vec![(locator(0), Item::Full(Box::new(session.0)))],
        })
    }

    fn new(message: Message) -> Self {
        Self {
            message,
            frames: FrameCodec::established(Message::max_length(&LIMITS)),
            buffer: BytesMut::new(),
        }
    }

    /// The message in a buffer that is kept, as a link's writer does. Returns its bytes.
    pub fn encode(&mut self, out: &mut Frames) -> usize {
        out.0.clear();
        self.buffer.clear();
        self.message.encode(NOW.mono_ms, &mut self.buffer);
        self.frames
            .encode_message(&self.buffer, &mut out.0)
            .expect("the message is far below the limits");
        out.0.len()
    }

    /// Decodes all messages and throws them away. Returns their number.
    pub fn decode(&mut self, mut frames: Frames) -> usize {
        let mut messages = 0;
        while let Ok(Some(bytes)) = self.frames.decode(&mut frames.0) {
            let message = Message::decode(&bytes, NOW.mono_ms, &LIMITS);
            messages += usize::from(message.is_ok());
        }
        messages
    }
}

/// A node's store, full of sessions of one attribute and one counter each.
#[derive(Debug)]
pub struct FullStore {
    replica: Replica,
    sessions: u64,
}

impl FullStore {
    /// So many sessions, each with an attribute of so many bytes.
    ///
    /// # Panics
    ///
    /// Beyond the limits of a default configuration.
    #[must_use]
    pub fn new(sessions: u64, bytes: usize) -> Self {
        let store = Self {
            replica: Replica::new(WRITER.boot, Limits::default(), &Shape::default(), NOW),
            sessions,
        };
        let (session, value) = (new_session(), json(bytes));
        // Most sessions of a node have not been used for a while.
        let later = |number| Now {
            mono_ms: NOW.mono_ms + 10_000 + number,
            ..NOW
        };
        for (number, key) in (0..sessions).map(|at| (at, locator(at))) {
            if number % 10_000 == 0 {
                store.replica.sweep(later(number), false);
            }
            let meta = Arc::clone(session.meta());
            let created = store.replica.store().create(meta, key, secret(), NOW);
            created.expect("there is room for a session");
            let value = Arc::from(&*value);
            assert!(store.write(&key, |writer| writer.set(ATTRIBUTE, value)));
            assert!(store.write(&key, |writer| writer.add(COUNTER, 1).map(drop)));
            store.replica.release(&key, Replicate::Now, NOW);
        }
        store.replica.sweep(later(sessions), false);
        store
    }

    /// The attribute of the session that this number picks. Numbers in a row pick sessions that
    /// are far from each other in memory.
    #[must_use]
    pub fn get(&self, at: u64) -> Option<Arc<[u8]>> {
        let bytes = |state: &SessionState| state.json(ATTRIBUTE).ok().flatten().cloned();
        self.replica.store().read(&self.key(at), bytes).ok()?
    }

    /// Replaces the attribute of the session that this number picks. Returns whether it could.
    pub fn set(&self, at: u64, value: Arc<[u8]>) -> bool {
        self.write(&self.key(at), |writer| writer.set(ATTRIBUTE, value))
    }

    /// Adds to the counter of the session that this number picks. Returns whether it could.
    pub fn increment(&self, at: u64) -> bool {
        self.write(&self.key(at), |writer| writer.add(COUNTER, 1).map(drop))
    }

    /// Appends what is unshipped in the session that this number picks to the log.
    pub fn commit(&self, at: u64) -> u64 {
        self.replica.commit(&self.key(at), NOW)
    }

    fn write(
        &self,
        key: &SessionKey,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<(), SessionError>,
    ) -> bool {
        let store = self.replica.store();
        store.write(key, Replicate::Now, false, NOW, write).is_ok()
    }

    fn key(&self, at: u64) -> SessionKey {
        locator(mixed(at) % self.sessions)
    }
}

/// The JSON text of a string, as long as wanted.
#[must_use]
pub fn json(bytes: usize) -> Arc<[u8]> {
    let text = "x".repeat(bytes.saturating_sub(2));
    format!("\"{text}\"").into_bytes().into()
}

fn encode(message: &Message, now: Now) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(now.mono_ms, &mut out);
    out.to_vec()
}

fn write(state: &mut SessionState, name: &str, value: &[u8]) {
    let stamp = state.next_stamp(NOW).expect("stamps are not used up");
    let origin = WRITER;
    state.set(name, value.into(), Tag { stamp, origin });
}

fn new_session() -> SessionState {
    let stamp = Stamp::ZERO.next(NOW).expect("stamps are not used up");
    let origin = WRITER;
    let meta = Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry: Expiry::default(),
    });
    SessionState::new(meta, secret(), Tag { stamp, origin }, NOW)
}

fn secret() -> SecretHash {
    SessionSecret::from_bytes([7; 16]).hash()
}

/// As uniform as random ones, and found again without a list that would fill the caches.
fn locator(at: u64) -> SessionKey {
    let bits = u128::from(mixed(at)) << 64 | u128::from(mixed(!at));
    SessionKey::from_bytes(bits.to_be_bytes())
}

/// `SplitMix64`.
const fn mixed(at: u64) -> u64 {
    let mut hash = at.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

const fn origin(boot: u8) -> Origin {
    let boot = BootId::from_bytes([boot; 8]);
    Origin { boot, epoch: 0 }
}

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    mono_ms: 1 << 41,
};
const WRITER: Origin = origin(1);
const READER: Origin = origin(2);
const LIMITS: DecodeLimits = DecodeLimits {
    max_session_bytes: 256 * 1024,
    max_names: 1024,
    max_entries: 8192,
    digest_shards: 0,
};
const ATTRIBUTE: &str = "cart";
const COUNTER: &str = "hits";
