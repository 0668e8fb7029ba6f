//! Figures of the last minutes, from which a page draws rates.
//!
//! A sample takes one look at each link, and about a hundred bytes for each member. Nothing is kept
//! until a page is made.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::session::Now;

/// The figures of one moment. Counts are since the start of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Monotonic milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) sessions: u64,
    /// Ids that requests have presented.
    pub(crate) loads: u64,
    pub(crate) created: u64,
    /// Records of the log.
    pub(crate) changes: u64,
    pub(crate) members: Vec<MemberSample>,
}

/// The figures of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberSample {
    pub(crate) address: String,
    pub(crate) lag: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// The samples of the last minutes.
#[derive(Debug, Default)]
pub(super) struct History {
    is_kept: AtomicBool,
    samples: Mutex<VecDeque<Sample>>,
}

impl History {
    /// Keeps samples from now on.
    pub(super) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Returns the samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().iter().cloned().collect()
    }

    /// Returns whether it is time for another sample.
    pub(super) fn is_due(&self, now: Now) -> bool {
        let since = |last: &Sample| now.mono_ms.saturating_sub(last.at_ms);
        self.is_kept.load(Ordering::Relaxed)
            && self
                .lock()
                .back()
                .map(since)
                .is_none_or(|ms| ms >= INTERVAL_MS)
    }

    pub(super) fn add(&self, sample: Sample) {
        let mut samples = self.lock();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const INTERVAL_MS: u64 = 2_000;
/// Three minutes.
const KEPT: usize = 91;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{NOW, after};

    fn sample(now: Now) -> Sample {
        Sample {
            at_ms: now.mono_ms,
            sessions: 0,
            loads: 0,
            created: 0,
            changes: 0,
            members: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_kept_until_somebody_wants_it() {
        let history = History::default();
        assert!(!history.is_due(NOW));
        history.keep();
        assert!(history.is_due(NOW));
        history.add(sample(NOW));
        assert!(!history.is_due(after(INTERVAL_MS - 1)));
        assert!(history.is_due(after(INTERVAL_MS)));
    }

    #[test]
    fn oldest_samples_go() {
        let history = History::default();
        for at in 0..KEPT as u64 + 3 {
            history.add(sample(after(at * INTERVAL_MS)));
        }
        let samples = history.lock();
        assert_eq!(samples.len(), KEPT);
        assert_eq!(samples[0], sample(after(3 * INTERVAL_MS)));
    }
}
