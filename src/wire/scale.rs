//! Which write a value comes from, as an item says it: by number of its origin within the item.
//!
//! Origins are written once per item. What the item's own vector does not cover is malformed.

use serde::{Deserialize, Serialize};

use super::message::Malformed;
use crate::session::{Origin, Stamp, Tag};

/// How tags are written in one item: the origins it numbers and the stamp it counts from.
pub(super) struct Scale<'a> {
    pub(super) origins: &'a [(Origin, Stamp)],
    pub(super) since: Stamp,
    /// Writes from before may be of origins that are forgotten.
    pub(super) floor: Stamp,
}

/// Which write: by number of its origin within the item and by stamp, beyond `since` in a delta.
#[derive(Serialize, Deserialize)]
pub(super) enum WireTag {
    By(u32, u64),
    Other(Box<Tag>),
    Bottom,
}

impl Scale<'_> {
    pub(super) fn to_wire(&self, tag: Tag) -> WireTag {
        if tag == Tag::BOTTOM {
            return WireTag::Bottom;
        }
        // A counter's increments may follow a reset that the receiver has for long.
        if tag.stamp <= self.since {
            return WireTag::Other(Box::new(tag));
        }
        self.number(tag.origin).map_or_else(
            || WireTag::Other(Box::new(tag)),
            |by| WireTag::By(by, tag.stamp.get().saturating_sub(self.since.get())),
        )
    }

    pub(super) fn number(&self, origin: Origin) -> Option<u32> {
        let at = self.origins.binary_search_by_key(&origin, |entry| entry.0);
        u32::try_from(at.ok()?).ok()
    }

    /// The tag, if the item covers it.
    pub(super) fn tag(&self, wire: &WireTag) -> Result<Tag, Malformed> {
        let (by, beyond) = match wire {
            WireTag::By(by, beyond) => (by, beyond),
            WireTag::Other(tag) if self.is_forgotten(**tag) => return Ok(**tag),
            WireTag::Other(_) | WireTag::Bottom => {
                return Err(Malformed("a write outside the item"));
            }
        };
        let entry = usize::try_from(*by)
            .ok()
            .and_then(|by| self.origins.get(by));
        let &(origin, last) = entry.ok_or(Malformed("unknown origin"))?;
        let stamp = stamp(self.since.get().checked_add(*beyond).ok_or(TOO_LATE)?)?;
        if stamp > last || stamp <= self.since {
            return Err(Malformed("a write that the vector does not cover"));
        }
        Ok(Tag { stamp, origin })
    }

    /// Whether it is a write from before the floor, of an origin that has no number any more. One
    /// that has a number would be sent on by it, as a write that the vector does not cover.
    fn is_forgotten(&self, tag: Tag) -> bool {
        let written = tag.stamp > Stamp::ZERO && tag.stamp < self.floor;
        written && self.number(tag.origin).is_none()
    }
}

pub(super) fn stamp(raw: u64) -> Result<Stamp, Malformed> {
    Stamp::new(raw).ok_or(TOO_LATE)
}

pub(super) const TOO_LATE: Malformed = Malformed("a stamp beyond the last one");
