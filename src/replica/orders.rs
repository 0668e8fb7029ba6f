//! Orders that reach every node: those kept here, for peers that are met later and for sessions
//! that arrive later.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::unsaved_orders::UnsavedOrders;
use crate::session::{
    BootId, MAX_HOPS, Mutant, Now, ORDER_KEEP_MS, Order, OrderContent, OrderId, Proof, SessionKey,
    Stamp,
};
#[cfg(any(test, feature = "durable"))]
use crate::wire::saved::SavedOrder;

/// The orders of the last day, as far as there is room for them.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Short lookups only. No other lock is taken inside.
    kept: Mutex<Kept>,
    /// How many orders there have been, so that links need not lock to see that there is no news.
    count: AtomicU64,
    /// How many of the kept ones name a session.
    named: AtomicUsize,
    /// The last stamp that a kept search means, zero if there is none.
    last_meant: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    sessions: Ring,
    /// Searches and reports, which a flood of the others does not push out.
    searches: Ring,
    /// The proofs of the kept orders that name a session.
    by_key: BTreeMap<SessionKey, Vec<(OrderId, Option<Proof>)>>,
    /// Searches that are still to be carried out here.
    to_carry_out: VecDeque<Arc<Order>>,
    /// Those of which this node has not reported yet.
    pending: BTreeSet<OrderId>,
    unsaved: UnsavedOrders,
}

/// Orders in the order of their arrival. The oldest give way.
#[derive(Debug, Default)]
struct Ring {
    orders: VecDeque<Arrived>,
    ids: BTreeSet<OrderId>,
    bytes: usize,
    /// How many there have been.
    count: u64,
}

#[derive(Clone, Debug)]
struct Arrived {
    order: Arc<Order>,
    /// The peer it came from, which has it.
    from: Option<BootId>,
}

/// How far a link has passed orders on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OrderCursor {
    seen: u64,
    sessions: u64,
    searches: u64,
}

impl Orders {
    /// Keeps an order. Returns it if it is new and is to be carried out.
    pub(super) fn add(&self, order: Order, from: Option<BootId>, now: Now) -> Option<Arc<Order>> {
        if now.mono_ms.saturating_sub(order.issued_ms) >= ORDER_KEEP_MS {
            return None;
        }
        let mut kept = self.lock();
        let is_search = matches!(order.content, OrderContent::Search(_));
        if is_search && kept.to_carry_out.len() >= MAX_WAITING {
            return None;
        }
        self.note_meant(&order, now);
        let order = Arc::new(order);
        let is_pending = is_search && from.is_some();
        let is_new = self.keep(&mut kept, &order, from, is_pending);
        is_new.then_some(order)
    }

    /// Keeps an order of an earlier process, unless it is too old. Returns whether it is kept.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn load(&self, saved: &SavedOrder, now: Now) -> bool {
        let SavedOrder { order, is_pending } = saved;
        let mut kept = self.lock();
        if now.mono_ms.saturating_sub(order.issued_ms) >= ORDER_KEEP_MS {
            kept.unsaved.note_change(order.id);
            return false;
        }
        self.note_meant(order, now);
        let unsaved = std::mem::take(&mut kept.unsaved);
        self.keep(&mut kept, order, None, *is_pending);
        kept.unsaved = unsaved;
        true
    }

    /// Notes from now on which orders are not saved.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn record_changes(&self) {
        self.lock().unsaved.record();
    }

    /// Returns the orders that are not saved as they are, `None` for those that are not kept any
    /// more. They count as saved from now on.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn take_unsaved(&self) -> Vec<(OrderId, Option<SavedOrder>)> {
        let mut kept = self.lock();
        if kept.unsaved.len() == 0 {
            return Vec::new();
        }
        let ids = kept.unsaved.take();
        let mut taken: BTreeMap<_, _> = ids.map(|id| (id, None)).collect();
        let rings = [&kept.sessions, &kept.searches];
        for Arrived { order, .. } in rings.into_iter().flat_map(|ring| &ring.orders) {
            if let Some(saved) = taken.get_mut(&order.id) {
                *saved = Some(SavedOrder {
                    order: Arc::clone(order),
                    is_pending: kept.pending.contains(&order.id),
                });
            }
        }
        taken.into_iter().collect()
    }

    /// Notes orders that are to be saved again.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn mark_unsaved(&self, ids: impl Iterator<Item = OrderId>) {
        let mut kept = self.lock();
        ids.for_each(|id| kept.unsaved.note_change(id));
    }

    #[cfg(any(test, feature = "durable"))]
    pub(super) fn unsaved(&self) -> usize {
        self.lock().unsaved.len()
    }

    /// Keeps an order. Returns whether it is new.
    fn keep(
        &self,
        kept: &mut Kept,
        order: &Arc<Order>,
        from: Option<BootId>,
        is_pending: bool,
    ) -> bool {
        let gone = match &order.content {
            OrderContent::Session { key, proof } => {
                let Some(gone) = kept.sessions.push(order, from, MAX_SESSION_BYTES) else {
                    return false;
                };
                let named = kept.by_key.entry(*key).or_default();
                named.push((order.id, proof.clone()));
                gone
            }
            OrderContent::Search(_) | OrderContent::Report { .. } => {
                let Some(gone) = kept.searches.push(order, from, MAX_SEARCHES_BYTES) else {
                    return false;
                };
                gone
            }
        };
        if is_pending {
            kept.to_carry_out.push_back(Arc::clone(order));
            kept.pending.insert(order.id);
        }
        match &order.content {
            // Whoever waits for a report does so for seconds.
            OrderContent::Report { search, .. } if from.is_none() => {
                if kept.pending.remove(search) {
                    kept.unsaved.note_change(*search);
                }
            }
            OrderContent::Report { .. } => {}
            OrderContent::Session { .. } | OrderContent::Search(_) => {
                kept.unsaved.note_arrival(order.id);
            }
        }
        gone.iter().for_each(|order| kept.forget(order));
        self.named.store(kept.by_key.len(), Ordering::Release);
        self.count.fetch_add(1, Ordering::Release);
        true
    }

    /// Returns orders that a link has yet to pass on to its peer, about a message full.
    pub(super) fn next(&self, cursor: &mut OrderCursor, peer: BootId) -> Vec<Order> {
        let count = self.count.load(Ordering::Acquire);
        if cursor.seen == count {
            return Vec::new();
        }
        let kept = self.lock();
        let mut orders = kept.searches.after(&mut cursor.searches, peer);
        orders.extend(kept.sessions.after(&mut cursor.sessions, peer));
        if cursor.searches == kept.searches.count && cursor.sessions == kept.sessions.count {
            cursor.seen = count;
        }
        orders
    }

    /// Returns whether a search is kept.
    #[cfg(test)]
    pub(crate) fn knows(&self, id: OrderId) -> bool {
        self.lock().searches.ids.contains(&id)
    }

    /// Returns whether a link has passed on all there is.
    pub(super) fn is_at_end(&self, cursor: &OrderCursor) -> bool {
        cursor.seen == self.count.load(Ordering::Acquire)
    }

    /// Returns the next search of another node that is to be carried out here.
    pub(crate) fn next_search(&self) -> Option<Arc<Order>> {
        self.lock().to_carry_out.pop_front()
    }

    /// Returns the stamp that writes of attributes come after, so that no search that this node knows
    /// of means them: who logs in again stays logged in, though the clock of the node that logged him
    /// out is ahead of this one (Lamport, Time, Clocks, and the Ordering of Events in a Distributed
    /// System).
    pub(super) fn last_meant(&self) -> Stamp {
        if Mutant::WriteBeforeSearches.is_on() {
            return Stamp::ZERO;
        }
        Stamp::new(self.last_meant.load(Ordering::Acquire)).unwrap_or_default()
    }

    /// Notes what a search means, unless that is so far ahead of this node's clock that later stamps
    /// might run out.
    fn note_meant(&self, order: &Order, now: Now) {
        let OrderContent::Search(search) = &order.content else {
            return;
        };
        let tomorrow = Now {
            wall_ms: now.wall_ms.saturating_add(ORDER_KEEP_MS),
            ..now
        };
        if Stamp::ZERO
            .next(tomorrow)
            .is_some_and(|most| search.upto <= most)
        {
            self.last_meant
                .fetch_max(search.upto.get(), Ordering::AcqRel);
        }
    }

    /// Returns what the kept orders for a session want to have proven.
    pub(super) fn proofs(&self, key: &SessionKey) -> Vec<Option<Proof>> {
        if self.named.load(Ordering::Acquire) == 0 || Mutant::ForgetOrders.is_on() {
            return Vec::new();
        }
        let kept = self.lock();
        let proofs = kept.by_key.get(key).into_iter().flatten();
        proofs.map(|(_, proof)| proof.clone()).collect()
    }

    /// Forgets the orders that no longer matter.
    pub(super) fn sweep(&self, now: Now) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut kept = self.lock();
        let mut gone = kept.searches.forget(now);
        gone.extend(kept.sessions.forget(now));
        gone.iter().for_each(|order| kept.forget(order));
        if kept.searches.orders.is_empty() {
            self.last_meant.store(0, Ordering::Release);
        }
        self.named.store(kept.by_key.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets what is known of an order that is not kept any more.
    fn forget(&mut self, order: &Order) {
        let OrderContent::Session { key, .. } = &order.content else {
            self.pending.remove(&order.id);
            if let OrderContent::Search(_) = &order.content {
                self.unsaved.note_departure(order.id);
            }
            return;
        };
        self.unsaved.note_departure(order.id);
        if let Some(named) = self.by_key.get_mut(key) {
            named.retain(|(id, _)| *id != order.id);
            if named.is_empty() {
                self.by_key.remove(key);
            }
        }
    }
}

impl Ring {
    /// Appends an order. Returns those that gave way, `None` if it is known already.
    fn push(
        &mut self,
        order: &Arc<Order>,
        from: Option<BootId>,
        most_bytes: usize,
    ) -> Option<Vec<Arc<Order>>> {
        if !self.ids.insert(order.id) {
            return None;
        }
        self.bytes += order.weight();
        let order = Arc::clone(order);
        self.orders.push_back(Arrived { order, from });
        self.count += 1;
        let mut gone = Vec::new();
        while self.bytes > most_bytes
            && let Some(oldest) = self.pop()
        {
            gone.push(oldest);
        }
        Some(gone)
    }

    fn pop(&mut self) -> Option<Arc<Order>> {
        let Arrived { order, .. } = self.orders.pop_front()?;
        self.bytes -= order.weight();
        self.ids.remove(&order.id);
        Some(order)
    }

    /// Drops those that have been kept for long enough. Their times are not in order: a peer that
    /// is met later brings older ones.
    fn forget(&mut self, now: Now) -> Vec<Arc<Order>> {
        let is_over = |arrived: &Arrived| {
            now.mono_ms.saturating_sub(arrived.order.issued_ms) >= ORDER_KEEP_MS
        };
        let mut gone = Vec::new();
        while self.orders.front().is_some_and(is_over) {
            gone.extend(self.pop());
        }
        gone
    }

    /// Returns what is behind `from`, and moves it on.
    fn after(&self, from: &mut u64, peer: BootId) -> Vec<Order> {
        let first = self.count - self.orders.len() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut at = first.max(*from);
        let mut orders = Vec::new();
        let mut bytes = 0;
        for Arrived { order, from } in self.orders.iter().skip(skip) {
            if bytes >= MESSAGE_BYTES {
                break;
            }
            at += 1;
            if *from == Some(peer) || order.hops >= MAX_HOPS {
                continue;
            }
            let is_own = from.is_none();
            if !is_own && Mutant::PassNoOrderOn.is_on() {
                continue;
            }
            bytes += order.weight();
            orders.push(Order {
                hops: order.hops + 1,
                ..(**order).clone()
            });
        }
        *from = at;
        orders
    }
}

/// Of orders that name a session.
const MAX_SESSION_BYTES: usize = 4 * 1024 * 1024;
/// Of searches and reports.
const MAX_SEARCHES_BYTES: usize = 1024 * 1024;
/// Searches that wait for those before them. Further ones are not taken.
const MAX_WAITING: usize = 64;
/// Of orders in one message, about.
const MESSAGE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{
        Search,
        fixtures::{NOW, boot},
    };

    fn order(number: u32) -> Order {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        Order {
            id: OrderId::from_bytes(id),
            issued_ms: NOW.mono_ms,
            hops: 0,
            content: OrderContent::Session {
                key: SessionKey::from_bytes(id),
                proof: None,
            },
        }
    }

    #[test]
    fn orders_are_bounded_and_the_oldest_give_way() {
        let orders = Orders::default();
        let most = u32::try_from(MAX_SESSION_BYTES / order(0).weight()).expect("some thousands");
        for number in 0..most + 10 {
            assert!(orders.add(order(number), None, NOW).is_some());
            assert!(orders.add(order(number), None, NOW).is_none(), "known");
        }
        let key = |number| match order(number).content {
            OrderContent::Session { key, .. } => key,
            _ => unreachable!("they name sessions"),
        };
        assert!(orders.proofs(&key(9)).is_empty());
        assert_eq!(orders.proofs(&key(10)), [None]);
        assert_eq!(orders.lock().by_key.len(), most as usize);
        let mut cursor = OrderCursor::default();
        let mut passed_on = 0;
        while !orders.is_at_end(&cursor) {
            let some = orders.next(&mut cursor, boot(1));
            assert!(some.iter().all(|order| order.hops == 1));
            passed_on += some.len();
        }
        assert_eq!(passed_on, most as usize);
        let later = Now {
            mono_ms: NOW.mono_ms + ORDER_KEEP_MS,
            ..NOW
        };
        orders.sweep(later);
        assert!(orders.lock().by_key.is_empty());
        assert!(orders.add(order(1), None, later).is_none(), "too old");
    }

    #[test]
    fn order_goes_back_to_nobody_and_not_on_for_ever() {
        let orders = Orders::default();
        orders.add(order(1), Some(boot(1)), NOW);
        let last = Order {
            hops: MAX_HOPS,
            ..order(2)
        };
        orders.add(last, Some(boot(1)), NOW);
        let mut cursor = OrderCursor::default();
        assert!(orders.next(&mut cursor, boot(1)).is_empty());
        let passed_on = orders.next(&mut OrderCursor::default(), boot(2));
        let ids: Vec<_> = passed_on.iter().map(|order| order.id).collect();
        assert_eq!(ids, [order(1).id]);
    }

    #[test]
    fn writes_come_after_searches_for_a_day_unless_their_clock_is_a_day_ahead() {
        let orders = Orders::default();
        let stamp = |ahead_ms: u64| {
            let wall_ms = NOW.wall_ms + ahead_ms;
            Stamp::ZERO
                .next(Now { wall_ms, ..NOW })
                .expect("far from the end")
        };
        let search = |number, upto| Order {
            content: OrderContent::Search(Search {
                context: "".into(),
                name: "user".into(),
                json: b"1".as_slice().into(),
                keep: None,
                upto,
            }),
            ..order(number)
        };
        assert_eq!(orders.last_meant(), Stamp::ZERO);
        orders.add(search(1, stamp(ORDER_KEEP_MS)), None, NOW);
        orders.add(search(2, stamp(ORDER_KEEP_MS + 1)), None, NOW);
        orders.add(search(3, Stamp::MAX), None, NOW);
        assert_eq!(orders.last_meant(), stamp(ORDER_KEEP_MS));
        let later = |ms| Now {
            mono_ms: NOW.mono_ms + ms,
            ..NOW
        };
        orders.sweep(later(ORDER_KEEP_MS - 1));
        assert_eq!(orders.last_meant(), stamp(ORDER_KEEP_MS));
        orders.sweep(later(ORDER_KEEP_MS));
        assert_eq!(orders.last_meant(), Stamp::ZERO);
    }

    #[test]
    fn searches_that_wait_are_bounded() {
        let orders = Orders::default();
        let search = |number| Order {
            content: OrderContent::Search(Search {
                context: "".into(),
                name: "user".into(),
                json: b"1".as_slice().into(),
                keep: None,
                upto: Stamp::MAX,
            }),
            ..order(number)
        };
        let taken = |number: usize| {
            let order = search(u32::try_from(number).expect("few"));
            orders.add(order, Some(boot(1)), NOW).is_some()
        };
        assert!((0..MAX_WAITING).all(taken));
        assert!(!taken(MAX_WAITING));
        assert!(orders.next_search().is_some());
        assert!(taken(MAX_WAITING));
    }
}
