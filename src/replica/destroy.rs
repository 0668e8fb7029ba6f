//! Orders to destroy sessions, as a replica gives, takes and carries them out.

use std::sync::Arc;

use super::{Replica, change::Destroyed, log::Record, orders::Orders};
use crate::{
    session::{BootId, Now, Order, OrderContent, SessionKey, Stamp},
    wire::Position,
};

impl Replica {
    /// Gives an order, which the caller carries out here. Returns the position whose
    /// acknowledgement means that a peer has it: links pass on orders before what is in the log.
    /// The caller wakes the links.
    pub(crate) fn give(&self, order: Order, now: Now) -> Position {
        // A record of no session: nothing leaves for it but its position.
        let key = match &order.content {
            OrderContent::Session { key, .. } => *key,
            OrderContent::Search(_) | OrderContent::Report { .. } => {
                SessionKey::from_bytes(*order.id.bytes())
            }
        };
        self.orders.add(order, None, now);
        self.log.append(Record {
            key,
            prev: Stamp::ZERO,
            touch: false,
            at_ms: now.mono_ms,
        })
    }

    /// Takes an order from a peer, and carries it out if it names a session. Returns it if it is
    /// new, and the session that it destroyed. The caller wakes the links.
    pub(super) fn take(
        &self,
        order: Order,
        from: BootId,
        now: Now,
    ) -> Option<(Arc<Order>, Option<Destroyed>)> {
        let order = self.orders.add(order, Some(from), now)?;
        let destroyed = match &order.content {
            OrderContent::Session { key, proof } => self.destroy_as_ordered(key, proof, now),
            OrderContent::Search(_) | OrderContent::Report { .. } => None,
        };
        Some((order, destroyed))
    }

    /// Destroys a session that has just arrived if an order wants it so.
    pub(super) fn destroy_arrived(&self, key: &SessionKey, now: Now) -> Option<Destroyed> {
        let proofs = self.orders.proofs(key);
        let mut destroyed = proofs
            .iter()
            .map(|proof| self.destroy_as_ordered(key, proof, now));
        destroyed.find_map(|destroyed| destroyed)
    }

    /// Returns the searches of other nodes that are to be carried out here.
    pub(crate) const fn orders(&self) -> &Orders {
        &self.orders
    }
}
