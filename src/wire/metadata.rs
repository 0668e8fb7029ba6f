//! What a session has beside its attributes: who wrote it, what is fixed at its creation, its
//! secrets, its limits.

use std::sync::Arc;

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    tags::{TagContext, read_origin, read_stamp, write_origin, write_stamp},
};
use crate::{
    config::Expiry,
    session::{
        Life, MAX_CONTEXT_LENGTH, SecretHash, SecretSet, SecretState, SessionMeta, Stamp, Tag,
        Vector,
    },
};

pub(super) fn write_vector(vector: &Vector, since: Stamp, to: &mut Writer<'_>) {
    to.list(vector.entries().iter(), |to, (origin, stamp)| {
        write_origin(*origin, to);
        write_stamp(*stamp, since, to);
    });
}

pub(super) fn read_vector(
    from: &mut Reader<'_>,
    since: Stamp,
    max: usize,
) -> Result<Vector, Malformed> {
    let count = from.count(ENTRY)?;
    if count > max {
        return Err(Malformed("too many origins"));
    }
    let entries = from.repeat(count, |from| {
        Ok((read_origin(from)?, read_stamp(from, since)?))
    })?;
    Vector::from_sorted(entries).ok_or(Malformed("vector out of order"))
}

pub(super) fn write_meta(meta: &SessionMeta, to: &mut Writer<'_>) {
    to.text(&meta.context);
    to.option(meta.route.as_ref(), |to, route| to.text(route.as_str()));
    write_limits(meta.expiry, to);
}

/// Reads a session's metadata. `last` is what was read before, which is nearly always the same.
pub(super) fn read_meta(
    from: &mut Reader<'_>,
    last: &mut Option<Arc<SessionMeta>>,
) -> Result<Arc<SessionMeta>, Malformed> {
    let context = from.text()?;
    if context.len() > MAX_CONTEXT_LENGTH {
        return Err(Malformed("context too long"));
    }
    let route = from.option(Reader::text)?;
    let expiry = read_limits(from)?;
    let is_last = |last: &&mut Arc<SessionMeta>| {
        *last.context == *context
            && last.route.as_ref().map(|route| route.as_str()) == route
            && last.expiry == expiry
    };
    if let Some(same) = last.as_mut().filter(is_last) {
        return Ok(Arc::clone(same));
    }
    let meta = Arc::new(SessionMeta {
        context: context.into(),
        route: route
            .map(|route| route.parse().map_err(|_| Malformed("invalid route")))
            .transpose()?,
        expiry,
    });
    *last = Some(Arc::clone(&meta));
    Ok(meta)
}

/// The instant from which the deaths of secrets are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deaths {
    /// Back from now, as ages.
    Ages { now_ms: u64 },
    /// On from the session's creation. A clock that two nodes see through different delays may put
    /// a death before it.
    SinceCreation { created_ms: u64 },
}

impl Deaths {
    fn write(self, at_ms: u64, to: &mut Writer<'_>) {
        match self {
            Self::Ages { now_ms } => to.u64(now_ms.saturating_sub(at_ms)),
            Self::SinceCreation { created_ms } => {
                to.i64(at_ms.wrapping_sub(created_ms).cast_signed());
            }
        }
    }

    fn read(self, from: &mut Reader<'_>) -> Result<u64, Malformed> {
        Ok(match self {
            Self::Ages { now_ms } => now_ms.saturating_sub(from.u64()?),
            Self::SinceCreation { created_ms } => created_ms.saturating_add_signed(from.i64()?),
        })
    }
}

pub(super) fn write_secrets(
    secrets: &SecretSet,
    context: &TagContext<'_>,
    deaths: Deaths,
    to: &mut Writer<'_>,
) {
    to.list(secrets.states().iter(), |to, state| {
        to.array(state.hash.bytes());
        context.write_tag(state.tag, to);
        to.option(state.dead_at_ms, |to, at_ms| deaths.write(at_ms, to));
    });
}

pub(super) fn read_secrets(
    from: &mut Reader<'_>,
    context: &TagContext<'_>,
    deaths: Deaths,
    max: usize,
) -> Result<SecretSet, Malformed> {
    let count = from.count(SECRET)?;
    if count > max {
        return Err(Malformed("too many secrets"));
    }
    let states = from.repeat(count, |from| {
        Ok(SecretState {
            hash: SecretHash::from_bytes(from.array()?),
            tag: context.read_tag(from)?,
            dead_at_ms: from.option(|from| deaths.read(from))?,
        })
    })?;
    SecretSet::from_sorted(states).ok_or(Malformed("secrets out of order"))
}

/// Writes one byte, which says whether there is a register and what it says of the cookie, and then
/// the register.
pub(super) fn write_life(
    register: Option<(Tag, Life)>,
    context: &TagContext<'_>,
    to: &mut Writer<'_>,
) {
    let Some((tag, life)) = register else {
        to.byte(NO_LIFE);
        return;
    };
    to.byte(match life.persistent {
        None => LIMITS_ONLY,
        Some(false) => BROWSER_COOKIE,
        Some(true) => PERSISTENT_COOKIE,
    });
    context.write_tag(tag, to);
    write_limits(life.expiry, to);
}

pub(super) fn read_life(
    from: &mut Reader<'_>,
    context: &TagContext<'_>,
) -> Result<Option<(Tag, Life)>, Malformed> {
    let persistent = match from.byte()? {
        NO_LIFE => return Ok(None),
        LIMITS_ONLY => None,
        BROWSER_COOKIE => Some(false),
        PERSISTENT_COOKIE => Some(true),
        _ => return Err(UNKNOWN),
    };
    let tag = context.read_tag(from)?;
    let expiry = read_limits(from)?;
    Ok(Some((tag, Life { expiry, persistent })))
}

fn write_limits(expiry: Expiry, to: &mut Writer<'_>) {
    to.option(expiry.idle_ms(), Writer::u64);
    to.option(expiry.absolute_ms(), Writer::u64);
}

fn read_limits(from: &mut Reader<'_>) -> Result<Expiry, Malformed> {
    let idle_ms = from.option(Reader::u64)?;
    let absolute_ms = from.option(Reader::u64)?;
    let too_long = |ms: Option<u64>| ms.is_some_and(|ms| ms > Expiry::MAX_MS);
    if too_long(idle_ms) || too_long(absolute_ms) {
        return Err(Malformed("limits of more than a century"));
    }
    Ok(Expiry::from_millis(idle_ms, absolute_ms))
}

const NO_LIFE: u8 = 0;
const LIMITS_ONLY: u8 = 1;
const BROWSER_COOKIE: u8 = 2;
const PERSISTENT_COOKIE: u8 = 3;
/// The fewest bytes of an entry of a vector: a boot id, an epoch and a stamp.
const ENTRY: usize = 8 + 1 + 1;
/// The fewest bytes of a secret: its hash, its tag, and that it is alive.
const SECRET: usize = 16 + 1 + 1;
