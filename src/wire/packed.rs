//! The sessions of one message: each in a byte string of its own, decoded one at a time and counted.

use serde::{Deserialize, Serialize, Serializer, de::Deserializer, ser::SerializeSeq as _};
use serde_bytes::Bytes;

use super::{
    attributes::Names,
    bytes::Writer,
    error::Malformed,
    item::{Form, Items, write_item},
    limits::DecodeLimits,
};
use crate::session::{Item, SessionKey};

/// Sessions of one message, each with its key in a byte string of its own, so that no more than one
/// is in its wire form at a time and what they take is counted before the next is decoded.
pub(super) enum WireItems<'a> {
    /// On the way out, with the instant that ages are reckoned at.
    Plain(&'a [(SessionKey, Item)], u64),
    /// As they came.
    Packed(Vec<&'a Bytes>),
}

impl Serialize for WireItems<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (items, now_ms) = match self {
            Self::Plain(items, now_ms) => (*items, *now_ms),
            Self::Packed(items) => return items.serialize(serializer),
        };
        let mut list = serializer.serialize_seq(Some(items.len()))?;
        let mut bytes = Vec::new();
        for (key, item) in items {
            bytes.clear();
            bytes.extend_from_slice(key.bytes());
            write_item(item, now_ms, &mut Writer(&mut bytes));
            list.serialize_element(Bytes::new(&bytes))?;
        }
        list.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireItems<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Packed)
    }
}

pub(super) fn items_from_wire(
    items: WireItems<'_>,
    form: Form,
    now_ms: u64,
    limits: &DecodeLimits,
) -> Result<Vec<(SessionKey, Item)>, Malformed> {
    let packed = match items {
        WireItems::Packed(packed) => packed,
        WireItems::Plain(items, _) => return Ok(items.to_vec()),
    };
    let length: usize = packed.iter().map(|bytes| bytes.len()).sum();
    let mut room = length.saturating_mul(EXPANSION).saturating_add(ROOM);
    let mut reader = Items {
        now_ms,
        limits,
        form,
        last_birth: None,
        names: Names::default(),
        scratch: Vec::new(),
    };
    let mut items = Vec::with_capacity(packed.len());
    for bytes in packed {
        let (key, bytes) = bytes
            .split_first_chunk()
            .ok_or(Malformed("an item without a key"))?;
        let item = reader.take(bytes)?;
        let left = room.checked_sub(item.memory());
        room = left.ok_or(Malformed("items that grow too much when decoded"))?;
        items.push((SessionKey::from_bytes(*key), item));
    }
    Ok(items)
}

/// What is decoded takes at most so many times the bytes of its message, beyond [`ROOM`], which is
/// for messages of many tiny attributes.
const EXPANSION: usize = 8;
const ROOM: usize = 1024 * 1024;
