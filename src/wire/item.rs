//! The bytes of one session's part of a message, both ways, side by side.
//!
//! Instants travel as ages. Origins are written once per item and referred to by number. What an
//! honest node would not send, such as a write its vector does not cover, is malformed.

use std::sync::Arc;

use super::{
    attributes::{Foreign, Names, read_registers, write_registers},
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    limits::{DecodeLimits, MAX_SECRETS},
    metadata::{Deaths, read_life, read_meta, read_secrets, write_life, write_meta, write_secrets},
    packed_session::{Checks, read_state, walk, write_body},
    tags::{Author, TagContext, read_origin, read_stamp, write_origin, write_stamp},
};
use crate::session::{
    CreatedMs, Delta, Item, PackedHead, PackedSession, Register, SessionKey, SessionMeta, Stamp,
    Tag, Tombstone,
};

/// Appends the items of one message, each behind its key.
pub(super) fn write_items(items: &[(SessionKey, Item)], now_ms: u64, to: &mut Writer<'_>) {
    to.list(items.iter(), |to, (key, item)| {
        write_key(key, to);
        write_item(item, now_ms, to);
    });
}

pub(super) fn write_key(key: &SessionKey, to: &mut Writer<'_>) {
    to.array(key.bytes());
}

pub(super) fn read_key(from: &mut Reader<'_>) -> Result<SessionKey, Malformed> {
    from.array().map(SessionKey::from_bytes)
}

/// How full states are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Put together, to be merged or used.
    Hot,
    /// As they are, to be kept.
    Packed,
}

/// Reads the items of one message, with which it must end.
pub(super) struct Items<'a> {
    now_ms: u64,
    limits: &'a DecodeLimits,
    form: Form,
    last_meta: Option<Arc<SessionMeta>>,
    names: Names,
}

impl<'a> Items<'a> {
    pub(super) fn new(now_ms: u64, limits: &'a DecodeLimits, form: Form) -> Self {
        Self {
            now_ms,
            limits,
            form,
            last_meta: None,
            names: Names::default(),
        }
    }

    /// Counts what the items take in memory while it reads them.
    pub(super) fn read(
        mut self,
        from: &mut Reader<'_>,
    ) -> Result<Vec<(SessionKey, Item)>, Malformed> {
        let length = from.remaining().len();
        let mut room = length.saturating_mul(EXPANSION).saturating_add(ROOM);
        from.list(KEY + 1, |from| {
            let key = read_key(from)?;
            let item = self.read_item(from)?;
            let left = room.checked_sub(item.memory());
            room = left.ok_or(Malformed("items that grow too much when decoded"))?;
            Ok((key, item))
        })
    }

    fn read_item(&mut self, from: &mut Reader<'_>) -> Result<Item, Malformed> {
        Ok(match from.byte()? {
            DELTA => Item::Delta(Box::new(self.read_delta(from)?)),
            FULL => self.read_full(from)?,
            DESTROYED => Item::Destroyed(self.read_tombstone(from)?),
            ABSENT => Item::Absent,
            _ => return Err(UNKNOWN),
        })
    }

    fn read_delta(&mut self, from: &mut Reader<'_>) -> Result<Delta, Malformed> {
        let origin = read_origin(from)?;
        let since = read_stamp(from, Stamp::ZERO)?;
        let upto = read_stamp(from, since)?;
        let meta = from.option(|from| {
            let meta = read_meta(from, &mut self.last_meta)?;
            Ok((meta, CreatedMs(self.read_instant(from)?)))
        })?;
        let access = from.option(|from| {
            let stamp = read_stamp(from, Stamp::ZERO)?;
            Ok((stamp, self.read_instant(from)?))
        })?;
        if meta.is_some() && (since != Stamp::ZERO || access.is_none()) {
            return Err(Malformed("a partial delta with metadata"));
        }
        let origins = [(origin, upto)];
        let context = TagContext {
            origins: &origins,
            since,
            watermark: Stamp::ZERO,
            author: Author::Peer,
        };
        // Only a counter may name a foreign write: the reset that its increments follow.
        let (max_names, foreign) = (self.limits.max_names, Foreign::Counters);
        let registers = read_registers(from, &context, max_names, foreign, |name| {
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
        let deaths = Deaths::Ages {
            now_ms: self.now_ms,
        };
        Ok(Delta {
            origin,
            since,
            upto,
            meta,
            access,
            registers,
            secrets: read_secrets(from, &context, deaths, MAX_SECRETS)?,
            life: read_life(from, &context)?,
        })
    }

    fn read_full(&mut self, from: &mut Reader<'_>) -> Result<Item, Malformed> {
        let head = PackedHead {
            meta: read_meta(from, &mut self.last_meta)?,
            created_ms: self.read_instant(from)?,
            accessed_ms: self.read_instant(from)?,
        };
        let checks = Checks::of_peer(self.limits, self.now_ms);
        if self.form == Form::Hot {
            let state = read_state(from, head, &checks, |name| self.names.shared(name))?;
            return Ok(Item::Full(Box::new(state)));
        }
        let (walked, body) = from.with_bytes(|from| walk(from, &head, &checks))?;
        Ok(Item::Packed(Box::new(PackedSession {
            head,
            body: body.into(),
            summary: Some(walked.summary),
        })))
    }

    fn read_tombstone(&self, from: &mut Reader<'_>) -> Result<Tombstone, Malformed> {
        let destroyed_ms = self.read_instant(from)?;
        let keep_ms = from.u64()?;
        if keep_ms > Tombstone::MAX_KEEP_MS {
            return Err(Malformed("a tombstone that is kept for too long"));
        }
        Ok(Tombstone {
            destroyed_ms,
            keep_ms,
        })
    }

    fn read_instant(&self, from: &mut Reader<'_>) -> Result<u64, Malformed> {
        Ok(self.now_ms.saturating_sub(from.u64()?))
    }
}

fn write_item(item: &Item, now_ms: u64, to: &mut Writer<'_>) {
    match item {
        Item::Delta(delta) => {
            to.byte(DELTA);
            write_delta(delta, now_ms, to);
        }
        Item::Full(state) => {
            to.byte(FULL);
            write_meta(state.meta(), to);
            to.u64(now_ms.saturating_sub(state.created_ms()));
            to.u64(now_ms.saturating_sub(state.accessed_ms()));
            write_body(state, to);
        }
        Item::Packed(state) => {
            to.byte(FULL);
            write_meta(&state.head.meta, to);
            to.u64(now_ms.saturating_sub(state.head.created_ms));
            to.u64(now_ms.saturating_sub(state.head.accessed_ms));
            to.array(&state.body);
        }
        Item::Destroyed(tombstone) => {
            to.byte(DESTROYED);
            to.u64(now_ms.saturating_sub(tombstone.destroyed_ms));
            to.u64(tombstone.keep_ms);
        }
        Item::Absent => to.byte(ABSENT),
    }
}

fn write_delta(delta: &Delta, now_ms: u64, to: &mut Writer<'_>) {
    let origins = [(delta.origin, delta.upto)];
    let context = TagContext {
        origins: &origins,
        since: delta.since,
        watermark: Stamp::ZERO,
        author: Author::This,
    };
    write_origin(delta.origin, to);
    write_stamp(delta.since, Stamp::ZERO, to);
    write_stamp(delta.upto, delta.since, to);
    to.option(delta.meta.as_ref(), |to, (meta, created)| {
        write_meta(meta, to);
        to.u64(now_ms.saturating_sub(created.0));
    });
    to.option(delta.access, |to, (stamp, at_ms)| {
        write_stamp(stamp, Stamp::ZERO, to);
        to.u64(now_ms.saturating_sub(at_ms));
    });
    write_registers(&delta.registers, &context, to);
    write_secrets(&delta.secrets, &context, Deaths::Ages { now_ms }, to);
    write_life(delta.life, &context, to);
}

const DELTA: u8 = 0;
const FULL: u8 = 1;
const DESTROYED: u8 = 2;
const ABSENT: u8 = 3;
/// Bytes of a session's key.
pub(super) const KEY: usize = 16;
/// What is decoded takes at most so many times the bytes of its message, beyond [`ROOM`], which is
/// for messages of many tiny attributes.
const EXPANSION: usize = 8;
const ROOM: usize = 1024 * 1024;
