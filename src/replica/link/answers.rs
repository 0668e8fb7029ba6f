//! Answers to a peer's rounds: what it lacks of this node's sessions, and what this node lacks.

use std::collections::VecDeque;

use super::{
    Violation,
    chunk::states,
    groups::{GroupSet, differing, sums_of},
    refused::RefusedCopies,
    round::{LISTED_KEYS, LISTINGS},
};
use crate::{
    replica::{
        Replica,
        store::offer::{ChangeForm, LeavesOut},
    },
    session::{Now, SessionKey},
    wire::Message,
};

/// The responding side of digest repair.
#[derive(Debug, Default)]
pub(super) struct Answers {
    digests_asked: bool,
    /// The peer's sums of digests, and the groups whose digests it wants if they differ.
    sums: Option<(Vec<u32>, GroupSet)>,
    /// Whether the peer has ever begun a complete round.
    have_been_asked: bool,
    /// In the order of the listings.
    pending: VecDeque<PendingAnswer>,
}

/// The keys and versions of one digest shard of the peer's.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) round: u32,
    pub(super) shard: u32,
    /// Whether it leaves nothing out.
    pub(super) complete: bool,
    pub(super) entries: Vec<(SessionKey, u64)>,
}

/// A listing of the peer's that is being answered.
#[derive(Debug)]
struct PendingAnswer {
    round: u32,
    shard: u32,
    complete: bool,
    send: VecDeque<SessionKey>,
    want: Vec<SessionKey>,
}

impl Answers {
    pub(super) const fn asked_for_digests(&mut self) {
        self.digests_asked = true;
        self.have_been_asked = true;
    }

    /// Returns whether the peer has begun a complete round since the link was made.
    pub(super) const fn have_been_asked(&self) -> bool {
        self.have_been_asked
    }

    /// Compares a listing with what is here, to answer it in parts.
    ///
    /// # Errors
    ///
    /// When the peer lists more than an honest one, which waits for answers.
    pub(super) fn compare(
        &mut self,
        replica: &Replica,
        listing: Listing,
        refused: &mut RefusedCopies,
        now: Now,
    ) -> Result<(), Violation> {
        let Listing {
            round,
            shard,
            complete,
            entries,
        } = listing;
        self.check_listing(shard, entries.len(), replica.store.max_listed())?;
        let leaves_out = LeavesOut::of_round(round, complete);
        let refused = refused.still_refused(&replica.store, shard, &entries);
        let mut difference = replica.store.difference(shard, leaves_out, entries, now);
        for keys in [&mut difference.send, &mut difference.want] {
            keys.retain(|key| !refused.contains(key));
        }
        self.pending.push_back(PendingAnswer {
            round,
            shard,
            complete,
            send: difference.send.into(),
            want: difference.want,
        });
        Ok(())
    }

    fn check_listing(&self, shard: u32, keys: usize, max_listed: usize) -> Result<(), Violation> {
        if self.pending.len() >= 2 * LISTINGS {
            return Err(Violation::Protocol("too many listings"));
        }
        if self.pending.iter().any(|other| other.shard == shard) {
            return Err(Violation::Protocol("a shard listed twice"));
        }
        let unanswered: usize = self.pending.iter().map(|other| other.want.len()).sum();
        if unanswered + keys > 2 * (LISTED_KEYS + max_listed) {
            return Err(Violation::Protocol("too many listed sessions"));
        }
        Ok(())
    }

    pub(super) fn compare_sums(&mut self, sums: Vec<u32>, below: GroupSet) {
        self.sums = Some((sums, below));
    }

    pub(super) fn poll_digests(
        &mut self,
        replica: &Replica,
        refused: &RefusedCopies,
    ) -> Option<Message> {
        if let Some((theirs, below)) = self.sums.take() {
            let digests = refused.digests(&replica.store);
            let differing = differing(&sums_of(&digests), &theirs);
            let below = differing.and(below).members(&digests);
            return Some(Message::SumsDiffer {
                differing: differing.0,
                digests: below.map(|(_, digest)| digest).collect(),
            });
        }
        let is_asked = std::mem::replace(&mut self.digests_asked, false);
        is_asked.then(|| Message::Digests {
            shards: refused.digests(&replica.store),
        })
    }

    /// Returns whether there is nothing to be answered.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.sums.is_none() && !self.digests_asked
    }

    /// Wants nothing that is doubted here: whoever doubts it, too, would take it for lacking.
    pub(super) fn leave_out_doubted(&mut self, replica: &Replica) {
        for answer in &mut self.pending {
            answer.want.retain(|key| !replica.store.is_doubted(key));
        }
    }

    /// Returns the next part of the oldest answer.
    pub(super) fn poll_states(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        let first = self.pending.front_mut()?;
        let items = states(replica, &mut first.send, now);
        let last = first.send.is_empty();
        let message = Message::Differences {
            round: first.round,
            shard: first.shard,
            last,
            items,
            wants: std::mem::take(&mut first.want),
        };
        if last {
            self.pending.pop_front();
        }
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns whether the next answer belongs to a complete round.
    pub(super) fn is_next_complete(&self) -> bool {
        self.pending.front().is_some_and(|first| first.complete)
    }

    /// Returns how changes leave meanwhile. A peer that is being given all it lacks would refuse
    /// most deltas, and requests would wait for the question and the answer, too.
    pub(super) fn form_of_changes(&self) -> ChangeForm {
        match self.pending.iter().any(|answer| answer.complete) {
            true => ChangeForm::Full,
            false => ChangeForm::Delta,
        }
    }
}
