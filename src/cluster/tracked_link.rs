//! A link's decisions together with what the ack tracker knows of its peer.

use super::{
    acks::{AckTracker, Released},
    link::{LinkId, LinkIdentity},
};
use crate::{
    replica::{Link, LinkAcks},
    session::{BootId, Mutant},
};

/// The state machine of one link, kept in step with the [`AckTracker`]: whatever it decides, the
/// tracker is told what its acknowledgements mean then, before anybody else can look.
///
/// Share it behind a lock of its own, and wake what is released after unlocking.
#[derive(Debug)]
pub(crate) struct TrackedLink {
    id: LinkId,
    peer: BootId,
    link: Link,
    /// What the tracker was told last.
    told: Option<LinkAcks>,
    /// The link is closed. The tracker hears nothing of it any more.
    is_over: bool,
}

impl TrackedLink {
    pub(crate) const fn new(identity: &LinkIdentity, link: Link) -> Self {
        Self {
            id: identity.id,
            peer: identity.boot,
            link,
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
        Some((result, tracker.set(self.peer, self.id, acks)))
    }

    /// Ends the link to a peer that is gone, or is not to be waited for.
    pub(crate) fn close(&mut self, tracker: &AckTracker) -> Released {
        self.is_over = true;
        tracker.forget(self.peer, Some(self.id))
    }

    /// Ends a link that broke, or is given up. Its peer may still be there, and is waited for until
    /// then at most, or until another link to it opens.
    pub(crate) fn lose(&mut self, tracker: &AckTracker, until_ms: u64) -> Released {
        self.is_over = true;
        match self.link.has_said_goodbye() || Mutant::ForgetBrokenLinks.is_on() {
            true => tracker.forget(self.peer, Some(self.id)),
            false => tracker.lose(self.peer, self.id, until_ms),
        }
    }

    /// Ends the link in favour of another one to the same peer, which opens until then.
    pub(crate) fn yield_to(&mut self, tracker: &AckTracker, until_ms: u64) -> Released {
        self.is_over = true;
        match Mutant::ForgetReplaced.is_on() {
            true => tracker.forget(self.peer, Some(self.id)),
            false => tracker.lose(self.peer, self.id, until_ms),
        }
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }
}
