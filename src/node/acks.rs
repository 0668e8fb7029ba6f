//! Requests that wait for acknowledgements.
//!
//! Nobody keeps a timer: a link that misses `ack_timeout` stops being counted on its own tick, and a
//! link that closes is removed at once; both release whoever waits for it.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::peer::LinkId;
use crate::{config::Ack, replica::LinkAcks, wire::message::Position};

/// What each link has acknowledged, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct AckBoard {
    /// Guards links and waiters together, so that no acknowledgement falls between a waiter's look
    /// and its registration. Never held while waking.
    inner: Mutex<Inner>,
}

impl AckBoard {
    /// Takes note of what a link's acknowledgements mean now. Call it under the link's lock, so that
    /// an older view never overwrites a newer one, and wake what it returns after unlocking.
    pub(super) fn set(&self, link: LinkId, acks: LinkAcks) -> Released {
        let mut inner = self.lock();
        inner.links.insert(link, acks);
        inner.release()
    }

    /// Another link to the same peer takes the place of one that works. Until it has something to say
    /// of its own, who waits for the peer goes on waiting as before.
    pub(super) fn hand_over(&self, from: LinkId, to: LinkId) -> Released {
        let mut inner = self.lock();
        if let Some(acks) = inner.links.remove(&from) {
            inner.links.entry(to).or_insert(acks);
        }
        inner.release()
    }

    /// The link is closed: nobody waits for it any more.
    pub(super) fn remove(&self, link: LinkId) -> Released {
        let mut inner = self.lock();
        inner.links.remove(&link);
        inner.release()
    }

    /// The output is the number of links that hold `position`; 0 when there is nothing to wait for.
    pub(super) fn wait(self: &Arc<Self>, position: Position, ack: Ack) -> AckWait {
        if position == 0 || ack == Ack::None {
            return AckWait(State::Done(0));
        }
        AckWait(State::New {
            board: Arc::clone(self),
            position,
            ack,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiters to wake once no lock is held.
#[derive(Debug)]
#[must_use = "the waiters sleep on until `wake` is called"]
pub(super) struct Released(Vec<Waker>);

impl Released {
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// Resolves when enough peers have acknowledged a position, or none is left to wait for. The output
/// is the number of peers that hold it. `Unpin`; dropping it stops waiting.
#[derive(Debug)]
pub(crate) struct AckWait(State);

#[derive(Debug)]
enum State {
    Done(usize),
    New {
        board: Arc<AckBoard>,
        position: Position,
        ack: Ack,
    },
    Waiting {
        board: Arc<AckBoard>,
        place: Place,
    },
}

/// Where a waiter stands: the queue of its kind, by position, then by number.
#[derive(Clone, Copy, Debug)]
struct Place {
    ack: Ack,
    key: (Position, u64),
}

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<LinkId, LinkAcks>,
    next: u64,
    for_all: BTreeMap<(Position, u64), Waker>,
    for_one: BTreeMap<(Position, u64), Waker>,
    /// Results that were not picked up yet, by number: kept, so that a link which comes up between
    /// the wake-up and the poll does not prolong the wait.
    done: BTreeMap<u64, usize>,
}

impl Inner {
    /// Up to which position no counted link is waited for: positions at or below a link's base are
    /// not waited for either.
    fn floor(&self) -> Position {
        let counted = self.links.values().filter(|acks| acks.counted);
        counted
            .map(|acks| acks.acked.max(acks.base))
            .min()
            .unwrap_or(Position::MAX)
    }

    fn holders(&self, position: Position) -> usize {
        let holds = |acks: &&LinkAcks| acks.base < position && position <= acks.acked;
        self.links.values().filter(holds).count()
    }

    fn is_over(&self, position: Position, ack: Ack) -> bool {
        position <= self.floor() || (ack == Ack::One && self.holders(position) > 0)
    }

    fn queue(&mut self, ack: Ack) -> &mut BTreeMap<(Position, u64), Waker> {
        match ack {
            Ack::One => &mut self.for_one,
            Ack::None | Ack::All => &mut self.for_all,
        }
    }

    fn release(&mut self) -> Released {
        let mut wakers = Vec::new();
        let floor = self.floor();
        while let Some(first) = self.for_all.first_entry()
            && first.key().0 <= floor
        {
            let ((position, number), waker) = first.remove_entry();
            self.done.insert(number, self.holders(position));
            wakers.push(waker);
        }
        let held = self.links.values().map(|acks| acks.acked).max();
        let last = floor.max(held.unwrap_or(0));
        let candidates = self.for_one.range(..=(last, u64::MAX));
        let over: Vec<(Position, u64)> = candidates
            .map(|(key, _)| *key)
            .filter(|key| self.is_over(key.0, Ack::One))
            .collect();
        for key in over {
            self.done.insert(key.1, self.holders(key.0));
            wakers.extend(self.for_one.remove(&key));
        }
        Released(wakers)
    }
}

impl Future for AckWait {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let (board, place) = match &self.0 {
            State::Done(holders) => return Poll::Ready(*holders),
            State::New {
                board,
                position,
                ack,
            } => {
                let mut inner = board.lock();
                if inner.is_over(*position, *ack) {
                    let holders = inner.holders(*position);
                    drop(inner);
                    self.0 = State::Done(holders);
                    return Poll::Ready(holders);
                }
                let key = (*position, inner.next);
                inner.next = inner.next.wrapping_add(1);
                inner.queue(*ack).insert(key, cx.waker().clone());
                drop(inner);
                (Arc::clone(board), Place { ack: *ack, key })
            }
            State::Waiting { board, place } => {
                let mut inner = board.lock();
                if let Some(holders) = inner.done.remove(&place.key.1) {
                    drop(inner);
                    self.0 = State::Done(holders);
                    return Poll::Ready(holders);
                }
                if let Some(waker) = inner.queue(place.ack).get_mut(&place.key) {
                    waker.clone_from(cx.waker());
                }
                return Poll::Pending;
            }
        };
        self.0 = State::Waiting { board, place };
        Poll::Pending
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        if let State::Waiting { board, place } = &self.0 {
            let mut inner = board.lock();
            inner.queue(place.ack).remove(&place.key);
            inner.done.remove(&place.key.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn acks(base: Position, acked: Position) -> LinkAcks {
        LinkAcks {
            base,
            acked,
            counted: true,
        }
    }

    const fn uncounted(base: Position, acked: Position) -> LinkAcks {
        LinkAcks {
            counted: false,
            ..acks(base, acked)
        }
    }

    fn board(links: &[(u64, LinkAcks)]) -> Arc<AckBoard> {
        let board = Arc::new(AckBoard::default());
        for (link, acks) in links {
            board.set(LinkId(*link), *acks).wake();
        }
        board
    }

    fn poll(wait: &mut AckWait) -> Poll<usize> {
        Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn nothing_to_wait_for_is_over_at_once() {
        let board = board(&[(1, acks(0, 0))]);
        assert_eq!(poll(&mut board.wait(0, Ack::All)), Poll::Ready(0));
        assert_eq!(poll(&mut board.wait(9, Ack::None)), Poll::Ready(0));
    }

    #[test]
    fn node_without_peers_waits_for_nobody() {
        let board = board(&[]);
        assert_eq!(poll(&mut board.wait(9, Ack::All)), Poll::Ready(0));
        assert_eq!(poll(&mut board.wait(9, Ack::One)), Poll::Ready(0));
    }

    #[test]
    fn all_waits_for_the_last_peer() {
        let board = board(&[(1, acks(0, 3)), (2, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(1), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(2), acks(0, 5)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(2));
    }

    #[test]
    fn one_waits_for_the_first_peer() {
        let board = board(&[(1, acks(0, 3)), (2, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(2), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn one_does_not_take_a_peer_that_skipped_the_position_for_a_holder() {
        let board = board(&[(1, acks(7, 9)), (2, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::One);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(1), acks(7, 10)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(2), acks(0, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn peer_is_not_waited_for_below_its_base() {
        let board = board(&[(1, acks(5, 5)), (2, acks(0, 4))]);
        assert_eq!(poll(&mut board.wait(4, Ack::All)), Poll::Ready(1));
        assert_eq!(poll(&mut board.wait(6, Ack::All)), Poll::Pending);
    }

    #[test]
    fn peer_that_closes_releases_its_waiters() {
        let board = board(&[(1, acks(0, 4)), (2, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.remove(LinkId(2)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn lagging_peer_releases_its_waiters_and_counts_again_later() {
        let board = board(&[(1, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(1), uncounted(0, 3)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(0));
        board.set(LinkId(1), acks(0, 4)).wake();
        assert_eq!(poll(&mut board.wait(4, Ack::All)), Poll::Ready(1));
        assert_eq!(poll(&mut board.wait(5, Ack::All)), Poll::Pending);
    }

    #[test]
    fn peer_whose_link_is_replaced_is_waited_for_all_the_same() {
        let board = board(&[(1, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.hand_over(LinkId(1), LinkId(2)).wake();
        assert_eq!(poll(&mut wait), Poll::Pending);
        assert_eq!(poll(&mut board.wait(5, Ack::All)), Poll::Pending);
        board.set(LinkId(2), acks(3, 4)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn link_that_comes_up_between_wake_and_poll_does_not_prolong_the_wait() {
        let board = board(&[(1, acks(0, 3))]);
        let mut wait = board.wait(4, Ack::All);
        assert_eq!(poll(&mut wait), Poll::Pending);
        board.set(LinkId(1), acks(0, 4)).wake();
        board.set(LinkId(2), acks(0, 0)).wake();
        assert_eq!(poll(&mut wait), Poll::Ready(1));
    }

    #[test]
    fn dropped_waiters_leave_nothing_behind() {
        let board = board(&[(1, acks(0, 3))]);
        for ack in [Ack::One, Ack::All] {
            let mut wait = board.wait(4, ack);
            assert_eq!(poll(&mut wait), Poll::Pending);
            drop(wait);
            let mut woken = board.wait(4, ack);
            assert_eq!(poll(&mut woken), Poll::Pending);
            board.set(LinkId(1), acks(0, 4)).wake();
            drop(woken);
            board.set(LinkId(1), acks(0, 3)).wake();
        }
        let inner = board.lock();
        assert!(inner.for_all.is_empty() && inner.for_one.is_empty() && inner.done.is_empty());
    }
}
