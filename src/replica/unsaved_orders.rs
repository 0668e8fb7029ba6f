//! Which of the kept orders are not on disk as they are here.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::session::OrderId;

/// The ids of unsaved orders, each with whether there may be a record of it. None are noted on a
/// node without a directory.
#[derive(Debug, Default)]
pub(super) struct UnsavedOrders {
    is_recording: bool,
    ids: BTreeMap<OrderId, bool>,
}

impl UnsavedOrders {
    /// Notes that an order is kept from now on.
    pub(super) fn note_arrival(&mut self, id: OrderId) {
        self.note(id, false);
    }

    /// Notes that something is to be saved of which there may be a record.
    pub(super) fn note_change(&mut self, id: OrderId) {
        self.note(id, true);
    }

    /// Notes that an order is not kept any more.
    pub(super) fn note_departure(&mut self, id: OrderId) {
        match self.ids.entry(id) {
            Entry::Occupied(entry) if !entry.get() => {
                entry.remove();
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(_) => self.note(id, true),
        }
    }

    #[cfg(any(test, feature = "durable"))]
    pub(super) const fn record(&mut self) {
        self.is_recording = true;
    }

    /// Returns the ids, which count as saved from now on.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn take(&mut self) -> impl Iterator<Item = OrderId> + use<> {
        std::mem::take(&mut self.ids).into_keys()
    }

    #[cfg(any(test, feature = "durable"))]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn note(&mut self, id: OrderId, may_be_on_disk: bool) {
        if self.is_recording {
            *self.ids.entry(id).or_default() |= may_be_on_disk;
        }
    }
}
