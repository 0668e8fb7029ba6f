//! Nodes that were apart for longer than tombstones are kept.
//!
//! A tombstone is forgotten after a day or more. A node that was cut off for that long may hold a
//! session that the others destroyed and forgot, and repair would bring it back everywhere. Such a
//! node starts empty when it meets one whose data goes back as far. Only nodes that were alone for
//! all that time can be in that state, so the boot id decides between two of them.

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
    /// The last time this node and a peer were found equal or made so.
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

    /// Notes that a round with a peer has completed, or that both were found equal.
    pub(super) fn record_contact(&self, lineage_ms: u64, now: Now) {
        self.contact_ms.store(now.mono_ms, Ordering::Relaxed);
        let mut since_ms = self.since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *since_ms = (*since_ms).min(now.mono_ms.saturating_sub(lineage_ms));
    }

    /// Returns what a peer is told.
    pub(super) fn describe(&self, holds: bool, now: Now) -> Lineage {
        let since_ms = *self.since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let contact_ms = self.contact_ms.load(Ordering::Relaxed);
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
    /// Returns whether this node, not the other one, starts empty.
    pub(super) fn starts_empty_beside(self, other: Self) -> bool {
        if Mutant::NeverStartEmpty.is_on() {
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
    fn node_back_from_a_long_absence_starts_empty() {
        let present = Lineage {
            away: false,
            ..LONG_AWAY
        };
        assert!(side(1, LONG_AWAY).starts_empty_beside(side(2, present)));
        assert!(!side(2, present).starts_empty_beside(side(1, LONG_AWAY)));
    }

    #[test]
    fn of_two_long_alone_exactly_one_starts_empty() {
        assert!(side(2, LONG_AWAY).starts_empty_beside(side(1, LONG_AWAY)));
        assert!(!side(1, LONG_AWAY).starts_empty_beside(side(2, LONG_AWAY)));
    }

    #[test]
    fn lone_survivor_keeps_its_sessions_when_a_restarted_peer_comes() {
        let restarted = Lineage {
            holds: true,
            away: false,
            lineage_ms: 5_000,
        };
        assert!(!side(2, LONG_AWAY).starts_empty_beside(side(1, restarted)));
    }
}
