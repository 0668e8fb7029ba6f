//! Links as decisions know them: by a number, by who is at the other end, and by what was heard.

use std::{fmt, sync::Arc};

use crate::session::{BootId, Now};

/// The number of one link in the life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Who dialled a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialler {
    Us,
    Them,
}

/// What hello has told of a link. It never changes.
#[derive(Clone, Debug)]
pub(crate) struct LinkIdentity {
    pub(crate) id: LinkId,
    /// The name of the node at the other end.
    pub(crate) name: Arc<str>,
    /// The run of its process.
    pub(crate) boot: BootId,
    pub(crate) dialler: Dialler,
}

/// A shared handle of a link, which the table of members holds for whoever carries the link.
pub(crate) trait MemberLink: Clone + fmt::Debug {
    fn identity(&self) -> &LinkIdentity;

    /// Returns whether the link is over, also if the table has not been told yet.
    fn is_closed(&self) -> bool;

    /// Returns when the peer was heard last, in monotonic milliseconds.
    fn heard_ms(&self) -> u64;

    fn traffic(&self) -> Traffic;

    /// Returns whether another link is to take the place of this one, which is nearly as old as it may
    /// be.
    fn is_expiring(&self) -> bool;

    /// Returns whether nothing was heard of the peer for so long.
    fn is_silent_for(&self, limit_ms: u64, now: Now) -> bool {
        now.mono_ms.saturating_sub(self.heard_ms()) >= limit_ms
    }
}

/// Bytes that went over links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Traffic {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
        }
    }
}
