//! The window of repair: how many states may be on their way to a peer, and how fast they go.
//!
//! Nobody waits for them but a node that joins, and the changes that requests wait for stand behind
//! them: on their way, at the peer, and on the processors of both.

use super::{Violation, token_bucket::TokenBucket};
use crate::session::Now;

/// The flow control of repair, both ways.
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes sent and not merged by the peer yet.
    in_flight: u64,
    /// Bytes merged here, for which the peer has not got credit yet.
    merged: u64,
    background: TokenBucket,
    beside_requests: TokenBucket,
    /// Whether requests are served here.
    in_use: bool,
    /// The speed of what was allowed last.
    speed: Speed,
    /// Whether the last look found that only time must pass.
    waits: bool,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            in_flight: 0,
            merged: 0,
            background: TokenBucket::new(16_000, 100),
            // About half of what a processor encodes and another one merges, in short bursts: what
            // requests need finds one of them idle.
            beside_requests: TokenBucket::new(120_000, 2),
            in_use: false,
            speed: Speed::Free,
            waits: false,
        }
    }

    /// Returns whether states may leave, those of a complete round or those of background repair.
    pub(super) fn allows(&mut self, complete: bool, now: Now) -> bool {
        self.speed = match (complete, self.in_use) {
            (true, false) => Speed::Free,
            (true, true) => Speed::BesideRequests,
            (false, _) => Speed::Background,
        };
        let bytes = match self.speed {
            Speed::Free => BYTES,
            Speed::BesideRequests | Speed::Background => PACED_BYTES,
        };
        if self.in_flight >= bytes {
            return false;
        }
        self.waits = self.bucket().is_some_and(|bucket| !bucket.allows(now));
        !self.waits
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.in_flight += bytes;
        if let Some(bucket) = self.bucket() {
            bucket.spend(bytes);
        }
    }

    /// Notes that the peer has merged so many bytes.
    ///
    /// # Errors
    ///
    /// When that is more than was sent.
    pub(super) fn credit(&mut self, bytes: u64) -> Result<(), Violation> {
        let left = self.in_flight.checked_sub(bytes);
        self.in_flight = left.ok_or(Violation::Protocol("credit for what was not sent"))?;
        Ok(())
    }

    /// Notes that so many bytes of the peer's were merged.
    pub(super) const fn record_merged(&mut self, bytes: usize) {
        self.merged += bytes as u64;
    }

    /// Returns the credit that the peer is to get.
    pub(super) fn credit_due(&mut self) -> Option<u64> {
        let bytes = std::mem::take(&mut self.merged);
        (bytes > 0).then_some(bytes)
    }

    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) const fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }

    /// Returns whether something has been held back, since this was asked last, until some time has
    /// passed.
    pub(super) const fn take_waits(&mut self) -> bool {
        std::mem::replace(&mut self.waits, false)
    }

    const fn bucket(&mut self) -> Option<&mut TokenBucket> {
        match self.speed {
            Speed::Free => None,
            Speed::BesideRequests => Some(&mut self.beside_requests),
            Speed::Background => Some(&mut self.background),
        }
    }
}

/// The speed at which states go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speed {
    Free,
    BesideRequests,
    Background,
}

/// Bytes that the peer has not merged yet.
const BYTES: u64 = 256 * 1024;
/// The same where a bucket sets the pace.
const PACED_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 2_000_000;

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    /// Returns the bytes that leave at `now` to a peer that merges at once, `MANY` if there is no
    /// end.
    fn given(window: &mut Window, complete: bool, now: Now) -> u64 {
        let mut bytes = 0;
        while bytes < MANY && window.allows(complete, now) {
            window.sent(1_000);
            bytes += 1_000;
            window.credit(1_000).expect("it was sent");
        }
        bytes
    }

    #[test]
    fn transfer_goes_at_a_pace_while_requests_are_served_and_freely_otherwise() {
        let mut window = Window::new();
        assert_eq!(given(&mut window, true, at(1_000)), MANY);
        assert!(!window.take_waits());
        window.set_in_use(true);
        given(&mut window, true, at(2_000));
        assert!(window.take_waits());
        assert_eq!(given(&mut window, true, at(2_000)), 0);
        assert_eq!(given(&mut window, true, at(2_001)), 120_000);
        // Time that went by unused is not saved up.
        assert_eq!(given(&mut window, true, at(9_000)), 240_000);
        window.set_in_use(false);
        assert_eq!(given(&mut window, true, at(9_000)), MANY);
    }

    #[test]
    fn message_of_more_than_is_left_is_paid_for() {
        let mut window = Window::new();
        window.set_in_use(true);
        given(&mut window, true, at(1_000));
        assert!(window.allows(true, at(1_001)));
        window.sent(600_000);
        window.credit(600_000).expect("it was sent");
        assert!(!window.allows(true, at(1_005)));
        assert!(window.allows(true, at(1_006)));
    }

    #[test]
    fn what_goes_freely_is_owed_to_no_pace() {
        let mut window = Window::new();
        given(&mut window, false, at(1_000));
        given(&mut window, true, at(1_000));
        window.set_in_use(true);
        assert_eq!(given(&mut window, true, at(1_001)), 240_000);
        assert_eq!(given(&mut window, false, at(1_001)), 16_000);
    }

    #[test]
    fn background_repair_always_goes_at_its_pace() {
        let mut window = Window::new();
        given(&mut window, false, at(1_000));
        assert_eq!(given(&mut window, false, at(1_010)), 160_000);
        assert_eq!(given(&mut window, false, at(60_000)), 1_600_000);
    }

    #[test]
    fn peer_that_merges_nothing_gets_no_more_than_the_window() {
        for (in_use, bytes) in [(false, BYTES), (true, PACED_BYTES)] {
            let mut window = Window::new();
            window.set_in_use(in_use);
            let mut sent = 0;
            while window.allows(true, at(1_000)) {
                window.sent(1_024);
                sent += 1_024;
            }
            assert_eq!((sent, window.in_flight()), (bytes, bytes));
            assert!(!window.take_waits(), "it waits for the peer, not for time");
            assert!(window.credit(bytes + 1).is_err());
        }
    }
}
