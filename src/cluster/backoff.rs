//! How long to wait between two dials of an address, or two questions to a name server.

/// Twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pause_ms: u64,
}

/// How much a node needs whoever it dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// The node, or its requests, wait for this peer.
    Awaited,
    Usual,
    /// Nobody but another member has ever said that somebody is there.
    Hearsay,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            pause_ms: SHORTEST_MS,
        }
    }
}

impl Backoff {
    /// Returns how long to wait before the next attempt.
    pub(crate) const fn next_ms(&mut self, urgency: Urgency) -> u64 {
        let pause_ms = self.pause_ms;
        self.pause_ms = at_most(pause_ms * 2, HEARSAY_MS);
        match urgency {
            Urgency::Awaited => at_most(pause_ms, AWAITED_MS),
            Urgency::Usual => at_most(pause_ms, USUAL_MS),
            Urgency::Hearsay => pause_ms,
        }
    }
}

const fn at_most(ms: u64, most_ms: u64) -> u64 {
    if ms < most_ms { ms } else { most_ms }
}

pub(crate) const SHORTEST_MS: u64 = 50;
/// The longest pause while a starting node looks for its peers, or requests wait for one.
const AWAITED_MS: u64 = 200;
const USUAL_MS: u64 = 2_000;
const HEARSAY_MS: u64 = 16_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(urgency: Urgency) -> Vec<u64> {
        let mut backoff = Backoff::default();
        (0..10).map(|_| backoff.next_ms(urgency)).collect()
    }

    #[test]
    fn pauses_double_and_end_at_two_seconds() {
        assert_eq!(
            pauses(Urgency::Usual),
            [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000]
        );
        assert_eq!(pauses(Urgency::Awaited)[2..], [200; 8]);
    }

    #[test]
    fn address_that_only_hearsay_knows_is_dialled_seldom() {
        assert_eq!(pauses(Urgency::Hearsay)[6..], [3200, 6400, 12_800, 16_000]);
    }
}
