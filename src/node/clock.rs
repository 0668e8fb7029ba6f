//! Time: the one place that reads clocks.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{cluster::millis, session::Now};

/// Both clocks of a node. Requests read them several times each, so the time of day, and whether the
/// machine slept, are asked for only every few milliseconds.
///
/// Monotonic time goes on while the machine sleeps. The runtime's does not on Linux, and a node that
/// took it for time passed would hold what others have dropped or destroyed meanwhile.
#[derive(Debug)]
pub(super) struct Clock {
    system: Arc<dyn SystemTime>,
    started: OnceLock<Instant>,
    /// When both were asked for last, by the runtime's clock.
    asked_ms: AtomicU64,
    /// How long the machine had slept by then.
    asleep_ms: AtomicU64,
    /// How far it was ahead of the monotonic clock then. Whoever reads this between two stores gets
    /// one that is a few milliseconds old.
    ahead_ms: AtomicU64,
}

impl Clock {
    pub(super) fn new(system: Arc<dyn SystemTime>) -> Self {
        Self {
            system,
            started: OnceLock::new(),
            asked_ms: AtomicU64::new(0),
            asleep_ms: AtomicU64::new(0),
            ahead_ms: AtomicU64::new(0),
        }
    }

    /// Reads both clocks. Tokio's can be paused by tests. Monotonic time starts so late that ages older than the process can be subtracted.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(super) fn now(&self) -> Now {
        let instant = Instant::now();
        let uptime = instant.saturating_duration_since(*self.started.get_or_init(|| instant));
        let awake_ms = BASE_MS.saturating_add(millis(uptime));
        if awake_ms.wrapping_sub(self.asked_ms.load(Ordering::Relaxed)) >= MAX_AGE_MS {
            self.ask(awake_ms);
        }
        let mono_ms = awake_ms.saturating_add(self.asleep_ms.load(Ordering::Relaxed));
        Now {
            wall_ms: mono_ms.wrapping_add(self.ahead_ms.load(Ordering::Relaxed)),
            mono_ms,
        }
    }

    /// Returns the microseconds that the runtime's clock has gone on, for what takes less than a
    /// millisecond. A sleep of the machine is not in it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(super) fn now_us(&self) -> u64 {
        let instant = Instant::now();
        let uptime = instant.saturating_duration_since(*self.started.get_or_init(|| instant));
        u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX)
    }

    fn ask(&self, awake_ms: u64) {
        let asleep_ms = self.system.asleep_ms();
        let asleep_ms = self
            .asleep_ms
            .fetch_max(asleep_ms, Ordering::Relaxed)
            .max(asleep_ms);
        let mono_ms = awake_ms.saturating_add(asleep_ms);
        let ahead_ms = self.system.unix_ms().wrapping_sub(mono_ms);
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        self.asked_ms.store(awake_ms, Ordering::Relaxed);
    }
}

/// What a node asks the operating system about time.
pub(crate) trait SystemTime: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of day, in milliseconds since 1970. It may jump either way.
    fn unix_ms(&self) -> u64;

    /// Returns for how many milliseconds the machine has slept since the process started.
    fn asleep_ms(&self) -> u64 {
        0
    }
}

/// The time of day as the runtime's clock has moved it since this was made. Nodes that share it agree
/// about the time, and a test that pauses the runtime's clock stops it.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
pub(crate) struct RuntimeTime {
    started: Instant,
    started_unix_ms: u64,
}

#[cfg(any(test, feature = "test-util"))]
impl RuntimeTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_unix_ms: OsTime::new().unix_ms(),
        }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl SystemTime for RuntimeTime {
    fn unix_ms(&self) -> u64 {
        self.started_unix_ms
            .saturating_add(millis(self.started.elapsed()))
    }
}

/// The operating system's clocks. The only reader of them.
#[derive(Debug)]
pub(super) struct OsTime {
    started: std::time::Instant,
    /// Milliseconds since the machine started, those of sleep included, if the system tells them.
    started_ms: Option<u64>,
    asleep_ms: AtomicU64,
}

impl OsTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(super) fn new() -> Self {
        Self {
            started: std::time::Instant::now(),
            started_ms: since_boot_ms(),
            asleep_ms: AtomicU64::new(0),
        }
    }
}

impl SystemTime for OsTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn unix_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn asleep_ms(&self) -> u64 {
        let known_ms = self.asleep_ms.load(Ordering::Relaxed);
        let (Some(now_ms), Some(started_ms)) = (since_boot_ms(), self.started_ms) else {
            return known_ms;
        };
        let awake_ms = millis(self.started.elapsed());
        let asleep_ms = now_ms.saturating_sub(started_ms).saturating_sub(awake_ms);
        // The two clocks are not read at the same moment.
        if asleep_ms < known_ms + SHORTEST_SLEEP_MS {
            return known_ms;
        }
        self.asleep_ms.fetch_max(asleep_ms, Ordering::Relaxed);
        asleep_ms
    }
}

/// Returns how long the machine has run or slept, `None` where the system does not tell.
fn since_boot_ms() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(since.tv_sec).ok()?;
        let ms = u64::try_from(since.tv_nsec / 1_000_000).ok()?;
        Some(seconds.saturating_mul(1000).saturating_add(ms))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        None
    }
}

/// About 70 years.
const BASE_MS: u64 = 1 << 41;
/// How late a jump of the time of day, or the end of a sleep, is noticed. Stamps are made of the
/// former, and no two nodes agree on it so well.
const MAX_AGE_MS: u64 = 10;
/// A shorter sleep is not told from the time between two readings.
const SHORTEST_SLEEP_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct Settable {
        unix_ms: AtomicU64,
        asleep_ms: AtomicU64,
    }

    impl SystemTime for Settable {
        fn unix_ms(&self) -> u64 {
            self.unix_ms.load(Ordering::Relaxed)
        }

        fn asleep_ms(&self) -> u64 {
            self.asleep_ms.load(Ordering::Relaxed)
        }
    }

    fn settable() -> (Arc<Settable>, Clock) {
        let system = Arc::new(Settable::default());
        let clock = Clock::new(Arc::clone(&system) as Arc<dyn SystemTime>);
        (system, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn time_of_day_moves_with_the_runtime_and_jumps_within_milliseconds() {
        let (system, clock) = settable();
        system.unix_ms.store(1_000, Ordering::Relaxed);
        assert_eq!(clock.now().wall_ms, 1_000);
        tokio::time::advance(Duration::from_millis(4)).await;
        assert_eq!(clock.now().wall_ms, 1_004);
        for jump in [5_000, 7] {
            system.unix_ms.store(jump, Ordering::Relaxed);
            tokio::time::advance(Duration::from_millis(MAX_AGE_MS)).await;
            assert_eq!(clock.now().wall_ms, jump);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_goes_on_while_the_machine_sleeps() {
        let (system, clock) = settable();
        let before = clock.now();
        system.asleep_ms.store(25_000, Ordering::Relaxed);
        system.unix_ms.store(25_000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_millis(MAX_AGE_MS)).await;
        let after = clock.now();
        assert_eq!(after.mono_ms - before.mono_ms, 25_000 + MAX_AGE_MS);
        assert_eq!(after.wall_ms, 25_000);
        // A system that takes it back does not turn the clock back.
        system.asleep_ms.store(0, Ordering::Relaxed);
        tokio::time::advance(Duration::from_millis(MAX_AGE_MS)).await;
        assert_eq!(clock.now().mono_ms - after.mono_ms, MAX_AGE_MS);
    }

    #[test]
    fn machine_that_runs_has_not_slept() {
        let os = OsTime::new();
        let until = Duration::from_millis(5);
        while os.started.elapsed() < until {
            assert_eq!(os.asleep_ms(), 0);
        }
        let late = OsTime {
            started_ms: os.started_ms.map(|ms| ms - 25_000),
            ..OsTime::new()
        };
        if os.started_ms.is_some() {
            assert!((25_000..26_000).contains(&late.asleep_ms()), "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_follows_the_runtime_and_can_look_back_before_the_start() {
        let clock = Clock::new(Arc::new(OsTime::new()));
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now().mono_ms - before.mono_ms, 1_500);
        assert!(before.mono_ms > Duration::from_secs(60 * 365 * 24 * 3600).as_millis() as u64);
    }
}
