//! How long destroyed sessions are remembered where there is no room for all of them.
//!
//! A node that runs out of room shortens its retention, and tells its peers, who tell theirs. All of
//! them forget the same tombstones then, or repair would bring back to one what it has forgotten.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store::counts::Counts;
use crate::{
    session::{Mutant, Now, Retention, Tombstone},
    wire::message::RETENTION_HOPS,
};

/// A node's own retention, and that of the nodes around it.
#[derive(Debug)]
pub(super) struct RetentionTracker(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What this node has room for.
    own: Retention,
    /// When that was changed last.
    changed_ms: u64,
    /// The shortest that links have told since the last tick, by hops.
    heard: [Retention; RETENTION_HOPS],
    /// What peers are told.
    told: [Retention; RETENTION_HOPS],
}

impl RetentionTracker {
    pub(super) const fn new(now: Now) -> Self {
        Self(Mutex::new(State {
            own: Retention::UNBOUNDED,
            changed_ms: now.mono_ms,
            heard: UNHEARD,
            told: UNHEARD,
        }))
    }

    /// Goes on with what this node had room for when it stopped.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn restore(&self, own: Retention, now: Now) {
        let mut state = self.lock();
        (state.own, state.changed_ms) = (own, now.mono_ms);
    }

    /// Returns what this node has room for.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn own(&self) -> Retention {
        self.lock().own
    }

    /// Returns the shortest retention within so many hops, this node's own first.
    pub(super) fn told(&self) -> [Retention; RETENTION_HOPS] {
        self.lock().told
    }

    /// Notes what a peer has told. Call it for each link, between two ticks.
    pub(super) fn hear(&self, theirs: &[Retention; RETENTION_HOPS]) {
        let mut state = self.lock();
        for (heard, theirs) in state.heard.iter_mut().zip(theirs) {
            *heard = (*heard).min(*theirs);
        }
    }

    /// Lets a tick pass. Returns how long tombstones are remembered from now on: as long as the node
    /// remembers them that has least room, of those within some hops.
    pub(super) fn tick(&self, counts: &Counts, now: Now) -> Retention {
        let state = &mut *self.lock();
        let shortest = |heard: Retention, own: Retention| match Mutant::RetainAlone.is_on() {
            true => own,
            false => heard.min(own),
        };
        let heard = std::mem::replace(&mut state.heard, UNHEARD);
        let [.., farthest] = heard;
        state.adapt(shortest(farthest, state.own), counts, now);
        let own = state.own;
        state.told = [own; RETENTION_HOPS];
        for (told, heard) in state.told[1..].iter_mut().zip(heard) {
            *told = shortest(heard, own);
        }
        shortest(farthest, own)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Shortens this node's retention so that half of the room is enough for what is left, when seven
    /// eighths are taken. Makes it longer when a quarter has been enough for as long as it is.
    fn adapt(&mut self, present: Retention, counts: &Counts, now: Now) {
        let (held, room) = (counts.tombstones(), counts.max_tombstones());
        if held >= room - room / 8 {
            let enough = counts.retention_of(room / 2, now);
            // Those past their time may not have been dropped yet.
            if enough < present {
                (self.own, self.changed_ms) = (enough, now.mono_ms);
            }
            return;
        }
        let has_lasted = now.mono_ms.saturating_sub(self.changed_ms) >= least_keep_ms(present);
        if self.own == present && present.is_shortened() && held <= room / 4 && has_lasted {
            (self.own, self.changed_ms) = (present.longer(), now.mono_ms);
        }
    }
}

/// Returns how long any tombstone is remembered, however short its session's limits were.
pub(super) fn least_keep_ms(retention: Retention) -> u64 {
    retention.ms().min(Tombstone::MIN_KEEP_MS)
}

const UNHEARD: [Retention; RETENTION_HOPS] = [Retention::UNBOUNDED; RETENTION_HOPS];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{NOW, after};

    const MINUTE: u64 = 60_000;

    /// Returns counts with one tombstone for each age.
    fn counts(room: usize, ages_ms: impl IntoIterator<Item = u64>, now: Now) -> Counts {
        let counts = Counts::new(room);
        for age_ms in ages_ms {
            counts.add_tombstone(&Tombstone {
                destroyed_ms: now.mono_ms - age_ms,
                keep_ms: Tombstone::MIN_KEEP_MS,
            });
        }
        counts
    }

    fn minutes(retention: Retention) -> u64 {
        retention.ms() / MINUTE
    }

    #[test]
    fn the_oldest_go_first_until_half_of_the_room_is_free() {
        let now = after(1000 * MINUTE);
        let tracker = RetentionTracker::new(NOW);
        let by_the_minute = |number: u64| counts(80, (0..number).map(|age| age * MINUTE), now);
        let retention = tracker.tick(&by_the_minute(69), now);
        assert_eq!(retention, Retention::UNBOUNDED);
        assert_eq!(minutes(tracker.tick(&by_the_minute(70), now)), 32);
        let young = counts(80, (0..70).map(|age| age * 1000), now);
        assert_eq!(minutes(tracker.tick(&young, now)), 1, "the shortest");
    }

    #[test]
    fn retention_is_as_long_as_before_once_there_has_been_room_for_as_long() {
        let tracker = RetentionTracker::new(NOW);
        let full = counts(80, (0..70).map(|_| 0), NOW);
        assert_eq!(minutes(tracker.tick(&full, NOW)), 1);
        let mut at = 0;
        let mut last = Retention::SHORTEST;
        while last.is_shortened() {
            at += 1;
            let now = after(at * MINUTE);
            let next = tracker.tick(&counts(80, (0..20).map(|_| 0), now), now);
            assert!(next >= last);
            if next > last {
                let waited = at - (minutes(last) - 1);
                assert_eq!(waited, minutes(last).min(24 * 60), "before {next:?}");
            }
            last = next;
        }
        assert_eq!(at, 2047 + 24 * 60);
    }

    #[test]
    fn retention_of_the_node_with_least_room_is_told_over_four_links() {
        let nodes: Vec<_> = (0..6).map(|_| RetentionTracker::new(NOW)).collect();
        let (full, empty) = (counts(8, [0; 8], NOW), counts(8, [], NOW));
        let mut present = Vec::new();
        for _ in 0..10 {
            present = nodes
                .iter()
                .zip(std::iter::once(&full).chain(std::iter::repeat(&empty)))
                .map(|(node, counts)| node.tick(counts, NOW).is_shortened())
                .collect();
            for (one, other) in nodes.iter().zip(&nodes[1..]) {
                let (told, answered) = (one.told(), other.told());
                one.hear(&answered);
                other.hear(&told);
            }
        }
        assert_eq!(present, [true, true, true, true, true, false]);
        let alone = nodes[4].tick(&empty, NOW);
        assert!(alone.is_shortened(), "the last that was heard counts");
        assert_eq!(nodes[4].tick(&empty, NOW), Retention::UNBOUNDED);
    }
}
