//! The bytes of a session that nobody uses: the language of items, but for what is the same in many
//! sessions, with instants in place of ages, and stamps that count from just before the oldest one.
//!
//! They never leave the process, so another release may write them otherwise. A state that is sent
//! or received at rest is copied from one language to the other, without being put together.

use std::sync::Arc;

pub(crate) use super::bytes::{Reader, Writer};
use super::{
    attributes::{Foreign, each_register, read_registers, write_registers},
    error::Malformed,
    limits::{MAX_ORIGINS, MAX_SECRETS},
    metadata::{read_expiry, read_secrets, read_vector, write_expiry, write_secrets, write_vector},
    relay::Relay,
    tags::{Author, TagContext, stamp},
};
use crate::{
    config::Expiry,
    session::{
        CreatedMs, PackedSession, REGISTER_OVERHEAD, SessionMeta, SessionParts, SessionSize,
        SessionState, Stamp, Tag, Vector,
    },
};

/// Everything but the birth.
pub(crate) fn write_resting(state: &SessionState, to: &mut Writer<'_>) {
    let since = state.oldest_stamp().before();
    let scale = TagContext {
        origins: state.vector().entries(),
        since,
        watermark: Stamp::ZERO,
        author: Author::This,
    };
    let head = Head {
        since,
        created_ms: state.created_ms(),
        access: state.access(),
        accessed_ms: state.accessed_ms(),
    };
    head.write(to);
    write_vector(state.vector(), since, to);
    write_registers(state.registers(), &scale, to);
    write_secrets(state.secrets(), &scale, LAST_INSTANT, to);
    write_expiry(state.expiry_register(), &scale, to);
}

/// # Errors
///
/// For bytes that [`put_resting`] did not write.
pub(crate) fn read_resting(
    from: &mut Reader<'_>,
    meta: Arc<SessionMeta>,
) -> Result<SessionState, Malformed> {
    let head = Head::read(from)?;
    let vector = read_vector(from, head.since, usize::MAX)?;
    let scale = TagContext {
        origins: vector.entries(),
        since: head.since,
        watermark: Stamp::ZERO,
        author: Author::This,
    };
    let registers = read_registers(from, &scale, usize::MAX, Foreign::No, |name| {
        Arc::from(name)
    })?;
    let secrets = read_secrets(from, &scale, LAST_INSTANT, usize::MAX)?;
    let expiry = read_expiry(from, &scale)?;
    Ok(SessionState::from_parts(SessionParts {
        meta,
        created: CreatedMs(head.created_ms),
        access: head.access,
        accessed_ms: head.accessed_ms,
        registers,
        secrets,
        expiry,
        vector,
    }))
}

/// What must be known of the bytes to give them away as they are.
///
/// # Errors
///
/// For bytes that [`put_resting`] did not write.
pub(crate) fn packed(bytes: &[u8], meta: &Arc<SessionMeta>) -> Result<PackedSession, Malformed> {
    let from = &mut Reader::new(bytes);
    let head = Head::read(from)?;
    let walk = Walk {
        author: Author::This,
        max_names: usize::MAX,
        gc_grace_ms: meta.gc_grace_ms(),
    };
    let seen = walk.over(from, head.since)?;
    Ok(seen.packed(head, meta, bytes.into()))
}

impl PackedSession {
    /// The session to be used or merged.
    pub(crate) fn unpack(&self) -> SessionState {
        read_resting(&mut Reader::new(&self.bytes), Arc::clone(&self.meta))
            .expect("only this module makes them, of a whole state")
    }
}

/// Behind the birth and the instants of use, all of a full state on the wire.
pub(super) fn write_body(
    state: &PackedSession,
    now_ms: u64,
    to: &mut Writer<'_>,
) -> Result<(), Malformed> {
    let from = &mut Reader::new(&state.bytes);
    let head = Head::read(from)?;
    Relay {
        stamp: |beyond: u64| head.since.get().saturating_add(beyond),
        death: |age_ms: u64| now_ms.saturating_sub(LAST_INSTANT - age_ms),
    }
    .body(from, to)
}

/// Reads what [`put_body`] writes, of a peer. The head's `since` is not known yet. `scratch` is
/// for the bytes.
pub(super) fn read_body(
    from: &mut Reader<'_>,
    meta: &Arc<SessionMeta>,
    mut head: Head,
    (now_ms, max_names): (u64, usize),
    scratch: &mut Vec<u8>,
) -> Result<PackedSession, Malformed> {
    let walk = Walk {
        author: Author::Peer,
        max_names,
        gc_grace_ms: meta.gc_grace_ms(),
    };
    let body = &mut from.clone();
    let seen = walk.over(from, Stamp::ZERO)?;
    head.since = seen.oldest.min(head.access).before();
    scratch.clear();
    let to = &mut Writer(scratch);
    head.write(to);
    Relay {
        stamp: |stamp: u64| stamp.saturating_sub(head.since.get()),
        death: |age_ms: u64| LAST_INSTANT - now_ms.saturating_sub(age_ms),
    }
    .body(body, to)?;
    Ok(seen.packed(head, meta, scratch.as_slice().into()))
}

/// What stands before a state's vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) since: Stamp,
    pub(super) created_ms: u64,
    pub(super) access: Stamp,
    pub(super) accessed_ms: u64,
}

impl Head {
    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.since.get());
        to.u64(self.created_ms);
        to.u64(self.access.get().saturating_sub(self.since.get()));
        let beyond = self.accessed_ms.wrapping_sub(self.created_ms);
        to.i64(beyond.cast_signed());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let since = stamp(from.u64()?)?;
        let created_ms = from.u64()?;
        Ok(Self {
            since,
            created_ms,
            access: stamp(since.get().saturating_add(from.u64()?))?,
            accessed_ms: created_ms.wrapping_add(from.i64()?.cast_unsigned()),
        })
    }
}

/// Looks at a state without putting it together.
struct Walk {
    author: Author,
    max_names: usize,
    gc_grace_ms: u64,
}

/// What a walk has seen.
struct Summary {
    vector: Vector,
    oldest: Stamp,
    expiry: Option<Expiry>,
    extent: SessionSize,
}

impl Walk {
    fn over(&self, from: &mut Reader<'_>, since: Stamp) -> Result<Summary, Malformed> {
        let (max_origins, max_secrets) = match self.author {
            Author::Peer => (MAX_ORIGINS, MAX_SECRETS),
            Author::This => (usize::MAX, usize::MAX),
        };
        let vector = read_vector(from, since, max_origins)?;
        if vector.entries().is_empty() {
            return Err(Malformed("a session nobody wrote"));
        }
        let scale = TagContext {
            origins: vector.entries(),
            since,
            watermark: vector.watermark(self.gc_grace_ms),
            author: self.author,
        };
        let stamps = vector.entries().iter().map(|entry| entry.1);
        let mut oldest = stamps.fold(Stamp::MAX, Stamp::min);
        let mut note = |tag: Tag| {
            if tag != Tag::BOTTOM {
                oldest = oldest.min(tag.stamp);
            }
        };
        let (mut names, mut weight) = (0, 0);
        each_register(
            from,
            &scale,
            self.max_names,
            Foreign::No,
            |name, tag, value| {
                names += 1;
                weight += name.len() + value.weight() + REGISTER_OVERHEAD;
                note(tag);
                value.counts().iter().for_each(|count| note(count.tag()));
            },
        )?;
        let secrets = read_secrets(from, &scale, LAST_INSTANT, max_secrets)?;
        secrets.states().iter().for_each(|state| note(state.tag));
        let expiry = read_expiry(from, &scale)?;
        if let Some((tag, _)) = expiry {
            note(tag);
        }
        let extent = SessionSize {
            names,
            writers: vector.entries().len(),
            secrets: secrets.states().len(),
            weight,
        };
        Ok(Summary {
            vector,
            oldest,
            expiry: expiry.map(|(_, expiry)| expiry),
            extent,
        })
    }
}

impl Summary {
    fn packed(self, head: Head, meta: &Arc<SessionMeta>, bytes: Box<[u8]>) -> PackedSession {
        PackedSession {
            meta: Arc::clone(meta),
            created_ms: head.created_ms,
            access: head.access,
            accessed_ms: head.accessed_ms,
            expiry: self.expiry.unwrap_or(meta.expiry),
            vector: self.vector,
            extent: self.extent,
            bytes,
        }
    }
}

/// Ages are reckoned from here, so that every instant has one.
const LAST_INSTANT: u64 = u64::MAX;
