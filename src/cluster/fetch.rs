//! Sessions that requests wait for, and who is asked for them.
//!
//! A request [enters](PendingFetches::enter) with a key and follows its [steps](PendingFetches::step)
//! until one of them says that it is over. Whenever something happened that may matter to it, the
//! handle of its key comes out of the method that was told of it: wake who waits there, unlocked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    link::LinkId,
    rate_limit::{self, RateLimiter},
    unresponsive::UnresponsivePeers,
};
use crate::session::{Mutant, Now, SessionKey};

/// The keys that requests wait for, and who has not answered yet. `W` is a handle by which the
/// requests that wait for one key are woken.
#[derive(Debug)]
pub(crate) struct PendingFetches<W> {
    keys: BTreeMap<SessionKey, Pending<W>>,
    unresponsive: UnresponsivePeers,
    /// A flood of made-up keys has its own turns, and so takes none of anybody else's.
    of_known: RateLimiter,
    of_others: RateLimiter,
    /// The number of the latest question, of whatever key.
    questions: u64,
}

/// One key. The entry goes with the last request that waits.
#[derive(Debug, Default)]
struct Pending<W> {
    waiting: usize,
    /// The number of the last question, zero before the first.
    question: u64,
    /// Whom the answer to the last question may still come from. Peers that are being dialled are
    /// asked once they are there.
    silent: BTreeSet<LinkId>,
    /// A link was closed that had not answered the last question.
    is_torn: bool,
    news: W,
}

/// Why a request waits for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchReason {
    /// The session is not here.
    Absent,
    /// What this node holds may be out of date after a stall: only answers to questions from now on
    /// count.
    Stall,
    /// A node of this cluster has told the client of a write that is not here.
    Token,
}

/// Whether a key can be one that nobody has minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// The key is held here, or a node has signed it.
    Known,
    /// The client may have made it up.
    Unverified,
}

/// Whether peers without a link may still come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherPeers {
    /// At least one has not been tried.
    Expected,
    None,
}

/// A request that waits. Give it back with [`PendingFetches::leave`], however the wait ends.
#[derive(Debug)]
pub(crate) struct FetchTicket {
    key: SessionKey,
    /// The answer to a question of this or a higher number will do.
    enough: u64,
    provenance: Provenance,
    /// The request may ask: it has had its turn.
    has_turn: bool,
}

/// What a request that waits for answers does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchStep {
    /// Let so much time pass and take the next step: its turn to ask comes then.
    Delay(Duration),
    /// Put a question of this number to all links. It counts as put.
    Ask(u64),
    /// Take the next step when there are news of the key.
    Wait,
    /// Nobody is left who may have the session, or there are too many questions.
    Over,
}

impl<W: Clone + Default> PendingFetches<W> {
    /// Begins a wait. Returns `None` when too many keys that may be made up are waited for already.
    pub(crate) fn enter(
        &mut self,
        key: SessionKey,
        reason: FetchReason,
        provenance: Provenance,
    ) -> Option<(FetchTicket, W)> {
        let is_new = !self.keys.contains_key(&key);
        if is_new && provenance == Provenance::Unverified && self.keys.len() >= MAX_KEYS {
            return None;
        }
        let pending = self.keys.entry(key).or_default();
        pending.waiting += 1;
        let enough = match reason {
            FetchReason::Absent => pending.question.max(1),
            _ if Mutant::AcceptEarlierAnswer.is_on() => pending.question.max(1),
            // The answer to a question under way may be older than the write.
            FetchReason::Stall | FetchReason::Token => pending.question + 1,
        };
        let ticket = FetchTicket {
            key,
            enough,
            provenance,
            has_turn: false,
        };
        Some((ticket, pending.news.clone()))
    }

    /// Ends a wait.
    pub(crate) fn leave(&mut self, ticket: &FetchTicket) {
        if let Some(pending) = self.keys.get_mut(&ticket.key) {
            pending.waiting -= 1;
            if pending.waiting == 0 {
                self.keys.remove(&ticket.key);
            }
        }
    }

    /// Decides what the request does next. `links` are the live ones, looked up after `others`: a
    /// peer that is met in between is then both, and the other way round it would be neither.
    pub(crate) fn step(
        &mut self,
        ticket: &mut FetchTicket,
        others: OtherPeers,
        links: impl Iterator<Item = LinkId>,
        now: Now,
    ) -> FetchStep {
        let Some(pending) = self.keys.get_mut(&ticket.key) else {
            return FetchStep::Over;
        };
        if !pending.silent.is_empty() {
            return FetchStep::Wait;
        }
        if pending.question >= ticket.enough {
            return match others {
                OtherPeers::Expected => FetchStep::Wait,
                OtherPeers::None => FetchStep::Over,
            };
        }
        if !ticket.has_turn {
            let turns = match ticket.provenance {
                Provenance::Known => &mut self.of_known,
                Provenance::Unverified => &mut self.of_others,
            };
            let Some(wait) = turns.acquire(now) else {
                return FetchStep::Over;
            };
            ticket.has_turn = true;
            if !wait.is_zero() {
                return FetchStep::Delay(wait);
            }
        }
        self.questions += 1;
        pending.question = self.questions;
        pending.is_torn = false;
        let unresponsive = &mut self.unresponsive;
        pending.silent = links
            .filter(|link| unresponsive.record_question(*link, now))
            .collect();
        FetchStep::Ask(pending.question)
    }

    /// Notes that a peer has answered, and what it had is merged.
    pub(crate) fn answered(&mut self, key: &SessionKey, question: u64, link: LinkId) -> Option<W> {
        self.unresponsive.record_answer(link);
        self.not_asked(key, question, link)
    }

    /// Notes that nothing is to be expected of a link any more. The question is the one that was to
    /// be put, since an answer to an earlier one says nothing of this one.
    pub(crate) fn not_asked(&mut self, key: &SessionKey, question: u64, link: LinkId) -> Option<W> {
        let pending = self.keys.get_mut(key)?;
        if pending.question != question {
            return None;
        }
        pending.silent.remove(&link);
        Some(pending.news.clone())
    }

    /// Notes that a link is closed, which answers no more.
    pub(crate) fn link_closed(&mut self, link: LinkId) -> Vec<W> {
        self.unresponsive.record_answer(link);
        let mut news = Vec::new();
        for pending in self.keys.values_mut() {
            if pending.silent.remove(&link) {
                pending.is_torn = true;
                news.push(pending.news.clone());
            }
        }
        news
    }

    /// Returns what a new link is to be asked, too: for which keys, with which numbers.
    pub(crate) fn link_made(&mut self, link: LinkId) -> Vec<(SessionKey, u64)> {
        let asked = self
            .keys
            .iter_mut()
            .filter(|(_, pending)| pending.question > 0);
        asked
            .map(|(key, pending)| {
                pending.silent.insert(link);
                (*key, pending.question)
            })
            .collect()
    }

    /// Notes that nobody else will come: whoever waits for that has to look again.
    pub(crate) fn no_others(&self) -> Vec<W> {
        self.keys
            .values()
            .filter(|pending| pending.silent.is_empty())
            .map(|pending| pending.news.clone())
            .collect()
    }

    /// Notes that something of these sessions was merged, by whatever way it came.
    pub(crate) fn merged(&self, keys: &[SessionKey]) -> Vec<W> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let pending = keys.iter().filter_map(|key| self.keys.get(key));
        pending.map(|pending| pending.news.clone()).collect()
    }

    /// Returns whether a link was closed that had not answered the last question.
    pub(crate) fn is_torn(&self, ticket: &FetchTicket) -> bool {
        self.keys
            .get(&ticket.key)
            .is_some_and(|pending| pending.is_torn)
    }

    #[cfg(test)]
    pub(crate) fn has_asked(&self, key: &SessionKey) -> bool {
        self.keys
            .get(key)
            .is_some_and(|pending| pending.question > 0)
    }

    /// Returns whether the answer of a link is not waited for.
    #[cfg(test)]
    pub(crate) fn is_mute(&self, link: LinkId, now: Now) -> bool {
        self.unresponsive.is_mute(link, now)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl<W> Default for PendingFetches<W> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            unresponsive: UnresponsivePeers::default(),
            of_known: RateLimiter::new(rate_limit::OF_KNOWN),
            of_others: RateLimiter::new(rate_limit::OF_OTHERS),
            questions: 0,
        }
    }
}

impl FetchTicket {
    pub(crate) const fn key(&self) -> SessionKey {
        self.key
    }
}

/// Made-up keys at once. Each takes less memory than the request that waits for it.
const MAX_KEYS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = SessionKey::from_bytes([1; 16]);
    const LINK: LinkId = LinkId(1);
    const NOW: Now = Now {
        wall_ms: 0,
        mono_ms: 1 << 41,
    };

    fn enter(
        fetches: &mut PendingFetches<()>,
        reason: FetchReason,
        provenance: Provenance,
    ) -> FetchTicket {
        fetches.enter(KEY, reason, provenance).expect("room").0
    }

    fn step(fetches: &mut PendingFetches<()>, ticket: &mut FetchTicket) -> FetchStep {
        fetches.step(ticket, OtherPeers::None, [LINK].into_iter(), NOW)
    }

    #[test]
    fn peer_that_is_still_expected_is_waited_for() {
        let fetches = &mut PendingFetches::default();
        let mut ticket = enter(fetches, FetchReason::Absent, Provenance::Unverified);
        let mut step = |others, links: &[LinkId]| {
            fetches.step(&mut ticket, others, links.iter().copied(), NOW)
        };
        assert_eq!(step(OtherPeers::Expected, &[]), FetchStep::Ask(1));
        assert_eq!(step(OtherPeers::Expected, &[]), FetchStep::Wait);
        assert_eq!(step(OtherPeers::None, &[]), FetchStep::Over);
    }

    #[test]
    fn answer_to_an_earlier_question_is_not_enough_for_a_later_token() {
        let fetches = &mut PendingFetches::default();
        let mut first = enter(fetches, FetchReason::Token, Provenance::Known);
        assert_eq!(step(fetches, &mut first), FetchStep::Ask(1));
        let mut second = enter(fetches, FetchReason::Token, Provenance::Known);
        let mut unverified = enter(fetches, FetchReason::Absent, Provenance::Unverified);
        for ticket in [&mut first, &mut second, &mut unverified] {
            assert_eq!(step(fetches, ticket), FetchStep::Wait);
        }
        fetches.answered(&KEY, 1, LINK);
        assert_eq!(step(fetches, &mut first), FetchStep::Over);
        assert_eq!(step(fetches, &mut unverified), FetchStep::Over);
        assert_eq!(step(fetches, &mut second), FetchStep::Ask(2));
        assert_eq!(step(fetches, &mut second), FetchStep::Wait);
        fetches.link_closed(LINK);
        assert!(fetches.is_torn(&second));
        assert_eq!(step(fetches, &mut second), FetchStep::Over);
    }

    #[test]
    fn late_answer_to_a_question_given_up_does_not_end_the_next_wait() {
        let fetches = &mut PendingFetches::default();
        let mut first = enter(fetches, FetchReason::Token, Provenance::Known);
        assert_eq!(step(fetches, &mut first), FetchStep::Ask(1));
        fetches.leave(&first);
        let mut next = enter(fetches, FetchReason::Token, Provenance::Known);
        assert_eq!(step(fetches, &mut next), FetchStep::Ask(2));
        fetches.answered(&KEY, 1, LINK);
        assert_eq!(step(fetches, &mut next), FetchStep::Wait);
        fetches.answered(&KEY, 2, LINK);
        assert_eq!(step(fetches, &mut next), FetchStep::Over);
    }

    #[test]
    fn turn_that_comes_later_is_waited_for_once() {
        let fetches = &mut PendingFetches::default();
        let mut tickets: Vec<_> = (0..=rate_limit::OF_KNOWN)
            .map(|_| {
                let mut ticket = enter(fetches, FetchReason::Token, Provenance::Known);
                let first = step(fetches, &mut ticket);
                fetches.link_closed(LINK);
                (ticket, first)
            })
            .collect();
        let (last, step_of_last) = tickets.last_mut().expect("one at least");
        assert!(
            matches!(step_of_last, FetchStep::Delay(_)),
            "{step_of_last:?}"
        );
        assert!(matches!(step(fetches, last), FetchStep::Ask(_)));
    }

    #[test]
    fn made_up_keys_are_bounded_and_the_last_waiter_clears_up() {
        let fetches = &mut PendingFetches::<()>::default();
        let key = |at: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&at.to_le_bytes());
            SessionKey::from_bytes(bytes)
        };
        let enter = |fetches: &mut PendingFetches<()>, at, reason, provenance| {
            let entered = fetches.enter(key(at), reason, provenance);
            entered.map(|(ticket, ())| ticket)
        };
        let (transfer, unverified) = (FetchReason::Absent, Provenance::Unverified);
        let mut tickets: Vec<_> = (0..MAX_KEYS)
            .map(|at| enter(fetches, at, transfer, unverified).expect("room"))
            .collect();
        assert!(enter(fetches, MAX_KEYS, transfer, unverified).is_none());
        tickets.extend(enter(fetches, 0, transfer, unverified));
        tickets.extend(enter(
            fetches,
            MAX_KEYS,
            FetchReason::Token,
            Provenance::Known,
        ));
        assert_eq!(tickets.len(), MAX_KEYS + 2);
        assert_eq!(fetches.keys.len(), MAX_KEYS + 1);
        for ticket in &tickets {
            fetches.leave(ticket);
        }
        assert!(fetches.is_empty());
    }
}
