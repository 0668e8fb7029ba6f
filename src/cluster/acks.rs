//! Requests that wait for acknowledgements.
//!
//! No request keeps a timer. A link that misses `ack_timeout` stops being counted on its own tick,
//! and a link that closes is removed at once. Both release whoever waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use slab::Slab;

use super::link::LinkId;
use crate::{config::Ack, replica::LinkAcks, session::Mutant, wire::Position};

/// Tracks what each link has acknowledged, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct AckTracker {
    /// Guards links and waiters together, so that no acknowledgement falls between a waiter's look
    /// and its registration. Never held while waking.
    inner: Mutex<Inner>,
    /// How many links are tracked, so that a node without any need not look.
    links: AtomicUsize,
}

impl AckTracker {
    /// Notes what a link's acknowledgements mean now. Call it under the link's lock, so that an older
    /// view never overwrites a newer one. Wake what it returns after unlocking.
    pub(crate) fn set(&self, link: LinkId, acks: LinkAcks) -> Released {
        self.change(|inner| {
            inner.put(link, Some(acks));
        })
    }

    /// Lets another link to the same peer take the place of one that works. Until the new one has
    /// something to say of its own, who waits for the peer goes on waiting as before.
    pub(crate) fn hand_over(&self, from: LinkId, to: LinkId) -> Released {
        self.change(|inner| {
            let acks = inner.put(from, None);
            let acks = acks.filter(|_| !Mutant::ForgetReplaced.is_on());
            if acks.is_some() && !inner.links.contains_key(&to) {
                inner.put(to, acks);
            }
        })
    }

    /// Forgets a link that is closed, so that nobody waits for it any more.
    pub(crate) fn remove(&self, link: LinkId) -> Released {
        self.change(|inner| {
            inner.put(link, None);
        })
    }

    /// Waits for `position`. The output is the number of links that hold it; it is 0 at once when
    /// there is nothing to wait for.
    pub(crate) fn wait(self: &Arc<Self>, position: Option<Position>, ack: Ack) -> AckWait {
        let is_lonely = || self.links.load(Ordering::Acquire) == 0;
        let Some(position) = position.filter(|_| ack != Ack::None && !is_lonely()) else {
            return AckWait(WaitState::Done(0));
        };
        AckWait(WaitState::New {
            tracker: Arc::clone(self),
            position,
            ack,
        })
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) -> Released {
        let mut inner = self.lock();
        change(&mut inner);
        self.links.store(inner.links.len(), Ordering::Release);
        inner.release()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiters to wake once no lock is held.
#[derive(Debug, Default)]
#[must_use = "the waiters sleep on until `wake` is called"]
pub(crate) struct Released(Vec<Waker>);

impl Released {
    /// Wakes all of them.
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// A future that is ready when enough peers have acknowledged a position, or none is left to wait
/// for. The output is the number of peers that hold it.
///
/// # Cancel safety
///
/// Dropping the future stops waiting.
#[derive(Debug)]
pub(crate) struct AckWait(WaitState);

#[derive(Debug)]
enum WaitState {
    Done(usize),
    New {
        tracker: Arc<AckTracker>,
        position: Position,
        ack: Ack,
    },
    Waiting {
        tracker: Arc<AckTracker>,
        ticket: Ticket,
    },
}

/// Where a waiter stands: the queue of its kind, the position in it, and its slot.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    ack: Ack,
    position: Position,
    slot: usize,
}

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<LinkId, LinkAcks>,
    watermark: Watermark,
    /// Positions that somebody waits for, ascending, with the waiter's slot. Nearly all come in that
    /// order and go in it.
    for_all: VecDeque<(Position, usize)>,
    for_one: VecDeque<(Position, usize)>,
    /// A slot for each future that has not got its result.
    waiters: Slab<Waiter>,
}

/// Up to which position no counted link is waited for.
#[derive(Debug)]
struct Watermark {
    position: Option<Position>,
    /// How many counted links stand there. Only when the last of them moves, all are looked at.
    links: usize,
}

impl Default for Watermark {
    /// Returns that of no link.
    fn default() -> Self {
        Self {
            position: Some(Position::MAX),
            links: 0,
        }
    }
}

#[derive(Debug)]
enum Waiter {
    Queued(Waker),
    /// Kept until it is picked up, so that a link which comes up between the wake-up and the poll
    /// does not prolong the wait.
    Over(usize),
}

impl Inner {
    /// Notes what a link has acknowledged, or that it is gone. Returns what was noted of it.
    fn put(&mut self, link: LinkId, acks: Option<LinkAcks>) -> Option<LinkAcks> {
        let old = match acks {
            Some(acks) => self.links.insert(link, acks),
            None => self.links.remove(&link),
        };
        let before = old.and_then(standing);
        let after = acks.and_then(standing);
        if before == after {
            return old;
        }
        let watermark = &mut self.watermark;
        if before == Some(watermark.position) {
            watermark.links -= 1;
        }
        if after == Some(watermark.position) {
            watermark.links += 1;
        } else if let Some(position) = after.filter(|after| *after < watermark.position) {
            *watermark = Watermark { position, links: 1 };
        }
        if watermark.links == 0 {
            self.watermark = self.find_watermark();
        }
        old
    }

    fn find_watermark(&self) -> Watermark {
        let mut watermark = Watermark::default();
        for position in self.links.values().copied().filter_map(standing) {
            if position < watermark.position {
                watermark = Watermark { position, links: 0 };
            }
            watermark.links += usize::from(position == watermark.position);
        }
        watermark
    }

    /// Counts the links whose peers hold a position. What a peer skipped does not count.
    fn holders(&self, position: Position) -> usize {
        let position = Some(position);
        let holds = |acks: &&LinkAcks| acks.base < position && position <= acks.acked;
        self.links.values().filter(holds).count()
    }

    fn is_over(&self, position: Position, ack: Ack) -> bool {
        Some(position) <= self.watermark.position || (ack == Ack::One && self.holders(position) > 0)
    }

    fn queue(&mut self, ack: Ack) -> &mut VecDeque<(Position, usize)> {
        match ack {
            Ack::One => &mut self.for_one,
            Ack::None | Ack::All => &mut self.for_all,
        }
    }

    fn enqueue(&mut self, position: Position, ack: Ack, waker: Waker) -> Ticket {
        let slot = self.waiters.insert(Waiter::Queued(waker));
        let queue = self.queue(ack);
        let at = match queue.back() {
            Some(last) if last.0 > position => queue.partition_point(|entry| entry.0 <= position),
            _ => queue.len(),
        };
        queue.insert(at, (position, slot));
        Ticket {
            ack,
            position,
            slot,
        }
    }

    fn forget(&mut self, ticket: Ticket) {
        if let Waiter::Over(_) = self.waiters.remove(ticket.slot) {
            return;
        }
        let queue = self.queue(ticket.ack);
        let first = queue.partition_point(|entry| entry.0 < ticket.position);
        let mut behind = queue.range(first..);
        if let Some(at) = behind.position(|entry| entry.1 == ticket.slot) {
            queue.remove(first + at);
        }
    }

    /// Ends the waits that are over. Those for all peers end in the order of their positions, so the
    /// first that goes on ends the search. Those for one peer do not: a link may hold a later position
    /// and have skipped an earlier one.
    fn release(&mut self) -> Released {
        let mut wakers = Vec::new();
        let watermark = self.watermark.position;
        while let Some(&(position, slot)) = self.for_all.front()
            && Some(position) <= watermark
        {
            self.for_all.pop_front();
            wakers.extend(self.end(position, slot));
        }
        if self.for_one.is_empty() {
            return Released(wakers);
        }
        let held = self.links.values().map(|acks| acks.acked).max();
        let last = watermark.max(held.flatten());
        let mut at = 0;
        while let Some(&(position, slot)) = self.for_one.get(at)
            && Some(position) <= last
        {
            if self.is_over(position, Ack::One) {
                self.for_one.remove(at);
                wakers.extend(self.end(position, slot));
            } else {
                at += 1;
            }
        }
        Released(wakers)
    }

    /// Ends a wait. Returns whom to wake.
    fn end(&mut self, position: Position, slot: usize) -> Option<Waker> {
        let over = Waiter::Over(self.holders(position));
        match std::mem::replace(self.waiters.get_mut(slot)?, over) {
            Waiter::Queued(waker) => Some(waker),
            Waiter::Over(_) => None,
        }
    }
}

/// Returns up to which position a link is not waited for, `None` when it is not counted. Positions at
/// or below its base are not waited for either: the peer skipped them, and gets them by repair.
fn standing(acks: LinkAcks) -> Option<Option<Position>> {
    acks.counted.then(|| acks.acked.max(acks.base))
}

impl Future for AckWait {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let (tracker, ticket) = match &self.0 {
            WaitState::Done(holders) => return Poll::Ready(*holders),
            WaitState::New {
                tracker,
                position,
                ack,
            } => {
                let mut inner = tracker.lock();
                if inner.is_over(*position, *ack) {
                    let holders = inner.holders(*position);
                    drop(inner);
                    self.0 = WaitState::Done(holders);
                    return Poll::Ready(holders);
                }
                let ticket = inner.enqueue(*position, *ack, cx.waker().clone());
                drop(inner);
                (Arc::clone(tracker), ticket)
            }
            WaitState::Waiting { tracker, ticket } => {
                let mut inner = tracker.lock();
                let slot = ticket.slot;
                match &mut inner.waiters[slot] {
                    Waiter::Queued(waker) => {
                        waker.clone_from(cx.waker());
                        return Poll::Pending;
                    }
                    Waiter::Over(holders) => {
                        let holders = *holders;
                        inner.waiters.remove(slot);
                        drop(inner);
                        self.0 = WaitState::Done(holders);
                        return Poll::Ready(holders);
                    }
                }
            }
        };
        self.0 = WaitState::Waiting { tracker, ticket };
        Poll::Pending
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        if let WaitState::Waiting { tracker, ticket } = &self.0 {
            tracker.lock().forget(*ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn acks(base: u64, acked: u64) -> LinkAcks {
        LinkAcks {
            base: Position::new(base),
            acked: Position::new(acked),
            counted: true,
        }
    }

    const fn uncounted(base: u64, acked: u64) -> LinkAcks {
        LinkAcks {
            counted: false,
            ..acks(base, acked)
        }
    }

    fn tracker(links: &[(u64, LinkAcks)]) -> Arc<AckTracker> {
        let tracker = Arc::new(AckTracker::default());
        for (link, acks) in links {
            tracker.set(LinkId(*link), *acks).wake();
        }
        tracker
    }

    fn poll(wait: &mut AckWait) -> Poll<usize> {
        Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
    }

    proptest! {
        #[test]
        fn watermark_is_that_of_the_slowest_link_whatever_happens(
            steps in prop::collection::vec(
                (0..5_u64, 0..4_u64, 0..6_u64, any::<bool>(), 0..8_u8),
                0..200,
            ),
        ) {
            let mut inner = Inner::default();
            for (link, base, acked, counted, kind) in steps {
                let acks = LinkAcks { counted, ..acks(base, acked) };
                inner.put(LinkId(link), (kind > 0).then_some(acks));
                let found = inner.find_watermark();
                prop_assert_eq!(inner.watermark.position, found.position);
                prop_assert_eq!(inner.watermark.links, found.links);
            }
        }
    }

    #[test]
    fn nothing_to_wait_for_is_over_at_once() {
        let tracker = tracker(&[(1, acks(0, 0))]);
        assert_eq!(
            poll(&mut tracker.wait(Position::new(0), Ack::All)),
            Poll::Ready(0)
        );
        assert_eq!(
            poll(&mut tracker.wait(Position::new(9), Ack::None)),
            Poll::Ready(0)
        );
    }

    #[test]
    fn node_without_peers_waits_for_nobody() {
        let tracker = tracker(&[]);
        assert_eq!(
            poll(&mut tracker.wait(Position::new(9), Ack::All)),
            Poll::Ready(0)
        );
        assert_eq!(
            poll(&mut tracker.wait(Position::new(9), Ack::One)),
            Poll::Ready(0)
        );
    }

    #[test]
    fn all_waits_for_the_last_peer() {
        let tracker = tracker(&[(1, acks(0, 3)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(1), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(2), acks(0, 5)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(2));
    }

    #[test]
    fn one_waits_for_the_first_peer() {
        let tracker = tracker(&[(1, acks(0, 3)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(2), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn one_does_not_take_a_peer_that_skipped_the_position_for_a_holder() {
        let tracker = tracker(&[(1, acks(7, 9)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(1), acks(7, 10)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(2), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn peer_is_not_waited_for_below_its_base() {
        let tracker = tracker(&[(1, acks(5, 5)), (2, acks(0, 4))]);
        assert_eq!(
            poll(&mut tracker.wait(Position::new(4), Ack::All)),
            Poll::Ready(1)
        );
        assert_eq!(
            poll(&mut tracker.wait(Position::new(6), Ack::All)),
            Poll::Pending
        );
    }

    #[test]
    fn peer_that_closes_releases_its_waiters() {
        let tracker = tracker(&[(1, acks(0, 4)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.remove(LinkId(2)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn lagging_peer_releases_its_waiters_and_counts_again_later() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(1), uncounted(0, 3)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(0));
        tracker.set(LinkId(1), acks(0, 4)).wake();
        assert_eq!(
            poll(&mut tracker.wait(Position::new(4), Ack::All)),
            Poll::Ready(1)
        );
        assert_eq!(
            poll(&mut tracker.wait(Position::new(5), Ack::All)),
            Poll::Pending
        );
    }

    #[test]
    fn peer_whose_link_is_replaced_is_waited_for_all_the_same() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.hand_over(LinkId(1), LinkId(2)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        assert_eq!(
            poll(&mut tracker.wait(Position::new(5), Ack::All)),
            Poll::Pending
        );
        tracker.set(LinkId(2), acks(3, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn link_that_comes_up_between_wake_and_poll_does_not_prolong_the_wait() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.set(LinkId(1), acks(0, 4)).wake();
        tracker.set(LinkId(2), acks(0, 0)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn dropped_waiters_leave_nothing_behind() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        for ack in [Ack::One, Ack::All] {
            let mut wait = tracker.wait(Position::new(4), ack);
            assert_eq!(poll(&mut wait), Poll::Pending);
            drop(wait);
            let mut woken = tracker.wait(Position::new(4), ack);
            assert_eq!(poll(&mut woken), Poll::Pending);
            tracker.set(LinkId(1), acks(0, 4)).wake();
            drop(woken);
            tracker.set(LinkId(1), acks(0, 3)).wake();
        }
        let inner = tracker.lock();
        assert!(inner.for_all.is_empty() && inner.for_one.is_empty() && inner.waiters.is_empty());
    }
}
