//! Nodes that were apart for longer than tombstones are kept.
//!
//! A tombstone is forgotten after a day or more. A node that was cut off for that long may hold a
//! session that the others destroyed and forgot, and repair would bring it back everywhere. Such a
//! node doubts what it holds when it meets one whose data goes back as far, and drops what that one
//! lacks. Only nodes that were alone for all that time can be in that state, so the boot id decides
//! between two of them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    session::{BootId, Mutant, Now, Tombstone},
    wire::message::Lineage,
};

/// A node's memory of its own data. Instants are monotonic milliseconds.
#[derive(Debug)]
pub(super) struct LineageTracker {
    /// The last time at which this node and a peer had told each other all they held.
    contact_ms: AtomicU64,
    /// Since when this node's data goes back. Guards nothing else.
    since_ms: Mutex<u64>,
}

impl LineageTracker {
    pub(super) const fn new(now: Now) -> Self {
        Self {
            contact_ms: AtomicU64::new(now.mono_ms),
            since_ms: Mutex::new(now.mono_ms),
        }
    }

    /// Notes that what this node and a peer held at an instant is known to both: a round that began
    /// then is over, whoever began it, or both were found equal.
    ///
    /// To be equal is not asked for. Nodes under constant load never are, and one session that
    /// cannot be merged keeps them from it for ever.
    pub(super) fn record_contact(&self, at_ms: u64, lineage_ms: u64, now: Now) {
        self.contact_ms.fetch_max(at_ms, Ordering::Relaxed);
        let mut since_ms = self.since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *since_ms = (*since_ms).min(now.mono_ms.saturating_sub(lineage_ms));
    }

    /// Returns the last time at which a peer knew all that this node held.
    pub(super) fn contact_ms(&self) -> u64 {
        self.contact_ms.load(Ordering::Relaxed)
    }

    /// Returns what a peer is told.
    pub(super) fn describe(&self, holds: bool, now: Now) -> Lineage {
        let since_ms = *self.since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let contact_ms = self.contact_ms();
        Lineage {
            holds,
            away: now.mono_ms.saturating_sub(contact_ms) >= AWAY_MS,
            lineage_ms: now.mono_ms.saturating_sub(since_ms),
        }
    }
}

/// One of two nodes that meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) boot: BootId,
    pub(super) lineage: Lineage,
}

impl Side {
    /// Returns whether this node, not the other one, drops what the other one lacks.
    pub(super) fn is_doubtful_beside(self, other: Self) -> bool {
        if Mutant::KeepOutdated.is_on() {
            return false;
        }
        let (ours, theirs) = (self.lineage, other.lineage);
        let may_have_forgotten = theirs.holds && theirs.lineage_ms >= AWAY_MS;
        ours.away && ours.holds && may_have_forgotten && (!theirs.away || self.boot > other.boot)
    }
}

/// The shortest life of a tombstone less a margin for links and sweeps.
const AWAY_MS: u64 = Tombstone::MIN_KEEP_MS - 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_AWAY: Lineage = Lineage {
        holds: true,
        away: true,
        lineage_ms: AWAY_MS,
    };

    fn side(boot: u8, lineage: Lineage) -> Side {
        let boot = BootId::from_bytes([boot; 8]);
        Side { boot, lineage }
    }

    #[test]
    fn node_back_from_a_long_absence_doubts_what_it_holds() {
        let present = Lineage {
            away: false,
            ..LONG_AWAY
        };
        assert!(side(1, LONG_AWAY).is_doubtful_beside(side(2, present)));
        assert!(!side(2, present).is_doubtful_beside(side(1, LONG_AWAY)));
    }

    #[test]
    fn of_two_long_alone_exactly_one_doubts_what_it_holds() {
        assert!(side(2, LONG_AWAY).is_doubtful_beside(side(1, LONG_AWAY)));
        assert!(!side(1, LONG_AWAY).is_doubtful_beside(side(2, LONG_AWAY)));
    }

    #[test]
    fn lone_survivor_keeps_its_sessions_when_a_restarted_peer_comes() {
        let restarted = Lineage {
            holds: true,
            away: false,
            lineage_ms: 5_000,
        };
        assert!(!side(2, LONG_AWAY).is_doubtful_beside(side(1, restarted)));
    }
}
