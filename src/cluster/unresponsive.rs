//! Peers that are asked and do not answer: after a while nobody waits for them.

use std::collections::BTreeMap;

use super::link::LinkId;
use crate::session::Now;

/// The links that owe answers, and since when.
#[derive(Debug, Default)]
pub(super) struct UnresponsivePeers {
    /// The first question since the last answer, in monotonic milliseconds.
    asked_ms: BTreeMap<LinkId, u64>,
}

impl UnresponsivePeers {
    /// Notes that a link is asked. Returns whether to wait for its answer: not if it has been asked
    /// for long and has answered nothing.
    pub(super) fn record_question(&mut self, link: LinkId, now: Now) -> bool {
        self.asked_ms.entry(link).or_insert(now.mono_ms);
        !self.is_mute(link, now)
    }

    /// Returns whether a link has been asked for long and has answered nothing.
    pub(super) fn is_mute(&self, link: LinkId, now: Now) -> bool {
        let asked_ms = self.asked_ms.get(&link);
        asked_ms.is_some_and(|asked_ms| now.mono_ms.saturating_sub(*asked_ms) >= MUTE_MS)
    }

    /// Notes that a link has answered something, or is closed.
    pub(super) fn record_answer(&mut self, link: LinkId) {
        self.asked_ms.remove(&link);
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
        let mut unresponsive = UnresponsivePeers::default();
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
