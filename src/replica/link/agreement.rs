//! Whether both sides of a link hold the same, and since when.

use crate::session::Now;

/// What this node knows of how its sessions and the peer's compare. Under load two nodes always
/// differ, since changes are under way, so it also keeps when they were equal or compared last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Since when each heartbeat of the peer has told of the same sessions as were here.
    equal_since_ms: Option<u64>,
    /// When one did so last.
    last_equal_ms: Option<u64>,
    /// When a round of comparing, of either side, ended last.
    last_round_ms: Option<u64>,
}

impl Agreement {
    /// Notes what a heartbeat says.
    pub(super) fn compare_root(&mut self, is_equal: bool, now: Now) {
        if is_equal {
            self.equal_since_ms.get_or_insert(now.mono_ms);
            self.last_equal_ms = Some(now.mono_ms);
        } else {
            self.equal_since_ms = None;
        }
    }

    /// Notes that a round is over.
    pub(super) const fn end_round(&mut self, now: Now) {
        self.last_round_ms = Some(now.mono_ms);
    }

    /// Returns whether both held the same when the peer said last what it holds.
    pub(super) const fn is_equal(&self) -> bool {
        self.equal_since_ms.is_some()
    }

    /// Returns for how long both have held the same, `None` while they differ.
    pub(crate) fn equal_for_ms(&self, now: Now) -> Option<u64> {
        since(self.equal_since_ms, now)
    }

    /// Returns how long ago both held the same.
    pub(crate) fn last_equal_ms(&self, now: Now) -> Option<u64> {
        since(self.last_equal_ms, now)
    }

    /// Returns how long ago a round of comparing ended.
    pub(crate) fn last_round_ms(&self, now: Now) -> Option<u64> {
        since(self.last_round_ms, now)
    }
}

fn since(at_ms: Option<u64>, now: Now) -> Option<u64> {
    at_ms.map(|at_ms| now.mono_ms.saturating_sub(at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{NOW, after};

    #[test]
    fn equality_counts_from_the_first_heartbeat_that_told_of_it() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.last_equal_ms(NOW), None);
        agreement.compare_root(true, after(100));
        agreement.compare_root(true, after(600));
        assert!(agreement.is_equal());
        assert_eq!(agreement.equal_for_ms(after(700)), Some(600));
        assert_eq!(agreement.last_equal_ms(after(700)), Some(100));
        agreement.compare_root(false, after(800));
        assert!(!agreement.is_equal());
        assert_eq!(agreement.equal_for_ms(after(900)), None);
        assert_eq!(agreement.last_equal_ms(after(900)), Some(300));
        agreement.compare_root(true, after(1000));
        assert_eq!(agreement.equal_for_ms(after(1000)), Some(0));
    }

    #[test]
    fn round_that_ended_is_remembered() {
        let mut agreement = Agreement::default();
        agreement.end_round(after(100));
        assert_eq!(agreement.last_round_ms(after(350)), Some(250));
    }
}
