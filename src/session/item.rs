//! What travels between nodes about one session.

use std::{fmt, sync::Arc};

use super::{
    Origin, Register, SecretSet, SessionKey, SessionMeta, SessionState, Stamp, Tag, Vector,
};
use crate::config::Expiry;

/// One session's part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// One origin's writes of one interval.
    Delta(Box<Delta>),
    /// Everything the sender holds.
    Full(Box<SessionState>),
    /// The same of a session that is cold, and will be at the receiver.
    Packed(Box<PackedSession>),
    /// It was destroyed.
    Destroyed(Tombstone),
    /// The sender does not hold it (any more): the answer to a question, never a change.
    Absent,
}

/// All writes that `origin` made in one session after `since` and up to `upto`, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) origin: Origin,
    pub(crate) since: Stamp,
    pub(crate) upto: Stamp,
    /// There when the delta is the whole session: `since` is zero and nobody else has written.
    pub(crate) meta: Option<(Arc<SessionMeta>, CreatedMs)>,
    /// The last access and its local instant, there when the sender recorded use.
    pub(crate) access: Option<(Stamp, u64)>,
    /// Sorted by name.
    pub(crate) registers: Vec<(Arc<str>, Register)>,
    pub(crate) secrets: SecretSet,
    pub(crate) expiry: Option<(Tag, Expiry)>,
}

/// A session in the bytes in which it is kept as long as nobody uses it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PackedSession {
    pub(crate) head: PackedHead,
    /// All else. `wire/packed_session.rs` writes, checks and reads it.
    pub(crate) body: Box<[u8]>,
    /// `None` of a session of this node's own, which it sends and does not take in.
    pub(crate) summary: Option<PackedSummary>,
}

/// What stands beside the body of a packed session, since each place writes it in its own way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedHead {
    pub(crate) meta: Arc<SessionMeta>,
    pub(crate) created_ms: u64,
    pub(crate) accessed_ms: u64,
}

/// What was seen in a peer's body while it was checked: all that must be known to take it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedSummary {
    pub(crate) access: Stamp,
    pub(crate) vector: Vector,
    pub(crate) expiry: Expiry,
    pub(crate) size: SessionSize,
}

/// The size of a session, for its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionSize {
    /// Names, removed ones included.
    pub(crate) names: usize,
    pub(crate) writers: usize,
    pub(crate) secrets: usize,
    /// Bytes of names and values.
    pub(crate) weight: usize,
}

impl fmt::Debug for PackedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PackedSession");
        shown
            .field("head", &self.head)
            .field("summary", &self.summary);
        shown.finish_non_exhaustive()
    }
}

/// The local instant of creation, in monotonic milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreatedMs(pub(crate) u64);

/// What is left of a destroyed session: since when, and for how long it must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// Monotonic milliseconds of the destruction on this node.
    pub(crate) destroyed_ms: u64,
    /// How long every node remembers it.
    pub(crate) keep_ms: u64,
}

impl Tombstone {
    /// The least time a tombstone is kept.
    pub(crate) const MIN_KEEP_MS: u64 = 24 * 60 * 60 * 1000;
    /// The longest: that of the longest idle limit.
    pub(crate) const MAX_KEEP_MS: u64 = 2 * Expiry::MAX_MS;

    /// Returns that of a session with these limits, kept for twice the idle limit and 24 hours at
    /// least.
    pub(crate) fn new(expiry: Expiry, now_ms: u64) -> Self {
        let twice = expiry.idle_ms().map_or(0, |idle| idle.saturating_mul(2));
        Self {
            destroyed_ms: now_ms,
            keep_ms: twice.max(Self::MIN_KEEP_MS),
        }
    }

    pub(crate) const fn ends_ms(&self) -> u64 {
        self.destroyed_ms.saturating_add(self.keep_ms)
    }

    /// Joins two reports of destruction: the earlier instant, the longer memory.
    pub(crate) fn merge(&mut self, other: Self) {
        self.destroyed_ms = self.destroyed_ms.min(other.destroyed_ms);
        self.keep_ms = self.keep_ms.max(other.keep_ms);
    }
}

impl SessionState {
    /// Returns `own`'s writes after `since`. Honest only if none of them has been overwritten by
    /// another origin, which the caller keeps track of.
    pub(crate) fn delta(&self, own: Origin, since: Stamp, with_access: bool) -> Delta {
        let whole = since == Stamp::ZERO
            && self.vector.is_only(own)
            && self
                .registers
                .iter()
                .all(|(_, register)| register.is_only_by(own));
        Delta {
            origin: own,
            since,
            upto: self.vector.of(own),
            meta: whole.then(|| (Arc::clone(&self.meta), CreatedMs(self.created_ms))),
            access: (whole || with_access).then_some((self.access, self.accessed_ms)),
            registers: self
                .registers
                .iter()
                .filter_map(|(name, register)| {
                    let written = register.written_by(own, since)?;
                    Some((Arc::clone(name), written))
                })
                .collect(),
            secrets: self.secrets.written_by(own, since),
            expiry: self
                .expiry
                .filter(|(tag, _)| tag.origin == own && tag.stamp > since),
        }
    }
}

impl Item {
    /// Returns about how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let beside = match self {
            Self::Delta(delta) => size_of::<Delta>() + memory_of(&delta.registers, &delta.secrets),
            Self::Full(state) => {
                let vector = size_of_val(state.vector().entries());
                size_of::<SessionState>() + vector + memory_of(&state.registers, &state.secrets)
            }
            Self::Packed(state) => {
                let entries = |summary: &PackedSummary| size_of_val(summary.vector.entries());
                let vector = state.summary.as_ref().map_or(0, entries);
                size_of::<PackedSession>() + vector + state.body.len()
            }
            Self::Destroyed(_) | Self::Absent => 0,
        };
        size_of::<(SessionKey, Self)>() + beside
    }
}

fn memory_of(registers: &[(Arc<str>, Register)], secrets: &SecretSet) -> usize {
    let held = registers
        .iter()
        .map(|(name, register)| name.len() + register.weight() + 2 * ARC);
    size_of_val(registers) + held.sum::<usize>() + size_of_val(secrets.states())
}

/// What a shared allocation has beside its bytes.
const ARC: usize = 2 * size_of::<usize>();
