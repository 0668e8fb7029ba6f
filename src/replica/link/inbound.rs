//! The peer's stream as it arrives here: what is applied, what was refused and is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::Violation;
use crate::{
    replica::{applied::Applied, store::apply::ApplyOutcome},
    session::{Item, Mutant, SessionKey, Tombstone},
    wire::{Message, Position},
};

/// The receiving side of the delta stream.
#[derive(Debug)]
pub(super) struct Inbound {
    opening_sent: bool,
    open: bool,
    /// The end of the peer's log at the start of this link.
    peer_head: Option<Position>,
    received: Option<Position>,
    applied: Option<Position>,
    acked: Option<Position>,
    /// Batches in which a delta was refused, until the full states have arrived. The
    /// acknowledgement never passes them.
    waiting: VecDeque<WaitingBatch>,
    waiting_keys: usize,
    /// Asked for and not answered. An answer is younger than every batch before it, so one
    /// question serves all of them.
    asked: HashSet<SessionKey>,
    to_ask: Vec<SessionKey>,
    /// Questions of requests, not of the stream: the number of the last one for each key.
    looked_up: HashMap<SessionKey, u64>,
    /// Keys in `asked` whose answer may be older than the last question.
    ask_again: HashSet<SessionKey>,
    /// Tombstones that the peer must hear of, once each however often it sends the session.
    deleted: BTreeMap<SessionKey, Tombstone>,
    owes_rounds: u32,
    moved: bool,
    /// Whether the peer wants acknowledgements at once. Otherwise the next tick makes one due.
    at_once: bool,
    late_ack_due: bool,
}

/// A batch, and what must arrive before it is acknowledged.
#[derive(Debug)]
struct WaitingBatch {
    to: Position,
    refused: BTreeSet<SessionKey>,
}

/// One batch being merged.
#[derive(Debug)]
pub(super) struct BatchProgress {
    to: Position,
    /// In order, so that equal histories ask equal questions.
    refused: BTreeSet<SessionKey>,
    deleted: Vec<(SessionKey, Tombstone)>,
}

impl BatchProgress {
    pub(super) fn record(&mut self, key: SessionKey, outcome: ApplyOutcome) {
        match outcome {
            ApplyOutcome::Done => {}
            ApplyOutcome::Refused => {
                self.refused.insert(key);
            }
            ApplyOutcome::Deleted(tombstone) => self.deleted.push((key, tombstone)),
        }
    }
}

impl Inbound {
    pub(super) fn new(applied: Applied) -> Self {
        let Applied {
            position,
            owes_round,
        } = applied;
        Self {
            opening_sent: false,
            open: false,
            peer_head: None,
            received: position,
            applied: position,
            acked: position,
            waiting: VecDeque::new(),
            waiting_keys: 0,
            asked: HashSet::new(),
            to_ask: Vec::new(),
            looked_up: HashMap::new(),
            ask_again: HashSet::new(),
            deleted: BTreeMap::new(),
            owes_rounds: u32::from(owes_round),
            moved: false,
            at_once: true,
            late_ack_due: false,
        }
    }

    /// Returns whether the peer is still to be told how far its log is applied, which comes first.
    pub(super) const fn take_opening(&mut self) -> bool {
        !std::mem::replace(&mut self.opening_sent, true)
    }

    pub(super) const fn open(&mut self, head: Option<Position>) {
        self.open = true;
        self.peer_head = head;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn has_caught_up(&self) -> bool {
        self.open && self.applied >= self.peer_head
    }

    pub(super) fn begin_batch(
        &self,
        from: Option<Position>,
        to: Position,
    ) -> Result<BatchProgress, Violation> {
        if from != self.received || Some(to) <= from {
            return Err(Violation::Protocol("a batch out of order"));
        }
        Ok(BatchProgress {
            to,
            refused: BTreeSet::new(),
            deleted: Vec::new(),
        })
    }

    pub(super) fn finish_batch(&mut self, batch: BatchProgress) -> Result<(), Violation> {
        let BatchProgress {
            to,
            refused,
            deleted,
        } = batch;
        self.received = Some(to);
        for (key, tombstone) in deleted {
            self.return_tombstone(key, tombstone)?;
        }
        for key in &refused {
            if self.asked.insert(*key) {
                self.to_ask.push(*key);
            }
        }
        if Mutant::AcknowledgeRefused.is_on() {
            self.wait(to, BTreeSet::new());
            return Ok(());
        }
        self.waiting_keys += refused.len();
        if self.waiting_keys > MAX_WAITING {
            return Err(Violation::Protocol("too many changes of unknown sessions"));
        }
        self.wait(to, refused);
        Ok(())
    }

    /// Notes that the peer's log goes on after `to`. What is between must be repaired.
    pub(super) fn skip(&mut self, to: Position) -> Result<(), Violation> {
        if Some(to) < self.received {
            return Err(Violation::Protocol("a skip backwards"));
        }
        self.received = Some(to);
        self.owes_rounds = self.owes_rounds.saturating_add(1);
        self.moved = true;
        self.wait(to, BTreeSet::new());
        Ok(())
    }

    /// Notes that a complete round has ended which began after this many of the skips.
    pub(super) const fn round_done(&mut self, skips: u32) {
        self.owes_rounds = self.owes_rounds.saturating_sub(skips);
        self.moved = true;
    }

    /// Notes the answer for a key. Returns the number of the request's question that it answers.
    ///
    /// # Errors
    ///
    /// As [`Inbound::answer_deleted`].
    pub(super) fn answered(
        &mut self,
        key: &SessionKey,
        outcome: ApplyOutcome,
    ) -> Result<Option<u64>, Violation> {
        self.answer_deleted(*key, outcome)?;
        if self.asked.remove(key) {
            for batch in &mut self.waiting {
                if batch.refused.remove(key) {
                    self.waiting_keys -= 1;
                }
            }
            self.advance();
        }
        if self.ask_again.remove(key) {
            self.asked.insert(*key);
            self.to_ask.push(*key);
            return Ok(None);
        }
        Ok(self.looked_up.remove(key))
    }

    /// Has the peer told of a session that is destroyed here.
    ///
    /// # Errors
    ///
    /// When the peer goes on sending sessions that are destroyed, and does not read that they are.
    pub(super) fn answer_deleted(
        &mut self,
        key: SessionKey,
        outcome: ApplyOutcome,
    ) -> Result<(), Violation> {
        match outcome {
            ApplyOutcome::Deleted(tombstone) => self.return_tombstone(key, tombstone),
            ApplyOutcome::Done | ApplyOutcome::Refused => Ok(()),
        }
    }

    /// Asks for what the peer holds from now on. Returns whether it is asked: not when it has too
    /// many questions to answer.
    pub(super) fn look_up(&mut self, key: SessionKey, question: u64) -> bool {
        if self.looked_up.len() >= MAX_LOOKED_UP && !self.looked_up.contains_key(&key) {
            return false;
        }
        let last = self.looked_up.insert(key, question);
        if self.asked.insert(key) {
            self.to_ask.push(key);
        } else if last != Some(question) {
            self.ask_again.insert(key);
        }
        true
    }

    /// Returns where to resume from, and whether a round is still owed.
    pub(super) const fn applied(&self) -> Applied {
        Applied {
            position: self.applied,
            owes_round: self.owes_rounds > 0,
        }
    }

    /// Returns whether [`Inbound::applied`] changed since the last call.
    pub(super) const fn moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// Notes whether the peer wants acknowledgements at once.
    pub(super) const fn expect_acks(&mut self, at_once: bool) {
        self.at_once = at_once;
    }

    /// Lets 100 ms pass.
    pub(super) fn tick(&mut self) {
        self.late_ack_due = self.applied > self.acked && !Mutant::NeverAcknowledgeLate.is_on();
    }

    /// Returns whether [`Self::poll`] has something to say.
    pub(super) fn owes_answer(&self) -> bool {
        !self.deleted.is_empty() || self.is_ack_due() || !self.to_ask.is_empty()
    }

    /// Returns the next message. Tombstones go before the acknowledgement of the batch that met
    /// them.
    pub(super) fn poll(&mut self) -> Option<Message> {
        if !self.deleted.is_empty() {
            let deleted = std::iter::from_fn(|| self.deleted.pop_first());
            let items = deleted
                .take(MAX_KEYS)
                .map(|(key, tombstone)| (key, Item::Destroyed(tombstone)))
                .collect();
            return Some(Message::Answer { items });
        }
        if let Some(to) = self.applied
            && self.is_ack_due()
        {
            self.acked = self.applied;
            self.late_ack_due = false;
            return Some(Message::Ack { to });
        }
        if !self.to_ask.is_empty() {
            let rest = self.to_ask.split_off(self.to_ask.len().min(MAX_KEYS));
            let keys = std::mem::replace(&mut self.to_ask, rest);
            return Some(Message::Want { keys });
        }
        None
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.waiting_keys == 0
            && self.asked.is_empty()
            && self.ask_again.is_empty()
            && self.to_ask.is_empty()
            && self.deleted.is_empty()
            && self.owes_rounds == 0
    }

    #[cfg(test)]
    pub(super) fn batches_waiting(&self) -> usize {
        self.waiting.len()
    }

    fn is_ack_due(&self) -> bool {
        let owed = Position::number(self.applied).saturating_sub(Position::number(self.acked));
        owed > 0 && (self.at_once || self.late_ack_due || owed >= MAX_UNACKNOWLEDGED)
    }

    fn return_tombstone(&mut self, key: SessionKey, tombstone: Tombstone) -> Result<(), Violation> {
        self.deleted.insert(key, tombstone);
        if self.deleted.len() > MAX_DELETED {
            return Err(Violation::Protocol(
                "too many changes of destroyed sessions",
            ));
        }
        Ok(())
    }

    /// Has the acknowledgement of `to` wait for the refused keys, and for what waits already.
    ///
    /// Acknowledgements are cumulative, so a batch of which nothing was refused shares the entry of
    /// the one before it and is acknowledged with it. Then there are as many entries as batches
    /// with refusals, and `MAX_WAITING` bounds them, however long the stream goes on behind one.
    fn wait(&mut self, to: Position, refused: BTreeSet<SessionKey>) {
        match self.waiting.back_mut() {
            Some(last) if refused.is_empty() => last.to = to,
            _ => self.waiting.push_back(WaitingBatch { to, refused }),
        }
        self.advance();
    }

    fn advance(&mut self) {
        let is_over = |batch: &WaitingBatch| batch.refused.is_empty();
        while self.waiting.front().is_some_and(is_over)
            && let Some(batch) = self.waiting.pop_front()
        {
            self.applied = Some(batch.to);
            self.moved = true;
        }
    }
}

/// Records of which the acknowledgement does not wait for a tick: the peer's window must not fill.
const MAX_UNACKNOWLEDGED: u64 = super::outbound::MAX_IN_FLIGHT / 8;
/// Keys of one question or answer.
const MAX_KEYS: usize = 1024;
/// Refused changes that wait at once. An honest peer stops far earlier: its own window is half.
const MAX_WAITING: usize = 2 * super::outbound::MAX_IN_FLIGHT as usize;
/// Questions of requests that the peer has not answered.
const MAX_LOOKED_UP: usize = super::outbound::MAX_IN_FLIGHT as usize;
/// Tombstones that the peer has yet to hear of. An honest one reads them before it is told that it
/// may send more.
const MAX_DELETED: usize = 4 * super::outbound::MAX_IN_FLIGHT as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_answers_nothing_is_asked_for_a_bounded_number_of_keys() {
        let mut inbound = Inbound::new(Applied::default());
        let key = |at: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&at.to_le_bytes());
            SessionKey::from_bytes(bytes)
        };
        for at in 0..MAX_LOOKED_UP {
            assert!(inbound.look_up(key(at), 1));
        }
        assert!(!inbound.look_up(key(MAX_LOOKED_UP), 1));
        assert!(inbound.look_up(key(0), 2), "known already");
        let answered = inbound.answered(&key(1), ApplyOutcome::Done);
        assert_eq!(answered, Ok(Some(1)));
        assert!(inbound.look_up(key(MAX_LOOKED_UP), 1));
    }

    #[test]
    fn answer_to_a_question_given_up_is_not_taken_for_the_answer_to_the_next() {
        let key = SessionKey::from_bytes([1; 16]);
        let want = Some(Message::Want { keys: vec![key] });
        let mut inbound = Inbound::new(Applied::default());
        inbound.look_up(key, 1);
        assert_eq!(inbound.poll(), want);
        inbound.look_up(key, 2);
        inbound.look_up(key, 2);
        assert_eq!(inbound.poll(), None, "one question at a time");
        let answered = |inbound: &mut Inbound| inbound.answered(&key, ApplyOutcome::Done);
        assert_eq!(answered(&mut inbound), Ok(None));
        assert_eq!(inbound.poll(), want);
        assert_eq!(answered(&mut inbound), Ok(Some(2)));
        assert_eq!(inbound.poll(), None);
        assert!(inbound.is_idle());
    }
}
