//! Time: the one place that reads clocks.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use crate::{cluster::millis, session::Now};

/// Both clocks of a node. Requests read them several times each, so the time of day is asked for
/// only every few milliseconds, and follows the monotonic clock in between.
#[derive(Debug)]
pub(super) struct Clock {
    time_of_day: Arc<dyn TimeOfDay>,
    started: OnceLock<Instant>,
    /// When the time of day was asked for last, in monotonic milliseconds.
    asked_ms: AtomicU64,
    /// How far it was ahead of the monotonic clock then. Whoever reads this between two stores gets
    /// one that is a few milliseconds old.
    ahead_ms: AtomicU64,
}

impl Clock {
    pub(super) fn new(time_of_day: Arc<dyn TimeOfDay>) -> Self {
        Self {
            time_of_day,
            started: OnceLock::new(),
            asked_ms: AtomicU64::new(0),
            ahead_ms: AtomicU64::new(0),
        }
    }

    /// Reads both clocks. It is the only function of the crate that reads tokio's, which tests can
    /// pause. Monotonic time starts so late that ages older than the process can be subtracted.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(super) fn now(&self) -> Now {
        let instant = Instant::now();
        let uptime = instant.saturating_duration_since(*self.started.get_or_init(|| instant));
        let mono_ms = BASE_MS.saturating_add(millis(uptime));
        Now {
            wall_ms: mono_ms.wrapping_add(self.ahead_ms(mono_ms)),
            mono_ms,
        }
    }

    fn ahead_ms(&self, mono_ms: u64) -> u64 {
        if mono_ms.wrapping_sub(self.asked_ms.load(Ordering::Relaxed)) < TIME_OF_DAY_AGE_MS {
            return self.ahead_ms.load(Ordering::Relaxed);
        }
        let ahead_ms = self.time_of_day.unix_ms().wrapping_sub(mono_ms);
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        self.asked_ms.store(mono_ms, Ordering::Relaxed);
        ahead_ms
    }
}

/// The time that people read off their clocks. It may jump either way.
pub(crate) trait TimeOfDay: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn unix_ms(&self) -> u64;
}

/// The operating system's time of day. The only reader of it.
#[derive(Debug)]
pub(super) struct SystemTimeOfDay;

impl TimeOfDay for SystemTimeOfDay {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }
}

/// About 70 years.
const BASE_MS: u64 = 1 << 41;
/// How late a jump of the time of day is noticed. Stamps are made of it, and no two nodes agree on it
/// so well.
const TIME_OF_DAY_AGE_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Settable(AtomicU64);

    impl TimeOfDay for Settable {
        fn unix_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_of_day_moves_with_the_runtime_and_jumps_within_milliseconds() {
        let time_of_day = Arc::new(Settable(AtomicU64::new(1_000)));
        let clock = Clock::new(Arc::clone(&time_of_day) as Arc<dyn TimeOfDay>);
        assert_eq!(clock.now().wall_ms, 1_000);
        tokio::time::advance(Duration::from_millis(4)).await;
        assert_eq!(clock.now().wall_ms, 1_004);
        for jump in [5_000, 7] {
            time_of_day.0.store(jump, Ordering::Relaxed);
            tokio::time::advance(Duration::from_millis(TIME_OF_DAY_AGE_MS)).await;
            assert_eq!(clock.now().wall_ms, jump);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_follows_the_runtime_and_can_look_back_before_the_start() {
        let clock = Clock::new(Arc::new(SystemTimeOfDay));
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now().mono_ms - before.mono_ms, 1_500);
        assert!(before.mono_ms > Duration::from_secs(60 * 365 * 24 * 3600).as_millis() as u64);
    }
}
