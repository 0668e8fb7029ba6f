//! The bytes of one session's part of a message, both ways, side by side.
//!
//! Instants travel as ages. Origins are written once per item and referred to by number. What an
//! honest node would not send, such as a write its vector does not cover, is malformed.

use std::sync::Arc;

use super::{
    attributes::{Foreign, Names, read_registers, write_registers},
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    limits::{DecodeLimits, MAX_ORIGINS, MAX_SECRETS},
    metadata::{
        read_expiry, read_secrets, read_vector, take_birth, write_birth, write_expiry,
        write_secrets, write_vector,
    },
    packed_session::{Head, read_body, write_body},
    tags::{Author, TOO_LATE, TagContext, read_origin, stamp, write_origin},
};
use crate::session::{
    CreatedMs, Delta, Item, PackedSession, Register, SessionMeta, SessionParts, SessionState,
    Stamp, Tag, Tombstone,
};

pub(super) fn write_item(item: &Item, now_ms: u64, to: &mut Writer<'_>) {
    match item {
        Item::Delta(delta) => {
            to.byte(DELTA);
            write_delta(delta, now_ms, to);
        }
        Item::Full(state) => {
            to.byte(FULL);
            write_state(state, now_ms, to);
        }
        Item::PackedSession(state) => {
            to.byte(FULL);
            write_birth(&state.meta, now_ms.saturating_sub(state.created_ms), to);
            to.u64(state.access.get());
            to.u64(now_ms.saturating_sub(state.accessed_ms));
            write_body(state, now_ms, to).expect("the bytes are those of a state at rest");
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
            DELTA => Item::Delta(Box::new(self.read_delta(from)?)),
            FULL if self.form == Form::PackedSession => {
                Item::PackedSession(Box::new(self.take_at_rest(from)?))
            }
            FULL => Item::Full(Box::new(self.read_state(from)?)),
            DESTROYED => Item::Destroyed(self.read_tombstone(from)?),
            ABSENT => Item::Absent,
            _ => return Err(UNKNOWN),
        })
    }

    fn read_delta(&mut self, from: &mut Reader<'_>) -> Result<Delta, Malformed> {
        let origin = read_origin(from)?;
        let since = stamp(from.u64()?)?;
        let upto = stamp(since.get().checked_add(from.u64()?).ok_or(TOO_LATE)?)?;
        let meta = from.option(|from| self.take_birth(from))?;
        let access = from.option(|from| Ok((stamp(from.u64()?)?, self.instant(from.u64()?))))?;
        if meta.is_some() && (since != Stamp::ZERO || access.is_none()) {
            return Err(Malformed("a partial delta with a birth"));
        }
        let origins = [(origin, upto)];
        let scale = TagContext {
            origins: &origins,
            since,
            watermark: Stamp::ZERO,
            author: Author::Peer,
        };
        // Only a counter may name a foreign write: the reset that its increments follow.
        let (max_names, foreign) = (self.limits.max_names, Foreign::Counters);
        let registers = read_registers(from, &scale, max_names, foreign, |name| {
            self.names.shared(name)
        })?;
        if meta.is_some() {
            // It becomes a session as it is, which must be one that others take from here.
            let foreign =
                |register: &Register| register.tag != Tag::BOTTOM && register.tag.origin != origin;
            if upto == Stamp::ZERO || registers.iter().any(|(_, register)| foreign(register)) {
                return Err(Malformed("a whole session that others wrote, or nobody"));
            }
        }
        Ok(Delta {
            origin,
            since,
            upto,
            meta,
            access,
            registers,
            secrets: read_secrets(from, &scale, self.now_ms, MAX_SECRETS)?,
            expiry: read_expiry(from, &scale)?,
        })
    }

    fn read_state(&mut self, from: &mut Reader<'_>) -> Result<SessionState, Malformed> {
        let (meta, created) = self.take_birth(from)?;
        let access = stamp(from.u64()?)?;
        let accessed_ms = self.instant(from.u64()?);
        let vector = read_vector(from, Stamp::ZERO, MAX_ORIGINS)?;
        if vector.entries().is_empty() {
            return Err(Malformed("a session nobody wrote"));
        }
        let scale = TagContext {
            origins: vector.entries(),
            since: Stamp::ZERO,
            watermark: vector.watermark(meta.gc_grace_ms()),
            author: Author::Peer,
        };
        let (max_names, foreign) = (self.limits.max_names, Foreign::No);
        let registers = read_registers(from, &scale, max_names, foreign, |name| {
            self.names.shared(name)
        })?;
        let secrets = read_secrets(from, &scale, self.now_ms, MAX_SECRETS)?;
        let expiry = read_expiry(from, &scale)?;
        Ok(SessionState::from_parts(SessionParts {
            meta,
            created,
            access,
            accessed_ms,
            registers,
            secrets,
            expiry,
            vector,
        }))
    }

    fn take_at_rest(&mut self, from: &mut Reader<'_>) -> Result<PackedSession, Malformed> {
        let (meta, created) = self.take_birth(from)?;
        let head = Head {
            since: Stamp::ZERO,
            created_ms: created.0,
            access: stamp(from.u64()?)?,
            accessed_ms: self.instant(from.u64()?),
        };
        let limits = (self.now_ms, self.limits.max_names);
        read_body(from, &meta, head, limits, &mut self.scratch)
    }

    fn take_birth(
        &mut self,
        from: &mut Reader<'_>,
    ) -> Result<(Arc<SessionMeta>, CreatedMs), Malformed> {
        let (meta, age_ms) = take_birth(from, &mut self.last_birth)?;
        Ok((meta, CreatedMs(self.instant(age_ms))))
    }

    fn read_tombstone(&self, from: &mut Reader<'_>) -> Result<Tombstone, Malformed> {
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

fn write_delta(delta: &Delta, now_ms: u64, to: &mut Writer<'_>) {
    let origins = [(delta.origin, delta.upto)];
    let scale = TagContext {
        origins: &origins,
        since: delta.since,
        watermark: Stamp::ZERO,
        author: Author::This,
    };
    write_origin(delta.origin, to);
    to.u64(delta.since.get());
    to.u64(delta.upto.get().saturating_sub(delta.since.get()));
    to.option(delta.meta.as_ref(), |to, (meta, created)| {
        write_birth(meta, now_ms.saturating_sub(created.0), to);
    });
    to.option(delta.access, |to, (stamp, at_ms)| {
        to.u64(stamp.get());
        to.u64(now_ms.saturating_sub(at_ms));
    });
    write_registers(&delta.registers, &scale, to);
    write_secrets(&delta.secrets, &scale, now_ms, to);
    write_expiry(delta.expiry, &scale, to);
}

fn write_state(state: &SessionState, now_ms: u64, to: &mut Writer<'_>) {
    let scale = TagContext {
        origins: state.vector().entries(),
        since: Stamp::ZERO,
        watermark: state.watermark(),
        author: Author::This,
    };
    let age_ms = now_ms.saturating_sub(state.created_ms());
    write_birth(state.meta(), age_ms, to);
    to.u64(state.access().get());
    to.u64(now_ms.saturating_sub(state.accessed_ms()));
    write_vector(state.vector(), Stamp::ZERO, to);
    write_registers(state.registers(), &scale, to);
    write_secrets(state.secrets(), &scale, now_ms, to);
    write_expiry(state.expiry_register(), &scale, to);
}

const DELTA: u8 = 0;
const FULL: u8 = 1;
const DESTROYED: u8 = 2;
const ABSENT: u8 = 3;
