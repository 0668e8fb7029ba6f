//! Log lines that a stranger can cause are limited in number.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Now;

/// Lets one line through every ten seconds.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    next_ms: AtomicU64,
}

impl Throttle {
    pub(super) fn may_log(&self, now: Now) -> bool {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let after = now.mono_ms.saturating_add(INTERVAL_MS);
        next_ms <= now.mono_ms
            && self
                .next_ms
                .compare_exchange(next_ms, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

const INTERVAL_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_passes() {
        let throttle = Throttle::default();
        let mut now = Now {
            wall_ms: 0,
            mono_ms: 5,
        };
        assert!(throttle.may_log(now));
        assert!(!throttle.may_log(now));
        now.mono_ms += INTERVAL_MS;
        assert!(throttle.may_log(now));
    }
}
