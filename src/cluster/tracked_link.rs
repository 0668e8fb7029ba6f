//! A link's decisions together with what the ack tracker knows of them.

use std::mem;

use super::{
    acks::{AckTracker, Released},
    link::LinkId,
};
use crate::{
    replica::{Link, LinkAcks},
    session::Now,
};

/// The state machine of one link, kept in step with the [`AckTracker`]: whatever it decides, the
/// tracker is told what its acknowledgements mean then, before anybody else can look.
///
/// Share it behind a lock of its own, and wake what is released after unlocking.
#[derive(Debug)]
pub(crate) struct TrackedLink {
    id: LinkId,
    link: Link,
    made_ms: u64,
    /// What the tracker was told last.
    told: Option<LinkAcks>,
    /// The link is closed, and off the tracker for good.
    is_over: bool,
}

impl TrackedLink {
    pub(crate) const fn new(id: LinkId, link: Link, now: Now) -> Self {
        Self {
            id,
            link,
            made_ms: now.mono_ms,
            told: None,
            is_over: false,
        }
    }

    /// Lets the link decide something, and tells the tracker what its acknowledgements mean then.
    /// Returns `None` once the link is closed.
    pub(crate) fn update<R>(
        &mut self,
        tracker: &AckTracker,
        decide: impl FnOnce(&mut Link) -> R,
    ) -> Option<(R, Released)> {
        if self.is_over {
            return None;
        }
        let result = decide(&mut self.link);
        let acks = self.link.acks();
        // Until it opens, what the link before it has said of the peer stands.
        if !self.link.is_open() || self.told == Some(acks) {
            return Some((result, Released::default()));
        }
        self.told = Some(acks);
        Some((result, tracker.set(self.id, acks)))
    }

    /// Ends the link: nobody waits for it any more.
    pub(crate) fn close(&mut self, tracker: &AckTracker) -> Released {
        if mem::replace(&mut self.is_over, true) {
            return Released::default();
        }
        tracker.remove(self.id)
    }

    /// Ends the link in favour of another one to the same peer.
    pub(crate) fn yield_to(&mut self, tracker: &AckTracker, to: LinkId) -> Released {
        if mem::replace(&mut self.is_over, true) {
            return Released::default();
        }
        tracker.hand_over(self.id, to)
    }

    /// Stops waiting for a link that has not opened within `limit_ms`.
    pub(crate) fn expect_opening(&self, tracker: &AckTracker, limit_ms: u64, now: Now) -> Released {
        let is_late = now.mono_ms.saturating_sub(self.made_ms) >= limit_ms;
        if !is_late || self.is_over || self.link.is_open() {
            return Released::default();
        }
        tracker.remove(self.id)
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }
}
