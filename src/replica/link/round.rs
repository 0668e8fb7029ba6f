//! Digest repair: finds what two nodes hold differently, whatever the reason, and exchanges it.
//!
//! A round, by the side that starts it: ask for the peer's digests; for every shard that differs
//! send a listing of keys and versions; the peer answers each with the states we lack and the keys
//! it lacks. Joining is a round with everything missing. In the background, the lower boot id of a
//! pair starts rounds over shards that differed on two comparisons in a row.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    Violation,
    outbound::{CHUNK_BYTES, weight},
    window::Window,
};
use crate::{
    replica::{
        Replica,
        store::offer::{ChangeForm, Difference},
    },
    session::{Item, Mutant, Now, SessionKey},
    wire::Message,
};

#[derive(Debug)]
pub(super) struct Repair {
    starts_background: bool,
    stage: Stage,
    /// A complete round to begin when the present one is over, if any, and the skips it repairs.
    complete_due: Option<u32>,
    round: u32,
    todo: VecDeque<u32>,
    /// Shards that are listed, and how many of the keys listed the peer may still want.
    listed: HashMap<u32, usize>,
    complete: bool,
    totals: Totals,
    completed: Option<Totals>,
    has_completed: bool,
    /// A round of either kind has ended.
    ended: bool,
    rounds_to_report: u32,
    progress: u64,
    /// Heartbeats in a row whose root differed from ours.
    mismatches: u32,
    /// Shards that differed at the last background comparison.
    differed: HashSet<u32>,
    digests_asked: bool,
    answering: VecDeque<Answering>,
    supply: VecDeque<SessionKey>,
    /// What may be sent of answers and supplies.
    window: Window,
    merged_bytes: u64,
}

/// What a round brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sessions: u64,
    pub(super) bytes: u64,
    /// Skips of the peer's log that it made good.
    pub(super) skips: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Rest,
    /// To ask for digests.
    Ask,
    /// Asked.
    Compare,
    /// Shards are being listed.
    List,
}

/// A listing of the peer's that is being answered.
#[derive(Debug)]
struct Answering {
    round: u32,
    shard: u32,
    complete: bool,
    send: VecDeque<SessionKey>,
    want: Vec<SessionKey>,
}

impl Repair {
    pub(super) fn new(starts_background: bool) -> Self {
        Self {
            starts_background,
            stage: Stage::Rest,
            complete_due: None,
            round: 0,
            todo: VecDeque::new(),
            listed: HashMap::new(),
            complete: false,
            totals: Totals::default(),
            completed: None,
            has_completed: false,
            ended: false,
            rounds_to_report: 0,
            progress: 0,
            mismatches: 0,
            differed: HashSet::new(),
            digests_asked: false,
            answering: VecDeque::new(),
            supply: VecDeque::new(),
            window: Window::new(),
            merged_bytes: 0,
        }
    }

    /// Wants a round that skips nothing and begins from now on; it repairs `skips` skips.
    pub(super) fn begin_complete(&mut self, skips: u32) {
        let due = self.complete_due.get_or_insert(0);
        *due = due.saturating_add(skips);
        self.begin_due();
    }

    pub(super) fn compare_root(&mut self, equal: bool) {
        if equal {
            self.mismatches = 0;
            self.differed.clear();
            return;
        }
        self.mismatches = self.mismatches.saturating_add(1);
        if Mutant::NeverRepair.is_on() {
            return;
        }
        let rests = self.stage == Stage::Rest && self.supply.is_empty();
        if self.mismatches >= 2 && self.starts_background && rests {
            self.complete = false;
            self.stage = Stage::Ask;
        }
    }

    pub(super) fn compare_digests(&mut self, ours: &[u64], theirs: &[u64]) {
        if self.stage != Stage::Compare {
            return;
        }
        let differing: Vec<u32> = (0..)
            .zip(ours.iter().zip(theirs))
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(shard, _)| shard)
            .collect();
        self.todo = if self.complete {
            differing.into()
        } else {
            // A shard that differs once may only have a change under way.
            let before = std::mem::replace(&mut self.differed, differing.iter().copied().collect());
            let mut still = differing;
            still.retain(|shard| before.contains(shard));
            still.into()
        };
        self.round = self.round.wrapping_add(1);
        self.stage = Stage::List;
        self.end_if_done();
    }

    pub(super) const fn asked_for_digests(&mut self) {
        self.digests_asked = true;
    }

    /// Call it before a listing of so many keys is compared with what is here.
    ///
    /// # Errors
    ///
    /// When the peer lists more than an honest one, which waits for answers.
    pub(super) fn check_listing(
        &self,
        shard: u32,
        keys: usize,
        max_listed: usize,
    ) -> Result<(), Violation> {
        if self.answering.len() >= 2 * LISTINGS {
            return Err(Violation::Protocol("too many listings"));
        }
        if self.answering.iter().any(|other| other.shard == shard) {
            return Err(Violation::Protocol("a shard listed twice"));
        }
        let unanswered: usize = self.answering.iter().map(|other| other.want.len()).sum();
        if unanswered + keys > 2 * (LISTED_KEYS + max_listed) {
            return Err(Violation::Protocol("too many listed sessions"));
        }
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        round: u32,
        shard: u32,
        complete: bool,
        difference: Difference,
    ) {
        self.answering.push_back(Answering {
            round,
            shard,
            complete,
            send: difference.send.into(),
            want: difference.want,
        });
    }

    /// The last answer to the listing of a shard was taken in.
    pub(super) fn shard_done(&mut self, shard: u32) {
        self.listed.remove(&shard);
        self.progress += 1;
        self.end_if_done();
    }

    /// An answer to the listing of a shard, which asks for some of what was listed.
    pub(super) fn wanted(
        &mut self,
        round: u32,
        shard: u32,
        keys: Vec<SessionKey>,
    ) -> Result<(), Violation> {
        let listed = self.listed.get_mut(&shard);
        let Some(listed) = listed.filter(|_| round == self.round) else {
            return Err(Violation::Protocol("an answer to no listing"));
        };
        let left = listed.checked_sub(keys.len());
        *listed = left.ok_or(Violation::Protocol("more wanted than was listed"))?;
        self.supply.extend(keys);
        Ok(())
    }

    /// A repair message was taken in.
    pub(super) const fn merged(&mut self, sessions: usize, bytes: usize) {
        self.totals.sessions += sessions as u64;
        self.totals.bytes += bytes as u64;
        self.merged_bytes += bytes as u64;
        self.progress += 1;
    }

    pub(super) fn credit(&mut self, bytes: u64) -> Result<(), Violation> {
        self.window.credit(bytes)
    }

    pub(super) fn credit_due(&mut self) -> Option<u64> {
        let bytes = std::mem::take(&mut self.merged_bytes);
        (bytes > 0).then_some(bytes)
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.window.sent(bytes);
    }

    /// Whether requests are served here, which states on their way should not be in the way of.
    pub(super) const fn set_in_use(&mut self, in_use: bool) {
        self.window.set_in_use(in_use);
    }

    /// Whether states were held back until some time has passed.
    pub(super) const fn take_waits(&mut self) -> bool {
        self.window.take_waits()
    }

    pub(super) const fn in_flight(&self) -> u64 {
        self.window.in_flight()
    }

    /// The complete round that has just ended.
    pub(super) const fn take_completed(&mut self) -> Option<Totals> {
        self.completed.take()
    }

    /// Whether a round of either kind has ended since the last call.
    pub(super) const fn take_ended(&mut self) -> bool {
        std::mem::replace(&mut self.ended, false)
    }

    pub(super) const fn has_completed(&self) -> bool {
        self.has_completed
    }

    pub(super) const fn progress(&self) -> u64 {
        self.progress
    }

    pub(super) fn poll(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.rounds_to_report > 0 {
            self.rounds_to_report -= 1;
            return Some(Message::RoundDone);
        }
        if self.digests_asked {
            self.digests_asked = false;
            let shards = replica.store.digests();
            return Some(Message::Digests { shards });
        }
        if self.stage == Stage::Ask {
            self.stage = Stage::Compare;
            return Some(Message::AskDigests);
        }
        if self.listed.len() < LISTINGS
            && self.listed.values().sum::<usize>() < LISTED_KEYS
            && let Some(shard) = self.todo.pop_front()
        {
            let entries = replica.store.listing(shard, self.complete, now);
            self.listed.insert(shard, entries.len());
            return Some(Message::Listing {
                round: self.round,
                shard,
                complete: self.complete,
                entries,
            });
        }
        None
    }

    /// States that the peer lacks, as far as the window allows.
    pub(super) fn poll_states(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.supply.is_empty() && self.answering.is_empty() {
            return None;
        }
        let complete = self.complete || self.answering.front().is_some_and(|front| front.complete);
        if !self.window.allows(complete, now) {
            return None;
        }
        if !self.supply.is_empty() {
            let items = states(replica, &mut self.supply, now);
            self.begin_due();
            return Some(Message::Supply { items });
        }
        let front = self.answering.front_mut()?;
        let items = states(replica, &mut front.send, now);
        let last = front.send.is_empty();
        let message = Message::Differences {
            round: front.round,
            shard: front.shard,
            last,
            items,
            wants: std::mem::take(&mut front.want),
        };
        if last {
            self.answering.pop_front();
        }
        Some(message)
    }

    /// A peer that is being given all it lacks would refuse most changes, and requests would wait for
    /// the question and the answer, too.
    pub(super) fn form_of_changes(&self) -> ChangeForm {
        match self.answering.iter().any(|shard| shard.complete) {
            true => ChangeForm::Full,
            false => ChangeForm::Delta,
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Rest
            && self.complete_due.is_none()
            && self.answering.is_empty()
            && self.supply.is_empty()
            && self.in_flight() == 0
    }

    fn begin_due(&mut self) {
        if Mutant::NeverRepair.is_on() {
            self.has_completed = true;
            return;
        }
        // What the last round found must have left, or a peer that does not read would have it
        // found again and again.
        if self.stage == Stage::Rest
            && self.supply.is_empty()
            && let Some(skips) = self.complete_due.take()
        {
            self.totals = Totals {
                skips,
                ..Totals::default()
            };
            self.complete = true;
            self.stage = Stage::Ask;
        }
    }

    fn end_if_done(&mut self) {
        if self.stage != Stage::List || !self.todo.is_empty() || !self.listed.is_empty() {
            return;
        }
        self.stage = Stage::Rest;
        self.ended = true;
        if std::mem::replace(&mut self.complete, false) {
            self.completed = Some(self.totals);
            self.has_completed = true;
            self.rounds_to_report = self.rounds_to_report.saturating_add(self.totals.skips);
        }
        self.begin_due();
    }
}

fn states(replica: &Replica, keys: &mut VecDeque<SessionKey>, now: Now) -> Vec<(SessionKey, Item)> {
    let mut items = Vec::new();
    let mut bytes = 0;
    while bytes <= CHUNK_BYTES
        && let Some(key) = keys.pop_front()
    {
        let item = replica.store.full_state(&key, now);
        if item != Item::Absent {
            bytes += weight(&item);
            items.push((key, item));
        }
    }
    items
}

/// Listings under way at once.
const LISTINGS: usize = 64;
/// Keys of listings under way, beyond which no further shard is listed.
const LISTED_KEYS: usize = 64 * 1024;
