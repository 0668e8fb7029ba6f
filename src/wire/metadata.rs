//! What an item says of a session beside its attributes: who wrote it, its birth, its secrets, its
//! limits. Instants travel as ages.

use std::sync::Arc;

use super::{
    bytes::{Reader, Writer},
    error::Malformed,
    tags::{TagContext, read_origin, stamp, write_origin},
};
use crate::{
    config::Expiry,
    session::{
        MAX_CONTEXT_LENGTH, SecretHash, SecretSet, SecretState, SessionMeta, Stamp, Tag, Vector,
    },
};

/// Stamps count from `since`.
pub(super) fn write_vector(vector: &Vector, since: Stamp, to: &mut Writer<'_>) {
    to.count(vector.entries().len());
    for (origin, stamp) in vector.entries() {
        write_origin(*origin, to);
        to.u64(stamp.get().saturating_sub(since.get()));
    }
}

pub(super) fn read_vector(
    from: &mut Reader<'_>,
    since: Stamp,
    max: usize,
) -> Result<Vector, Malformed> {
    let count = from.count()?;
    if count > max {
        return Err(Malformed("too many origins"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let origin = read_origin(from)?;
        entries.push((origin, stamp(since.get().saturating_add(from.u64()?))?));
    }
    Vector::from_sorted(entries).ok_or(Malformed("vector out of order"))
}

pub(super) fn write_birth(meta: &SessionMeta, age_ms: u64, to: &mut Writer<'_>) {
    to.bytes(meta.context.as_bytes());
    to.option(meta.route.as_ref(), |to, route| {
        to.bytes(route.as_str().as_bytes());
    });
    write_limits(meta.expiry, to);
    to.u64(age_ms);
}

/// A birth and the age of the session. `last` is the birth that was read before, which is nearly
/// always the same.
pub(super) fn take_birth(
    from: &mut Reader<'_>,
    last: &mut Option<Arc<SessionMeta>>,
) -> Result<(Arc<SessionMeta>, u64), Malformed> {
    let context = from.text()?;
    if context.len() > MAX_CONTEXT_LENGTH {
        return Err(Malformed("context too long"));
    }
    let route = from.option(Reader::text)?;
    let expiry = take_limits(from)?;
    let age_ms = from.u64()?;
    let is_last = |last: &&mut Arc<SessionMeta>| {
        *last.context == *context
            && last.route.as_ref().map(|route| route.as_str()) == route
            && last.expiry == expiry
    };
    if let Some(same) = last.as_mut().filter(is_last) {
        return Ok((Arc::clone(same), age_ms));
    }
    let meta = Arc::new(SessionMeta {
        context: context.into(),
        route: route
            .map(|route| route.parse().map_err(|_| Malformed("invalid route")))
            .transpose()?,
        expiry,
    });
    *last = Some(Arc::clone(&meta));
    Ok((meta, age_ms))
}

pub(super) fn write_secrets(
    secrets: &SecretSet,
    scale: &TagContext<'_>,
    now_ms: u64,
    to: &mut Writer<'_>,
) {
    to.count(secrets.states().len());
    for state in secrets.states() {
        to.array(state.hash.bytes());
        scale.write_tag(state.tag, to);
        to.option(state.dead_at_ms, |to, at| to.u64(now_ms.saturating_sub(at)));
    }
}

pub(super) fn read_secrets(
    from: &mut Reader<'_>,
    scale: &TagContext<'_>,
    now_ms: u64,
    max: usize,
) -> Result<SecretSet, Malformed> {
    let count = from.count()?;
    if count > max {
        return Err(Malformed("too many secrets"));
    }
    let mut states = Vec::with_capacity(count);
    for _ in 0..count {
        states.push(SecretState {
            hash: SecretHash::from_bytes(from.array()?),
            tag: scale.read_tag(from)?,
            dead_at_ms: from.option(|from| Ok(now_ms.saturating_sub(from.u64()?)))?,
        });
    }
    SecretSet::from_sorted(states).ok_or(Malformed("secrets out of order"))
}

pub(super) fn write_expiry(
    register: Option<(Tag, Expiry)>,
    scale: &TagContext<'_>,
    to: &mut Writer<'_>,
) {
    to.option(register, |to, (tag, expiry)| {
        scale.write_tag(tag, to);
        write_limits(expiry, to);
    });
}

pub(super) fn read_expiry(
    from: &mut Reader<'_>,
    scale: &TagContext<'_>,
) -> Result<Option<(Tag, Expiry)>, Malformed> {
    from.option(|from| Ok((scale.read_tag(from)?, take_limits(from)?)))
}

fn write_limits(expiry: Expiry, to: &mut Writer<'_>) {
    to.option(expiry.idle_ms(), Writer::u64);
    to.option(expiry.absolute_ms(), Writer::u64);
}

fn take_limits(from: &mut Reader<'_>) -> Result<Expiry, Malformed> {
    let idle_ms = from.option(Reader::u64)?;
    let absolute_ms = from.option(Reader::u64)?;
    let too_long = |ms: Option<u64>| ms.is_some_and(|ms| ms > Expiry::MAX_MS);
    if too_long(idle_ms) || too_long(absolute_ms) {
        return Err(Malformed("limits of more than a century"));
    }
    Ok(Expiry::from_millis(idle_ms, absolute_ms))
}
