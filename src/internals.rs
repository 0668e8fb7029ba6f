//! What benchmarks, fuzzing and the hostile peers of tests reach into: types of the crate itself,
//! or some that set one up. Not part of the API: everything may change in any release.

mod peer;

use std::{future::ready, io, sync::Arc};

pub use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use twox_hash::XxHash3_64;

pub use self::peer::{Peer, Words};
use crate::{
    config::{ClusterConfig, Expiry, Limits, Shape},
    node::{Cluster, Env, LinkSecurity},
    replica::{Observer, Replica, Replicate, SessionWriter},
    session::{
        BootId, Delta, Now, Origin, SecretHash, SessionError, SessionKey, SessionMeta,
        SessionSecret, SessionState, Stamp, Tag,
    },
    wire::Position,
};
pub use crate::{
    middleware::internals::{CookieHeaders, PathFilter},
    wire::{
        frame::{FrameCodec, FrameError},
        hello::{Confirm, Greeting, Hello, Refusal},
    },
};

/// One node's copy of a session.
#[derive(Clone, Debug)]
pub struct SessionCopy(SessionState);

/// The write of one attribute, as it travels to the other nodes.
#[derive(Clone, Debug)]
pub struct Change(Delta);

impl SessionCopy {
    /// Makes a session of so many attributes, each of so many bytes.
    pub fn new(attributes: usize, bytes: usize) -> Self {
        let mut state = new_session();
        for at in 0..attributes {
            write(&mut state, &format!("attribute-{at:03}"), &json(bytes));
        }
        Self(state)
    }

    /// Sets the attribute in the middle, and returns what other copies have to take in.
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

/// A node's store, full of sessions of one attribute and one counter each. Numbers pick them; those
/// that follow each other pick sessions that are far from each other in memory.
#[derive(Debug)]
pub struct FullStore {
    replica: Replica,
    sessions: u64,
}

impl FullStore {
    /// Makes so many sessions, each with an attribute of so many bytes.
    pub fn new(sessions: u64, bytes: usize) -> Self {
        let replica = Replica::new(WRITER.boot, Limits::default(), &Shape::default(), NOW);
        let (meta, value) = (Arc::clone(new_session().meta()), json(bytes));
        for at in 0..=sessions {
            // Most sessions of a node have not been used for a while.
            if at % 10_000 == 0 || at == sessions {
                let mono_ms = NOW.mono_ms + 10_000 + at;
                replica.sweep(Now { mono_ms, ..NOW }, &mut Observer::new(false));
            }
            if at < sessions {
                create(&replica, &meta, key(at), Arc::from(&*value));
            }
        }
        Self { replica, sessions }
    }

    /// Returns the attribute of a session.
    pub fn get(&self, at: u64) -> Option<Arc<[u8]>> {
        let bytes = |state: &SessionState| state.json(ATTRIBUTE).ok().flatten().cloned();
        self.replica.read(&self.key(at), bytes).ok()?
    }

    /// Replaces the attribute of a session. Returns whether it could.
    pub fn set(&self, at: u64, value: Arc<[u8]>) -> bool {
        self.write(at, |writer| writer.set(ATTRIBUTE, value))
    }

    /// Adds to the counter of a session. Returns whether it could.
    pub fn increment(&self, at: u64) -> bool {
        self.write(at, |writer| writer.add(COUNTER, 1).map(drop))
    }

    /// Appends what is not replicated yet of a session to the log.
    pub fn commit(&self, at: u64) -> u64 {
        Position::number(self.replica.commit(&self.key(at), NOW))
    }

    fn write(
        &self,
        at: u64,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<(), SessionError>,
    ) -> bool {
        let (replica, observer) = (&self.replica, &mut Observer::new(false));
        let written = replica.write(&self.key(at), Replicate::Now, observer, NOW, write);
        written.is_ok()
    }

    fn key(&self, at: u64) -> SessionKey {
        key(mixed(at) % self.sessions)
    }
}

/// The security of a node's links. Its errors are what the crate itself would say.
#[derive(Debug)]
pub struct Door(LinkSecurity);

impl Door {
    /// Makes that of a node configured so.
    pub fn new(config: &ClusterConfig) -> io::Result<Self> {
        let settings = config.settings().map_err(io::Error::other)?;
        let security = LinkSecurity::new(&settings, Env::default().unix_time());
        security.map(Self).map_err(io::Error::other)
    }

    /// Protects a stream that was dialled.
    pub async fn dial(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        let dialled = self.0.dial(Box::new(stream), "peer").await;
        dialled.map(|(io, _)| io).map_err(io::Error::other)
    }

    /// Protects a stream that was accepted.
    pub async fn accept(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        let accepted = self.0.accept(Box::new(stream), Vec::new, ready(())).await;
        let accepted = accepted.map_err(io::Error::other)?;
        Ok(accepted.io)
    }
}

/// Counts what a node counts of a request that finds its session and changes it, without one.
pub fn count_hit(cluster: &Cluster) {
    cluster.node().count_hit();
}

/// Returns the JSON text of a string, as long as wanted.
pub fn json(bytes: usize) -> Arc<[u8]> {
    let text = format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)));
    text.into_bytes().into()
}

/// Makes a session of one attribute and one counter that nobody uses any more.
fn create(replica: &Replica, meta: &Arc<SessionMeta>, key: SessionKey, value: Arc<[u8]>) {
    let created = replica.create(Arc::clone(meta), key, secret(), 0, NOW);
    created.expect("there is room for a session");
    let observer = &mut Observer::new(false);
    let written = replica.write(&key, Replicate::Now, observer, NOW, |writer| {
        writer.set(ATTRIBUTE, value)?;
        writer.add(COUNTER, 1).map(drop)
    });
    written.expect("it was just created, and is small");
    replica.release(&key, Replicate::Now, NOW);
}

fn new_session() -> SessionState {
    let stamp = Stamp::ZERO.next(NOW).expect("stamps are not used up");
    let meta = Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry: Expiry::default(),
    });
    SessionState::new(meta, secret(), written_at(stamp), NOW)
}

fn write(state: &mut SessionState, name: &str, value: &[u8]) {
    let stamp = state.next_stamp(NOW).expect("stamps are not used up");
    state.set(name, value.into(), written_at(stamp));
}

const fn written_at(stamp: Stamp) -> Tag {
    let origin = WRITER;
    Tag { stamp, origin }
}

fn secret() -> SecretHash {
    SessionSecret::from_bytes([7; 16]).hash()
}

/// Returns keys as uniform as random ones, without a list of them that would fill the caches.
fn key(at: u64) -> SessionKey {
    let bits = u128::from(mixed(at)) << 64 | u128::from(mixed(!at));
    SessionKey::from_bytes(bits.to_be_bytes())
}

fn mixed(at: u64) -> u64 {
    XxHash3_64::oneshot(&at.to_le_bytes())
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
const ATTRIBUTE: &str = "cart";
const COUNTER: &str = "hits";
