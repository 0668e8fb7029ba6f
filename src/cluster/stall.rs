//! Waking up after the process was stopped: by SIGSTOP, a debugger, a host without time for it.
//!
//! Peers wait `ack_timeout` for this node and then go on without it. What it holds after a longer
//! stall is out of date. Requests that reached it meanwhile would be served first, and write on top
//! of that with newer stamps. So a node that finds its own tick late makes its links anew, and asks
//! all peers for each session before it is used, until it has caught up with them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    link::LinkId,
    time::{TICK, millis},
};
use crate::session::{BootId, Now};

/// Compares the time with that of the last tick, on the path of every request.
#[derive(Debug)]
pub(crate) struct StallDetector {
    /// A tick that comes so late was held up by a stall.
    limit_ms: u64,
    ticked_ms: AtomicU64,
}

impl StallDetector {
    /// Makes a detector that is as quick as the peers, which notice a stall after `ack_timeout`.
    pub(crate) fn new(ack_timeout: Duration, now: Now) -> Self {
        let limit = ack_timeout.saturating_sub(2 * TICK).max(3 * TICK);
        Self {
            limit_ms: millis(limit),
            ticked_ms: AtomicU64::new(now.mono_ms),
        }
    }

    /// Returns whether the tick is so late that the process must have been stopped.
    pub(crate) fn is_late(&self, now: Now) -> bool {
        let ticked_ms = self.ticked_ms.load(Ordering::Relaxed);
        now.mono_ms.saturating_sub(ticked_ms) >= self.limit_ms
    }

    /// Notes a tick, or that a stall was noticed. Returns when the one before it was.
    pub(crate) fn tick(&self, now: Now) -> u64 {
        self.ticked_ms.swap(now.mono_ms, Ordering::Relaxed)
    }
}

/// What a stall has left to be done.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Who was linked before the stall and has not been caught up with.
    peers: Vec<BootId>,
    /// Links from this one on were made after the stall.
    first_link: LinkId,
    /// The last sign of life before the stall.
    stalled_ms: u64,
    resumed_ms: u64,
    caught_up_ms: Option<u64>,
}

/// A live link as far as recovery is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoveryLink {
    pub(crate) id: LinkId,
    pub(crate) boot: BootId,
    /// The peer has spoken.
    pub(crate) is_open: bool,
    /// Everything the peer had when this link was made is here.
    pub(crate) is_current: bool,
}

impl Recovery {
    /// Begins after a stall. The peers of an `earlier` stall that is not made good still count.
    pub(crate) fn new(
        peers: impl Iterator<Item = BootId>,
        earlier: Option<Self>,
        first_link: LinkId,
        stalled_ms: u64,
        now: Now,
    ) -> Self {
        let earlier = earlier.into_iter().flat_map(|earlier| earlier.peers);
        Self {
            peers: peers.chain(earlier).collect(),
            first_link,
            stalled_ms,
            resumed_ms: now.mono_ms,
            caught_up_ms: None,
        }
    }

    /// Returns whether all peers are caught up with, and have had `ack_timeout_ms` to notice that
    /// and to wait for this node again. A peer that is not back after `down_after_ms` is gone.
    pub(crate) fn is_over(
        &mut self,
        links: &[RecoveryLink],
        ack_timeout_ms: u64,
        down_after_ms: u64,
        now: Now,
    ) -> bool {
        let is_gone = now.mono_ms.saturating_sub(self.resumed_ms) >= down_after_ms;
        let is_missing = |peer: &BootId| {
            let link = self.new_links(links, *peer).next();
            link.map_or(!is_gone, |link| !link.is_current)
        };
        if self.peers.iter().any(is_missing) {
            self.caught_up_ms = None;
            return false;
        }
        let since_ms = *self.caught_up_ms.get_or_insert(now.mono_ms);
        now.mono_ms.saturating_sub(since_ms) >= ack_timeout_ms
    }

    /// Returns whether every peer of before the stall has a new link on which it has spoken.
    pub(crate) fn has_new_links(&self, links: &[RecoveryLink]) -> bool {
        let is_linked = |peer: &BootId| self.new_links(links, *peer).any(|link| link.is_open);
        self.peers.iter().all(is_linked)
    }

    /// Returns how much of `limit` from the end of the stall on is left.
    pub(crate) fn left_of(&self, limit: Duration, now: Now) -> Duration {
        let since_ms = now.mono_ms.saturating_sub(self.resumed_ms);
        limit.saturating_sub(Duration::from_millis(since_ms))
    }

    /// Returns the time of a write by a request that loaded its session at `loaded_ms`. A request
    /// from before the stall knows nothing of what happened meanwhile: its write is as old as the
    /// beginning of the stall, so that whatever was written elsewhere beats it.
    pub(crate) fn time_of_write(&self, loaded_ms: u64, now: Now) -> Now {
        if loaded_ms >= self.resumed_ms {
            return now;
        }
        let stalled_for_ms = now.mono_ms.saturating_sub(self.stalled_ms);
        Now {
            wall_ms: now.wall_ms.saturating_sub(stalled_for_ms),
            ..now
        }
    }

    fn new_links<'a>(
        &self,
        links: &'a [RecoveryLink],
        peer: BootId,
    ) -> impl Iterator<Item = &'a RecoveryLink> + use<'a> {
        let first_link = self.first_link;
        links
            .iter()
            .filter(move |link| link.boot == peer && link.id >= first_link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: BootId = BootId::from_bytes([7; 8]);
    const BEFORE: u64 = 1 << 41;
    const ACK_TIMEOUT_MS: u64 = 1_000;
    const DOWN_AFTER_MS: u64 = 3_000;

    const fn after(ms: u64) -> Now {
        Now {
            wall_ms: 1_700_000_000_000 + ms,
            mono_ms: BEFORE + ms,
        }
    }

    const fn link(id: u64, is_current: bool) -> RecoveryLink {
        RecoveryLink {
            id: LinkId(id),
            boot: PEER,
            is_open: true,
            is_current,
        }
    }

    /// The process was stopped for ten seconds. Links from number 5 on are new.
    fn recovery() -> Recovery {
        Recovery::new([PEER].into_iter(), None, LinkId(5), BEFORE, after(10_000))
    }

    fn is_over(recovery: &mut Recovery, links: &[RecoveryLink], ms: u64) -> bool {
        recovery.is_over(links, ACK_TIMEOUT_MS, DOWN_AFTER_MS, after(ms))
    }

    #[test]
    fn tick_is_late_before_peers_give_up() {
        let detector = StallDetector::new(Duration::from_secs(1), after(0));
        assert!(!detector.is_late(after(799)));
        assert!(detector.is_late(after(800)));
        assert_eq!(detector.tick(after(800)), BEFORE);
        assert!(!detector.is_late(after(1_599)));
    }

    #[test]
    fn recovery_ends_when_peers_have_had_time_to_wait_again() {
        let mut recovery = recovery();
        assert!(
            !is_over(&mut recovery, &[link(4, true)], 10_100),
            "an old link"
        );
        assert!(!is_over(&mut recovery, &[link(5, false)], 10_200));
        assert!(!is_over(&mut recovery, &[link(5, true)], 10_300));
        assert!(!is_over(&mut recovery, &[link(5, true)], 11_299));
        assert!(is_over(&mut recovery, &[link(5, true)], 11_300));
    }

    #[test]
    fn peer_that_falls_behind_again_begins_the_time_anew() {
        let mut recovery = recovery();
        assert!(!is_over(&mut recovery, &[link(5, true)], 10_300));
        assert!(!is_over(&mut recovery, &[link(6, false)], 10_400));
        assert!(!is_over(&mut recovery, &[link(6, true)], 11_300));
        assert!(is_over(&mut recovery, &[link(6, true)], 12_300));
    }

    #[test]
    fn peer_that_does_not_come_back_is_given_up() {
        let mut recovery = recovery();
        assert!(!is_over(&mut recovery, &[], 12_999));
        assert!(!is_over(&mut recovery, &[], 13_000), "the time begins");
        assert!(is_over(&mut recovery, &[], 14_000));
    }

    #[test]
    fn peers_of_an_earlier_stall_still_count() {
        let second = Recovery::new(
            [].into_iter(),
            Some(recovery()),
            LinkId(9),
            BEFORE,
            after(20_000),
        );
        assert!(!second.has_new_links(&[link(8, true)]));
        assert!(second.has_new_links(&[link(9, false)]));
    }

    #[test]
    fn write_of_a_request_from_before_the_stall_is_as_old_as_its_beginning() {
        let recovery = recovery();
        let now = after(10_500);
        let old = recovery.time_of_write(BEFORE - 1, now);
        assert_eq!(old.wall_ms, after(0).wall_ms);
        assert_eq!(old.mono_ms, now.mono_ms);
        assert_eq!(recovery.time_of_write(BEFORE + 10_000, now), now);
    }
}
