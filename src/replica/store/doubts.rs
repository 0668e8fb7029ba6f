//! Sessions that may have been destroyed elsewhere, and that forgotten.
//!
//! A node that was apart for longer than tombstones are kept cannot know whether the others
//! destroyed what it holds from before. Until every peer that may know has been compared with, peers
//! get nothing of these sessions. Then those that one of these lacks are dropped, and no others.
//!
//! Of several nodes that were apart, each may doubt beside others. What one of them says of a session
//! while it doubts that itself says nothing. So it answers those that doubt beside it when its own
//! doubts are over, or stand still: three of them may wait for each other in a circle.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::session::{Mutant, Now, SessionKey};

/// The sessions in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Whether there may be any, for the path of every change.
    exist: AtomicBool,
    /// Short lookups only. Taken inside the lock of a shard.
    doubted: Mutex<Doubted>,
}

#[derive(Debug, Default)]
struct Doubted {
    /// Each session with the comparisons that are to settle it.
    keys: HashMap<SessionKey, Places>,
    /// By their places. One that is not open any more settles nothing: its link has closed.
    comparisons: Vec<Weak<()>>,
    /// When an open comparison has come further last.
    progress_ms: u64,
}

/// A set of places of comparisons, one bit for each.
type Places = u64;

/// A comparison that ends doubts. Drop it when the link closes first.
#[derive(Debug)]
pub(crate) struct Comparison {
    _open: Arc<()>,
    place: Place,
    /// Sessions that the peer asked for: it lacks them, or sends what it has.
    asked_for: HashSet<SessionKey>,
}

/// Which of the open comparisons one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(Places);

impl Comparison {
    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn record_asked_for(&mut self, keys: &[SessionKey]) {
        self.asked_for.extend(keys);
    }
}

impl Doubts {
    /// Doubts these sessions, beside those that are doubted already.
    pub(super) fn begin(&self, keys: Vec<SessionKey>, now: Now) -> Comparison {
        let mut doubted = self.lock();
        let (place, open) = doubted.open_comparison();
        let room = keys.len().saturating_sub(doubted.keys.len());
        doubted.keys.reserve(room);
        for key in keys {
            *doubted.keys.entry(key).or_default() |= place.0;
        }
        doubted.progress_ms = now.mono_ms;
        self.exist
            .store(!doubted.keys.is_empty(), Ordering::Release);
        Comparison {
            _open: open,
            place,
            asked_for: HashSet::new(),
        }
    }

    /// Notes that the peer of a comparison holds a session, or a tombstone of it.
    pub(super) fn confirm(&self, key: &SessionKey, place: Place) {
        if self.exist() && !Mutant::DropConfirmed.is_on() {
            self.lock().settle(key, place);
        }
    }

    pub(super) fn contain(&self, key: &SessionKey) -> bool {
        self.exist() && self.lock().contains(key)
    }

    /// Notes that an open comparison has come further.
    pub(super) fn note_progress(&self, now: Now) {
        self.lock().progress_ms = now.mono_ms;
    }

    /// Returns whether some are doubted, and that is about to end.
    pub(super) fn are_being_settled(&self, now: Now) -> bool {
        if !self.exist() {
            return false;
        }
        let doubted = self.lock();
        let stands_still = now.mono_ms.saturating_sub(doubted.progress_ms) >= STANDSTILL_MS;
        let stands_still = stands_still && !Mutant::WaitInCircles.is_on();
        !stands_still && !doubted.keys.is_empty() && doubted.open_places() > 0
    }

    /// Ends a comparison. Returns the sessions that the peer has asked for and not sent, of which
    /// nothing is doubted any more.
    pub(super) fn end(&self, comparison: &Comparison) -> Vec<SessionKey> {
        let place = comparison.place;
        let is_asked_for = |key: &SessionKey| comparison.asked_for.contains(key);
        let is_lost = |key: &SessionKey| is_asked_for(key) || Mutant::DropConfirmed.is_on();
        let mut lost = Vec::new();
        let mut doubted = self.lock();
        let open = doubted.open_places();
        doubted.keys.retain(|key, places| {
            if *places & place.0 > 0 && is_lost(key) {
                lost.push(*key);
                return false;
            }
            *places &= open & !place.0;
            *places > 0 && !Mutant::TrustFirstComparison.is_on()
        });
        if doubted.keys.is_empty() {
            doubted.keys = HashMap::new();
            self.exist.store(false, Ordering::Release);
        }
        lost
    }

    fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Doubted> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubted {
    /// Gives a comparison a place that no open one has. When all are taken, it shares the last one,
    /// and what either of both has settled is settled.
    fn open_comparison(&mut self) -> (Place, Arc<()>) {
        let is_closed = |comparison: &Weak<()>| comparison.strong_count() == 0;
        let free = self.comparisons.iter().position(is_closed);
        let last = Places::BITS as usize - 1;
        let at = free.unwrap_or(self.comparisons.len()).min(last);
        let place = Place(1 << at);
        let open = self.comparisons.get(at).and_then(Weak::upgrade);
        let open = open.unwrap_or_else(|| {
            // Of the comparison that had the place before.
            self.keys.retain(|_, places| {
                *places &= !place.0;
                *places > 0
            });
            Arc::default()
        });
        self.comparisons
            .resize(self.comparisons.len().max(at + 1), Weak::new());
        self.comparisons[at] = Arc::downgrade(&open);
        (place, open)
    }

    /// Returns the places of the comparisons that may still settle something.
    fn open_places(&self) -> Places {
        let comparisons = self.comparisons.iter().enumerate();
        let open = comparisons.filter(|(_, comparison)| comparison.strong_count() > 0);
        open.fold(0, |places, (at, _)| places | 1 << at)
    }

    fn settle(&mut self, key: &SessionKey, place: Place) {
        if let Some(places) = self.keys.get_mut(key) {
            *places &= !place.0;
            if *places == 0 {
                self.keys.remove(key);
            }
        }
    }

    fn contains(&self, key: &SessionKey) -> bool {
        let places = self.keys.get(key);
        places.is_some_and(|places| places & self.open_places() > 0)
    }
}

/// Comparisons that bring nothing for so long do not end soon.
const STANDSTILL_MS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::{NOW, after};

    fn key(byte: u8) -> SessionKey {
        SessionKey::from_bytes([byte; 16])
    }

    #[test]
    fn session_is_doubted_until_every_peer_has_been_compared_with_that_may_know() {
        let doubts = Doubts::default();
        let one = doubts.begin(vec![key(1), key(2)], NOW);
        let mut other = doubts.begin(vec![key(1), key(2)], NOW);
        doubts.confirm(&key(1), other.place());
        assert_eq!(doubts.end(&one), []);
        assert!(!doubts.contain(&key(1)));
        assert!(doubts.contain(&key(2)));
        other.record_asked_for(&[key(1), key(2)]);
        assert_eq!(doubts.end(&other), [key(2)]);
        assert!(!doubts.contain(&key(2)));
    }

    #[test]
    fn comparison_whose_link_closes_leaves_nothing_in_doubt() {
        let doubts = Doubts::default();
        let gone = doubts.begin(vec![key(1)], NOW);
        let stays = doubts.begin(vec![key(2)], NOW);
        drop(gone);
        assert!(!doubts.contain(&key(1)));
        let next = doubts.begin(vec![key(3)], NOW);
        assert!(!doubts.contain(&key(1)), "its place is another one's");
        assert!(doubts.contain(&key(2)) && doubts.contain(&key(3)));
        assert_eq!([&stays, &next].map(|left| doubts.end(left)), [[], []]);
        assert!(!doubts.contain(&key(3)));
    }

    #[test]
    fn comparisons_beyond_all_places_share_one() {
        let doubts = Doubts::default();
        let open: Vec<_> = (0..70).map(|at| doubts.begin(vec![key(at)], NOW)).collect();
        assert!((0..70).all(|at| doubts.contain(&key(at))));
        for comparison in &open {
            assert_eq!(doubts.end(comparison), []);
        }
        assert!(!(0..70).any(|at| doubts.contain(&key(at))));
    }

    #[test]
    fn comparisons_that_bring_nothing_are_not_about_to_end() {
        let doubts = Doubts::default();
        assert!(!doubts.are_being_settled(NOW));
        let open = doubts.begin(vec![key(1)], NOW);
        assert!(doubts.are_being_settled(after(STANDSTILL_MS - 1)));
        assert!(!doubts.are_being_settled(after(STANDSTILL_MS)));
        doubts.note_progress(after(STANDSTILL_MS));
        assert!(doubts.are_being_settled(after(STANDSTILL_MS)));
        drop(open);
        assert!(!doubts.are_being_settled(after(STANDSTILL_MS)));
    }
}
