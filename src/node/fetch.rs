//! Requests that wait for a session, or for writes in one, and ask peers for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Node,
    peers::link::{LinkId, PeerLink},
    rate_limit::{self, RateLimiter},
    unresponsive::UnresponsivePeers,
};
use crate::session::SessionKey;

/// Keys that requests wait for, and who has not answered yet.
#[derive(Debug)]
pub(super) struct PendingFetches {
    /// Short lookups only; no lock but `owing` is taken inside, and nobody is woken.
    awaited: Mutex<BTreeMap<SessionKey, Awaited>>,
    unresponsive: UnresponsivePeers,
    /// A flood of made-up keys has its own turns, and so takes none of anybody else's.
    rate_limiter: RateLimiter,
    unverified_rate_limiter: RateLimiter,
    /// Numbers questions, so that a late answer to one that was given up is told apart.
    questions: AtomicU64,
    /// Whether requests may wait for merges, so that links have to tell of them.
    pub(super) watches_merges: AtomicBool,
}

impl Default for PendingFetches {
    fn default() -> Self {
        Self {
            awaited: Mutex::default(),
            unresponsive: UnresponsivePeers::default(),
            rate_limiter: RateLimiter::new(rate_limit::OF_KNOWN),
            unverified_rate_limiter: RateLimiter::new(rate_limit::OF_OTHERS),
            questions: AtomicU64::default(),
            watches_merges: AtomicBool::default(),
        }
    }
}

/// One key. The entry goes with the last request that waits.
#[derive(Debug, Default)]
struct Awaited {
    waiting: usize,
    /// The number of the last question, zero before the first.
    question: u64,
    /// Whom the answer to the last question may still come from. Peers that are being dialled are
    /// asked once they are there.
    silent: BTreeSet<LinkId>,
    /// A link was closed that had not answered the last question.
    is_torn: bool,
    /// Something was merged or answered.
    news: Arc<Notify>,
}

/// Why a request waits for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchReason {
    /// The client may have made the key up.
    None,
    /// The client may have made the key up, and what this node holds may be out of date: only
    /// answers to questions from now on count.
    Pause,
    /// A node of this cluster has told the client of it.
    Token,
}

/// Whether a key can be one that nobody has minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// It is held here, or a node has signed it.
    Yes,
    /// The client may have made it up.
    Perhaps,
}

/// A peer was asked, and its link closed before it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkClosed;

/// A request that waits; its end is told however it ends.
#[derive(Debug)]
pub(super) struct FetchWaiter<'a> {
    fetches: &'a PendingFetches,
    pub(super) key: SessionKey,
    news: Arc<Notify>,
    /// The answer to a question of this or a higher number will do.
    enough: u64,
    known: Provenance,
}

/// What a request that waits for answers does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchStep {
    /// A question of this number.
    Ask(u64),
    Wait,
    /// Everybody who may have it has answered.
    Over,
}

impl PendingFetches {
    /// `None` when too many keys that may be made up are being asked for already.
    pub(super) fn enter(
        &self,
        key: SessionKey,
        evidence: FetchReason,
        known: Provenance,
    ) -> Option<FetchWaiter<'_>> {
        let mut awaited = self.lock();
        let is_new = !awaited.contains_key(&key);
        if is_new && known == Provenance::Perhaps && awaited.len() >= MAX_KEYS {
            return None;
        }
        let entry = awaited.entry(key).or_default();
        entry.waiting += 1;
        let enough = match evidence {
            FetchReason::None => entry.question.max(1),
            // The answer to a question under way may be older than the write.
            FetchReason::Pause | FetchReason::Token => entry.question + 1,
        };
        Some(FetchWaiter {
            fetches: self,
            key,
            news: Arc::clone(&entry.news),
            enough,
            known,
        })
    }

    /// Whether the next step is to ask.
    fn is_to_ask(&self, waiting: &FetchWaiter<'_>) -> bool {
        let awaited = self.lock();
        let entry = awaited.get(&waiting.key);
        entry.is_some_and(|entry| entry.silent.is_empty() && entry.question < waiting.enough)
    }

    fn rate_limiter(&self, known: Provenance) -> &RateLimiter {
        match known {
            Provenance::Yes => &self.rate_limiter,
            Provenance::Perhaps => &self.unverified_rate_limiter,
        }
    }

    /// `Ask` counts as done.
    fn step(
        &self,
        waiting: &FetchWaiter<'_>,
        links: impl Iterator<Item = LinkId>,
        others: Others,
    ) -> FetchStep {
        let mut awaited = self.lock();
        let Some(entry) = awaited.get_mut(&waiting.key) else {
            return FetchStep::Over;
        };
        if !entry.silent.is_empty() {
            FetchStep::Wait
        } else if entry.question < waiting.enough {
            entry.question = self.questions.fetch_add(1, Ordering::Relaxed) + 1;
            entry.silent = links.collect();
            entry.is_torn = false;
            FetchStep::Ask(entry.question)
        } else if others == Others::Expected {
            FetchStep::Wait
        } else {
            FetchStep::Over
        }
    }

    fn answered(&self, key: &SessionKey, question: u64, link: LinkId) {
        self.unresponsive.record_answer(link);
        self.done(key, question, link);
    }

    /// Nothing is to be expected of the link any more.
    fn done(&self, key: &SessionKey, question: u64, link: LinkId) {
        let mut awaited = self.lock();
        let asked = awaited.get_mut(key);
        let news = asked.filter(|entry| entry.question == question);
        let news = news.map(|entry| {
            entry.silent.remove(&link);
            Arc::clone(&entry.news)
        });
        drop(awaited);
        notify(news);
    }

    fn closed(&self, link: LinkId) {
        self.unresponsive.record_answer(link);
        let mut awaited = self.lock();
        let mut news = Vec::new();
        for entry in awaited.values_mut() {
            if entry.silent.remove(&link) {
                entry.is_torn = true;
                news.push(Arc::clone(&entry.news));
            }
        }
        drop(awaited);
        notify(news);
    }

    #[cfg(test)]
    pub(super) fn has_asked(&self, key: &SessionKey) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.question > 0)
    }

    fn is_torn(&self, key: &SessionKey) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.is_torn)
    }

    /// A new link is to be asked, too: for which keys, with which numbers.
    fn join(&self, link: LinkId) -> Vec<(SessionKey, u64)> {
        let mut awaited = self.lock();
        let asked = awaited.iter_mut().filter(|(_, entry)| entry.question > 0);
        asked
            .map(|(key, entry)| {
                entry.silent.insert(link);
                (*key, entry.question)
            })
            .collect()
    }

    /// Nobody else will come: whoever waits for that looks again.
    fn conclude(&self) {
        let awaited = self.lock();
        let news: Vec<_> = awaited
            .values()
            .filter(|entry| entry.silent.is_empty())
            .map(|entry| Arc::clone(&entry.news))
            .collect();
        drop(awaited);
        notify(news);
    }

    pub(super) fn merged(&self, keys: &[SessionKey]) {
        let awaited = self.lock();
        if awaited.is_empty() {
            return;
        }
        let entries = keys.iter().filter_map(|key| awaited.get(key));
        let news: Vec<_> = entries.map(|entry| Arc::clone(&entry.news)).collect();
        drop(awaited);
        notify(news);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionKey, Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn notify(news: impl IntoIterator<Item = Arc<Notify>>) {
    for news in news {
        news.notify_waiters();
    }
}

/// Whether peers without a link may still come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// At least one has not been tried.
    Expected,
    None,
}

impl FetchWaiter<'_> {
    /// Waits until `is_there`, looking again at each news of the key.
    pub(super) async fn until(&self, is_there: impl Fn() -> bool) {
        loop {
            // Before looking, so that no news falls in between.
            let news = self.news.notified();
            if is_there() {
                return;
            }
            news.await;
        }
    }
}

impl Drop for FetchWaiter<'_> {
    fn drop(&mut self) {
        let mut awaited = self.fetches.lock();
        if let Some(entry) = awaited.get_mut(&self.key) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                awaited.remove(&self.key);
            }
        }
    }
}

impl Node {
    /// While the state transfer is under way, asks peers for one session, those that are still being
    /// dialled as soon as they are there. Returns when an answer was merged, nobody has it, or
    /// 500 ms are over. Dropping it is harmless.
    ///
    /// Beyond 65 536 keys at once nobody is asked: a flood of made-up ids must not grow queues.
    pub(crate) async fn fetch(&self, key: SessionKey) {
        if !self.awaits_transfer() {
            return;
        }
        let (others, links) = self.whom_to_ask();
        if others == Others::None && links.is_empty() {
            return;
        }
        let entered = self
            .fetches
            .enter(key, FetchReason::None, Provenance::Perhaps);
        let Some(waiting) = entered else {
            return;
        };
        let asked = self.ask_until(&waiting, || self.read(&key, |_| ()).is_ok());
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, asked).await;
    }

    /// Asks peers for sessions that may be held here. Returns when all peers have answered for all
    /// of them and the answers were merged, or 500 ms are over. Dropping it is harmless.
    ///
    /// # Errors
    ///
    /// [`LinkClosed`] if a link closed before it brought an answer: there may be a new one to ask.
    pub(super) async fn ask_all(&self, keys: &[SessionKey]) -> Result<(), LinkClosed> {
        let answers = join_all(keys.iter().map(|key| self.ask_again(*key))).await;
        answers.into_iter().collect()
    }

    async fn ask_again(&self, key: SessionKey) -> Result<(), LinkClosed> {
        let known = match self.read(&key, |_| ()) {
            Ok(()) => Provenance::Yes,
            Err(_) => Provenance::Perhaps,
        };
        let Some(waiting) = self.fetches.enter(key, FetchReason::Pause, known) else {
            return Ok(());
        };
        // A peer that does not answer in time is as good as one that does not have it.
        let _ = timeout(DEADLINE, self.ask_until(&waiting, || false)).await;
        if self.fetches.is_torn(&key) {
            return Err(LinkClosed);
        }
        Ok(())
    }

    /// Asks peers until `is_there` or all have answered.
    pub(super) async fn ask_until(&self, waiting: &FetchWaiter<'_>, is_there: impl Fn() -> bool) {
        let mut has_turn = false;
        loop {
            // Before looking, so that no news falls in between.
            let news = waiting.news.notified();
            if is_there() {
                return;
            }
            if !has_turn && self.fetches.is_to_ask(waiting) {
                let Some(wait) = self.fetches.rate_limiter(waiting.known).acquire(self.now())
                else {
                    return;
                };
                has_turn = true;
                if !wait.is_zero() {
                    sleep(wait).await;
                    continue;
                }
            }
            let (others, links) = self.whom_to_ask();
            let now = self.now();
            let expected =
                |link: &&Arc<PeerLink>| self.fetches.unresponsive.record_question(link.id, now);
            let ids = links.iter().filter(expected).map(|link| link.id);
            match self.fetches.step(waiting, ids, others) {
                FetchStep::Ask(question) => {
                    self.counters.lookups.fetch_add(1, Ordering::Relaxed);
                    for link in links.iter() {
                        self.ask(link, waiting.key, question);
                    }
                }
                FetchStep::Wait => news.await,
                FetchStep::Over => return,
            }
        }
    }

    /// A peer answered for a key, and what it had is merged.
    pub(super) fn fetch_answered(&self, key: &SessionKey, question: u64, link: LinkId) {
        self.fetches.answered(key, question, link);
    }

    /// A closed link answers no more.
    pub(super) fn fetch_closed(&self, link: LinkId) {
        self.fetches.closed(link);
    }

    /// A new link is asked for what requests wait for.
    pub(super) fn fetch_from(&self, link: &PeerLink) {
        for (key, question) in self.fetches.join(link.id) {
            self.ask(link, key, question);
        }
    }

    /// Whoever waits for a peer that will not come waits no more.
    pub(super) fn conclude_fetches(&self) {
        if self.others() == Others::None {
            self.fetches.conclude();
        }
    }

    fn ask(&self, link: &PeerLink, key: SessionKey, question: u64) {
        match link.update(&self.acks, |machine| machine.want(key, question)) {
            Some(true) => link.wake_writer(),
            Some(false) => self.fetches.done(&key, question, link.id),
            None => self.fetches.answered(&key, question, link.id),
        }
    }

    fn whom_to_ask(&self) -> (Others, Arc<[Arc<PeerLink>]>) {
        look(|| self.others(), || self.live_links())
    }

    fn others(&self) -> Others {
        if self.awaits_transfer() && !self.members().all_tried() {
            Others::Expected
        } else {
            Others::None
        }
    }
}

/// Looks for expected peers before it looks for linked ones. One that is met in between is then
/// both, and the other way round it would be neither.
fn look<L>(others: impl FnOnce() -> Others, links: impl FnOnce() -> L) -> (Others, L) {
    let others = others();
    (others, links())
}

const DEADLINE: Duration = Duration::from_millis(500);
/// Made-up keys at once. Each takes less memory than the request that waits for it.
const MAX_KEYS: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const KEY: SessionKey = SessionKey::from_bytes([1; 16]);
    const LINK: LinkId = LinkId(1);

    fn step(fetches: &PendingFetches, waiting: &FetchWaiter<'_>) -> FetchStep {
        fetches.step(waiting, [LINK].into_iter(), Others::None)
    }

    #[test]
    fn peer_that_is_met_while_a_request_looks_whom_to_ask_is_asked() {
        // After the first look, whichever that is.
        let is_met = Cell::new(false);
        let others = || match is_met.replace(true) {
            false => Others::Expected,
            true => Others::None,
        };
        let links = || match is_met.replace(true) {
            false => None,
            true => Some(LINK),
        };
        let (others, links) = look(others, links);

        let fetches = PendingFetches::default();
        let waiting = fetches
            .enter(KEY, FetchReason::None, Provenance::Perhaps)
            .expect("room");
        let step = |others| fetches.step(&waiting, links.into_iter(), others);
        assert_eq!(step(others), FetchStep::Ask(1));
        assert_eq!(step(Others::None), FetchStep::Wait, "for its answer");
    }

    #[test]
    fn answer_to_an_earlier_question_is_not_enough_for_a_later_token() {
        let fetches = PendingFetches::default();
        let first = fetches
            .enter(KEY, FetchReason::Token, Provenance::Yes)
            .expect("room");
        assert_eq!(step(&fetches, &first), FetchStep::Ask(1));
        let second = fetches
            .enter(KEY, FetchReason::Token, Provenance::Yes)
            .expect("room");
        let stranger = fetches
            .enter(KEY, FetchReason::None, Provenance::Perhaps)
            .expect("room");
        for waiting in [&first, &second, &stranger] {
            assert_eq!(step(&fetches, waiting), FetchStep::Wait);
        }
        fetches.answered(&KEY, 1, LINK);
        assert_eq!(step(&fetches, &first), FetchStep::Over);
        assert_eq!(step(&fetches, &stranger), FetchStep::Over);
        assert_eq!(step(&fetches, &second), FetchStep::Ask(2));
        assert_eq!(step(&fetches, &second), FetchStep::Wait);
        fetches.closed(LINK);
        assert_eq!(step(&fetches, &second), FetchStep::Over);
    }

    #[test]
    fn late_answer_to_a_question_given_up_does_not_end_the_next_wait() {
        let fetches = PendingFetches::default();
        let first = fetches
            .enter(KEY, FetchReason::Token, Provenance::Yes)
            .expect("room");
        assert_eq!(step(&fetches, &first), FetchStep::Ask(1));
        drop(first);
        let next = fetches
            .enter(KEY, FetchReason::Token, Provenance::Yes)
            .expect("room");
        assert_eq!(step(&fetches, &next), FetchStep::Ask(2));
        fetches.answered(&KEY, 1, LINK);
        assert_eq!(step(&fetches, &next), FetchStep::Wait);
        fetches.answered(&KEY, 2, LINK);
        assert_eq!(step(&fetches, &next), FetchStep::Over);
    }

    #[test]
    fn made_up_keys_are_bounded_and_the_last_waiter_clears_up() {
        let fetches = PendingFetches::default();
        let key = |at: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&at.to_le_bytes());
            SessionKey::from_bytes(bytes)
        };
        let waiting: Vec<_> = (0..MAX_KEYS)
            .map(|at| {
                fetches
                    .enter(key(at), FetchReason::None, Provenance::Perhaps)
                    .expect("room")
            })
            .collect();
        assert!(
            fetches
                .enter(key(MAX_KEYS), FetchReason::None, Provenance::Perhaps)
                .is_none()
        );
        assert!(
            fetches
                .enter(key(0), FetchReason::None, Provenance::Perhaps)
                .is_some()
        );
        assert!(
            fetches
                .enter(key(MAX_KEYS), FetchReason::Token, Provenance::Yes)
                .is_some()
        );
        assert_eq!(fetches.lock().len(), MAX_KEYS);
        drop(waiting);
        assert!(fetches.lock().is_empty());
    }
}
