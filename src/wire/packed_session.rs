//! The bytes of a session that nobody uses: the language of items, but for what is the same in many
//! sessions, with instants in place of ages, and stamps that count from just before the oldest one.
//!
//! They never leave the process, so another release may write them otherwise. A state that is sent
//! or received at rest is copied from one language to the other, without being put together.

use std::sync::Arc;

pub(crate) use super::bytes::{Reader, Writer};
use super::{
    attributes::{Foreign, each_slot, put_slots, take_slots},
    message::Malformed,
    metadata::{
        MAX_ORIGINS, MAX_SECRETS, put_expiry, put_secrets, put_vector, take_expiry, take_secrets,
        take_vector,
    },
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
pub(crate) fn put_resting(state: &SessionState, to: &mut Writer<'_>) {
    let since = state.oldest_stamp().before();
    let scale = TagContext {
        origins: state.vector().entries(),
        since,
        floor: Stamp::ZERO,
        author: Author::This,
    };
    let head = Head {
        since,
        created_ms: state.created_ms(),
        access: state.access(),
        accessed_ms: state.accessed_ms(),
    };
    head.put(to);
    put_vector(state.vector(), since, to);
    put_slots(state.slots(), &scale, to);
    put_secrets(state.secrets(), &scale, LAST_INSTANT, to);
    put_expiry(state.expiry_register(), &scale, to);
}

/// # Errors
///
/// For bytes that [`put_resting`] did not write.
pub(crate) fn take_resting(
    from: &mut Reader<'_>,
    birth: Arc<SessionMeta>,
) -> Result<SessionState, Malformed> {
    let head = Head::take(from)?;
    let vector = take_vector(from, head.since, usize::MAX)?;
    let scale = TagContext {
        origins: vector.entries(),
        since: head.since,
        floor: Stamp::ZERO,
        author: Author::This,
    };
    let slots = take_slots(from, &scale, usize::MAX, Foreign::No, |name| {
        Arc::from(name)
    })?;
    let secrets = take_secrets(from, &scale, LAST_INSTANT, usize::MAX)?;
    let expiry = take_expiry(from, &scale)?;
    Ok(SessionState::from_parts(SessionParts {
        birth,
        created: CreatedMs(head.created_ms),
        access: head.access,
        accessed_ms: head.accessed_ms,
        slots,
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
pub(crate) fn at_rest(bytes: &[u8], birth: &Arc<SessionMeta>) -> Result<PackedSession, Malformed> {
    let from = &mut Reader::new(bytes);
    let head = Head::take(from)?;
    let walk = Walk {
        author: Author::This,
        max_names: usize::MAX,
        memory_ms: birth.memory_ms(),
    };
    let seen = walk.over(from, head.since)?;
    Ok(seen.at_rest(head, birth, bytes.into()))
}

impl PackedSession {
    /// The session to be used or merged.
    pub(crate) fn wake(&self) -> SessionState {
        take_resting(&mut Reader::new(&self.bytes), Arc::clone(&self.birth))
            .expect("only this module makes them, of a whole state")
    }
}

/// Behind the birth and the instants of use, all of a full state on the wire.
pub(super) fn put_body(
    state: &PackedSession,
    now_ms: u64,
    to: &mut Writer<'_>,
) -> Result<(), Malformed> {
    let from = &mut Reader::new(&state.bytes);
    let head = Head::take(from)?;
    Relay {
        stamp: |beyond: u64| head.since.get().saturating_add(beyond),
        death: |age_ms: u64| now_ms.saturating_sub(LAST_INSTANT - age_ms),
    }
    .body(from, to)
}

/// Reads what [`put_body`] writes, of a peer. The head's `since` is not known yet. `scratch` is
/// for the bytes.
pub(super) fn take_body(
    from: &mut Reader<'_>,
    birth: &Arc<SessionMeta>,
    mut head: Head,
    (now_ms, max_names): (u64, usize),
    scratch: &mut Vec<u8>,
) -> Result<PackedSession, Malformed> {
    let walk = Walk {
        author: Author::Peer,
        max_names,
        memory_ms: birth.memory_ms(),
    };
    let body = &mut from.clone();
    let seen = walk.over(from, Stamp::ZERO)?;
    head.since = seen.oldest.min(head.access).before();
    scratch.clear();
    let to = &mut Writer(scratch);
    head.put(to);
    Relay {
        stamp: |stamp: u64| stamp.saturating_sub(head.since.get()),
        death: |age_ms: u64| LAST_INSTANT - now_ms.saturating_sub(age_ms),
    }
    .body(body, to)?;
    Ok(seen.at_rest(head, birth, scratch.as_slice().into()))
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
    fn put(&self, to: &mut Writer<'_>) {
        to.u64(self.since.get());
        to.u64(self.created_ms);
        to.u64(self.access.get().saturating_sub(self.since.get()));
        let beyond = self.accessed_ms.wrapping_sub(self.created_ms);
        to.i64(beyond.cast_signed());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
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
    memory_ms: u64,
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
        let vector = take_vector(from, since, max_origins)?;
        if vector.entries().is_empty() {
            return Err(Malformed("a session nobody wrote"));
        }
        let scale = TagContext {
            origins: vector.entries(),
            since,
            floor: vector.floor(self.memory_ms),
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
        each_slot(
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
        let secrets = take_secrets(from, &scale, LAST_INSTANT, max_secrets)?;
        secrets.states().iter().for_each(|state| note(state.tag));
        let expiry = take_expiry(from, &scale)?;
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
    fn at_rest(self, head: Head, birth: &Arc<SessionMeta>, bytes: Box<[u8]>) -> PackedSession {
        PackedSession {
            birth: Arc::clone(birth),
            created_ms: head.created_ms,
            access: head.access,
            accessed_ms: head.accessed_ms,
            expiry: self.expiry.unwrap_or(birth.expiry),
            vector: self.vector,
            extent: self.extent,
            bytes,
        }
    }
}

/// Ages are reckoned from here, so that every instant has one.
const LAST_INSTANT: u64 = u64::MAX;
