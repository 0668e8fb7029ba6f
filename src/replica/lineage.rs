//! Nodes that were apart for longer than tombstones are kept.
//!
//! A tombstone is forgotten after a day or more. A node that was cut off for that long may hold a
//! session that the others destroyed and forgot, and repair would bring it back everywhere. Such a
//! node starts empty when it meets one whose data goes back as far. Only nodes that were alone for
//! all that time can be in that state, so a pair of them is settled by boot id.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    session::{BootId, Mutant, Now, Tombstone},
    wire::message::Lineage,
};

/// What a node remembers of its own past. Instants are monotonic milliseconds.
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

    /// A round with a peer has completed, or there was nothing to exchange.
    pub(super) fn record_contact(&self, lineage_ms: u64, now: Now) {
        self.contact_ms.store(now.mono_ms, Ordering::Relaxed);
        let mut since_ms = self.since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *since_ms = (*since_ms).min(now.mono_ms.saturating_sub(lineage_ms));
    }

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

/// Whether we, not the peer, start empty.
pub(super) fn starts_empty(ours: (BootId, Lineage), theirs: (BootId, Lineage)) -> bool {
    if Mutant::NeverStartEmpty.is_on() {
        return false;
    }
    let ((boot, past), (peer, peers_past)) = (ours, theirs);
    let may_have_forgotten = peers_past.holds && peers_past.lineage_ms >= AWAY_MS;
    past.away && past.holds && may_have_forgotten && (!peers_past.away || boot > peer)
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

    fn boot(byte: u8) -> BootId {
        BootId::from_bytes([byte; 8])
    }

    #[test]
    fn node_back_from_a_long_absence_starts_empty() {
        let present = Lineage {
            away: false,
            ..LONG_AWAY
        };
        assert!(starts_empty((boot(1), LONG_AWAY), (boot(2), present)));
        assert!(!starts_empty((boot(2), present), (boot(1), LONG_AWAY)));
    }

    #[test]
    fn of_two_long_alone_exactly_one_starts_empty() {
        assert!(starts_empty((boot(2), LONG_AWAY), (boot(1), LONG_AWAY)));
        assert!(!starts_empty((boot(1), LONG_AWAY), (boot(2), LONG_AWAY)));
    }

    #[test]
    fn lone_survivor_keeps_its_sessions_when_a_restarted_peer_comes() {
        let restarted = Lineage {
            holds: true,
            away: false,
            lineage_ms: 5_000,
        };
        assert!(!starts_empty((boot(2), LONG_AWAY), (boot(1), restarted)));
    }
}
