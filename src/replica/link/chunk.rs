//! The items of one message.

use std::collections::VecDeque;

use crate::{
    replica::Replica,
    session::{Item, Now, SessionKey},
};

/// The items of one message, of [`CHUNK_BYTES`] or one item more.
#[derive(Debug)]
pub(super) struct Chunk {
    items: Vec<(SessionKey, Item)>,
    bytes: usize,
}

impl Chunk {
    pub(super) fn with_capacity(items: usize) -> Self {
        Self {
            items: Vec::with_capacity(items),
            bytes: 0,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes > CHUNK_BYTES
    }

    pub(super) fn push(&mut self, key: SessionKey, item: Item) {
        self.bytes += weight(&item);
        self.items.push((key, item));
    }

    pub(super) fn into_items(self) -> Vec<(SessionKey, Item)> {
        self.items
    }
}

/// Returns the states of the first sessions that are still held, and takes their keys off.
pub(super) fn states(
    replica: &Replica,
    keys: &mut VecDeque<SessionKey>,
    now: Now,
) -> Vec<(SessionKey, Item)> {
    let mut chunk = Chunk::with_capacity(0);
    while !chunk.is_full()
        && let Some(key) = keys.pop_front()
    {
        let item = replica.store.full_state(&key, now);
        if item != Item::Absent {
            chunk.push(key, item);
        }
    }
    chunk.into_items()
}

/// Returns about how many bytes an item takes on the wire.
fn weight(item: &Item) -> usize {
    let body = match item {
        Item::Full(state) => state.weight(),
        Item::Packed(state) => state.body.len(),
        Item::Delta(delta) => {
            let registers = delta.registers.iter();
            registers
                .map(|(name, register)| register.weight_as(name))
                .sum()
        }
        Item::Destroyed(_) | Item::Absent => 0,
    };
    ITEM_OVERHEAD + body
}

const ITEM_OVERHEAD: usize = 64;
/// Bytes of one message's items, about; a single session may be larger.
const CHUNK_BYTES: usize = if cfg!(test) { 1024 } else { 16 * 1024 };
