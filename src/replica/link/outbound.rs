//! Our own stream to the peer: where it is, what is acknowledged, whether requests wait for it.

use std::collections::{HashSet, VecDeque};

use super::{
    LinkAcks, LinkEvent, Violation,
    chunk::Chunk,
    coalesce::{First, firsts_of},
};
use crate::{
    replica::{
        Replica,
        log::{Record, Slice},
        mutant,
        store::offer::ChangeForm,
    },
    session::{Item, Mutant, Now, SessionKey},
    wire::{Message, Position},
};

/// The sending side of the delta stream.
#[derive(Debug)]
pub(super) struct Outbound {
    open: bool,
    /// Whether the stream has been looked at since the link opened.
    streaming: bool,
    /// The end of the log when the link opened: from there on requests wait for the peer.
    opened_head: Option<Position>,
    /// Sent up to here.
    cursor: Option<Position>,
    base: Option<Position>,
    acked: Option<Position>,
    lagging: bool,
    /// Skips whose repair the peer has not reported yet.
    rounds_owed: u32,
    /// What was acknowledged when somebody began to wait for more, and since when.
    waiting: Option<(Option<Position>, u64)>,
    /// Our head at the last tick, to tell a peer that keeps up from one that does not.
    head_before: Option<Position>,
    started_ms: u64,
    ack_timeout_ms: u64,
    /// Whether acknowledgements are to come at once, and whether the peer believes so.
    expects_acks: bool,
    told_expects_acks: bool,
    /// Sessions the peer asked for, in order and once each.
    asked: VecDeque<SessionKey>,
    asked_keys: HashSet<SessionKey>,
}

impl Outbound {
    pub(super) fn new(ack_timeout_ms: u64, now: Now) -> Self {
        Self {
            open: false,
            streaming: false,
            opened_head: None,
            cursor: None,
            base: None,
            acked: None,
            lagging: false,
            rounds_owed: 0,
            waiting: None,
            head_before: None,
            started_ms: now.mono_ms,
            ack_timeout_ms,
            expects_acks: true,
            told_expects_acks: true,
            asked: VecDeque::new(),
            asked_keys: HashSet::new(),
        }
    }

    /// Starts the stream where the peer says it is.
    pub(super) fn open(
        &mut self,
        replica: &Replica,
        applied: Option<Position>,
        now: Now,
    ) -> Result<(), Violation> {
        if applied > replica.head() {
            return Err(Violation::Protocol("applied more than there is"));
        }
        self.open = true;
        self.started_ms = now.mono_ms;
        self.cursor = applied;
        self.acked = applied;
        // Who has waited for `ack_timeout` waits no longer, whatever links come up; nor does
        // anybody wait for a peer to learn of what was long before its time. What is younger may have
        // been on its way on a link that broke, also if it was the first that the peer was to get.
        let overdue = replica.overdue(self.ack_timeout_ms, now);
        self.opened_head = replica.head();
        self.base = match applied {
            None if Mutant::ForgetFirstChanges.is_on() => self.opened_head,
            _ => applied.max(overdue),
        };
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, to: Position) -> Result<bool, Violation> {
        if Some(to) > self.cursor {
            return Err(Violation::Protocol("an ack of what was not sent"));
        }
        let moved = Some(to) > self.acked;
        self.acked = self.acked.max(Some(to));
        Ok(moved)
    }

    pub(super) fn asked_for(&mut self, keys: Vec<SessionKey>) -> Result<(), Violation> {
        for key in keys {
            if self.asked_keys.insert(key) {
                self.asked.push_back(key);
            }
        }
        if self.asked.len() > 4 * MAX_IN_FLIGHT as usize {
            return Err(Violation::Protocol("too many questions"));
        }
        Ok(())
    }

    pub(super) const fn round_done(&mut self) {
        self.rounds_owed = self.rounds_owed.saturating_sub(1);
    }

    /// Returns whether nothing is sent until the peer has acknowledged some of it.
    pub(super) const fn is_full(&self) -> bool {
        Position::number(self.cursor) - Position::number(self.acked) >= MAX_IN_FLIGHT
    }

    pub(super) const fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// Sets whether requests wait for acknowledgements. A peer that lags is expected to catch up, and
    /// a short `ack_timeout` leaves no time to be late.
    pub(super) const fn expect_acks(&mut self, at_once: bool) {
        let is_behind = self.lagging || self.rounds_owed > 0;
        self.expects_acks = at_once || is_behind || self.ack_timeout_ms < MIN_TIMEOUT_OF_LATE_MS;
    }

    /// Returns whether the peer is still to be told what is expected of it.
    pub(super) const fn has_to_tell(&self) -> bool {
        self.expects_acks != self.told_expects_acks
    }

    pub(super) fn poll_expectation(&mut self) -> Option<Message> {
        let at_once = self.expects_acks;
        let told = std::mem::replace(&mut self.told_expects_acks, at_once);
        (told != at_once).then_some(Message::ExpectAcks { at_once })
    }

    /// Returns whether the peer has skipped what it has yet to repair.
    pub(super) const fn has_skipped(&self) -> bool {
        self.rounds_owed > 0
    }

    /// Returns whether the peer has no question open.
    pub(super) fn has_answered(&self) -> bool {
        self.asked.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.has_answered() && !self.has_skipped() && self.acked == self.cursor
    }

    pub(super) const fn acks(&self) -> LinkAcks {
        LinkAcks {
            base: self.base,
            acked: self.acked,
            counted: self.open && !self.lagging,
        }
    }

    /// Looks whether requests wait for this peer. The first missed `ack_timeout` releases all who
    /// do. It is waited for again once it has repaired what it skipped and is less than one tick
    /// behind.
    pub(super) fn tick(&mut self, replica: &Replica, now: Now, events: &mut Vec<LinkEvent>) {
        if !self.open {
            return;
        }
        let caught_up = self.rounds_owed == 0 && self.acked >= self.head_before;
        self.head_before = replica.head();
        if self.lagging {
            if caught_up {
                self.lagging = false;
                events.extend([LinkEvent::CaughtUp, LinkEvent::Acks]);
            }
            return;
        }
        let waiting_since = self.waiting_since(replica);
        if waiting_since.is_some_and(|at_ms| now.mono_ms >= at_ms + self.ack_timeout_ms) {
            self.lagging = true;
            events.extend([LinkEvent::Lagging, LinkEvent::Acks]);
        }
    }

    /// Returns since when the peer owes an acknowledgement, `None` when it owes none. A record that
    /// leaves the log while the peer owes it is not taken for a younger one.
    fn waiting_since(&mut self, replica: &Replica) -> Option<u64> {
        let at_ms = replica.log.time_after(self.acked);
        self.waiting = at_ms.map(|at_ms| match self.waiting {
            Some((acked, since_ms)) if acked == self.acked => (acked, since_ms.min(at_ms)),
            _ => (self.acked, at_ms),
        });
        let (_, since_ms) = self.waiting?;
        Some(since_ms.max(self.started_ms))
    }

    pub(super) fn poll(
        &mut self,
        replica: &Replica,
        form: ChangeForm,
        now: Now,
        events: &mut Vec<LinkEvent>,
    ) -> Option<Message> {
        if !self.asked.is_empty()
            && let Some(answer) = self.answer(replica, now)
        {
            return Some(answer);
        }
        if self.is_full() {
            return None;
        }
        let just_opened = !std::mem::replace(&mut self.streaming, true);
        // A new peer that would have to read a long log gets all of it by its round instead.
        let is_fresh = self.cursor.is_none() && Position::number(self.opened_head) > FRESH_RECORDS;
        match replica.log.after(self.cursor, BATCH_RECORDS) {
            Slice::Records(records) if records.is_empty() => None,
            Slice::Records(records) if !is_fresh => self.batch(replica, &records, form),
            Slice::Records(_) => self.skip(self.opened_head, events),
            Slice::Overrun(head) => {
                let reached = replica.log.after(self.opened_head, 1);
                let skips_the_past = just_opened && matches!(reached, Slice::Records(_));
                if skips_the_past {
                    return self.skip(self.opened_head, events);
                }
                // What requests wait for is skipped, too: they wait no longer for a peer that falls
                // out of the log, until it has repaired.
                if !self.lagging {
                    self.lagging = true;
                    events.push(LinkEvent::Lagging);
                }
                self.skip(head, events)
            }
        }
    }

    /// Jumps to a later position. What is skipped counts as not acknowledged.
    fn skip(&mut self, to: Option<Position>, events: &mut Vec<LinkEvent>) -> Option<Message> {
        self.cursor = to;
        if !Mutant::AcknowledgeSkipped.is_on() {
            self.base = self.base.max(to);
        }
        self.acked = to;
        self.rounds_owed = self.rounds_owed.saturating_add(1);
        events.push(LinkEvent::Acks);
        to.map(|to| Message::Skip { to })
    }

    /// Returns what the records are about, each session at the first of its records; later ones of
    /// it are then no-ops for this link.
    fn batch(
        &mut self,
        replica: &Replica,
        records: &[Record],
        form: ChangeForm,
    ) -> Option<Message> {
        let mut firsts = firsts_of(records);
        let mut covered = records.len();
        mutant::coalesce_late(&mut firsts, &replica.log, advanced(self.cursor, covered));
        let mut chunk = Chunk::with_capacity(firsts.len());
        for First { at, record } in firsts {
            // Of one in doubt nothing leaves yet, and nothing may be acknowledged.
            let must_wait =
                || replica.store.is_doubted(&record.key) && !Mutant::PassOverDoubted.is_on();
            if chunk.is_full() || must_wait() {
                // Every record before this one belongs to a session that is in the batch.
                covered = at;
                break;
            }
            let item = replica.store.outgoing(&record, form);
            if item != Item::Absent {
                chunk.push(record.key, item);
            } else if must_wait() {
                // Since just now.
                covered = at;
                break;
            }
        }
        if covered == 0 {
            return None;
        }
        let from = self.cursor;
        self.cursor = advanced(self.cursor, covered);
        Some(Message::Batch {
            from,
            to: self.cursor?,
            items: chunk.into_items(),
        })
    }

    /// Answers some of what the peer has asked for. Of what is in doubt here it hears when that is
    /// over, as long as it has not acknowledged all that was sent: it may have refused a change of
    /// that, and would take for merged what is not there.
    fn answer(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        let may_have_refused = self.acked < self.cursor && !Mutant::DenyDoubted.is_on();
        let must_wait = |key: &SessionKey| may_have_refused && replica.store.is_doubted(key);
        let mut chunk = Chunk::with_capacity(0);
        let mut waiting = VecDeque::new();
        while !chunk.is_full()
            && let Some(key) = self.asked.pop_front()
        {
            let item = match must_wait(&key) {
                true => Item::Absent,
                false => replica.store.full(&key, now),
            };
            if item == Item::Absent && must_wait(&key) {
                waiting.push_back(key);
                continue;
            }
            self.asked_keys.remove(&key);
            chunk.push(key, item);
        }
        waiting.append(&mut self.asked);
        self.asked = waiting;
        let items = chunk.into_items();
        (!items.is_empty()).then_some(Message::Answer { items })
    }
}

/// Returns the position so many records further.
fn advanced(position: Option<Position>, records: usize) -> Option<Position> {
    Position::new(Position::number(position) + records as u64)
}

#[cfg(test)]
impl Outbound {
    /// Pretends that so much was sent and only the beginning acknowledged.
    pub(super) const fn set_in_flight(&mut self, records: u64) {
        self.cursor = Position::new(Position::number(self.acked) + records);
    }
}

/// Records of one batch. Tests want many batches.
const BATCH_RECORDS: usize = if cfg!(test) { 4 } else { 512 };
/// Records sent and not acknowledged at most; further ones wait in the log.
pub(super) const MAX_IN_FLIGHT: u64 = 64 * 1024;
/// With an `ack_timeout` below this, acknowledgements always come at once.
const MIN_TIMEOUT_OF_LATE_MS: u64 = 1_000;
/// A log longer than this is not read out to a peer that starts from nothing.
const FRESH_RECORDS: u64 = 4096;
