//! Log lines that anybody can cause are limited in number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{cluster::millis, session::Now};

/// Lets one line through in a time, by default every ten seconds.
#[derive(Debug)]
pub(super) struct LogThrottle {
    shortest_ms: u64,
    longest_ms: u64,
    interval_ms: AtomicU64,
    next_ms: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::every(Duration::from_secs(10))
    }
}

impl LogThrottle {
    pub(super) fn every(interval: Duration) -> Self {
        Self::slowing(interval, interval)
    }

    /// Waits twice as long after each line, up to `longest`.
    pub(super) fn slowing(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest_ms: millis(shortest),
            longest_ms: millis(longest),
            interval_ms: AtomicU64::new(millis(shortest)),
            next_ms: AtomicU64::new(0),
        }
    }

    /// Lets the next line through at once.
    pub(super) fn reset(&self) {
        self.interval_ms.store(self.shortest_ms, Ordering::Relaxed);
        self.next_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn may_log(&self, now: Now) -> bool {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let interval_ms = self.interval_ms.load(Ordering::Relaxed);
        let after = now.mono_ms.saturating_add(interval_ms);
        let may_log = next_ms <= now.mono_ms
            && self
                .next_ms
                .compare_exchange(next_ms, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if may_log {
            let slower = self.longest_ms.min(interval_ms.saturating_mul(2));
            self.interval_ms.store(slower, Ordering::Relaxed);
        }
        may_log
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

    #[test]
    fn lines_that_slow_down_begin_anew_after_a_reset() {
        let throttle = LogThrottle::slowing(Duration::from_secs(10), Duration::from_secs(60));
        let lines = |from: u64| {
            let at = |second| Now {
                wall_ms: 0,
                mono_ms: (from + second) * 1000,
            };
            let passes = (0..300).filter(|second| throttle.may_log(at(*second)));
            passes.collect::<Vec<u64>>()
        };
        assert_eq!(lines(1), [0, 10, 30, 70, 130, 190, 250]);
        throttle.reset();
        assert_eq!(lines(301), [0, 10, 30, 70, 130, 190, 250]);
    }
}
