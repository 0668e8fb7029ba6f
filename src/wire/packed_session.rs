//! The packed form of a session: the same bytes in memory while nobody uses it, and on the wire.
//!
//! A body says nothing that depends on where it is. Its stamps count from just before its oldest
//! one, and the deaths of its secrets from the session's creation. So a session that is cold here
//! and will be cold at a peer is copied and never put together on the way.
//!
//! Three things stand beside a body, in a [`PackedHead`]: the metadata, which most sessions of an
//! app share, and the instants of creation and of last use, which every place writes in its own
//! way. Memory holds instants of this process, the wire has ages, and a file would have the wall
//! clock. With these three a body is all of a session; nothing else of the node, of the link or of
//! the message is needed to read it.
//!
//! A session in use is sent as a full state in the same form. A peer's body is checked by one walk
//! before anything of it is kept.

use std::sync::Arc;

pub(crate) use super::bytes::{Reader, Writer};
use super::{
    attributes::{Foreign, Value, each_register, read_registers, write_registers},
    error::Malformed,
    limits::{DecodeLimits, MAX_ORIGINS, MAX_SECRETS},
    metadata::{
        Deaths, read_life, read_secrets, read_vector, write_life, write_secrets, write_vector,
    },
    tags::{Author, TagContext, read_stamp, write_stamp},
};
use crate::session::{
    AttributesHash, CreatedMs, Life, PackedHead, PackedSession, PackedSummary, SecretSet,
    SessionParts, SessionSize, SessionState, Stamp, Tag, Vector, register_weight,
};

/// Appends all of a session but its head.
pub(crate) fn write_body(state: &SessionState, to: &mut Writer<'_>) {
    write_since(state, state.oldest_stamp().before(), to);
}

/// Appends it with stamps that count from `since`. Only from the one before the oldest a peer takes
/// it.
pub(super) fn write_since(state: &SessionState, since: Stamp, to: &mut Writer<'_>) {
    let context = TagContext {
        origins: state.vector().entries(),
        since,
        watermark: Stamp::ZERO,
        author: Author::This,
    };
    let deaths = Deaths::SinceCreation {
        created_ms: state.created_ms(),
    };
    write_stamp(since, Stamp::ZERO, to);
    write_stamp(state.access(), since, to);
    write_vector(state.vector(), since, to);
    write_registers(state.registers(), &context, to);
    write_secrets(state.secrets(), &context, deaths, to);
    write_life(state.life(), &context, to);
}

/// Reads a body that [`write_body`] wrote, or that a [`PackedSession`] holds.
///
/// # Errors
///
/// For any other bytes, as far as they show.
pub(crate) fn read_own(from: &mut Reader<'_>, head: PackedHead) -> Result<SessionState, Malformed> {
    read_state(from, head, &Checks::OWN, |name| Arc::from(name))
}

/// Calls `each` with the name and the JSON of each attribute in a body that was written or checked
/// here.
pub(crate) fn each_json<'a>(body: &'a [u8], mut each: impl FnMut(&'a str, &'a [u8])) {
    let from = &mut Reader::new(body);
    let checks = &Checks::OWN;
    let read = Base::read(from, checks).and_then(|base| {
        let context = TagContext {
            origins: base.vector.entries(),
            since: base.since,
            watermark: Stamp::ZERO,
            author: checks.author,
        };
        let max_names = checks.max_names;
        each_register(from, &context, max_names, Foreign::No, |name, _, value| {
            if let Value::Json(json) = value {
                each(name, json);
            }
        })
    });
    read.expect("a body is one that was written or checked here");
}

impl PackedSession {
    /// Returns the session, to be used or merged.
    pub(crate) fn unpack(&self) -> SessionState {
        read_own(&mut Reader::new(&self.body), self.head.clone())
            .expect("a body is one that was written or checked here")
    }
}

/// What is looked at in a body.
pub(super) struct Checks {
    author: Author,
    max_names: usize,
    max_origins: usize,
    max_secrets: usize,
    /// No secret has died later.
    latest_ms: u64,
}

impl Checks {
    const OWN: Self = Self {
        author: Author::This,
        max_names: usize::MAX,
        max_origins: usize::MAX,
        max_secrets: usize::MAX,
        latest_ms: u64::MAX,
    };

    pub(super) const fn of_peer(limits: &DecodeLimits, now_ms: u64) -> Self {
        Self {
            author: Author::Peer,
            max_names: limits.max_names,
            max_origins: MAX_ORIGINS,
            max_secrets: MAX_SECRETS,
            latest_ms: now_ms.saturating_add(CLOCK_READ_MS),
        }
    }

    /// Returns those for what this node itself has saved: a disk may have changed it, limits may have
    /// been others, and the clock may have gone back since then.
    #[cfg(any(test, feature = "durable"))]
    pub(super) const fn of_disk() -> Self {
        Self {
            author: Author::Peer,
            max_names: usize::MAX,
            max_origins: MAX_ORIGINS,
            max_secrets: MAX_SECRETS,
            latest_ms: u64::MAX,
        }
    }
}

/// What a walk through a body has seen.
pub(super) struct Walked {
    pub(super) summary: PackedSummary,
    /// When the last of its dead secrets died, zero if there is none.
    #[cfg_attr(
        not(any(test, feature = "durable")),
        expect(dead_code, reason = "only what is read from a disk needs it")
    )]
    pub(super) latest_death_ms: u64,
}

/// Returns a body that was walked through, with no secret that dies later than `latest_ms`.
#[cfg(any(test, feature = "durable"))]
pub(super) fn end_deaths_by(
    latest_ms: u64,
    body: &[u8],
    head: &PackedHead,
) -> Result<Box<[u8]>, Malformed> {
    let mut state = read_own(&mut Reader::new(body), head.clone())?;
    state.end_deaths_by(latest_ms);
    let mut ended = Vec::with_capacity(body.len());
    write_body(&state, &mut Writer(&mut ended));
    Ok(ended.into())
}

/// Reads a body into a session.
pub(super) fn read_state(
    from: &mut Reader<'_>,
    head: PackedHead,
    checks: &Checks,
    named: impl FnMut(&str) -> Arc<str>,
) -> Result<SessionState, Malformed> {
    let base = Base::read(from, checks)?;
    let context = base.context(&head, checks);
    let registers = read_registers(from, &context, checks.max_names, Foreign::No, named)?;
    let (secrets, life) = read_end(from, &context, &head, checks)?;
    let Base {
        since,
        access,
        vector,
    } = base;
    let state = SessionState::from_parts(SessionParts {
        meta: head.meta,
        created: CreatedMs(head.created_ms),
        access,
        accessed_ms: head.accessed_ms,
        registers,
        secrets,
        life,
        vector,
    });
    if checks.author == Author::Peer {
        check_since(since, state.oldest_stamp())?;
    }
    Ok(state)
}

/// Checks a peer's body without putting a session together, and returns what was seen.
pub(super) fn walk(
    from: &mut Reader<'_>,
    head: &PackedHead,
    checks: &Checks,
) -> Result<Walked, Malformed> {
    let base = Base::read(from, checks)?;
    let context = base.context(head, checks);
    let stamps = base.vector.entries().iter().map(|entry| entry.1);
    let mut oldest = stamps.fold(base.access, Stamp::min);
    let mut note = |tag: Tag| {
        if tag != Tag::BOTTOM {
            oldest = oldest.min(tag.stamp);
        }
    };
    let mut hash = AttributesHash::default();
    let mut size = SessionSize {
        attributes: 0,
        removed: 0,
        writers: base.vector.entries().len(),
        secrets: 0,
        weight: 0,
    };
    let max_names = checks.max_names;
    each_register(
        from,
        &context,
        max_names,
        Foreign::No,
        |name, tag, value| {
            note(tag);
            value.counts().iter().for_each(|count| note(count.tag()));
            let is_present = !matches!(value, Value::Removed);
            size.add(is_present, register_weight(name, value.weight()));
            hash = match value {
                Value::Json(_) => hash.with_value(tag),
                Value::Counter(counter) => hash.with_counter(tag, &counter),
                Value::Removed => hash.with_removal(tag),
            };
        },
    )?;
    let (secrets, life) = read_end(from, &context, head, checks)?;
    size.secrets = secrets.states().len();
    secrets.states().iter().for_each(|state| note(state.tag));
    if let Some((tag, _)) = life {
        note(tag);
    }
    check_since(base.since, oldest)?;
    let deaths = secrets.states().iter().filter_map(|state| state.dead_at_ms);
    Ok(Walked {
        summary: PackedSummary {
            access: base.access,
            expiry: life.map_or(head.meta.expiry, |(_, life)| life.expiry),
            size,
            attributes: hash,
            vector: base.vector,
        },
        latest_death_ms: deaths.max().unwrap_or(0),
    })
}

/// What all else in a body refers to.
struct Base {
    /// Stamps count from here.
    since: Stamp,
    access: Stamp,
    vector: Vector,
}

impl Base {
    fn read(from: &mut Reader<'_>, checks: &Checks) -> Result<Self, Malformed> {
        let since = read_stamp(from, Stamp::ZERO)?;
        let access = read_stamp(from, since)?;
        let vector = read_vector(from, since, checks.max_origins)?;
        if vector.entries().is_empty() {
            return Err(Malformed("a session nobody wrote"));
        }
        Ok(Self {
            since,
            access,
            vector,
        })
    }

    fn context(&self, head: &PackedHead, checks: &Checks) -> TagContext<'_> {
        TagContext {
            origins: self.vector.entries(),
            since: self.since,
            watermark: self.vector.watermark(head.meta.gc_grace_ms()),
            author: checks.author,
        }
    }
}

/// Reads what follows the attributes.
fn read_end(
    from: &mut Reader<'_>,
    context: &TagContext<'_>,
    head: &PackedHead,
    checks: &Checks,
) -> Result<(SecretSet, Option<(Tag, Life)>), Malformed> {
    let deaths = Deaths::SinceCreation {
        created_ms: head.created_ms,
    };
    let secrets = read_secrets(from, context, deaths, checks.max_secrets)?;
    let mut dead = secrets.states().iter().filter_map(|state| state.dead_at_ms);
    if dead.any(|at_ms| at_ms > checks.latest_ms) {
        return Err(Malformed("a secret that dies in the future"));
    }
    Ok((secrets, read_life(from, context)?))
}

/// Checks that a writer counts from the oldest stamp: equal sessions are equal bytes only if all do.
fn check_since(since: Stamp, oldest: Stamp) -> Result<(), Malformed> {
    if since == oldest.before() {
        Ok(())
    } else {
        Err(Malformed("stamps that do not count from the oldest"))
    }
}

/// How far a peer's clock may have been read before a session that it sends was changed. One that
/// stands still for longer has lost its links.
const CLOCK_READ_MS: u64 = 60_000;
