//! Waking up after the process was stopped: by SIGSTOP, a debugger, a host without time for it.
//!
//! Peers wait `ack_timeout` for this node and then go on without it. What it holds after a longer
//! pause is out of date, and requests that reached it meanwhile would be served first, and write on
//! top of that with newer stamps. So a node that finds its own tick late makes its links anew and
//! asks all peers for each session before it is used, until it has caught up with them.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tracing::warn;

use super::{
    Node,
    clock::{TICK, millis},
    peers::link::LinkId,
};
use crate::session::{BootId, Now, SessionKey};

#[derive(Debug)]
pub(super) struct StallDetector {
    /// A tick that comes so late was held up by a pause.
    limit_ms: u64,
    ticked_ms: AtomicU64,
    /// Whether there is a `lag`, for the path of every request.
    is_behind: AtomicBool,
    /// Taken before any other lock.
    recovery: Mutex<Option<Recovery>>,
    links_changed: Notify,
}

/// What a pause has left to be done.
#[derive(Debug)]
struct Recovery {
    /// Who was linked before the pause and has not been caught up with.
    peers: Vec<BootId>,
    /// Links from this one on were made after the pause.
    first_link: LinkId,
    /// The last sign of life before the pause.
    stalled_ms: u64,
    resumed_ms: u64,
    caught_up_ms: Option<u64>,
}

impl StallDetector {
    /// Peers notice a pause of `ack_timeout`; this node must notice no later.
    pub(super) fn new(ack_timeout: Duration, now: Now) -> Self {
        let limit = ack_timeout.saturating_sub(2 * TICK).max(3 * TICK);
        Self {
            limit_ms: millis(limit),
            ticked_ms: AtomicU64::new(now.mono_ms),
            is_behind: AtomicBool::new(false),
            recovery: Mutex::default(),
            links_changed: Notify::new(),
        }
    }

    pub(super) fn links_changed(&self) {
        if self.is_behind.load(Ordering::Acquire) {
            self.links_changed.notify_waiters();
        }
    }

    fn is_late(&self, now: Now) -> bool {
        let ticked_ms = self.ticked_ms.load(Ordering::Relaxed);
        now.mono_ms.saturating_sub(ticked_ms) >= self.limit_ms
    }

    fn recovery(&self) -> MutexGuard<'_, Option<Recovery>> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Whether sessions held here may lack what peers no longer wait to be told. Then call
    /// [`Node::catch_up_on`] before using one.
    pub(crate) fn may_be_behind(&self, now: Now) -> bool {
        self.notice_stall(now);
        self.stalls.is_behind.load(Ordering::Acquire)
    }

    /// Asks all peers for these sessions. Returns when all have answered, or 500 ms are over; before
    /// that, it waits until `ack_timeout` after a pause for links. Dropping it is harmless.
    pub(crate) async fn recover_sessions(&self, keys: Vec<SessionKey>) {
        if keys.is_empty() {
            return;
        }
        let resumed_ms = self
            .stalls
            .recovery()
            .as_ref()
            .map(|recovery| recovery.resumed_ms);
        if let Some(resumed_ms) = resumed_ms {
            let since_ms = self.now().mono_ms.saturating_sub(resumed_ms);
            let left = self.settings.ack_timeout;
            let left = left.saturating_sub(Duration::from_millis(since_ms));
            if timeout(left, self.ask_peers_from_before(&keys))
                .await
                .is_ok()
            {
                return;
            }
            // A peer that does not come back in time was left behind itself, or is gone.
        }
        // Of a link that is torn there is no answer to be had.
        let _ = self.ask_all(&keys).await;
    }

    /// The time of a write by a request that loaded its session at `loaded_ms`. If the process was
    /// stopped since, the request knows nothing of what happened meanwhile: its write is as old as
    /// the beginning of the pause, so that whatever was written elsewhere beats it.
    pub(super) fn time_of_write(&self, loaded_ms: u64) -> Now {
        let now = self.now();
        self.notice_stall(now);
        if !self.stalls.is_behind.load(Ordering::Acquire) {
            return now;
        }
        let recovery = self.stalls.recovery();
        match recovery
            .as_ref()
            .filter(|recovery| loaded_ms < recovery.resumed_ms)
        {
            Some(recovery) => Now {
                wall_ms: now.wall_ms - (now.mono_ms - recovery.stalled_ms).min(now.wall_ms),
                ..now
            },
            None => now,
        }
    }

    /// Call it before anything that a pause may have caused, such as the end of a link: after a
    /// pause nobody knows which task runs first.
    pub(super) fn notice_stall(&self, now: Now) {
        if self.stalls.is_late(now) {
            self.begin_recovery(now);
        }
    }

    /// Notices a pause, and whether an earlier one is made good. Call it on every tick, first.
    pub(super) fn watch_stalls(&self, now: Now) {
        self.notice_stall(now);
        self.stalls.ticked_ms.store(now.mono_ms, Ordering::Relaxed);
        if !self.stalls.is_behind.load(Ordering::Acquire) {
            return;
        }
        let mut recovery = self.stalls.recovery();
        if recovery
            .as_mut()
            .is_some_and(|recovery| self.is_recovered(recovery, now))
        {
            *recovery = None;
            self.stalls.is_behind.store(false, Ordering::Release);
        }
    }

    fn begin_recovery(&self, now: Now) {
        let mut recovery = self.stalls.recovery();
        // Somebody else may have been quicker.
        if !self.stalls.is_late(now) {
            return;
        }
        let ticked_ms = self.stalls.ticked_ms.swap(now.mono_ms, Ordering::Relaxed);
        let links = self.live_links();
        if links.is_empty() {
            return;
        }
        warn!(
            node = %self.settings.node,
            "this process was stopped for [{}] ms: sessions are asked for until it has caught up",
            now.mono_ms.saturating_sub(ticked_ms)
        );
        let mut peers: Vec<BootId> = links.iter().map(|link| link.boot).collect();
        peers.extend(
            recovery
                .take()
                .into_iter()
                .flat_map(|earlier| earlier.peers),
        );
        *recovery = Some(Recovery {
            peers,
            first_link: LinkId(self.next_link.load(Ordering::Relaxed)),
            stalled_ms: ticked_ms,
            resumed_ms: now.mono_ms,
            caught_up_ms: None,
        });
        self.stalls.is_behind.store(true, Ordering::Release);
        // Nobody knows how old what comes out of them is; a new one begins with where the peer is.
        for link in links.iter() {
            link.close(&self.acks);
        }
    }

    /// All peers are caught up with, and have had the time to notice and to wait for us again.
    fn is_recovered(&self, recovery: &mut Recovery, now: Now) -> bool {
        let links = self.live_links();
        let is_gone =
            now.mono_ms.saturating_sub(recovery.resumed_ms) >= millis(self.settings.down_after);
        let missing = recovery.peers.iter().any(|peer| {
            let link = links
                .iter()
                .find(|link| link.boot == *peer && link.id >= recovery.first_link);
            link.map_or(!is_gone, |link| {
                !link.inspect(|machine| machine.is_current())
            })
        });
        if missing {
            recovery.caught_up_ms = None;
            return false;
        }
        let since_ms = *recovery.caught_up_ms.get_or_insert(now.mono_ms);
        now.mono_ms.saturating_sub(since_ms) >= millis(self.settings.ack_timeout)
    }

    /// Asks all peers of before the pause. Links of connections that the peers gave up during the
    /// pause may be made first, and close at once.
    async fn ask_peers_from_before(&self, keys: &[SessionKey]) {
        loop {
            self.wait_for_links().await;
            if self.ask_all(keys).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until every peer of before the pause has a new link on which it has spoken.
    async fn wait_for_links(&self) {
        loop {
            let changed = self.stalls.links_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_new_links() {
                return;
            }
            changed.await;
        }
    }

    fn has_new_links(&self) -> bool {
        let links = self.live_links();
        self.stalls.recovery().as_ref().is_none_or(|recovery| {
            let is_linked = |peer: &BootId| {
                links
                    .iter()
                    .filter(|link| link.boot == *peer && link.id >= recovery.first_link)
                    .any(|link| link.inspect(|machine| machine.is_open()))
            };
            recovery.peers.iter().all(is_linked)
        })
    }
}
