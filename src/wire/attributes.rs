//! Attributes and counters on the wire.

use std::sync::Arc;

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    message::Malformed,
    scale::{Author, Scale, WireTag, take_wire_tag},
};
use crate::session::{Content, Count, Counter, MAX_NAME_LENGTH, Slot, Tag, counts_are_sorted};

pub(super) fn put_slots(slots: &[(Arc<str>, Slot)], scale: &Scale<'_>, to: &mut Writer<'_>) {
    to.count(slots.len());
    for (name, slot) in slots {
        to.bytes(name.as_bytes());
        scale.put_tag(slot.tag, to);
        match &slot.content {
            Content::Json(bytes) => {
                to.byte(JSON);
                to.bytes(bytes);
            }
            Content::Counter(counter) => {
                to.byte(COUNTER);
                to.i64(counter.settled);
                put_counts(&counter.counts, scale, to);
            }
            Content::Removed => to.byte(REMOVED),
        }
    }
}

/// Which slots may be tagged by a write outside the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    No,
    Counters,
}

pub(super) fn take_slots(
    from: &mut Reader<'_>,
    scale: &Scale<'_>,
    max_names: usize,
    foreign: Foreign,
) -> Result<Vec<(Arc<str>, Slot)>, Malformed> {
    let count = from.count()?;
    if count > max_names {
        return Err(Malformed("too many attributes"));
    }
    let mut slots: Vec<(Arc<str>, Slot)> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = from.text()?;
        if name.is_empty() || name.len() > MAX_NAME_LENGTH {
            return Err(Malformed("attribute name of a wrong length"));
        }
        if slots.last().is_some_and(|(before, _)| **before >= *name) {
            return Err(Malformed("attributes out of order"));
        }
        slots.push((name.into(), take_slot(from, scale, foreign)?));
    }
    Ok(slots)
}

fn take_slot(
    from: &mut Reader<'_>,
    scale: &Scale<'_>,
    foreign: Foreign,
) -> Result<Slot, Malformed> {
    let tag = take_wire_tag(from)?;
    let content = match from.byte()? {
        JSON => Content::Json(from.bytes()?.into()),
        REMOVED => Content::Removed,
        COUNTER => {
            let settled = from.i64()?;
            if foreign == Foreign::Counters && settled != 0 {
                return Err(Malformed("a delta that settles a counter"));
            }
            let counts = take_counts(from, scale)?;
            let tag = era(&tag, scale, foreign)?;
            let content = Content::Counter(Counter { settled, counts });
            return Ok(Slot { tag, content });
        }
        _ => return Err(UNKNOWN),
    };
    let tag = scale.tag(&tag)?;
    Ok(Slot { tag, content })
}

/// The reset that a counter's increments follow.
fn era(tag: &WireTag, scale: &Scale<'_>, foreign: Foreign) -> Result<Tag, Malformed> {
    match tag {
        WireTag::Bottom => Ok(Tag::BOTTOM),
        WireTag::Other(tag) if foreign == Foreign::Counters => {
            let is_ours = scale.origins.iter().any(|entry| entry.0 == tag.origin);
            if is_ours && tag.stamp > scale.since {
                return Err(Malformed("a reset that the delta does not cover"));
            }
            Ok(*tag)
        }
        tag => scale.tag(tag),
    }
}

/// Honest vectors number every origin that has counted; another is not sent.
fn put_counts(counts: &[Count], scale: &Scale<'_>, to: &mut Writer<'_>) {
    let numbered = |count: &Count| Some((scale.number(count.origin)?, *count));
    to.count(counts.iter().filter_map(numbered).count());
    for (by, count) in counts.iter().filter_map(numbered) {
        to.u64(by.into());
        to.u64(count.stamp.get().saturating_sub(scale.since.get()));
        to.i64(count.sum);
    }
}

fn take_counts(from: &mut Reader<'_>, scale: &Scale<'_>) -> Result<Vec<Count>, Malformed> {
    let count = from.count()?;
    if count > scale.origins.len() {
        return Err(Malformed("more counts than origins"));
    }
    let mut counts = Vec::with_capacity(count);
    for _ in 0..count {
        let tag = scale.tag(&WireTag::By(from.u32()?, from.u64()?))?;
        counts.push(Count {
            origin: tag.origin,
            stamp: tag.stamp,
            sum: from.i64()?,
        });
    }
    if scale.author == Author::This || counts_are_sorted(&counts) {
        Ok(counts)
    } else {
        Err(Malformed("counter out of order"))
    }
}

const JSON: u8 = 0;
const COUNTER: u8 = 1;
const REMOVED: u8 = 2;
