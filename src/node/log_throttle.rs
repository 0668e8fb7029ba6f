//! Log lines that anybody can cause are limited in number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{cluster::millis, session::Now};

/// Lets one line through in a time, by default every ten seconds.
#[derive(Debug)]
pub(super) struct LogThrottle {
    interval_ms: u64,
    next_ms: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::every(Duration::from_secs(10))
    }
}

impl LogThrottle {
    pub(super) fn every(interval: Duration) -> Self {
        Self {
            interval_ms: millis(interval),
            next_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn may_log(&self, now: Now) -> bool {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let after = now.mono_ms.saturating_add(self.interval_ms);
        next_ms <= now.mono_ms
            && self
                .next_ms
                .compare_exchange(next_ms, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_passes() {
        let throttle = LogThrottle::default();
        let mut now = Now {
            wall_ms: 0,
            mono_ms: 5,
        };
        assert!(throttle.may_log(now));
        assert!(!throttle.may_log(now));
        now.mono_ms += 10_000;
        assert!(throttle.may_log(now));
    }
}
