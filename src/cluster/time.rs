//! Time as decisions see it: in milliseconds, told at regular intervals.

use std::time::Duration;

/// Converts a configured duration, which is never so long that it does not fit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How often decisions are told that time has passed.
pub(crate) const TICK: Duration = Duration::from_millis(100);
