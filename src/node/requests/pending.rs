//! Requests that wait for sessions, each woken by news of its own.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::{
    cluster::{
        FetchReason, FetchStep, FetchTicket, LinkId, OtherPeers, PendingFetches, Provenance,
    },
    session::{Now, SessionKey},
};

/// The sessions that requests wait for. Nobody is woken while it is locked.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    /// Short lookups only. No other lock is taken inside.
    pending: Mutex<PendingFetches<Arc<Notify>>>,
    /// Whether requests may wait for merges, so that links have to tell of them.
    watches_merges: AtomicBool,
}

impl Fetches {
    /// Begins a wait. Returns `None` when too many keys that may be made up are waited for already.
    pub(super) fn enter(
        &self,
        key: SessionKey,
        reason: FetchReason,
        provenance: Provenance,
    ) -> Option<FetchWaiter<'_>> {
        let (ticket, news) = self.lock().enter(key, reason, provenance)?;
        Some(FetchWaiter {
            fetches: self,
            ticket,
            news,
        })
    }

    pub(super) fn answered(&self, key: &SessionKey, question: u64, link: LinkId) {
        let news = self.lock().answered(key, question, link);
        notify(news);
    }

    pub(super) fn not_asked(&self, key: &SessionKey, question: u64, link: LinkId) {
        let news = self.lock().not_asked(key, question, link);
        notify(news);
    }

    pub(super) fn link_closed(&self, link: LinkId) {
        let news = self.lock().link_closed(link);
        notify(news);
    }

    pub(super) fn link_made(&self, link: LinkId) -> Vec<(SessionKey, u64)> {
        self.lock().link_made(link)
    }

    pub(super) fn no_others(&self) {
        let news = self.lock().no_others();
        notify(news);
    }

    pub(super) fn merged(&self, keys: &[SessionKey]) {
        let news = self.lock().merged(keys);
        notify(news);
    }

    pub(super) fn watch_merges(&self) {
        self.watches_merges.store(true, Ordering::Relaxed);
    }

    pub(super) fn watches_merges(&self) -> bool {
        self.watches_merges.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn has_asked(&self, key: &SessionKey) -> bool {
        self.lock().has_asked(key)
    }

    fn lock(&self) -> MutexGuard<'_, PendingFetches<Arc<Notify>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for one session. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct FetchWaiter<'a> {
    fetches: &'a Fetches,
    ticket: FetchTicket,
    news: Arc<Notify>,
}

impl FetchWaiter<'_> {
    pub(super) const fn key(&self) -> SessionKey {
        self.ticket.key()
    }

    /// Returns what tells of news. Begin to wait before looking, so that none falls in between.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    pub(super) fn step(
        &mut self,
        others: OtherPeers,
        links: impl Iterator<Item = LinkId>,
        now: Now,
    ) -> FetchStep {
        self.fetches
            .lock()
            .step(&mut self.ticket, others, links, now)
    }

    /// Returns whether a link was closed that had not answered the last question.
    pub(super) fn is_torn(&self) -> bool {
        self.fetches.lock().is_torn(&self.ticket)
    }

    /// Waits until `is_there`, looking again at each news.
    pub(super) async fn until(&self, is_there: impl Fn() -> bool) {
        loop {
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
        self.fetches.lock().leave(&self.ticket);
    }
}

fn notify(news: impl IntoIterator<Item = Arc<Notify>>) {
    for news in news {
        news.notify_waiters();
    }
}
