//! Rounds of digest repair, by the side that starts them: what this node asks and compares.
//!
//! A round finds what two nodes hold differently, whatever the reason. It asks for the peer's
//! digests. For every shard that differs it sends a listing of keys and versions. The peer
//! [answers](super::answers) each with the states that this node lacks and the keys that it lacks
//! itself, and these are supplied. Joining is a round with everything missing. In the background,
//! the lower boot id of a pair starts rounds over shards that differed on two comparisons in a row,
//! and asks for the digests of [groups](super::groups) alone whose sums differ.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    RoundMark, Violation,
    chunk::states,
    groups::{GroupSet, sums_of},
    refused::RefusedCopies,
};
use crate::{
    replica::{Replica, store::offer::LeavesOut},
    session::{Mutant, Now, SessionKey},
    wire::Message,
};

/// The initiating side of digest repair.
#[derive(Debug)]
pub(super) struct Round {
    background: Background,
    /// Whether this node joins and has yet to ask for a round on this link. Until then none begins:
    /// it would have all brought here that the donor brings.
    waits_for_join: bool,
    stage: Stage,
    number: u32,
    /// Whether the round leaves nothing out.
    complete: bool,
    /// A complete round to begin when the present one is over, if any, and the skips it repairs.
    complete_due: Option<u32>,
    /// Shards still to be listed.
    todo: VecDeque<u32>,
    /// Shards that are listed, and how many of the keys listed the peer may still want.
    listed: HashMap<u32, usize>,
    /// Sessions that the peer wants.
    supply: VecDeque<SessionKey>,
    totals: Totals,
    /// Grows with everything that a round brings.
    progress: u64,
    /// The complete round that has just ended.
    completed: Option<Totals>,
    asked: Asked,
    /// A round of either kind has ended.
    ended: bool,
    mark: RoundMark,
    rounds_to_report: u32,
}

/// The totals of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sessions: u64,
    pub(super) bytes: u64,
    /// Skips of the peer's log that it made good.
    pub(super) skips: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// To ask for digests.
    Ask,
    /// Asked.
    Compare,
    /// Shards are being listed.
    List,
}

/// The state of the complete round that was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    /// It begins when the present round is over.
    Due,
    UnderWay,
    Done,
}

impl Asked {
    /// Notes that a complete round begins.
    const fn begin(&mut self) {
        if matches!(self, Self::Due) {
            *self = Self::UnderWay;
        }
    }
}

/// The state of comparisons for which nobody has asked.
#[derive(Debug)]
struct Background {
    /// Whether this node is the one of the pair that starts rounds.
    starts_rounds: bool,
    /// Groups whose sums differed at the last comparison. Their digests are asked for at the next.
    below: GroupSet,
    /// Those of which they were asked for.
    asked: GroupSet,
    /// Shards that differed at the last comparison.
    differed: HashSet<u32>,
}

impl Background {
    /// Notes what a heartbeat says. Returns whether it is time to compare.
    fn compare_root(&mut self, is_equal: bool) -> bool {
        if is_equal {
            self.below = GroupSet::default();
            self.differed.clear();
        }
        !is_equal && self.starts_rounds
    }

    /// Returns the shards that differed the last time, too: one that differs once may only have a
    /// change under way.
    fn still_differing(&mut self, differing: Vec<u32>) -> VecDeque<u32> {
        let before = std::mem::replace(&mut self.differed, differing.iter().copied().collect());
        let mut still = differing;
        still.retain(|shard| before.contains(shard));
        still.into()
    }
}

impl Round {
    pub(super) fn new(starts_background: bool) -> Self {
        Self {
            background: Background {
                starts_rounds: starts_background,
                below: GroupSet::default(),
                asked: GroupSet::default(),
                differed: HashSet::new(),
            },
            waits_for_join: true,
            stage: Stage::Idle,
            number: 0,
            complete: false,
            complete_due: None,
            todo: VecDeque::new(),
            listed: HashMap::new(),
            supply: VecDeque::new(),
            totals: Totals::default(),
            progress: 0,
            completed: None,
            asked: Asked::No,
            ended: false,
            mark: RoundMark::default(),
            rounds_to_report: 0,
        }
    }

    /// Wants a complete round that begins from now on; [`Self::has_completed`] is about the last one
    /// that was asked for.
    pub(super) fn ask(&mut self) {
        self.asked = Asked::Due;
        self.begin_complete(0);
    }

    /// Wants a round that leaves nothing out and begins from now on; it repairs `skips` skips.
    pub(super) fn begin_complete(&mut self, skips: u32) {
        let due = self.complete_due.get_or_insert(0);
        *due = due.saturating_add(skips);
        self.begin_due();
    }

    /// Lets rounds begin: the join of this node asks for one on this link, or is over.
    pub(super) const fn go_ahead(&mut self) {
        self.waits_for_join = false;
    }

    pub(super) fn compare_root(&mut self, is_equal: bool) {
        let is_due = self.background.compare_root(is_equal) && !self.waits_for_join;
        if is_due && self.is_over() && !Mutant::NeverRepair.is_on() {
            self.complete = false;
            self.stage = Stage::Ask;
        }
    }

    /// Notes which groups differ, and compares the digests that were asked for.
    ///
    /// # Errors
    ///
    /// When there are more or fewer of these.
    pub(super) fn compare_groups(
        &mut self,
        ours: &[u64],
        differing: GroupSet,
        theirs: &[u64],
    ) -> Result<(), Violation> {
        if self.stage != Stage::Compare || self.complete {
            return Ok(());
        }
        let asked = self.background.asked.and(differing);
        let ours: Vec<(u32, u64)> = asked.members(ours).collect();
        if ours.len() != theirs.len() {
            return Err(Violation::Protocol("other digests than were asked for"));
        }
        let pairs = ours.into_iter().zip(theirs);
        let differing_shards = pairs.filter(|((_, ours), theirs)| ours != *theirs);
        let shards = differing_shards.map(|((shard, _), _)| shard).collect();
        self.background.below = differing;
        let still = self.background.still_differing(shards);
        self.list(still);
        Ok(())
    }

    /// Compares all digests.
    pub(super) fn compare_digests(&mut self, ours: &[u64], theirs: &[u64]) {
        if self.stage != Stage::Compare || !self.complete {
            return;
        }
        let differing = (0..)
            .zip(ours.iter().zip(theirs))
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(shard, _)| shard)
            .collect();
        self.list(differing);
    }

    /// Notes that the last answer to the listing of a shard was merged.
    pub(super) fn shard_done(&mut self, shard: u32) {
        self.listed.remove(&shard);
        self.progress += 1;
        self.end_if_done();
    }

    /// Notes what an answer to the listing of a shard asks for.
    ///
    /// # Errors
    ///
    /// When it answers no listing, or asks for more than was listed.
    pub(super) fn wanted(
        &mut self,
        round: u32,
        shard: u32,
        keys: Vec<SessionKey>,
    ) -> Result<(), Violation> {
        let listed = self.listed.get_mut(&shard);
        let Some(listed) = listed.filter(|_| round == self.number) else {
            return Err(Violation::Protocol("an answer to no listing"));
        };
        let left = listed.checked_sub(keys.len());
        *listed = left.ok_or(Violation::Protocol("more wanted than was listed"))?;
        self.supply.extend(keys);
        Ok(())
    }

    /// Notes that a repair message was merged.
    pub(super) const fn record_merged(&mut self, sessions: usize, bytes: usize) {
        self.totals.sessions += sessions as u64;
        self.totals.bytes += bytes as u64;
        self.mark.sessions += sessions as u64;
        self.mark.bytes += bytes as u64;
        self.progress += 1;
    }

    /// Returns the complete round that has just ended.
    pub(super) const fn take_completed(&mut self) -> Option<Totals> {
        self.completed.take()
    }

    /// Returns whether a round of either kind has ended since the last call.
    pub(super) const fn take_ended(&mut self) -> bool {
        std::mem::replace(&mut self.ended, false)
    }

    /// Returns the sessions and bytes that the complete round under way has brought, if one is.
    pub(super) fn received(&self) -> Option<(u64, u64)> {
        let is_under_way = self.complete && matches!(self.stage, Stage::Compare | Stage::List);
        is_under_way.then_some((self.totals.sessions, self.totals.bytes))
    }

    pub(super) fn has_completed(&self) -> bool {
        self.asked == Asked::Done
    }

    pub(super) const fn progress(&self) -> u64 {
        self.progress
    }

    pub(super) const fn mark(&self) -> RoundMark {
        self.mark
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn has_supplies(&self) -> bool {
        !self.supply.is_empty()
    }

    pub(super) fn poll_report(&mut self) -> Option<Message> {
        self.rounds_to_report = self.rounds_to_report.checked_sub(1)?;
        Some(Message::RoundDone)
    }

    /// Returns the next question or listing.
    pub(super) fn poll(
        &mut self,
        replica: &Replica,
        refused: &mut RefusedCopies,
        now: Now,
    ) -> Option<Message> {
        if self.stage == Stage::Ask && !self.waits_for_join {
            self.stage = Stage::Compare;
            self.mark = RoundMark {
                begun: self.mark.begun + 1,
                ended: self.mark.begun,
                is_complete: self.complete,
                sessions: 0,
                bytes: 0,
            };
            self.background.asked = self.background.below;
            return Some(match self.complete {
                true => Message::AskDigests,
                false => Message::CompareSums {
                    sums: sums_of(&refused.digests(&replica.store)),
                    below: self.background.asked.0,
                },
            });
        }
        if self.listed.len() >= LISTINGS || self.listed.values().sum::<usize>() >= LISTED_KEYS {
            return None;
        }
        let shard = self.todo.pop_front()?;
        let leaves_out = LeavesOut::of_round(self.number, self.complete);
        let mut entries = replica.store.listing(shard, leaves_out, now);
        refused.amend(&replica.store, shard, &mut entries);
        self.listed.insert(shard, entries.len());
        Some(Message::Listing {
            round: self.number,
            shard,
            complete: self.complete,
            entries,
        })
    }

    /// Returns states that the peer wants.
    pub(super) fn poll_states(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.supply.is_empty() {
            return None;
        }
        let items = states(replica, &mut self.supply, now);
        self.begin_due();
        Some(Message::Supply { items })
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.is_over() && self.complete_due.is_none()
    }

    /// Returns whether a round may begin. What the last one found must have left, or a peer that
    /// does not read would have it found again and again.
    fn is_over(&self) -> bool {
        self.stage == Stage::Idle && self.supply.is_empty()
    }

    fn list(&mut self, shards: VecDeque<u32>) {
        self.todo = shards;
        self.number = self.number.wrapping_add(1);
        self.stage = Stage::List;
        self.end_if_done();
    }

    fn begin_due(&mut self) {
        if Mutant::NeverRepair.is_on() {
            self.asked = Asked::Done;
            return;
        }
        let is_unasked = self.stage == Stage::Ask && self.complete;
        if is_unasked && let Some(skips) = self.complete_due.take() {
            self.totals.skips = self.totals.skips.saturating_add(skips);
            self.asked.begin();
        }
        if self.is_over()
            && let Some(skips) = self.complete_due.take()
        {
            self.totals = Totals {
                skips,
                ..Totals::default()
            };
            self.complete = true;
            self.stage = Stage::Ask;
            self.asked.begin();
        }
    }

    fn end_if_done(&mut self) {
        if self.stage != Stage::List || !self.todo.is_empty() || !self.listed.is_empty() {
            return;
        }
        self.stage = Stage::Idle;
        self.ended = true;
        self.mark.ended = self.mark.begun;
        if std::mem::replace(&mut self.complete, false) {
            self.completed = Some(self.totals);
            if self.asked == Asked::UnderWay {
                self.asked = Asked::Done;
            }
            self.rounds_to_report = self.rounds_to_report.saturating_add(self.totals.skips);
        }
        self.begin_due();
    }
}

impl LeavesOut {
    /// Returns what both sides of a round leave out, by its number.
    ///
    /// A change that is under way differs although nothing is wrong. A session that changes all the
    /// time would never be told to a peer to which its writer has no link. So every eighth round of
    /// a link leaves nothing out.
    pub(super) fn of_round(number: u32, complete: bool) -> Self {
        let is_thorough = number.is_multiple_of(THOROUGH) && !Mutant::NeverThorough.is_on();
        if complete || is_thorough {
            Self::Nothing
        } else {
            Self::UnderWay
        }
    }
}

/// Of so many background rounds one leaves nothing out.
const THOROUGH: u32 = 8;
/// Listings under way at once.
pub(super) const LISTINGS: usize = 64;
/// Keys of listings under way, beyond which no further shard is listed.
pub(super) const LISTED_KEYS: usize = 64 * 1024;
