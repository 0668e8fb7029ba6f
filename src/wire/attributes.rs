//! Attributes and counters on the wire.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    message::{DecodeLimits, Malformed},
    scale::{Scale, WireTag},
};
use crate::session::{
    Content, Count, Counter, MAX_NAME_LENGTH, Slot, Stamp, Tag, counts_are_sorted,
};

#[derive(Serialize, Deserialize)]
pub(super) struct WireSlot<'a> {
    name: &'a str,
    tag: WireTag,
    #[serde(borrow)]
    content: WireContent<'a>,
}

#[derive(Serialize, Deserialize)]
enum WireContent<'a> {
    Json(#[serde(with = "serde_bytes")] &'a [u8]),
    Counter(Box<WireCounter>),
    Removed,
}

#[derive(Serialize, Deserialize)]
struct WireCounter {
    settled: i64,
    counts: Vec<WireCount>,
}

#[derive(Serialize, Deserialize)]
struct WireCount {
    by: u32,
    stamp: u64,
    sum: i64,
}

pub(super) fn slots_to_wire<'a>(
    slots: &'a [(Arc<str>, Slot)],
    scale: &Scale<'_>,
) -> Vec<WireSlot<'a>> {
    let wire = |(name, slot): &'a (Arc<str>, Slot)| WireSlot {
        name,
        tag: scale.to_wire(slot.tag),
        content: match &slot.content {
            Content::Json(bytes) => WireContent::Json(bytes),
            Content::Removed => WireContent::Removed,
            Content::Counter(counter) => WireContent::Counter(Box::new(WireCounter {
                settled: counter.settled,
                counts: counter
                    .counts
                    .iter()
                    .filter_map(|count| count_to_wire(count, scale))
                    .collect(),
            })),
        },
    };
    slots.iter().map(wire).collect()
}

/// Which slots may be tagged by a write outside the item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    No,
    Counters,
}

pub(super) fn slots_from_wire(
    wire: Vec<WireSlot<'_>>,
    scale: &Scale<'_>,
    limits: &DecodeLimits,
    foreign: Foreign,
) -> Result<Vec<(Arc<str>, Slot)>, Malformed> {
    if wire.len() > limits.max_names {
        return Err(Malformed("too many attributes"));
    }
    let mut slots: Vec<(Arc<str>, Slot)> = Vec::with_capacity(wire.len());
    for slot in wire {
        if slot.name.is_empty() || slot.name.len() > MAX_NAME_LENGTH {
            return Err(Malformed("attribute name of a wrong length"));
        }
        if slots
            .last()
            .is_some_and(|(before, _)| **before >= *slot.name)
        {
            return Err(Malformed("attributes out of order"));
        }
        let is_counter = matches!(slot.content, WireContent::Counter(_));
        let tag = match (slot.tag, is_counter) {
            (WireTag::Bottom, true) => Tag::BOTTOM,
            (WireTag::Other(tag), true) if foreign == Foreign::Counters => {
                let last = scale.origins.iter().find(|entry| entry.0 == tag.origin);
                if tag.stamp > Stamp::MAX || last.is_some() && tag.stamp > scale.since {
                    return Err(Malformed("a reset that the delta does not cover"));
                }
                *tag
            }
            (tag, _) => scale.tag(&tag)?,
        };
        let content = match slot.content {
            WireContent::Json(bytes) => Content::Json(bytes.into()),
            WireContent::Removed => Content::Removed,
            WireContent::Counter(counter) => {
                if foreign == Foreign::Counters && counter.settled != 0 {
                    return Err(Malformed("a delta that settles a counter"));
                }
                Content::Counter(Counter {
                    settled: counter.settled,
                    counts: counts_from_wire(counter.counts, scale)?,
                })
            }
        };
        slots.push((slot.name.into(), Slot { tag, content }));
    }
    Ok(slots)
}

fn counts_from_wire(wire: Vec<WireCount>, scale: &Scale<'_>) -> Result<Vec<Count>, Malformed> {
    let counts = wire
        .into_iter()
        .map(|count| {
            let tag = scale.tag(&WireTag::By(count.by, count.stamp))?;
            Ok(Count {
                origin: tag.origin,
                stamp: tag.stamp,
                sum: count.sum,
            })
        })
        .collect::<Result<Vec<_>, Malformed>>()?;
    if counts_are_sorted(&counts) {
        Ok(counts)
    } else {
        Err(Malformed("counter out of order"))
    }
}

/// Honest vectors number every origin that has counted; another is not sent.
fn count_to_wire(count: &Count, scale: &Scale<'_>) -> Option<WireCount> {
    Some(WireCount {
        by: scale.number(count.origin)?,
        stamp: count.stamp.get().saturating_sub(scale.since.get()),
        sum: count.sum,
    })
}
