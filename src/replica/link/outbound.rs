//! Our own stream to the peer: where it is, what is acknowledged, whether requests wait for it.

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use super::{LinkAcks, LinkEvent, Violation};
use crate::{
    replica::{
        Replica,
        key_hasher::SessionKeyHash,
        log::{Record, Slice},
        store::apply::ChangeForm,
    },
    session::{Item, Mutant, Now, REGISTER_OVERHEAD, SessionKey, Stamp},
    wire::{Message, message::Position},
};

#[derive(Debug)]
pub(super) struct Outbound {
    open: bool,
    /// Whether the stream has been looked at since the link opened.
    streaming: bool,
    /// The end of the log when the link opened: from there on requests wait for the peer.
    opened_head: Position,
    /// Sent up to here.
    cursor: Position,
    base: Position,
    acked: Position,
    lagging: bool,
    /// Skips whose repair the peer has not reported yet.
    rounds_owed: u32,
    /// Our head at the last tick, to tell a peer that keeps up from one that does not.
    head_before: Position,
    started_ms: u64,
    ack_timeout_ms: u64,
    /// Sessions the peer asked for, in order and once each.
    asked: VecDeque<SessionKey>,
    asked_keys: HashSet<SessionKey>,
}

impl Outbound {
    pub(super) fn new(ack_timeout_ms: u64, now: Now) -> Self {
        Self {
            open: false,
            streaming: false,
            opened_head: 0,
            cursor: 0,
            base: 0,
            acked: 0,
            lagging: false,
            rounds_owed: 0,
            head_before: 0,
            started_ms: now.mono_ms,
            ack_timeout_ms,
            asked: VecDeque::new(),
            asked_keys: HashSet::new(),
        }
    }

    /// Starts the stream where the peer says it is.
    pub(super) fn open(
        &mut self,
        replica: &Replica,
        applied: Position,
        now: Now,
    ) -> Result<(), Violation> {
        if applied > replica.head() {
            return Err(Violation::Protocol("applied more than there is"));
        }
        self.open = true;
        self.started_ms = now.mono_ms;
        self.cursor = applied;
        self.acked = applied;
        // Who has waited for `ack_timeout` waits no longer, whatever links come up; nor does anybody
        // wait for a peer to learn of what was before its time.
        let over = now.mono_ms.saturating_sub(self.ack_timeout_ms);
        self.opened_head = replica.head();
        self.base = match applied {
            0 => self.opened_head,
            _ => applied.max(replica.log.before(over)),
        };
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, to: Position) -> Result<bool, Violation> {
        if to > self.cursor {
            return Err(Violation::Protocol("an ack of what was not sent"));
        }
        let moved = to > self.acked;
        self.acked = self.acked.max(to);
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

    /// Whether nothing is sent until the peer has acknowledged some of it.
    pub(super) const fn is_full(&self) -> bool {
        self.cursor - self.acked >= MAX_IN_FLIGHT
    }

    pub(super) const fn is_lagging(&self) -> bool {
        self.lagging
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.rounds_owed == 0 && self.acked == self.cursor
    }

    pub(super) const fn acks(&self) -> LinkAcks {
        LinkAcks {
            base: self.base,
            acked: self.acked,
            counted: self.open && !self.lagging,
        }
    }

    /// The first missed `ack_timeout` releases all who wait for this peer. It is waited for again
    /// once it has repaired what it skipped and is less than one tick behind.
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
        let waiting_since = replica
            .log
            .time_after(self.acked)
            .map(|at_ms| at_ms.max(self.started_ms));
        if waiting_since.is_some_and(|at_ms| now.mono_ms >= at_ms + self.ack_timeout_ms) {
            self.lagging = true;
            events.extend([LinkEvent::Lagging, LinkEvent::Acks]);
        }
    }

    pub(super) fn poll(
        &mut self,
        replica: &Replica,
        form: ChangeForm,
        now: Now,
        events: &mut Vec<LinkEvent>,
    ) -> Option<Message> {
        if !self.asked.is_empty() {
            return Some(self.answer(replica, now));
        }
        if self.is_full() {
            return None;
        }
        let just_opened = !std::mem::replace(&mut self.streaming, true);
        // A new peer that would have to read a long log gets all of it by its round instead.
        let fresh = self.cursor == 0 && self.opened_head > FRESH_RECORDS;
        match replica.log.after(self.cursor, BATCH_RECORDS) {
            Slice::Records(records) if records.is_empty() => None,
            Slice::Records(records) if !fresh => Some(self.batch(replica, &records, form)),
            Slice::Records(_) => Some(self.skip(self.opened_head, events)),
            Slice::Overrun(head) => {
                let reached = replica.log.after(self.opened_head, 1);
                let skips_the_past = just_opened && matches!(reached, Slice::Records(_));
                if skips_the_past {
                    return Some(self.skip(self.opened_head, events));
                }
                // What requests wait for is skipped, too: they wait no longer for a peer that falls
                // out of the log, until it has repaired.
                if !self.lagging {
                    self.lagging = true;
                    events.push(LinkEvent::Lagging);
                }
                Some(self.skip(head, events))
            }
        }
    }

    /// Jumps. What is skipped counts as not acknowledged.
    fn skip(&mut self, to: Position, events: &mut Vec<LinkEvent>) -> Message {
        self.cursor = to;
        if !Mutant::AcknowledgeSkipped.is_on() {
            self.base = self.base.max(to);
        }
        self.acked = to;
        self.rounds_owed = self.rounds_owed.saturating_add(1);
        events.push(LinkEvent::Acks);
        Message::Skip { to }
    }

    /// Coalesces early: a session goes out at its first unsent record, later ones of it are then
    /// no-ops for this link.
    fn batch(&mut self, replica: &Replica, records: &[Record], form: ChangeForm) -> Message {
        let mut firsts = firsts_of(records);
        let mut items = Vec::with_capacity(firsts.len());
        let mut bytes = 0;
        let mut covered = records.len();
        if Mutant::CoalesceLate.is_on() {
            let later = replica
                .log
                .after(self.cursor + records.len() as u64, usize::MAX);
            if let Slice::Records(later) = later {
                firsts.retain(|first| later.iter().all(|record| record.key != first.1));
            }
        }
        for (at, key, since, touch) in firsts {
            if bytes > CHUNK_BYTES {
                // Every record before this one belongs to a session that is in the batch.
                covered = at;
                break;
            }
            let item = replica.store().outgoing(&key, since, touch, form);
            if item != Item::Absent {
                bytes += weight(&item);
                items.push((key, item));
            }
        }
        let from = self.cursor;
        self.cursor += covered as u64;
        Message::Batch {
            from,
            to: self.cursor,
            items,
        }
    }

    fn answer(&mut self, replica: &Replica, now: Now) -> Message {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes <= CHUNK_BYTES
            && let Some(key) = self.asked.pop_front()
        {
            self.asked_keys.remove(&key);
            let item = replica.store().full(&key, now);
            bytes += weight(&item);
            items.push((key, item));
        }
        Message::Answer { items }
    }
}

/// The first record of each session: where it stands, its key, `since`, and whether it or a later one
/// tells of use.
fn firsts_of(records: &[Record]) -> Vec<(usize, SessionKey, Stamp, bool)> {
    let mut firsts: Vec<(usize, SessionKey, Stamp, bool)> = Vec::with_capacity(records.len());
    // To look through a few is quicker than to keep a table of them.
    let mut places = (records.len() > FEW_RECORDS)
        .then(|| HashMap::with_capacity_and_hasher(records.len(), SessionKeyHash));
    for (at, record) in records.iter().enumerate() {
        let known = match &mut places {
            None => firsts.iter().position(|first| first.1 == record.key),
            Some(places) => match places.entry(record.key) {
                Entry::Occupied(place) => Some(*place.get()),
                Entry::Vacant(place) => {
                    place.insert(firsts.len());
                    None
                }
            },
        };
        match known {
            Some(first) => firsts[first].3 |= record.touch,
            None => firsts.push((at, record.key, record.prev, record.touch)),
        }
    }
    firsts
}

#[cfg(test)]
impl Outbound {
    /// As if so much had been sent and only the beginning acknowledged.
    pub(super) const fn set_in_flight(&mut self, records: u64) {
        self.cursor = self.acked + records;
    }
}

/// About how many bytes an item takes on the wire.
pub(super) fn weight(item: &Item) -> usize {
    ITEM_OVERHEAD
        + match item {
            Item::Full(state) => state.weight(),
            Item::Packed(state) => state.body.len(),
            Item::Delta(delta) => delta
                .registers
                .iter()
                .map(|(name, register)| name.len() + register.weight() + REGISTER_OVERHEAD)
                .sum(),
            Item::Destroyed(_) | Item::Absent => 0,
        }
}

const ITEM_OVERHEAD: usize = 64;
/// Records that are looked through one by one. Tests want both ways.
const FEW_RECORDS: usize = if cfg!(test) { 2 } else { 16 };
/// Bytes of one message's items, about; a single session may be larger.
pub(super) const CHUNK_BYTES: usize = if cfg!(test) { 1024 } else { 16 * 1024 };
/// Records of one batch. Tests want many batches.
const BATCH_RECORDS: usize = if cfg!(test) { 4 } else { 512 };
/// Records sent and not acknowledged at most; further ones wait in the log.
pub(super) const MAX_IN_FLIGHT: u64 = 64 * 1024;
/// A log longer than this is not read out to a peer that starts from nothing.
const FRESH_RECORDS: u64 = 4096;
