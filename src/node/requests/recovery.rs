//! What requests do after the process was stopped, as `cluster::Recovery` decides it.

use std::time::Duration;

use crate::log::warn;
use tokio::time::timeout;

use crate::node::{Event, Node};
use crate::{
    cluster::{Recovery, RecoveryLink, millis},
    session::{Now, SessionKey},
};

impl Node {
    /// Returns whether sessions held here may lack what peers no longer wait to be told. Then call
    /// [`Node::recover_sessions`] before using one.
    pub(crate) fn may_be_behind(&self, now: Now) -> bool {
        self.notice_stall(now);
        self.requests.stalls.is_behind()
    }

    /// Returns whether peers may know more of a session than this node.
    ///
    /// A session that one peer has sent already may lack what another one was told meanwhile.
    pub(crate) fn lacks_peers(&self, now: Now) -> bool {
        self.may_be_behind(now) || self.awaits_transfer()
    }

    /// Asks all peers for these sessions. Returns when all have answered, or 500 ms are over; before
    /// that, it waits until `ack_timeout` after a stall for links.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting.
    pub(crate) async fn recover_sessions(&self, keys: Vec<SessionKey>) {
        if keys.is_empty() {
            return;
        }
        let (limit, now) = (self.settings.ack_timeout, self.now());
        let left = {
            let recovery = self.requests.stalls.recovery();
            let left = recovery.as_ref();
            left.map(|recovery| recovery.left_of(limit, now))
        };
        if let Some(left) = left
            && timeout(left, self.ask_peers_from_before(&keys))
                .await
                .is_ok()
        {
            return;
        }
        // A peer that does not come back in time was left behind itself, or is gone. Of a link that
        // is torn there is no answer to be had.
        let _ = self.ask_all(&keys).await;
    }

    /// Returns the time of a write by a request that loaded its session at `loaded_ms`.
    pub(super) fn time_of_write(&self, loaded_ms: u64) -> Now {
        let now = self.now();
        if !self.may_be_behind(now) {
            return now;
        }
        let recovery = self.requests.stalls.recovery();
        recovery
            .as_ref()
            .map_or(now, |recovery| recovery.time_of_write(loaded_ms, now))
    }

    /// Notices a stall. Call it before anything that one may have caused, such as the end of a link:
    /// after a stall nobody knows which task runs first.
    pub(crate) fn notice_stall(&self, now: Now) {
        if self.requests.stalls.detector.is_late(now) {
            self.begin_recovery(now);
        }
    }

    /// Notices a stall, and whether an earlier one is made good. Call it on every tick, first.
    pub(crate) fn watch_stalls(&self, now: Now) {
        let stalls = &self.requests.stalls;
        self.notice_stall(now);
        stalls.detector.tick(now);
        if !stalls.is_behind() {
            return;
        }
        let mut recovery = stalls.recovery();
        let links = self.recovery_links();
        let ack_timeout_ms = millis(self.settings.ack_timeout);
        let down_after_ms = millis(self.settings.down_after);
        if recovery
            .as_mut()
            .is_some_and(|recovery| recovery.is_over(&links, ack_timeout_ms, down_after_ms, now))
        {
            stalls.set(&mut recovery, None);
        }
    }

    fn begin_recovery(&self, now: Now) {
        let stalls = &self.requests.stalls;
        let mut recovery = stalls.recovery();
        // Somebody else may have been quicker.
        if !stalls.detector.is_late(now) {
            return;
        }
        let stalled_ms = stalls.detector.tick(now);
        let links = self.peers.live();
        let until_ms = self.lost_until_ms(now);
        let lost = self.peers.acks.renew(until_ms);
        if links.is_empty() && lost.is_empty() {
            return;
        }
        let stood_still_ms = now.mono_ms.saturating_sub(stalled_ms);
        warn!(
            node = %self.settings.node,
            "this process was stopped for [{stood_still_ms}] ms: sessions are asked for until it \
             has caught up",
        );
        self.tell(Event::Stalled(Duration::from_millis(stood_still_ms)));
        let begun = Recovery::new(
            links.iter().map(|link| link.identity.boot).chain(lost),
            recovery.take(),
            self.peers.next_id(),
            stalled_ms,
            now,
        );
        stalls.set(&mut recovery, Some(begun));
        // Nobody knows how old what comes out of them is; a new one begins with where the peer is.
        // Until then requests wait for the peers as before.
        for link in links.iter() {
            link.lose(&self.peers.acks, until_ms);
        }
    }

    /// Asks all peers of before the stall. Links of connections that the peers gave up during the
    /// stall may be made first, and close at once.
    async fn ask_peers_from_before(&self, keys: &[SessionKey]) {
        loop {
            self.wait_for_links().await;
            if self.ask_all(keys).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until every peer of before the stall has a new link on which it has spoken.
    async fn wait_for_links(&self) {
        loop {
            let changed = self.requests.stalls.next_change();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_new_links() {
                return;
            }
            changed.await;
        }
    }

    fn has_new_links(&self) -> bool {
        let links = self.recovery_links();
        let recovery = self.requests.stalls.recovery();
        recovery
            .as_ref()
            .is_none_or(|recovery| recovery.has_new_links(&links))
    }

    fn recovery_links(&self) -> Vec<RecoveryLink> {
        let links = self.peers.live();
        links
            .iter()
            .map(|link| {
                link.inspect(|machine| RecoveryLink {
                    id: link.identity.id,
                    boot: link.identity.boot,
                    is_open: machine.is_open(),
                    is_current: machine.is_current(),
                })
            })
            .collect()
    }
}
