//! The samples that a node takes of itself.

use std::sync::atomic::Ordering;

use super::{
    Node,
    history::{MemberSample, Sample},
};
use crate::session::Now;

impl Node {
    /// Keeps samples from now on.
    pub(crate) fn keep_history(&self) {
        self.monitor.history.keep();
    }

    /// Returns the samples of the last minutes, the oldest first.
    pub(crate) fn history(&self) -> Vec<Sample> {
        self.monitor.history.samples()
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
