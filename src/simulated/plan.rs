//! What a seed says about a run.

use std::time::Duration;

/// How hard the faults are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// One fault at a time that the cluster promises to bear without loss: a node dies, a link is
    /// slow. Everything acknowledged must stay.
    Gusty,
    /// Anything at any time. What was acknowledged must stay as long as one node that held it then
    /// has lived.
    Wild,
}

/// What a seed says about a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) weather: Weather,
    pub(super) log_records: usize,
    pub(super) skews_ms: Vec<i64>,
    /// Keys are real, and with them the lengths and times of messages: such a run cannot be
    /// repeated exactly.
    pub(super) encrypted: bool,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0x51A6);
        let nodes = [2, 3, 3, 5][dice.below(4)];
        let weather = [Weather::Gusty, Weather::Wild, Weather::Wild][dice.below(3)];
        // A short log is overrun by any longer cut.
        let log_records = match weather {
            Weather::Gusty => LONG_LOG,
            Weather::Wild => [8, 64, LONG_LOG][dice.below(3)],
        };
        let hour_ms = 3_600_000;
        let skew = |_| dice.below(2 * hour_ms) as i64 - hour_ms as i64;
        Self {
            seed,
            nodes,
            weather,
            log_records,
            skews_ms: (0..nodes).map(skew).collect(),
            encrypted: false,
        }
    }

    pub(super) fn encrypted(self) -> Self {
        Self {
            encrypted: true,
            ..self
        }
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let mut dice = Self(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice.roll();
        dice
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.roll() >> 33) as usize % bound
    }

    /// Milliseconds in `from..to`.
    pub(super) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below((to - from) as usize) as u64)
    }
}

/// Records that no run fills.
pub(super) const LONG_LOG: usize = 4096;
