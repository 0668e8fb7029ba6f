//! Peers that are asked and do not answer: after a while nobody waits for them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::peers::link::LinkId;
use crate::session::Now;

/// Since when links owe answers and have brought none.
#[derive(Debug, Default)]
pub(super) struct UnresponsivePeers {
    /// In monotonic milliseconds. Guards nothing else.
    since: Mutex<BTreeMap<LinkId, u64>>,
}

impl UnresponsivePeers {
    /// Notes that a link is asked. Whether to wait for its answer: not if it has been asked for
    /// long and has answered nothing.
    pub(super) fn record_question(&self, link: LinkId, now: Now) -> bool {
        let since_ms = *self.lock().entry(link).or_insert(now.mono_ms);
        now.mono_ms.saturating_sub(since_ms) < MUTE_MS
    }

    /// The link has answered something, or is closed.
    pub(super) fn record_answer(&self, link: LinkId) {
        self.lock().remove(&link);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, u64>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Four times the wait of one request.
const MUTE_MS: u64 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_answers_nothing_is_not_waited_for_until_it_does() {
        const LINK: LinkId = LinkId(1);
        let unresponsive = UnresponsivePeers::default();
        let at = |mono_ms| Now {
            wall_ms: 0,
            mono_ms,
        };
        assert!(unresponsive.record_question(LINK, at(5)));
        assert!(unresponsive.record_question(LINK, at(4 + MUTE_MS)));
        assert!(!unresponsive.record_question(LINK, at(5 + MUTE_MS)));
        unresponsive.record_answer(LINK);
        assert!(unresponsive.record_question(LINK, at(6 + MUTE_MS)));
        assert!(!unresponsive.record_question(LINK, at(6 + 2 * MUTE_MS)));
    }
}
