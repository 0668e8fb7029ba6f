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

use super::Node;
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
    /// Returns whether it is time for another sample.
    fn is_due(&self, now: Now) -> bool {
        let since = |last: &Sample| now.mono_ms.saturating_sub(last.at_ms);
        self.is_kept.load(Ordering::Relaxed)
            && self
                .lock()
                .back()
                .map(since)
                .is_none_or(|ms| ms >= INTERVAL_MS)
    }

    fn add(&self, sample: Sample) {
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

impl Node {
    /// Keeps samples from now on.
    pub(crate) fn keep_history(&self) {
        self.monitor.history.is_kept.store(true, Ordering::Relaxed);
    }

    /// Returns the samples of the last minutes, the oldest first.
    pub(crate) fn history(&self) -> Vec<Sample> {
        self.monitor.history.lock().iter().cloned().collect()
    }

    /// Takes a sample, if it is time.
    pub(super) fn sample(&self, now: Now) {
        if self.monitor.history.is_due(now) {
            self.monitor.history.add(self.sample_at(now));
        }
    }

    fn sample_at(&self, now: Now) -> Sample {
        let stats = self.stats();
        let metrics = &self.monitor.metrics;
        let members = stats.members.into_iter().map(|member| MemberSample {
            address: member.address,
            lag: member.acked_lag,
            sent_bytes: member.sent_bytes,
            received_bytes: member.received_bytes,
        });
        Sample {
            at_ms: now.mono_ms,
            sessions: stats.sessions as u64,
            loads: metrics.loads(),
            created: metrics.created.load(Ordering::Relaxed),
            changes: stats.log_head,
            members: members.collect(),
        }
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
        history.is_kept.store(true, Ordering::Relaxed);
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
