//! One established link as the tasks share it: its decisions behind a lock, and what wakes or ends
//! its tasks.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{contacts::LinkExchange, spans::LinkSpans};
use crate::{
    cluster::{AckTracker, Dialler, LinkIdentity, MemberLink, TrackedLink, Traffic},
    replica::Link,
    session::Now,
};

/// One established link.
#[derive(Debug)]
pub(crate) struct PeerLink {
    pub(crate) identity: LinkIdentity,
    pub(crate) exchange: LinkExchange,
    /// Guards the link's decisions, and keeps the ack tracker in step with them.
    machine: Mutex<TrackedLink>,
    writer: Notify,
    closed: CancellationToken,
    expiring: CancellationToken,
    /// When its dialler replaces it, and when it ends otherwise, in monotonic milliseconds.
    renew_ms: u64,
    end_ms: AtomicU64,
    gave_way: AtomicBool,
    spans: LinkSpans,
    heard_ms: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// How long a new link lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    renew_ms: u64,
    end_ms: u64,
}

impl Lifetime {
    /// Takes the time for replacing a link from the last quarter of its life, so that links made at
    /// once are not replaced at once.
    pub(crate) fn new(max_age_ms: u64, random: u8, now: Now) -> Self {
        let end_ms = now.mono_ms.saturating_add(max_age_ms);
        let spare_ms = max_age_ms / 8 + max_age_ms / 8 * u64::from(random) / u64::from(u8::MAX);
        Self {
            renew_ms: end_ms - spare_ms,
            end_ms,
        }
    }
}

impl PeerLink {
    /// Returns the link of a peer. `node` is the name of this node.
    pub(crate) fn new(
        node: &Arc<str>,
        identity: LinkIdentity,
        link: Link,
        lifetime: Lifetime,
        exchange: LinkExchange,
        now: Now,
    ) -> Self {
        Self {
            machine: Mutex::new(TrackedLink::new(&identity, link)),
            spans: LinkSpans::new(Arc::clone(node), Arc::clone(&identity.name)),
            identity,
            exchange,
            writer: Notify::new(),
            closed: CancellationToken::new(),
            expiring: CancellationToken::new(),
            renew_ms: lifetime.renew_ms,
            end_ms: AtomicU64::new(lifetime.end_ms),
            gave_way: AtomicBool::new(false),
            heard_ms: AtomicU64::new(now.mono_ms),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Lets the link decide something, and tells the tracker what its acknowledgements mean then.
    /// Returns `None` once the link is closed.
    pub(crate) fn update<R>(
        &self,
        tracker: &AckTracker,
        decide: impl FnOnce(&mut Link) -> R,
    ) -> Option<R> {
        let (updated, mark) = {
            let mut machine = self.lock();
            let before = machine.link().round_mark();
            let updated = machine.update(tracker, decide);
            let after = machine.link().round_mark();
            let is_news = (after.begun, after.ended) != (before.begun, before.ended);
            (updated, is_news.then_some(after))
        };
        if let Some(mark) = mark {
            self.spans.note_round(mark);
        }
        let (result, released) = updated?;
        released.wake();
        Some(result)
    }

    /// Looks at the link's decisions.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&Link) -> R) -> R {
        look(self.lock().link())
    }

    pub(super) const fn spans(&self) -> &LinkSpans {
        &self.spans
    }

    /// Ends the link: its tasks stop, and nobody waits for its peer.
    pub(crate) fn close(&self, tracker: &AckTracker) {
        let released = self.lock().close(tracker);
        released.wake();
        self.closed.cancel();
    }

    /// Ends a link whose peer may still be there. Requests wait for it until then at most.
    pub(crate) fn lose(&self, tracker: &AckTracker, until_ms: u64) {
        let released = self.lock().lose(tracker, until_ms);
        released.wake();
        self.closed.cancel();
    }

    /// Ends the link in favour of another to the same peer, which opens until then.
    pub(crate) fn yield_to(&self, tracker: &AckTracker, until_ms: u64) {
        self.gave_way.store(true, Ordering::Relaxed);
        let released = self.lock().yield_to(tracker, until_ms);
        released.wake();
        self.closed.cancel();
    }

    /// Returns whether another link took the place of this one.
    pub(crate) fn gave_way(&self) -> bool {
        self.gave_way.load(Ordering::Relaxed)
    }

    /// Has the link's dialler replace it, if it is time. Returns whether it is too old for that.
    pub(crate) fn age(&self, now: Now) -> bool {
        if self.renew_ms <= now.mono_ms {
            self.renew(u64::MAX);
        }
        self.is_too_old(now)
    }

    /// Has the link's dialler replace it now. Otherwise it ends at this time at the latest.
    pub(crate) fn renew(&self, end_ms: u64) {
        self.end_ms.fetch_min(end_ms, Ordering::Relaxed);
        if self.identity.dialler == Dialler::Us {
            self.expiring.cancel();
        }
    }

    pub(crate) fn is_too_old(&self, now: Now) -> bool {
        self.end_ms.load(Ordering::Relaxed) <= now.mono_ms
    }

    /// Waits until the link is to be replaced.
    pub(crate) async fn expiring(&self) {
        self.expiring.cancelled().await;
    }

    /// Waits until the link is over.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Lets the writer look for something to send.
    pub(crate) fn wake_writer(&self) {
        self.writer.notify_one();
    }

    /// Waits until there may be something to send.
    pub(crate) async fn has_something_to_send(&self) {
        self.writer.notified().await;
    }

    /// Returns whether more to send has come since this was asked, or waited for, last.
    pub(crate) fn has_more_to_send(&self) -> bool {
        pin!(self.writer.notified()).enable()
    }

    pub(crate) fn note_received(&self, bytes: usize, now: Now) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.heard_ms.fetch_max(now.mono_ms, Ordering::Relaxed);
    }

    pub(crate) fn note_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, TrackedLink> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemberLink for Arc<PeerLink> {
    fn identity(&self) -> &LinkIdentity {
        &self.identity
    }

    fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    fn is_expiring(&self) -> bool {
        self.expiring.is_cancelled()
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}
