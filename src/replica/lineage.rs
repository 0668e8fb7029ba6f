//! Nodes that were apart for longer than tombstones are kept.
//!
//! A tombstone is forgotten after a day or more, and earlier where there is no room. A node that was
//! cut off for that long may hold a session that the others destroyed and forgot, and repair would
//! bring it back everywhere. Such a node doubts what it holds when it meets one whose data goes back
//! to before that, and drops what that one lacks. Only nodes that were alone for all that time can be
//! in that state, so the boot id decides between two of them.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    retention::{RetentionTracker, least_keep_ms},
    stops::Stops,
};
use crate::{
    session::{BootId, Mutant, Now, Retention, Tombstone},
    wire::message::{Lineage, Memory, RETENTION_HOPS},
};

/// A node's memory of its own data. Instants are monotonic milliseconds.
#[derive(Debug)]
pub(super) struct LineageTracker {
    /// The last time at which this node and a peer had told each other all they held.
    contact_ms: AtomicU64,
    /// Since when this node's data goes back. Guards nothing else.
    since_ms: Mutex<u64>,
    /// What was destroyed before may be forgotten, here or where this node's data came from.
    forgotten_ms: AtomicU64,
    /// When no process ran for this node's directory. Guards nothing else.
    stops: Mutex<Stops>,
    /// Nobody knows how long ago the last contact was: the clock of a node that was down has gone
    /// back.
    is_lost_in_time: AtomicBool,
}

impl LineageTracker {
    pub(super) fn new(now: Now) -> Self {
        Self {
            contact_ms: AtomicU64::new(now.mono_ms),
            since_ms: Mutex::new(now.mono_ms),
            forgotten_ms: AtomicU64::new(0),
            stops: Mutex::default(),
            is_lost_in_time: AtomicBool::new(false),
        }
    }

    /// Goes on with what another process of this node has saved.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn restore(&self, saved: SavedLineage) {
        let SavedLineage {
            contact_ms,
            is_lost_in_time,
            since_ms,
            forgotten_ms,
            stops,
        } = saved;
        self.contact_ms.store(contact_ms, Ordering::Relaxed);
        *self.since() = since_ms;
        self.forgotten_ms.store(forgotten_ms, Ordering::Relaxed);
        *self.stops() = stops;
        self.is_lost_in_time
            .store(is_lost_in_time, Ordering::Relaxed);
    }

    /// Returns what the next process of this node is to know.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn to_save(&self) -> SavedLineage {
        SavedLineage {
            contact_ms: self.contact_ms.load(Ordering::Relaxed),
            is_lost_in_time: self.is_lost_in_time.load(Ordering::Relaxed),
            since_ms: *self.since(),
            forgotten_ms: self.forgotten_ms.load(Ordering::Relaxed),
            stops: self.stops().clone(),
        }
    }

    /// Notes that what this node and a peer held at an instant is known to both: a round that began
    /// then is over, whoever began it, or both were found equal.
    ///
    /// To be equal is not asked for. Nodes under constant load never are, and one session that
    /// cannot be merged keeps them from it for ever.
    pub(super) fn record_contact(&self, at_ms: u64, theirs: &Past) {
        if self.was_down(at_ms) && theirs.was_down() && !Mutant::MeetInAbsence.is_on() {
            // Neither knows what others have destroyed meanwhile.
            let contact_ms = theirs.contact_ms.min(at_ms);
            self.contact_ms.fetch_max(contact_ms, Ordering::Relaxed);
        } else {
            self.contact_ms.fetch_max(at_ms, Ordering::Relaxed);
            self.is_lost_in_time.store(false, Ordering::Relaxed);
        }
        let forgotten_ms = theirs.made_ms.saturating_sub(theirs.memory.remembered_ms);
        self.forgotten_ms.fetch_max(forgotten_ms, Ordering::Relaxed);
        let mut since_ms = self.since();
        *since_ms = (*since_ms).min(theirs.made_ms.saturating_sub(theirs.lineage.lineage_ms));
    }

    /// Notes how long tombstones are remembered now.
    pub(super) fn record_retention(&self, retention: Retention, now: Now) {
        let forgotten_ms = self.ran_since(least_keep_ms(retention), now);
        self.forgotten_ms.fetch_max(forgotten_ms, Ordering::Relaxed);
    }

    /// Returns what a peer is told.
    pub(super) fn describe(&self, holds: bool, retentions: &RetentionTracker, now: Now) -> Past {
        let since_ms = *self.since();
        let ago = |at_ms: u64| now.mono_ms.saturating_sub(at_ms);
        let contact_ms = self.contact_ms.load(Ordering::Relaxed);
        let forgotten_ms = self.forgotten_ms.load(Ordering::Relaxed);
        let longest_ms = ago(self.ran_since(Tombstone::MIN_KEEP_MS, now));
        let is_lost_in_time = self.is_lost_in_time.load(Ordering::Relaxed);
        let (apart_ms, remembered_ms) = match is_lost_in_time {
            // It may have been for long. What others destroyed meanwhile it does not know, and it
            // has forgotten nothing itself.
            true => (
                ago(contact_ms).max(Tombstone::MIN_KEEP_MS),
                Tombstone::MAX_KEEP_MS,
            ),
            false => (ago(contact_ms), ago(forgotten_ms).min(longest_ms)),
        };
        Past {
            lineage: Lineage {
                holds,
                away: apart_ms >= AWAY_MS,
                lineage_ms: now.mono_ms.saturating_sub(since_ms),
            },
            memory: Memory {
                retentions: retentions.told(),
                remembered_ms,
                apart_ms,
            },
            contact_ms,
            is_lost_in_time,
            made_ms: now.mono_ms,
        }
    }

    /// Returns whether this node was down for some time of the day that it has run last.
    fn was_down(&self, now_ms: u64) -> bool {
        let day_ms = Tombstone::MIN_KEEP_MS;
        let since_ms = self.stops().ran_since(now_ms, day_ms);
        let is_lost = self.is_lost_in_time.load(Ordering::Relaxed);
        is_lost || since_ms < now_ms.saturating_sub(day_ms)
    }

    /// Returns the instant since which this node has run for so long.
    fn ran_since(&self, ran_ms: u64, now: Now) -> u64 {
        self.stops().ran_since(now.mono_ms, ran_ms)
    }

    fn since(&self) -> MutexGuard<'_, u64> {
        self.since_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stops(&self) -> MutexGuard<'_, Stops> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node's next process is to know of its data. Instants are monotonic milliseconds.
#[cfg(any(test, feature = "durable"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedLineage {
    pub(super) contact_ms: u64,
    /// That was longer ago than it seems.
    pub(super) is_lost_in_time: bool,
    pub(super) since_ms: u64,
    pub(super) forgotten_ms: u64,
    pub(super) stops: Stops,
}

/// What a node has told of its data, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) lineage: Lineage,
    pub(super) memory: Memory,
    /// The last instant at which a peer knew all that the node held.
    pub(super) contact_ms: u64,
    /// That was longer ago than it seems.
    pub(super) is_lost_in_time: bool,
    pub(super) made_ms: u64,
}

impl Past {
    /// Returns what a peer has told.
    pub(super) const fn of_peer(lineage: Lineage, memory: Memory, now: Now) -> Self {
        Self {
            lineage,
            memory,
            contact_ms: now.mono_ms.saturating_sub(memory.apart_ms),
            is_lost_in_time: false,
            made_ms: now.mono_ms,
        }
    }

    /// Returns what is taken of a peer that has told of its lineage alone.
    pub(super) fn of_lineage(lineage: Lineage, now: Now) -> Self {
        let memory = Memory {
            retentions: [Retention::UNBOUNDED; RETENTION_HOPS],
            remembered_ms: Tombstone::MIN_KEEP_MS,
            apart_ms: if lineage.away { AWAY_MS } else { 0 },
        };
        Self::of_peer(lineage, memory, now)
    }

    /// Returns the instant up to which the other node may have had what this one has. What was begun
    /// later than the links of either can have lasted it has never had.
    pub(super) fn known_ms(&self, other: &Self) -> u64 {
        match self.is_lost_in_time {
            // When the contact of the other one was by the ages of these sessions nobody knows.
            true => self.linked_ms(),
            false => self.linked_ms().min(other.linked_ms()),
        }
    }

    /// Returns the instant after which what was begun has reached no peer.
    fn linked_ms(&self) -> u64 {
        let since_ms = self.made_ms.saturating_sub(self.lineage.lineage_ms);
        let has_met = self.contact_ms > since_ms;
        if has_met && !Mutant::TrustLastContact.is_on() {
            self.contact_ms.saturating_add(UNSEEN_MS)
        } else {
            self.contact_ms
        }
    }

    /// Returns whether the node was down for some time of the day that it has run last: it remembers
    /// more than a day.
    const fn was_down(&self) -> bool {
        self.memory.remembered_ms > Tombstone::MIN_KEEP_MS
    }

    /// Returns whether the other node may have forgotten what was destroyed after this one was in
    /// contact last, and destroyed of what this one had then.
    fn is_away_from(&self, other: &Self) -> bool {
        let apart_ms = self.memory.apart_ms;
        let away_ms = match Mutant::AwayAfterADay.is_on() {
            true => AWAY_MS,
            false => away_ms(other.memory.remembered_ms),
        };
        // It may have destroyed all it had.
        let counts = other.lineage.holds || !Mutant::KeepBesideEmpty.is_on();
        let may_have_forgotten = counts && other.lineage.lineage_ms >= apart_ms;
        self.lineage.holds && apart_ms >= away_ms && may_have_forgotten
    }
}

/// One of two nodes that meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) boot: BootId,
    pub(super) past: Past,
}

impl Side {
    /// Returns whether this node, not the other one, drops what the other one lacks.
    pub(super) fn is_doubtful_beside(&self, other: &Self) -> bool {
        let is_away = self.past.is_away_from(&other.past);
        let are_both = || other.past.is_away_from(&self.past);
        is_away && (!are_both() || self.boot > other.boot) && !Mutant::KeepOutdated.is_on()
    }
}

/// Returns after how long a node counts as away for one that remembers what was destroyed for so
/// long: less by a margin for links, relays and sweeps.
const fn away_ms(remembered_ms: u64) -> u64 {
    let half = remembered_ms / 2;
    remembered_ms - if half < HOUR_MS { half } else { HOUR_MS }
}

/// Changes reach peers at once. What both hold is compared a little later, which is the contact that is
/// known, and a directory knows of it later still. So that much may have reached a peer after it.
const UNSEEN_MS: u64 = 15_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
/// The same for the shortest life of a tombstone where there is room.
const AWAY_MS: u64 = away_ms(Tombstone::MIN_KEEP_MS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{NOW, after};

    const DAYS_MS: u64 = 3 * 24 * HOUR_MS;

    /// Returns a node that was alone for so long, with data that goes back so far.
    fn side(boot: u8, apart_ms: u64, lineage_ms: u64) -> Side {
        let lineage = Lineage {
            holds: true,
            away: apart_ms >= AWAY_MS,
            lineage_ms,
        };
        Side {
            boot: BootId::from_bytes([boot; 8]),
            past: Past::of_peer(
                lineage,
                Memory {
                    apart_ms,
                    ..Past::of_lineage(lineage, NOW).memory
                },
                NOW,
            ),
        }
    }

    #[test]
    fn node_back_from_a_long_absence_doubts_what_it_holds() {
        let (away, present) = (side(1, AWAY_MS, DAYS_MS), side(2, 0, DAYS_MS));
        assert!(away.is_doubtful_beside(&present));
        assert!(!present.is_doubtful_beside(&away));
    }

    #[test]
    fn of_two_long_alone_exactly_one_doubts_what_it_holds() {
        let [one, two] = [1, 2].map(|boot| side(boot, AWAY_MS, DAYS_MS));
        assert!(two.is_doubtful_beside(&one));
        assert!(!one.is_doubtful_beside(&two));
    }

    #[test]
    fn lone_survivor_keeps_its_sessions_when_a_restarted_peer_comes() {
        let survivor = side(2, AWAY_MS, DAYS_MS);
        for age_ms in [5_000, AWAY_MS - 1] {
            let restarted = side(1, age_ms, age_ms);
            assert!(!survivor.is_doubtful_beside(&restarted));
            assert!(!restarted.is_doubtful_beside(&survivor));
        }
    }

    #[test]
    fn node_is_away_the_sooner_the_less_others_remember() {
        let mut forgetful = side(1, 0, DAYS_MS);
        for (remembered_ms, away_ms) in [(24 * HOUR_MS, 23 * HOUR_MS), (60_000, 30_000), (0, 0)] {
            forgetful.past.memory.remembered_ms = remembered_ms;
            assert!(side(2, away_ms, DAYS_MS).is_doubtful_beside(&forgetful));
            let short = side(2, away_ms.saturating_sub(1), DAYS_MS);
            assert_eq!(short.is_doubtful_beside(&forgetful), away_ms == 0);
        }
    }

    #[test]
    fn what_one_node_forgot_those_have_forgotten_that_got_their_data_from_it() {
        let tracker = LineageTracker::new(NOW);
        let retentions = RetentionTracker::new(NOW);
        let now = after(DAYS_MS);
        tracker.record_retention(Retention::UNBOUNDED, now);
        let remembered = |now| {
            tracker
                .describe(true, &retentions, now)
                .memory
                .remembered_ms
        };
        assert_eq!(remembered(now), 24 * HOUR_MS);
        let mut theirs = side(1, 0, DAYS_MS).past;
        theirs.memory.remembered_ms = 60_000;
        theirs.made_ms = now.mono_ms;
        tracker.record_contact(now.mono_ms, &theirs);
        assert_eq!(remembered(now), 60_000);
        assert_eq!(remembered(after(DAYS_MS + HOUR_MS)), HOUR_MS + 60_000);
    }
}
