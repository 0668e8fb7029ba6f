//! How many questions for single sessions leave in a second, however many requests have one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::session::Now;

/// Gives out so many turns in each [`STEP_MS`], in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct RateLimiter {
    per_step: u32,
    /// The step whose turns are given out, in the future when there is a queue. Guards nothing else.
    step: Mutex<Interval>,
}

#[derive(Debug)]
struct Interval {
    begins_ms: u64,
    taken: u32,
}

impl RateLimiter {
    pub(super) const fn new(per_step: u32) -> Self {
        Self {
            per_step,
            step: Mutex::new(Interval {
                begins_ms: 0,
                taken: 0,
            }),
        }
    }

    /// How long to wait for one's turn, `None` if it would come too late to be of use.
    pub(super) fn acquire(&self, now: Now) -> Option<Duration> {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if now.mono_ms >= step.begins_ms.saturating_add(STEP_MS) {
            *step = Interval {
                begins_ms: now.mono_ms,
                taken: 0,
            };
        }
        if step.taken >= self.per_step {
            let next_ms = step.begins_ms.saturating_add(STEP_MS);
            if next_ms > now.mono_ms.saturating_add(LONGEST_MS) {
                return None;
            }
            *step = Interval {
                begins_ms: next_ms,
                taken: 0,
            };
        }
        step.taken += 1;
        let wait_ms = step.begins_ms.saturating_sub(now.mono_ms);
        Some(Duration::from_millis(wait_ms))
    }
}

/// Of ids that are held here or signed: more than a node serves requests.
pub(super) const OF_KNOWN: u32 = 1024;
/// Of all others, most of which are made up when there are many: 10 000 a second. A node whose
/// sessions are still to come is not ready and gets few requests from a balancer.
pub(super) const OF_OTHERS: u32 = 100;
pub(super) const STEP_MS: u64 = 10;
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
    fn turns_in_a_second_are_bounded_and_come_in_order() {
        let turns = RateLimiter::new(PER_STEP);
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
