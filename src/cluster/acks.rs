//! Requests that wait for acknowledgements, and for this node's own disk.
//!
//! No request keeps a timer. A peer that misses `ack_timeout` stops being counted on its link's tick.
//! One whose link broke is waited for until another link speaks for it, for `ack_timeout` at most:
//! the peer is mostly still there, and a moment later it says how much it has. One that has left, or
//! whose process is gone, is forgotten at once.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use slab::Slab;

use super::{disk_standing::DiskStanding, link::LinkId};
use crate::{
    config::Ack,
    replica::LinkAcks,
    session::{BootId, Mutant, Now},
    wire::Position,
};

/// Tracks what each peer has acknowledged, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct AckTracker {
    /// Guards peers and waiters together, so that no acknowledgement falls between a waiter's look
    /// and its registration. Never held while waking.
    inner: Mutex<Inner>,
    /// How many peers are tracked, so that a node without any need not look.
    peers: AtomicUsize,
    /// Whether responses wait for the disk, whatever they ask of peers.
    awaits_disk: AtomicBool,
}

impl AckTracker {
    /// Notes what the acknowledgements of a peer mean now by its open link. Call it under the link's
    /// lock, so that an older view never overwrites a newer one. Wake what it returns after unlocking.
    pub(crate) fn set(&self, peer: BootId, link: LinkId, acks: LinkAcks) -> Released {
        let tracked = Tracked {
            acks,
            link,
            lost_until_ms: None,
        };
        self.change(|inner| inner.put(peer, Some(tracked)))
    }

    /// Notes that a link is over and its peer may still be there. Who waits for the peer goes on
    /// waiting, until another link speaks for it, but not longer than this.
    pub(crate) fn lose(&self, peer: BootId, link: LinkId, until_ms: u64) -> Released {
        self.change(|inner| match inner.peers.get_mut(&peer) {
            Some(tracked) if tracked.link == link => {
                tracked.lost_until_ms.get_or_insert(until_ms);
            }
            Some(_) | None => {}
        })
    }

    /// Forgets a peer that is gone, so that nobody waits for it any more. `link` is that by which this
    /// became known; while another one speaks for the peer, it is there.
    pub(crate) fn forget(&self, peer: BootId, link: Option<LinkId>) -> Released {
        self.change(|inner| {
            let tracked = inner.peers.get(&peer);
            if tracked.is_some_and(|tracked| tracked.is_lost() || Some(tracked.link) == link) {
                inner.put(peer, None);
            }
        })
    }

    /// Lets time pass: forgets peers that were lost for too long. For the others nobody waits longer
    /// with what is as old as `overdue`.
    pub(crate) fn tick(&self, overdue: Option<Position>, now: Now) -> Released {
        self.change(|inner| {
            for peer in inner.lost() {
                inner.pass_time(peer, overdue, now);
            }
        })
    }

    /// Returns whether a peer is waited for whose link is over.
    pub(crate) fn is_lost(&self, peer: BootId) -> bool {
        self.lock().peers.get(&peer).is_some_and(Tracked::is_lost)
    }

    /// Gives lost peers time anew: this process was stopped while it ran out. Returns them.
    pub(crate) fn renew(&self, until_ms: u64) -> Vec<BootId> {
        let mut inner = self.lock();
        let lost = inner.lost();
        if Mutant::CountStoppedTime.is_on() {
            return lost;
        }
        for peer in inner.peers.values_mut().filter(|peer| peer.is_lost()) {
            peer.lost_until_ms = Some(until_ms);
        }
        lost
    }

    /// Has responses wait for this node's disk, too, from now on.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn await_disk(&self) {
        self.lock().disk.await_it();
        self.awaits_disk.store(true, Ordering::Release);
    }

    /// Notes that the changes up to a position cannot be lost with this process any more.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn saved(&self, position: Option<Position>) -> Released {
        self.change(|inner| inner.disk.save(position))
    }

    /// Notes that the disk fails. Nobody waits for it until it has [saved](Self::saved) what there
    /// is.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn disk_fails(&self) -> Released {
        self.change(|inner| inner.disk.fail())
    }

    /// Lets a tick pass for the disk. Nobody waits longer for it than that.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn tick_disk(
        &self,
        head: Option<Position>,
        ack_timeout_ms: u64,
        now: Now,
    ) -> Released {
        self.change(|inner| inner.disk.tick(head, ack_timeout_ms, now))
    }

    /// Returns whether responses wait for the disk.
    #[cfg(test)]
    pub(crate) fn is_disk_counted(&self) -> bool {
        let inner = self.lock();
        inner.disk.is_awaited() && inner.disk.watermark() < Some(Position::MAX)
    }

    /// Waits for `position`: until the peers hold it that `ack` asks for, and this node's disk where
    /// responses wait for that. The output is the number of peers that hold it; it is 0 at once
    /// when there is nothing to wait for.
    pub(crate) fn wait(self: &Arc<Self>, position: Option<Position>, ack: Ack) -> AckWait {
        let is_lonely = || self.peers.load(Ordering::Acquire) == 0;
        let awaits_peers = || ack != Ack::None && !is_lonely();
        let awaits_disk = || {
            let skips = Mutant::SkipDiskAlone.is_on() && is_lonely();
            self.awaits_disk.load(Ordering::Acquire) && !skips
        };
        let Some(position) = position.filter(|_| awaits_peers() || awaits_disk()) else {
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
        self.peers.store(inner.peers.len(), Ordering::Release);
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
    peers: BTreeMap<BootId, Tracked>,
    watermark: Watermark,
    disk: DiskStanding,
    /// Positions that somebody waits for, ascending, with the waiter's slot. Nearly all come in that
    /// order and go in it.
    for_all: VecDeque<(Position, usize)>,
    for_one: VecDeque<(Position, usize)>,
    for_none: VecDeque<(Position, usize)>,
    /// A slot for each future that has not got its result.
    waiters: Slab<Waiter>,
}

/// A peer that has, or had, an open link.
#[derive(Clone, Copy, Debug)]
struct Tracked {
    acks: LinkAcks,
    /// The link by which this is known.
    link: LinkId,
    /// Until when the peer is waited for all the same, once that link is over.
    lost_until_ms: Option<u64>,
}

/// Up to which position no counted peer is waited for.
#[derive(Debug)]
struct Watermark {
    position: Option<Position>,
    /// How many counted peers stand there. Only when the last of them moves, all are looked at.
    peers: usize,
}

impl Default for Watermark {
    /// Returns that of no peer.
    fn default() -> Self {
        Self {
            position: Some(Position::MAX),
            peers: 0,
        }
    }
}

#[derive(Debug)]
enum Waiter {
    Queued(Waker),
    /// Kept until it is picked up, so that a peer which comes up between the wake-up and the poll
    /// does not prolong the wait.
    Over(usize),
}

impl Inner {
    /// Notes what a peer has acknowledged, or that it is gone.
    fn put(&mut self, peer: BootId, tracked: Option<Tracked>) {
        let old = match tracked {
            Some(tracked) => self.peers.insert(peer, tracked),
            None => self.peers.remove(&peer),
        };
        let before = old.and_then(Tracked::standing);
        let after = tracked.and_then(Tracked::standing);
        if before == after {
            return;
        }
        let watermark = &mut self.watermark;
        if before == Some(watermark.position) {
            watermark.peers -= 1;
        }
        if after == Some(watermark.position) {
            watermark.peers += 1;
        } else if let Some(position) = after.filter(|after| *after < watermark.position) {
            *watermark = Watermark { position, peers: 1 };
        }
        if watermark.peers == 0 {
            self.watermark = self.find_watermark();
        }
    }

    fn find_watermark(&self) -> Watermark {
        let mut watermark = Watermark::default();
        for position in self.peers.values().copied().filter_map(Tracked::standing) {
            if position < watermark.position {
                watermark = Watermark { position, peers: 0 };
            }
            watermark.peers += usize::from(position == watermark.position);
        }
        watermark
    }

    fn lost(&self) -> Vec<BootId> {
        let lost = self.peers.iter().filter(|(_, peer)| peer.is_lost());
        lost.map(|(boot, _)| *boot).collect()
    }

    /// Lets time pass for a lost peer.
    fn pass_time(&mut self, peer: BootId, overdue: Option<Position>, now: Now) {
        let Some(mut tracked) = self.peers.get(&peer).copied() else {
            return;
        };
        let Some(until_ms) = tracked.lost_until_ms else {
            return;
        };
        tracked.acks.base = tracked.acks.base.max(overdue);
        self.put(peer, (now.mono_ms < until_ms).then_some(tracked));
    }

    /// Counts the peers that hold a position. What a peer skipped does not count.
    fn holders(&self, position: Position) -> usize {
        let position = Some(position);
        let holds =
            |Tracked { acks, .. }: &&Tracked| acks.base < position && position <= acks.acked;
        self.peers.values().filter(holds).count()
    }

    fn is_over(&self, position: Position, ack: Ack) -> bool {
        let is_saved = Some(position) <= self.disk.watermark();
        is_saved
            && match ack {
                Ack::None => true,
                Ack::One => Some(position) <= self.watermark.position || self.holders(position) > 0,
                Ack::All => Some(position) <= self.watermark.position,
            }
    }

    fn queue(&mut self, ack: Ack) -> &mut VecDeque<(Position, usize)> {
        match ack {
            Ack::One => &mut self.for_one,
            Ack::All => &mut self.for_all,
            Ack::None => &mut self.for_none,
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

    /// Ends the waits that are over. Those for all peers and for none end in the order of their
    /// positions, so the first that goes on ends the search. Those for one peer do not: a peer may hold
    /// a later position and have skipped an earlier one.
    fn release(&mut self) -> Released {
        let mut wakers = Vec::new();
        let saved = self.disk.watermark();
        let watermark = self.watermark.position;
        while let Some(&(position, slot)) = self.for_all.front()
            && Some(position) <= watermark.min(saved)
        {
            self.for_all.pop_front();
            wakers.extend(self.end(position, slot));
        }
        while let Some(&(position, slot)) = self.for_none.front()
            && Some(position) <= saved
        {
            self.for_none.pop_front();
            wakers.extend(self.end(position, slot));
        }
        if self.for_one.is_empty() {
            return Released(wakers);
        }
        let held = self.peers.values().map(|peer| peer.acks.acked).max();
        let last = watermark.max(held.flatten()).min(saved);
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

impl Tracked {
    /// Returns up to which position the peer is not waited for, `None` when it is not counted.
    /// Positions at or below its base are not waited for either: the peer skipped them, and gets them
    /// by repair.
    fn standing(self) -> Option<Option<Position>> {
        let acks = self.acks;
        acks.counted.then(|| acks.acked.max(acks.base))
    }

    const fn is_lost(&self) -> bool {
        self.lost_until_ms.is_some()
    }
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

    fn tracker(peers: &[(u8, LinkAcks)]) -> Arc<AckTracker> {
        let tracker = Arc::new(AckTracker::default());
        for (peer, acks) in peers {
            set(&tracker, *peer, *acks);
        }
        tracker
    }

    /// Each peer has one link, of its own number.
    fn set(tracker: &AckTracker, peer: u8, acks: LinkAcks) {
        tracker.set(boot(peer), LinkId(peer.into()), acks).wake();
    }

    const fn boot(peer: u8) -> BootId {
        BootId::from_bytes([peer; 8])
    }

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    fn poll(wait: &mut AckWait) -> Poll<usize> {
        Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
    }

    proptest! {
        #[test]
        fn watermark_is_that_of_the_slowest_peer_whatever_happens(
            steps in prop::collection::vec(
                (0..5_u8, 0..4_u64, 0..6_u64, any::<bool>(), 0..8_u8),
                0..200,
            ),
        ) {
            let mut inner = Inner::default();
            for (peer, base, acked, counted, kind) in steps {
                let tracked = Tracked {
                    acks: LinkAcks { counted, ..acks(base, acked) },
                    link: LinkId(0),
                    lost_until_ms: None,
                };
                inner.put(boot(peer), (kind > 0).then_some(tracked));
                let found = inner.find_watermark();
                prop_assert_eq!(inner.watermark.position, found.position);
                prop_assert_eq!(inner.watermark.peers, found.peers);
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
        set(&tracker, 1, acks(0, 4));
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 2, acks(0, 5));
        assert_eq!(poll(&mut wait), Poll::Ready(2));
    }

    #[test]
    fn one_waits_for_the_first_peer() {
        let tracker = tracker(&[(1, acks(0, 3)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 2, acks(0, 4));
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn one_does_not_take_a_peer_that_skipped_the_position_for_a_holder() {
        let tracker = tracker(&[(1, acks(7, 9)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 1, acks(7, 10));
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 2, acks(0, 4));
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
    fn peer_that_is_gone_releases_its_waiters() {
        let tracker = tracker(&[(1, acks(0, 4)), (2, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.forget(boot(2), None).wake();
        assert_eq!(poll(&mut wait), Poll::Pending, "it has a link");
        tracker.forget(boot(2), Some(LinkId(2))).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn peer_whose_link_broke_is_waited_for_until_another_link_speaks_for_it() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.lose(boot(1), LinkId(1), 1_000).wake();
        let mut later = tracker.wait(Position::new(5), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        assert_eq!(poll(&mut later), Poll::Pending);
        tracker.set(boot(1), LinkId(2), acks(3, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
        tracker.tick(None, at(2_000)).wake();
        assert_eq!(poll(&mut later), Poll::Pending, "it has a link");
        tracker.set(boot(1), LinkId(2), acks(3, 5)).wake();
        assert_eq!(poll(&mut later), Poll::Ready(1));
    }

    #[test]
    fn peer_without_a_link_is_waited_for_until_it_has_had_the_time() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        tracker.lose(boot(1), LinkId(1), 1_000).wake();
        let waits = [4, 5].map(|number| tracker.wait(Position::new(number), Ack::All));
        let [mut first, mut second] = waits;
        assert_eq!(poll(&mut first), Poll::Pending);
        assert_eq!(poll(&mut second), Poll::Pending);
        tracker.tick(Position::new(4), at(900)).wake();
        assert_eq!(
            poll(&mut first),
            Poll::Ready(0),
            "it has waited long enough"
        );
        assert_eq!(poll(&mut second), Poll::Pending);
        // A link that breaks before it has said anything gives no more time.
        tracker.lose(boot(1), LinkId(2), 1_900).wake();
        tracker.lose(boot(1), LinkId(1), 1_900).wake();
        tracker.tick(None, at(1_000)).wake();
        assert_eq!(poll(&mut second), Poll::Ready(0));
        let mut next = tracker.wait(Position::new(6), Ack::All);
        assert_eq!(poll(&mut next), Poll::Ready(0), "nobody waits anew");
    }

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count() {
        let tracker = tracker(&[(1, acks(0, 3)), (2, acks(0, 9))]);
        tracker.lose(boot(1), LinkId(1), 1_000).wake();
        assert_eq!(tracker.renew(3_000), [boot(1)]);
        tracker.tick(None, at(2_999)).wake();
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        tracker.tick(None, at(3_000)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn lagging_peer_releases_its_waiters_and_counts_again_later() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 1, uncounted(0, 3));
        assert_eq!(poll(&mut wait), Poll::Ready(0));
        set(&tracker, 1, acks(0, 4));
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
    fn peer_that_comes_up_between_wake_and_poll_does_not_prolong_the_wait() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        let mut wait = tracker.wait(Position::new(4), Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        set(&tracker, 1, acks(0, 4));
        set(&tracker, 2, acks(0, 0));
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
            set(&tracker, 1, acks(0, 4));
            drop(woken);
            set(&tracker, 1, acks(0, 3));
        }
        let inner = tracker.lock();
        assert!(inner.for_all.is_empty() && inner.for_one.is_empty() && inner.waiters.is_empty());
    }

    /// Whatever a response asks of peers, and whether there are any.
    #[test]
    fn response_waits_for_the_disk_whatever_it_asks_of_peers() {
        for ack in [Ack::None, Ack::One, Ack::All] {
            for peers in [&[][..], &[(1, acks(0, 9))]] {
                let tracker = tracker(peers);
                tracker.await_disk();
                let mut wait = tracker.wait(Position::new(4), ack);
                assert_eq!(poll(&mut wait), Poll::Pending, "{ack:?}");
                tracker.saved(Position::new(3)).wake();
                assert_eq!(poll(&mut wait), Poll::Pending, "{ack:?}");
                tracker.saved(Position::new(4)).wake();
                assert_eq!(poll(&mut wait), Poll::Ready(peers.len()), "{ack:?}");
                let mut next = tracker.wait(Position::new(5), ack);
                assert_eq!(poll(&mut next), Poll::Pending);
                tracker.disk_fails().wake();
                assert_eq!(poll(&mut next), Poll::Ready(peers.len()));
                let mut next = tracker.wait(Position::new(6), ack);
                assert_eq!(poll(&mut next), Poll::Ready(peers.len()), "it fails");
            }
        }
    }

    #[test]
    fn response_waits_for_peers_when_the_disk_is_quicker() {
        let tracker = tracker(&[(1, acks(0, 3))]);
        tracker.await_disk();
        tracker.saved(Position::new(9)).wake();
        for ack in [Ack::One, Ack::All] {
            let mut wait = tracker.wait(Position::new(4), ack);
            assert_eq!(poll(&mut wait), Poll::Pending);
            set(&tracker, 1, acks(0, 4));
            assert_eq!(poll(&mut wait), Poll::Ready(1));
            set(&tracker, 1, acks(0, 3));
        }
        let mut wait = tracker.wait(Position::new(4), Ack::None);
        assert_eq!(poll(&mut wait), Poll::Ready(0));
    }
}
