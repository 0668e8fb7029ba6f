//! Requests that ask peers for a session while the state transfer is under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Node,
    peer::{LinkId, PeerLink},
};
use crate::session::Locator;

/// Keys that were asked for, and who has not answered yet.
#[derive(Debug, Default)]
pub(super) struct FetchBoard {
    /// Short lookups only; no other lock is taken inside.
    asked: Mutex<BTreeMap<Locator, Asked>>,
}

#[derive(Debug)]
struct Asked {
    /// Whom the answer may still come from. Peers that are being dialled are asked once they are
    /// there.
    silent: BTreeSet<LinkId>,
    /// Requests that wait. The entry goes with the last one.
    waiting: usize,
    over: CancellationToken,
}

impl FetchBoard {
    /// Whether the caller is the first and has to ask, and what to wait for. `None` when too many
    /// keys are being asked for already.
    fn enter(&self, key: Locator, links: &[Arc<PeerLink>]) -> Option<(bool, CancellationToken)> {
        let mut asked = self.lock();
        if let Some(asked) = asked.get_mut(&key) {
            asked.waiting += 1;
            return Some((false, asked.over.clone()));
        }
        if asked.len() >= MAX_KEYS {
            return None;
        }
        let over = CancellationToken::new();
        let silent = links.iter().map(|link| link.id).collect();
        let entry = Asked {
            silent,
            waiting: 1,
            over: over.clone(),
        };
        asked.insert(key, entry);
        Some((true, over))
    }

    fn leave(&self, key: &Locator) {
        let mut asked = self.lock();
        if let Some(entry) = asked.get_mut(key) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                asked.remove(key);
            }
        }
    }

    fn answered(&self, key: &Locator, link: LinkId, found: bool, others: Others) {
        if let Some(asked) = self.lock().get_mut(key) {
            asked.silent.remove(&link);
            if found || asked.is_unanswerable(others) {
                asked.over.cancel();
            }
        }
    }

    fn closed(&self, link: LinkId, others: Others) {
        for asked in self.lock().values_mut() {
            if asked.silent.remove(&link) && asked.is_unanswerable(others) {
                asked.over.cancel();
            }
        }
    }

    /// A new link is to be asked, too: for which keys.
    fn join(&self, link: LinkId) -> Vec<Locator> {
        let mut asked = self.lock();
        for asked in asked.values_mut() {
            asked.silent.insert(link);
        }
        asked.keys().copied().collect()
    }

    /// Nobody else will come: whoever waits for that waits no more.
    fn conclude(&self) {
        for asked in self.lock().values() {
            if asked.is_unanswerable(Others::None) {
                asked.over.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Locator, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn is_unanswerable(&self, others: Others) -> bool {
        self.silent.is_empty() && others == Others::None
    }
}

/// Whether peers without a link may still come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// At least one has not been tried.
    Expected,
    None,
}

/// A request that waits; its end is told however it ends.
struct Waiting<'a> {
    board: &'a FetchBoard,
    key: Locator,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.board.leave(&self.key);
    }
}

impl Node {
    /// Asks peers for one session, those that are still being dialled as soon as they are there.
    /// Returns when an answer was merged, nobody has it, or 500 ms are over. Dropping it is
    /// harmless.
    ///
    /// Beyond 4096 keys at once nobody is asked: a flood of made-up ids must not grow queues.
    pub(crate) async fn fetch(&self, key: Locator) {
        let links = self.live_links();
        if !self.awaits_transfer() || (links.is_empty() && self.others() == Others::None) {
            return;
        }
        let Some((first, over)) = self.fetches.enter(key, &links) else {
            return;
        };
        let _waiting = Waiting {
            board: &self.fetches,
            key,
        };
        if first {
            self.counters.lookups.fetch_add(1, Ordering::Relaxed);
            for link in links.iter() {
                self.ask(link, key);
            }
        }
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, over.cancelled()).await;
    }

    /// A peer answered for a key, and what it had is merged.
    pub(super) fn fetch_answered(&self, key: &Locator, link: LinkId) {
        let found = self.replica.store().read(key, |_| ()).is_ok();
        self.fetches.answered(key, link, found, self.others());
    }

    /// A closed link answers no more.
    pub(super) fn fetch_closed(&self, link: LinkId) {
        self.fetches.closed(link, self.others());
    }

    /// A new link is asked for what requests wait for.
    pub(super) fn fetch_from(&self, link: &PeerLink) {
        for key in self.fetches.join(link.id) {
            self.ask(link, key);
        }
    }

    /// Whoever waits for a peer that will not come waits no more.
    pub(super) fn conclude_fetches(&self) {
        if self.others() == Others::None {
            self.fetches.conclude();
        }
    }

    fn ask(&self, link: &PeerLink, key: Locator) {
        match link.drive(&self.acks, |machine| machine.want(key)) {
            Some(()) => link.wake_writer(),
            None => self.fetches.answered(&key, link.id, false, self.others()),
        }
    }

    fn others(&self) -> Others {
        if self.awaits_transfer() && !self.members().all_tried() {
            Others::Expected
        } else {
            Others::None
        }
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
const MAX_KEYS: usize = 4096;
