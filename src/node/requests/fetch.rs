//! Asking peers for single sessions, as `cluster::PendingFetches` decides it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::pending::FetchWaiter;
use crate::node::{Node, peers::link::PeerLink};
use crate::{
    cluster::{FetchReason, FetchStep, LinkId, OtherPeers, Provenance},
    session::SessionKey,
};

/// A peer was asked, and its link closed before it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkClosed;

impl Node {
    /// Asks all peers for a session that is not here, those that are still being dialled as soon as
    /// they are there. Returns when an answer was merged, nobody has it, or 500 ms are over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting.
    pub(crate) async fn find(&self, key: SessionKey) {
        self.await_first_link().await;
        let fetches = &self.requests.fetches;
        let entered = fetches.enter(key, FetchReason::Absent, Provenance::Known);
        let Some(mut waiter) = entered else {
            return;
        };
        let asked = self.ask_until(&mut waiter, || self.read(&key, |_| ()).is_ok());
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, asked).await;
    }

    /// Asks peers for sessions that may be held here. Returns when all peers have answered for all
    /// of them and the answers were merged, or 500 ms are over.
    ///
    /// # Errors
    ///
    /// [`LinkClosed`] if a link closed before it brought an answer: there may be a new one to ask.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting.
    pub(super) async fn ask_all(&self, keys: &[SessionKey]) -> Result<(), LinkClosed> {
        self.await_first_link().await;
        let answers = join_all(keys.iter().map(|key| self.ask_again(*key))).await;
        answers.into_iter().collect()
    }

    async fn ask_again(&self, key: SessionKey) -> Result<(), LinkClosed> {
        let provenance = match self.read(&key, |_| ()) {
            Ok(()) => Provenance::Known,
            Err(_) => Provenance::Unverified,
        };
        let fetches = &self.requests.fetches;
        let Some(mut waiter) = fetches.enter(key, FetchReason::Stall, provenance) else {
            return Ok(());
        };
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, self.ask_until(&mut waiter, || false)).await;
        if waiter.is_torn() {
            return Err(LinkClosed);
        }
        Ok(())
    }

    /// Asks peers until `is_there` or all have answered.
    pub(super) async fn ask_until(
        &self,
        waiter: &mut FetchWaiter<'_>,
        is_there: impl Fn() -> bool,
    ) {
        let news = waiter.news();
        loop {
            // Before looking, so that no news falls in between.
            let next = news.notified();
            if is_there() {
                return;
            }
            let (others, links) = self.whom_to_ask();
            let ids = links.iter().map(|link| link.identity.id);
            match waiter.step(others, ids, self.now()) {
                FetchStep::Delay(wait) => sleep(wait).await,
                FetchStep::Ask(question) => {
                    self.monitor
                        .counters
                        .lookups
                        .fetch_add(1, Ordering::Relaxed);
                    for link in links.iter() {
                        self.ask(link, waiter.key(), question);
                    }
                }
                FetchStep::Wait => next.await,
                FetchStep::Over => return,
            }
        }
    }

    /// Notes that a peer answered for a key, and what it had is merged.
    pub(crate) fn fetch_answered(&self, key: &SessionKey, question: u64, link: LinkId) {
        self.requests.fetches.answered(key, question, link);
    }

    /// Notes that a link is closed, which answers no more.
    pub(crate) fn fetch_closed(&self, link: LinkId) {
        self.requests.fetches.link_closed(link);
    }

    /// Asks a new link for what requests wait for.
    pub(crate) fn fetch_from(&self, link: &PeerLink) {
        for (key, question) in self.requests.fetches.link_made(link.identity.id) {
            self.ask(link, key, question);
        }
    }

    /// Ends the wait of those who wait for a peer that will not come.
    pub(crate) fn conclude_fetches(&self) {
        if self.others() == OtherPeers::None {
            self.requests.fetches.no_others();
            self.requests.links_changed.notify_waiters();
        }
    }

    /// Returns whether the node has just started, and looks for peers that cannot be reached yet.
    pub(crate) fn is_looking_for_peers(&self) -> bool {
        self.awaits_transfer() && self.availability.join().search_left_ms(self.now()) > 0
    }

    /// Waits for the first link, while a node joins and has none yet: until then nobody can be asked, and a dial that is refused says only that the peer is not there *yet*. Returns when
    /// there is nobody to wait for, or `alone_after` from the start on is over.
    async fn await_first_link(&self) {
        if !self.awaits_transfer() {
            return;
        }
        let left_ms = self.availability.join().search_left_ms(self.now());
        let linked = async {
            loop {
                let changed = self.requests.links_changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let (others, links) = self.whom_to_ask();
                if !links.is_empty() || others == OtherPeers::None {
                    return;
                }
                changed.await;
            }
        };
        // Those who are there by then are asked.
        let _ = timeout(Duration::from_millis(left_ms), linked).await;
    }

    fn ask(&self, link: &PeerLink, key: SessionKey, question: u64) {
        let fetches = &self.requests.fetches;
        match link.update(&self.peers.acks, |machine| machine.want(key, question)) {
            Some(true) => link.wake_writer(),
            Some(false) => fetches.not_asked(&key, question, link.identity.id),
            None => fetches.answered(&key, question, link.identity.id),
        }
    }

    fn whom_to_ask(&self) -> (OtherPeers, Arc<[Arc<PeerLink>]>) {
        look(|| self.others(), || self.peers.live())
    }

    fn others(&self) -> OtherPeers {
        if !self.awaits_transfer() {
            return OtherPeers::None;
        }
        let join = self.availability.join();
        let (has_links, unlinked) = {
            let table = self.peers.table();
            (!table.links().is_empty(), table.unlinked())
        };
        match join.expects_others(has_links, unlinked, self.now()) {
            true => OtherPeers::Expected,
            false => OtherPeers::None,
        }
    }
}

/// Looks for expected peers before it looks for linked ones. One that is met in between is then
/// both, and the other way round it would be neither.
fn look<L>(others: impl FnOnce() -> OtherPeers, links: impl FnOnce() -> L) -> (OtherPeers, L) {
    let others = others();
    (others, links())
}

const DEADLINE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{cluster::PendingFetches, session::Now};

    #[test]
    fn peer_that_is_met_while_a_request_looks_whom_to_ask_is_asked() {
        const KEY: SessionKey = SessionKey::from_bytes([1; 16]);
        let now = Now {
            wall_ms: 0,
            mono_ms: 1 << 41,
        };
        // After the first look, whichever that is.
        let is_met = Cell::new(false);
        let others = || match is_met.replace(true) {
            false => OtherPeers::Expected,
            true => OtherPeers::None,
        };
        let links = || match is_met.replace(true) {
            false => None,
            true => Some(LinkId(1)),
        };
        let (others, links) = look(others, links);

        let mut fetches = PendingFetches::<()>::default();
        let entered = fetches.enter(KEY, FetchReason::Absent, Provenance::Unverified);
        let (mut ticket, ()) = entered.expect("room");
        let mut step = |others| fetches.step(&mut ticket, others, links.into_iter(), now);
        assert_eq!(step(others), FetchStep::Ask(1));
        assert_eq!(step(OtherPeers::None), FetchStep::Wait, "for its answer");
    }
}
