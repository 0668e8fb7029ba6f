//! Requests that ask peers for a session while the state transfer is under way.

use std::{
    collections::{BTreeSet, HashMap},
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
    asked: Mutex<HashMap<Locator, Asked>>,
}

#[derive(Debug)]
struct Asked {
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

    fn answered(&self, key: &Locator, link: LinkId, found: bool) {
        if let Some(asked) = self.lock().get_mut(key) {
            asked.silent.remove(&link);
            if found || asked.silent.is_empty() {
                asked.over.cancel();
            }
        }
    }

    fn closed(&self, link: LinkId) {
        for asked in self.lock().values_mut() {
            if asked.silent.remove(&link) && asked.silent.is_empty() {
                asked.over.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Locator, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Asks peers for one session. Returns when an answer was merged, nobody has it, or 500 ms
    /// are over. Dropping it is harmless.
    ///
    /// Beyond 4096 keys at once nobody is asked: a flood of made-up ids must not grow queues.
    pub(crate) async fn fetch(&self, key: Locator) {
        let links = self.live_links();
        if links.is_empty() || !self.awaits_transfer() {
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
                match link.drive(&self.acks, |machine| machine.want(key)) {
                    Some(()) => link.wake_writer(),
                    None => self.fetches.answered(&key, link.id, false),
                }
            }
        }
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, over.cancelled()).await;
    }

    /// A peer answered for a key, and what it had is merged.
    pub(super) fn fetch_answered(&self, key: &Locator, link: LinkId) {
        let found = self.replica.store().read(key, |_| ()).is_ok();
        self.fetches.answered(key, link, found);
    }

    /// A closed link answers no more.
    pub(super) fn fetch_closed(&self, link: LinkId) {
        self.fetches.closed(link);
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
const MAX_KEYS: usize = 4096;
