//! How many questions for single sessions leave in a second, however many requests have one.

use std::time::Duration;

use crate::session::Now;

/// Gives out so many turns in each [`STEP_MS`], in the order in which they are asked for.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_step: u32,
    /// When the step began whose turns are given out. It is in the future when there is a queue.
    step_ms: u64,
    taken: u32,
}

impl RateLimiter {
    pub(crate) const fn new(per_step: u32) -> Self {
        Self {
            per_step,
            step_ms: 0,
            taken: 0,
        }
    }

    /// Takes a turn. Returns how long to wait for it, or `None` if it would come too late to be of
    /// use.
    pub(crate) fn acquire(&mut self, now: Now) -> Option<Duration> {
        if now.mono_ms >= self.step_ms.saturating_add(STEP_MS) {
            self.begin_step(now.mono_ms);
        }
        if self.taken >= self.per_step {
            let next_ms = self.step_ms.saturating_add(STEP_MS);
            if next_ms > now.mono_ms.saturating_add(LONGEST_MS) {
                return None;
            }
            self.begin_step(next_ms);
        }
        self.taken += 1;
        let wait_ms = self.step_ms.saturating_sub(now.mono_ms);
        Some(Duration::from_millis(wait_ms))
    }

    const fn begin_step(&mut self, at_ms: u64) {
        self.step_ms = at_ms;
        self.taken = 0;
    }
}

/// Of ids that are held here or signed: more than a node serves requests.
pub(crate) const OF_KNOWN: u32 = 1024;
/// Of all others, most of which are made up when there are many: 10 000 a second. A node whose
/// sessions are still to come is not ready and gets few requests from a balancer.
pub(crate) const OF_OTHERS: u32 = 100;
pub(crate) const STEP_MS: u64 = 10;
/// Behind it the answer would come too late.
const LONGEST_MS: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    const PER_STEP: u32 = 7;

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    #[test]
    fn questions_in_a_second_are_bounded_and_come_in_order() {
        let mut turns = RateLimiter::new(PER_STEP);
        let first: Vec<_> = (0..PER_STEP).map(|_| turns.acquire(at(1000))).collect();
        assert!(first.iter().all(|wait| *wait == Some(Duration::ZERO)));
        assert_eq!(turns.acquire(at(1000)), Some(Duration::from_millis(10)));
        assert_eq!(turns.acquire(at(1009)), Some(Duration::from_millis(1)));
        let queued = (0..).map_while(|_| turns.acquire(at(1009))).count();
        let steps = LONGEST_MS / STEP_MS;
        assert_eq!(queued as u64, steps * u64::from(PER_STEP) - 2);
        assert!(turns.acquire(at(1019)).is_some(), "one step is over");
        assert_eq!(
            turns.acquire(at(9000)),
            Some(Duration::ZERO),
            "all is forgotten"
        );
    }
}
