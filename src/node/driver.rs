//! Time: the one place that reads clocks, and the tick that moves everything that depends on them.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, MissedTickBehavior};

use super::{Node, outside::TimeOfDay};
use crate::session::Now;

/// Both clocks of a node.
#[derive(Debug)]
pub(super) struct Clock {
    time_of_day: Arc<dyn TimeOfDay>,
    started: OnceLock<Instant>,
}

impl Clock {
    pub(super) fn new(time_of_day: Arc<dyn TimeOfDay>) -> Self {
        Self {
            time_of_day,
            started: OnceLock::new(),
        }
    }

    /// The only function of the crate that reads tokio's clock. Tests can pause it, and it starts
    /// so late that ages older than the process can be subtracted.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(super) fn now(&self) -> Now {
        let instant = Instant::now();
        let uptime = instant.saturating_duration_since(*self.started.get_or_init(|| instant));
        Now {
            wall_ms: self.time_of_day.unix_ms(),
            mono_ms: BASE_MS.saturating_add(millis(uptime)),
        }
    }
}

/// The operating system's. The only reader of it.
#[derive(Debug)]
pub(super) struct SystemTimeOfDay;

impl TimeOfDay for SystemTimeOfDay {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }
}

/// Runs as long as a handle of the cluster lives, also after it left: sessions still expire then.
pub(super) async fn tick(node: Arc<Node>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        node.tick(node.now());
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) const TICK: Duration = Duration::from_millis(100);
/// About 70 years.
const BASE_MS: u64 = 1 << 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_follows_the_runtime_and_can_look_back_before_the_start() {
        let clock = Clock::new(Arc::new(SystemTimeOfDay));
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now().mono_ms - before.mono_ms, 1_500);
        assert!(before.mono_ms > Duration::from_secs(60 * 365 * 24 * 3600).as_millis() as u64);
    }
}
