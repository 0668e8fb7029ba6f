//! The sessions of one message: each in a byte string of its own, decoded one at a time and counted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    item::{self, WireItem},
    message::{DecodeLimits, Malformed},
};
use crate::session::{Item, Locator};

/// Sessions of one message, each in a byte string of its own, so that no more than one is in its
/// wire form at a time and what they take is counted before the next is decoded.
pub(super) type WireItems<'a> = Vec<(Locator, Packed<'a>)>;

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Packed<'a>(#[serde(borrow, with = "serde_bytes")] Cow<'a, [u8]>);

pub(super) fn items_to_wire(items: &[(Locator, Item)], now_ms: u64) -> WireItems<'_> {
    let pack = |item| {
        let wire = item::to_wire(item, now_ms);
        let bytes = postcard::to_stdvec(&wire).expect("an item is plain data");
        Packed(Cow::Owned(bytes))
    };
    items.iter().map(|(key, item)| (*key, pack(item))).collect()
}

pub(super) fn items_from_wire(
    items: WireItems<'_>,
    now_ms: u64,
    limits: &DecodeLimits,
) -> Result<Vec<(Locator, Item)>, Malformed> {
    let length: usize = items.iter().map(|(_, packed)| packed.0.len()).sum();
    let mut room = length.saturating_mul(EXPANSION).saturating_add(ROOM);
    let mut core = Vec::with_capacity(items.len());
    for (key, packed) in items {
        let wire = postcard::from_bytes::<WireItem<'_>>(&packed.0)
            .map_err(|_| Malformed("no item of this protocol version"))?;
        let item = item::from_wire(wire, now_ms, limits)?;
        let left = room.checked_sub(item.memory());
        room = left.ok_or(Malformed("items that grow too much when decoded"))?;
        core.push((key, item));
    }
    Ok(core)
}

/// What is decoded takes at most so many times the bytes of its message, beyond [`ROOM`], which is
/// for messages of many tiny attributes.
const EXPANSION: usize = 8;
const ROOM: usize = 1024 * 1024;
