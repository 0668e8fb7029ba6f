//! What is left of a destroyed session.

use super::Retention;
use crate::config::Expiry;

/// The memory of a destroyed session: since when, and for how long it must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// Monotonic milliseconds of the destruction on this node.
    pub(crate) destroyed_ms: u64,
    /// How long every node remembers it, where there is room.
    pub(crate) keep_ms: u64,
}

impl Tombstone {
    /// The least time a tombstone is kept.
    pub(crate) const MIN_KEEP_MS: u64 = 24 * 60 * 60 * 1000;
    /// The longest: that of the longest idle limit.
    pub(crate) const MAX_KEEP_MS: u64 = 2 * Expiry::MAX_MS;

    /// Returns the tombstone of a session with these limits. It is kept for twice the idle limit,
    /// 24 hours at least.
    pub(crate) fn new(expiry: Expiry, now_ms: u64) -> Self {
        let twice = expiry.idle_ms().map_or(0, |idle| idle.saturating_mul(2));
        Self {
            destroyed_ms: now_ms,
            keep_ms: twice.max(Self::MIN_KEEP_MS),
        }
    }

    /// Returns the instant from which on it may be forgotten.
    pub(crate) fn ends_ms(&self, retention: Retention) -> u64 {
        self.destroyed_ms
            .saturating_add(self.keep_ms.min(retention.ms()))
    }

    /// Merges another report of the destruction: the earlier instant and the longer memory stay.
    pub(crate) fn merge(&mut self, other: Self) {
        self.destroyed_ms = self.destroyed_ms.min(other.destroyed_ms);
        self.keep_ms = self.keep_ms.max(other.keep_ms);
    }
}
