//! One established link as the tasks share it: the decisions behind a lock, and what wakes or ends
//! its tasks.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::node::{acks::AckTracker, clock::millis};
use crate::{
    replica::{Link, LinkAcks},
    session::{BootId, Now},
};

/// Names one link for the life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) struct LinkId(pub(in crate::node) u64);

/// Who dialled a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Dialler {
    Us,
    Them,
}

#[derive(Debug)]
pub(in crate::node) struct PeerLink {
    pub(in crate::node) id: LinkId,
    pub(in crate::node) boot: BootId,
    pub(in crate::node) name: Arc<str>,
    pub(in crate::node) dialler: Dialler,
    /// Guards the link's decisions, and keeps the ack board in step with them.
    state: Mutex<Machine>,
    writer: Notify,
    closed: CancellationToken,
    gave_way: AtomicBool,
    made_ms: u64,
    heard_ms: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Debug)]
struct Machine {
    link: Link,
    /// What the ack board was told last.
    told: Option<LinkAcks>,
    /// The link is closed and off the ack board for good.
    over: bool,
}

impl PeerLink {
    pub(in crate::node) fn new(
        id: LinkId,
        (name, boot): (Arc<str>, BootId),
        dialler: Dialler,
        link: Link,
        now: Now,
    ) -> Self {
        Self {
            id,
            boot,
            name,
            dialler,
            state: Mutex::new(Machine {
                link,
                told: None,
                over: false,
            }),
            writer: Notify::new(),
            closed: CancellationToken::new(),
            gave_way: AtomicBool::new(false),
            made_ms: now.mono_ms,
            heard_ms: AtomicU64::new(now.mono_ms),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    /// Lets the link decide something and tells the board what its acknowledgements mean then.
    /// `None` once the link is closed.
    pub(in crate::node) fn update<R>(
        &self,
        tracker: &AckTracker,
        decide: impl FnOnce(&mut Link) -> R,
    ) -> Option<R> {
        let mut state = self.lock();
        if state.over {
            return None;
        }
        let result = decide(&mut state.link);
        let acks = state.link.acks();
        // Before it opens, what the link before it has said of the peer stands.
        let is_news = state.link.is_open() && state.told != Some(acks);
        let released = is_news.then(|| tracker.set(self.id, acks));
        if is_news {
            state.told = Some(acks);
        }
        drop(state);
        if let Some(released) = released {
            released.wake();
        }
        Some(result)
    }

    /// Looks at the link's decisions.
    pub(in crate::node) fn inspect<R>(&self, look: impl FnOnce(&Link) -> R) -> R {
        look(&self.lock().link)
    }

    /// Ends the link: its tasks stop, and nobody waits for it.
    pub(in crate::node) fn close(&self, tracker: &AckTracker) {
        let mut state = self.lock();
        let first = !state.over;
        state.over = true;
        let released = first.then(|| tracker.remove(self.id));
        drop(state);
        if let Some(released) = released {
            released.wake();
        }
        self.closed.cancel();
    }

    /// Ends the link in favour of another to the same peer.
    pub(in crate::node) fn yield_to(&self, tracker: &AckTracker, to: LinkId) {
        self.gave_way.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.over, true);
        let released = first.then(|| tracker.hand_over(self.id, to));
        drop(state);
        if let Some(released) = released {
            released.wake();
        }
        self.closed.cancel();
    }

    /// Nobody waits longer than `limit` for a link that does not open.
    pub(in crate::node) fn expect_opening(&self, tracker: &AckTracker, limit: Duration, now: Now) {
        let state = self.lock();
        let late = now.mono_ms.saturating_sub(self.made_ms) >= millis(limit);
        let is_late = late && !state.over && !state.link.is_open();
        let released = is_late.then(|| tracker.remove(self.id));
        drop(state);
        if let Some(released) = released {
            released.wake();
        }
    }

    pub(in crate::node) fn gave_way(&self) -> bool {
        self.gave_way.load(Ordering::Relaxed)
    }

    pub(in crate::node) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(in crate::node) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// There is something to send.
    pub(in crate::node) fn wake_writer(&self) {
        self.writer.notify_one();
    }

    pub(in crate::node) async fn has_something_to_send(&self) {
        self.writer.notified().await;
    }

    /// Whether there has come more to send since this was asked, or waited for, last.
    pub(in crate::node) fn has_more_to_send(&self) -> bool {
        pin!(self.writer.notified()).enable()
    }

    pub(in crate::node) fn note_received(&self, bytes: usize, now: Now) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.heard_ms.fetch_max(now.mono_ms, Ordering::Relaxed);
    }

    pub(in crate::node) fn note_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(in crate::node) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(in crate::node) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(in crate::node) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    pub(in crate::node) fn is_silent_for(&self, limit: Duration, now: Now) -> bool {
        now.mono_ms.saturating_sub(self.heard_ms()) >= millis(limit)
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
