//! The bytes of one session's part of a message, both ways, side by side.
//!
//! Instants travel as ages. Origins are written once per item and referred to by number. What an
//! honest node would not send, such as a write its vector does not cover, is malformed.

use std::sync::Arc;

use super::{
    attributes::{Foreign, Names, put_slots, take_slots},
    bytes::{Reader, UNKNOWN, Writer},
    message::{DecodeLimits, Malformed},
    metadata::{
        MAX_ORIGINS, MAX_SECRETS, put_birth, put_expiry, put_secrets, put_vector, take_birth,
        take_expiry, take_secrets, take_vector,
    },
    packed_session::{Head, put_body, take_body},
    tags::{Author, TOO_LATE, TagContext, put_origin, stamp, take_origin},
};
use crate::session::{
    CreatedMs, Delta, Item, PackedSession, Register, SessionMeta, SessionParts, SessionState,
    Stamp, Tag, Tombstone,
};

pub(super) fn put_item(item: &Item, now_ms: u64, to: &mut Writer<'_>) {
    match item {
        Item::Delta(delta) => {
            to.byte(DELTA);
            put_delta(delta, now_ms, to);
        }
        Item::Full(state) => {
            to.byte(FULL);
            put_state(state, now_ms, to);
        }
        Item::PackedSession(state) => {
            to.byte(FULL);
            put_birth(&state.birth, now_ms.saturating_sub(state.created_ms), to);
            to.u64(state.access.get());
            to.u64(now_ms.saturating_sub(state.accessed_ms));
            put_body(state, now_ms, to).expect("the bytes are those of a state at rest");
        }
        Item::Destroyed(tombstone) => {
            to.byte(DESTROYED);
            to.u64(now_ms.saturating_sub(tombstone.destroyed_ms));
            to.u64(tombstone.keep_ms);
        }
        Item::Absent => to.byte(ABSENT),
    }
}

/// Reads the items of one message.
pub(super) struct Items<'a> {
    pub(super) now_ms: u64,
    pub(super) limits: &'a DecodeLimits,
    pub(super) form: Form,
    pub(super) last_birth: Option<Arc<SessionMeta>>,
    pub(super) names: Names,
    pub(super) scratch: Vec<u8>,
}

/// As what full states are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// To be merged or used.
    Awake,
    /// To be kept.
    PackedSession,
}

impl Items<'_> {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Item, Malformed> {
        let from = &mut Reader::new(bytes);
        Ok(match from.byte()? {
            DELTA => Item::Delta(Box::new(self.take_delta(from)?)),
            FULL if self.form == Form::PackedSession => {
                Item::PackedSession(Box::new(self.take_at_rest(from)?))
            }
            FULL => Item::Full(Box::new(self.take_state(from)?)),
            DESTROYED => Item::Destroyed(self.take_tombstone(from)?),
            ABSENT => Item::Absent,
            _ => return Err(UNKNOWN),
        })
    }

    fn take_delta(&mut self, from: &mut Reader<'_>) -> Result<Delta, Malformed> {
        let origin = take_origin(from)?;
        let since = stamp(from.u64()?)?;
        let upto = stamp(since.get().checked_add(from.u64()?).ok_or(TOO_LATE)?)?;
        let birth = from.option(|from| self.take_birth(from))?;
        let access = from.option(|from| Ok((stamp(from.u64()?)?, self.instant(from.u64()?))))?;
        if birth.is_some() && (since != Stamp::ZERO || access.is_none()) {
            return Err(Malformed("a partial delta with a birth"));
        }
        let origins = [(origin, upto)];
        let scale = TagContext {
            origins: &origins,
            since,
            floor: Stamp::ZERO,
            author: Author::Peer,
        };
        // Only a counter may name a foreign write: the reset that its increments follow.
        let (max_names, foreign) = (self.limits.max_names, Foreign::Counters);
        let slots = take_slots(from, &scale, max_names, foreign, |name| {
            self.names.shared(name)
        })?;
        if birth.is_some() {
            // It becomes a session as it is, which must be one that others take from here.
            let foreign = |slot: &Register| slot.tag != Tag::BOTTOM && slot.tag.origin != origin;
            if upto == Stamp::ZERO || slots.iter().any(|(_, slot)| foreign(slot)) {
                return Err(Malformed("a whole session that others wrote, or nobody"));
            }
        }
        Ok(Delta {
            origin,
            since,
            upto,
            birth,
            access,
            slots,
            secrets: take_secrets(from, &scale, self.now_ms, MAX_SECRETS)?,
            expiry: take_expiry(from, &scale)?,
        })
    }

    fn take_state(&mut self, from: &mut Reader<'_>) -> Result<SessionState, Malformed> {
        let (birth, created) = self.take_birth(from)?;
        let access = stamp(from.u64()?)?;
        let accessed_ms = self.instant(from.u64()?);
        let vector = take_vector(from, Stamp::ZERO, MAX_ORIGINS)?;
        if vector.entries().is_empty() {
            return Err(Malformed("a session nobody wrote"));
        }
        let scale = TagContext {
            origins: vector.entries(),
            since: Stamp::ZERO,
            floor: vector.floor(birth.memory_ms()),
            author: Author::Peer,
        };
        let (max_names, foreign) = (self.limits.max_names, Foreign::No);
        let slots = take_slots(from, &scale, max_names, foreign, |name| {
            self.names.shared(name)
        })?;
        let secrets = take_secrets(from, &scale, self.now_ms, MAX_SECRETS)?;
        let expiry = take_expiry(from, &scale)?;
        Ok(SessionState::from_parts(SessionParts {
            birth,
            created,
            access,
            accessed_ms,
            slots,
            secrets,
            expiry,
            vector,
        }))
    }

    fn take_at_rest(&mut self, from: &mut Reader<'_>) -> Result<PackedSession, Malformed> {
        let (birth, created) = self.take_birth(from)?;
        let head = Head {
            since: Stamp::ZERO,
            created_ms: created.0,
            access: stamp(from.u64()?)?,
            accessed_ms: self.instant(from.u64()?),
        };
        let limits = (self.now_ms, self.limits.max_names);
        take_body(from, &birth, head, limits, &mut self.scratch)
    }

    fn take_birth(
        &mut self,
        from: &mut Reader<'_>,
    ) -> Result<(Arc<SessionMeta>, CreatedMs), Malformed> {
        let (birth, age_ms) = take_birth(from, &mut self.last_birth)?;
        Ok((birth, CreatedMs(self.instant(age_ms))))
    }

    fn take_tombstone(&self, from: &mut Reader<'_>) -> Result<Tombstone, Malformed> {
        let destroyed_ms = self.instant(from.u64()?);
        let keep_ms = from.u64()?;
        if keep_ms > Tombstone::MAX_KEEP_MS {
            return Err(Malformed("a tombstone that is kept for too long"));
        }
        Ok(Tombstone {
            destroyed_ms,
            keep_ms,
        })
    }

    const fn instant(&self, age_ms: u64) -> u64 {
        self.now_ms.saturating_sub(age_ms)
    }
}

fn put_delta(delta: &Delta, now_ms: u64, to: &mut Writer<'_>) {
    let origins = [(delta.origin, delta.upto)];
    let scale = TagContext {
        origins: &origins,
        since: delta.since,
        floor: Stamp::ZERO,
        author: Author::This,
    };
    put_origin(delta.origin, to);
    to.u64(delta.since.get());
    to.u64(delta.upto.get().saturating_sub(delta.since.get()));
    to.option(delta.birth.as_ref(), |to, (birth, created)| {
        put_birth(birth, now_ms.saturating_sub(created.0), to);
    });
    to.option(delta.access, |to, (stamp, at_ms)| {
        to.u64(stamp.get());
        to.u64(now_ms.saturating_sub(at_ms));
    });
    put_slots(&delta.slots, &scale, to);
    put_secrets(&delta.secrets, &scale, now_ms, to);
    put_expiry(delta.expiry, &scale, to);
}

fn put_state(state: &SessionState, now_ms: u64, to: &mut Writer<'_>) {
    let scale = TagContext {
        origins: state.vector().entries(),
        since: Stamp::ZERO,
        floor: state.floor(),
        author: Author::This,
    };
    let age_ms = now_ms.saturating_sub(state.created_ms());
    put_birth(state.birth(), age_ms, to);
    to.u64(state.access().get());
    to.u64(now_ms.saturating_sub(state.accessed_ms()));
    put_vector(state.vector(), Stamp::ZERO, to);
    put_slots(state.slots(), &scale, to);
    put_secrets(state.secrets(), &scale, now_ms, to);
    put_expiry(state.expiry_register(), &scale, to);
}

const DELTA: u8 = 0;
const FULL: u8 = 1;
const DESTROYED: u8 = 2;
const ABSENT: u8 = 3;
