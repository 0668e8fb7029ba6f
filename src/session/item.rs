//! What travels between nodes about one session.

use std::{fmt, sync::Arc};

use super::{
    AttributesHash, CreatedMs, Life, Origin, Register, SecretSet, SessionKey, SessionMeta,
    SessionState, Stamp, Tag, Tombstone, Vector,
};
use crate::config::Expiry;

/// The part of a message that is about one session.
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
    pub(crate) life: Option<(Tag, Life)>,
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
    pub(crate) attributes: AttributesHash,
    pub(crate) expiry: Expiry,
    pub(crate) size: SessionSize,
}

/// The size of a session, for its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionSize {
    /// Attributes and counters that are there.
    pub(crate) attributes: usize,
    /// Bytes of removed names, weighed as attributes.
    pub(crate) removed: usize,
    pub(crate) writers: usize,
    pub(crate) secrets: usize,
    /// Bytes of names and values.
    pub(crate) weight: usize,
}

impl SessionSize {
    pub(crate) fn of_state(state: &SessionState) -> Self {
        let writers = state.vector().entries().len();
        Self::new(state.registers(), writers, state.secrets())
    }

    pub(crate) fn of_delta(delta: &Delta) -> Self {
        Self::new(&delta.registers, 1, &delta.secrets)
    }

    fn new(registers: &[(Arc<str>, Register)], writers: usize, secrets: &SecretSet) -> Self {
        let mut size = Self {
            attributes: 0,
            removed: 0,
            writers,
            secrets: secrets.states().len(),
            weight: 0,
        };
        for (name, register) in registers {
            size.add(register.is_present(), register.weight_as(name));
        }
        size
    }

    /// Counts an attribute, or a removed one, of this weight.
    pub(crate) const fn add(&mut self, is_present: bool, weight: usize) {
        if is_present {
            self.attributes += 1;
            self.weight += weight;
        } else {
            self.removed += weight;
        }
    }
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

impl Delta {
    /// Returns the oldest stamp of the writes that it tells of, `None` when it tells of none.
    pub(crate) fn oldest_stamp(&self) -> Option<Stamp> {
        let registers = self.registers.iter();
        let registers = registers.flat_map(|(_, register)| register.tags());
        let secrets = self.secrets.states().iter().map(|state| state.tag);
        let life = self.life.map(|(tag, _)| tag);
        let all = registers.chain(secrets).chain(life);
        // A counter may follow a reset of another origin.
        let written = all.filter(|tag| tag.origin == self.origin);
        written.map(|tag| tag.stamp).min()
    }
}

impl SessionState {
    /// Returns `own`'s writes after `since`. That is honest only if no other origin has overwritten
    /// one of them, of which the caller keeps track.
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
            life: self
                .life
                .filter(|(tag, _)| tag.origin == own && tag.stamp > since),
        }
    }
}

impl SessionState {
    /// Returns the bytes of memory that the session takes as it is here. Names and values are
    /// counted as its own.
    pub(crate) fn memory(&self) -> usize {
        let vector = size_of_val(self.vector.entries());
        size_of::<Self>() + vector + memory_of(&self.registers, &self.secrets)
    }
}

impl Item {
    /// Returns about how many bytes of memory the item takes.
    pub(crate) fn memory(&self) -> usize {
        let beside = match self {
            Self::Delta(delta) => size_of::<Delta>() + memory_of(&delta.registers, &delta.secrets),
            Self::Full(state) => state.memory(),
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

/// Bytes that a shared allocation takes beside its content.
const ARC: usize = 2 * size_of::<usize>();
