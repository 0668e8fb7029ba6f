//! The bytes of tags: of which write a value comes from.
//!
//! An item has each origin once, and its tags refer to them by number. A tag of a write that the
//! item's own vector does not cover is malformed.

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
};
use crate::session::{BootId, Origin, Stamp, Tag};

/// What the tags of one item refer to: the origins that it numbers, and the stamp that it counts
/// from.
pub(super) struct TagContext<'a> {
    pub(super) origins: &'a [(Origin, Stamp)],
    pub(super) since: Stamp,
    /// Writes from before may be of origins that are forgotten.
    pub(super) watermark: Stamp,
    pub(super) author: Author,
}

/// The author of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// A peer: they are checked.
    Peer,
    /// This node, which wrote them or has checked them before.
    This,
}

/// A tag as it is written.
pub(super) enum WireTag {
    /// The number of its origin within the item, and how far its stamp is beyond `since`.
    By(u32, u64),
    /// A write whose origin has no number, or from before `since`.
    Other(Tag),
    Bottom,
}

impl TagContext<'_> {
    pub(super) fn write_tag(&self, tag: Tag, to: &mut Writer<'_>) {
        match self.to_wire(tag) {
            WireTag::By(by, beyond) => {
                to.byte(BY);
                to.u64(by.into());
                to.u64(beyond);
            }
            WireTag::Other(tag) => {
                to.byte(OTHER);
                write_stamp(tag.stamp, Stamp::ZERO, to);
                write_origin(tag.origin, to);
            }
            WireTag::Bottom => to.byte(BOTTOM),
        }
    }

    /// Reads the tag of a write that the item covers.
    pub(super) fn read_tag(&self, from: &mut Reader<'_>) -> Result<Tag, Malformed> {
        self.tag(&read_wire_tag(from)?)
    }

    pub(super) fn number(&self, origin: Origin) -> Option<u32> {
        let at = self.origins.binary_search_by_key(&origin, |entry| entry.0);
        u32::try_from(at.ok()?).ok()
    }

    /// Returns the tag, if the item covers it.
    pub(super) fn tag(&self, wire: &WireTag) -> Result<Tag, Malformed> {
        let is_own = self.author == Author::This;
        let (by, beyond) = match wire {
            WireTag::By(by, beyond) => (by, beyond),
            WireTag::Other(tag) if is_own || self.is_forgotten(*tag) => return Ok(*tag),
            WireTag::Bottom if is_own => return Ok(Tag::BOTTOM),
            WireTag::Other(_) | WireTag::Bottom => {
                return Err(Malformed("a write outside the item"));
            }
        };
        let entry = usize::try_from(*by)
            .ok()
            .and_then(|by| self.origins.get(by));
        let &(origin, last) = entry.ok_or(Malformed("unknown origin"))?;
        let stamp = stamp_beyond(self.since, *beyond)?;
        if !is_own && (stamp > last || stamp <= self.since) {
            return Err(Malformed("a write that the vector does not cover"));
        }
        Ok(Tag { stamp, origin })
    }

    fn to_wire(&self, tag: Tag) -> WireTag {
        if tag == Tag::BOTTOM {
            return WireTag::Bottom;
        }
        // A counter's increments may follow a reset that the receiver has for long.
        if tag.stamp <= self.since {
            return WireTag::Other(tag);
        }
        self.number(tag.origin).map_or(WireTag::Other(tag), |by| {
            WireTag::By(by, tag.stamp.get().saturating_sub(self.since.get()))
        })
    }

    /// Returns whether it is a write from before the watermark, of an origin that has no number any
    /// more. One that has a number would be sent on by it, as a write that the vector does not
    /// cover.
    fn is_forgotten(&self, tag: Tag) -> bool {
        let written = tag.stamp > Stamp::ZERO && tag.stamp < self.watermark;
        written && self.number(tag.origin).is_none()
    }
}

pub(super) fn read_wire_tag(from: &mut Reader<'_>) -> Result<WireTag, Malformed> {
    Ok(match from.byte()? {
        BY => WireTag::By(from.u32()?, from.u64()?),
        OTHER => WireTag::Other(Tag {
            stamp: read_stamp(from, Stamp::ZERO)?,
            origin: read_origin(from)?,
        }),
        BOTTOM => WireTag::Bottom,
        _ => return Err(UNKNOWN),
    })
}

pub(super) fn write_origin(origin: Origin, to: &mut Writer<'_>) {
    to.array(&origin.boot.bytes());
    to.u64(origin.epoch.into());
}

pub(super) fn read_origin(from: &mut Reader<'_>) -> Result<Origin, Malformed> {
    Ok(Origin {
        boot: BootId::from_bytes(from.array()?),
        epoch: from.u32()?,
    })
}

/// Appends how far the stamp is beyond `since`.
pub(super) fn write_stamp(stamp: Stamp, since: Stamp, to: &mut Writer<'_>) {
    to.u64(stamp.get().saturating_sub(since.get()));
}

pub(super) fn read_stamp(from: &mut Reader<'_>, since: Stamp) -> Result<Stamp, Malformed> {
    stamp_beyond(since, from.u64()?)
}

fn stamp_beyond(since: Stamp, beyond: u64) -> Result<Stamp, Malformed> {
    let raw = since.get().checked_add(beyond);
    raw.and_then(Stamp::new)
        .ok_or(Malformed("a stamp beyond the last one"))
}

const BY: u8 = 0;
const OTHER: u8 = 1;
const BOTTOM: u8 = 2;
