//! One connection to one peer: what to say next, and what an incoming message means.

mod event;
mod inbound;
mod outbound;
#[cfg(test)]
mod pair;
mod repair;
mod window;

pub(crate) use self::event::{LinkAcks, LinkEvent, LinkGauges, LinkOptions, Violation};
use self::{inbound::Inbound, outbound::Outbound, repair::Repair};
use super::{
    Change, Replica, lineage,
    store::apply::{ApplyOutcome, ChangeForm, OverLimit},
};
use crate::{
    session::{BootId, Item, Now, SessionKey},
    wire::{Message, message::Lineage},
};

/// The decisions of one established link. Sans-I/O: after hello call [`Link::new`]; then
/// [`Link::handle`] for every message that arrives, [`Link::tick`] every 100 ms, and
/// [`Link::poll`] for messages to send, again after each of these, whenever the log grew, and soon
/// when it [waits for time](Link::waits_for_time), until it returns `None`. Time is monotonic.
#[derive(Debug)]
pub(crate) struct Link {
    peer: BootId,
    /// What was told of our past, by which both sides judge.
    past: Lineage,
    peers_past: Option<Lineage>,
    inbound: Inbound,
    outbound: Outbound,
    repair: Repair,
    heartbeat_ms: u64,
    next_heartbeat_ms: u64,
    ready: bool,
    peer_ready: bool,
    leaving: Goodbye,
    /// Urgent messages since the last states, which must have their turn however many changes come.
    overtaking: u32,
    collect: bool,
    /// What happened while messages were polled, until the next tick.
    events: Vec<LinkEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    No,
    Due,
    Said,
}

impl Link {
    pub(crate) fn new(replica: &Replica, peer: BootId, options: LinkOptions, now: Now) -> Self {
        let applied = replica.applied_of(peer);
        let mut repair = Repair::new(replica.boot() < peer);
        repair.set_in_use(replica.store().is_in_use());
        if applied.owes_round {
            repair.begin_complete(1);
        }
        Self {
            peer,
            past: replica.past(now),
            peers_past: None,
            inbound: Inbound::new(applied.position, applied.owes_round),
            outbound: Outbound::new(options.ack_timeout_ms, now),
            repair,
            heartbeat_ms: options.heartbeat_ms,
            next_heartbeat_ms: now.mono_ms,
            ready: false,
            peer_ready: false,
            leaving: Goodbye::No,
            overtaking: 0,
            collect: options.collect,
            events: Vec::new(),
        }
    }

    /// Takes in a message of `bytes` encoded bytes.
    ///
    /// # Errors
    ///
    /// The link must then be closed; the store is unharmed.
    pub(crate) fn handle(
        &mut self,
        replica: &Replica,
        message: Message,
        bytes: usize,
        now: Now,
    ) -> Result<Vec<LinkEvent>, Violation> {
        if self.inbound.is_open() == matches!(message, Message::Resume { .. }) {
            return Err(Violation::Protocol("live must be the first message, once"));
        }
        let mut applying = Applying {
            replica,
            now,
            changes: self.collect.then(Vec::new),
            over: None,
        };
        let mut events = Vec::new();
        match message {
            Message::Resume {
                applied,
                head,
                past,
            } => {
                self.outbound.open(replica, applied, now)?;
                self.inbound.open(head);
                events.push(LinkEvent::Acks);
                if lineage::starts_empty((replica.boot(), self.past), (self.peer, past)) {
                    let sessions = replica.store().clear();
                    events.push(LinkEvent::StartedEmpty { sessions });
                    self.repair.begin_complete(0);
                }
                self.peers_past = Some(past);
            }
            Message::Batch { from, to, items } => {
                let mut progress_of_batch = self.inbound.begin_batch(from, to)?;
                for (key, item) in items {
                    progress_of_batch.record(key, applying.apply(key, item));
                }
                self.inbound.finish_batch(progress_of_batch)?;
            }
            Message::Skip { to } => {
                self.inbound.skip(to)?;
                self.repair.begin_complete(1);
            }
            Message::Ack { to } => {
                if self.outbound.acknowledge(to)? {
                    events.push(LinkEvent::Acks);
                }
            }
            Message::Want { keys } => self.outbound.asked_for(keys)?,
            Message::Answer { items } => {
                for (key, item) in items {
                    let merged = applying.apply(key, item);
                    if let Some(question) = self.inbound.answered(&key, merged)? {
                        events.push(LinkEvent::Answered(key, question));
                    }
                }
            }
            Message::Heartbeat { root, ready } => {
                self.peer_ready = ready;
                let equal = root == replica.root(now);
                self.repair.compare_root(equal);
                if equal {
                    self.record_contact(replica, now);
                }
            }
            Message::AskDigests => self.repair.asked_for_digests(),
            Message::Digests { shards } => {
                self.repair
                    .compare_digests(&replica.store().digests(), &shards);
            }
            Message::Listing {
                round,
                shard,
                complete,
                entries,
            } => {
                let store = replica.store();
                self.repair
                    .check_listing(shard, entries.len(), store.max_listed())?;
                let difference = store.difference(shard, complete, entries, now);
                self.repair.answer(round, shard, complete, difference);
            }
            Message::Differences {
                round,
                shard,
                last,
                items,
                wants,
            } => {
                self.repair.wanted(round, shard, wants)?;
                self.repair.merged(items.len(), bytes);
                self.take_repair(items, &mut applying)?;
                if last {
                    self.repair.shard_done(shard);
                }
            }
            Message::Supply { items } => {
                self.repair.merged(0, bytes);
                self.take_repair(items, &mut applying)?;
            }
            Message::Credit { bytes } => self.repair.credit(bytes)?,
            Message::RoundDone => self.outbound.round_done(),
            Message::Leave => events.push(LinkEvent::Left),
        }
        if self.repair.take_ended() {
            self.record_contact(replica, now);
        }
        if let Some(done) = self.repair.take_completed() {
            self.inbound.round_done(done.skips);
            events.push(LinkEvent::RoundCompleted {
                sessions: done.sessions,
                bytes: done.bytes,
            });
        }
        let (applied, owes_round) = self.inbound.applied();
        if self.inbound.moved() {
            replica.set_applied(self.peer, applied, owes_round, now);
        }
        events.extend(applying.over.map(LinkEvent::OverLimit));
        let changes = applying.changes.into_iter().flatten();
        events.extend(changes.map(LinkEvent::Changed));
        Ok(events)
    }

    /// Whether a message may give this link something to say. An acknowledgement rarely does, and
    /// to wake the writer for each would double its work.
    pub(crate) const fn may_answer(&self, message: &Message) -> bool {
        match message {
            Message::Ack { .. } => self.outbound.is_full(),
            _ => true,
        }
    }

    fn record_contact(&self, replica: &Replica, now: Now) {
        if let Some(past) = self.peers_past {
            replica.memory.record_contact(past.lineage_ms, now);
        }
    }

    /// Tombstones that live copies met here go back to whoever still holds them.
    fn take_repair(
        &mut self,
        items: Vec<(SessionKey, Item)>,
        applying: &mut Applying<'_>,
    ) -> Result<(), Violation> {
        for (key, item) in items {
            self.inbound
                .answer_deleted(key, applying.apply(key, item))?;
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, replica: &Replica, now: Now) -> Vec<LinkEvent> {
        self.repair.set_in_use(replica.store().is_in_use());
        let mut events = std::mem::take(&mut self.events);
        self.outbound.tick(replica, now, &mut events);
        events
    }

    /// The next message by priority: acks, heartbeats, questions and answers, deltas, repair.
    pub(crate) fn poll(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.overtaking >= MOST_OVERTAKING {
            let states = self.poll_states(replica, now);
            if states.is_some() {
                return states;
            }
        }
        let urgent = self.poll_urgent(replica, now);
        if urgent.is_some() {
            return urgent;
        }
        let states = self.poll_states(replica, now);
        if states.is_some() {
            return states;
        }
        if self.leaving == Goodbye::Due {
            self.leaving = Goodbye::Said;
            return Some(Message::Leave);
        }
        None
    }

    fn poll_states(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.leaving == Goodbye::Said || !self.inbound.is_open() {
            return None;
        }
        let states = self.repair.poll_states(replica, now)?;
        self.overtaking = 0;
        Some(states)
    }

    /// As [`Link::poll`] without the states of repair, which take long to write and to merge: what
    /// leaves together is acknowledged together.
    pub(crate) fn poll_urgent(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        let urgent = self.next_urgent(replica, now)?;
        self.overtaking = self.overtaking.saturating_add(1);
        Some(urgent)
    }

    fn next_urgent(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if let Some(applied) = self.inbound.take_opening() {
            let head = replica.head();
            let past = self.past;
            return Some(Message::Resume {
                applied,
                head,
                past,
            });
        }
        if self.leaving == Goodbye::Said {
            return None;
        }
        if let Some(message) = self.inbound.poll() {
            return Some(message);
        }
        if let Some(bytes) = self.repair.credit_due() {
            return Some(Message::Credit { bytes });
        }
        if now.mono_ms >= self.next_heartbeat_ms {
            self.next_heartbeat_ms = now.mono_ms + self.heartbeat_ms;
            return Some(Message::Heartbeat {
                root: replica.root(now),
                ready: self.ready,
            });
        }
        if !self.inbound.is_open() {
            return None;
        }
        // Nobody waits for a peer that lags, so it gets what takes least.
        let form = match self.outbound.is_lagging() {
            true => ChangeForm::Delta,
            false => self.repair.form_of_changes(),
        };
        let streamed = self.outbound.poll(replica, form, now, &mut self.events);
        if streamed.is_some() {
            return streamed;
        }
        self.repair.poll(replica, now)
    }

    /// Whether [`Link::poll`] has held something back, since this was asked last, until some time has
    /// passed. Poll again in a millisecond.
    pub(crate) const fn waits_for_time(&mut self) -> bool {
        self.repair.take_waits()
    }

    /// Tells the link how many bytes the message just polled took, for its windows.
    pub(crate) fn sent(&mut self, message: &Message, bytes: usize) {
        if matches!(
            message,
            Message::Differences { .. } | Message::Supply { .. }
        ) {
            self.repair.sent(bytes);
        }
    }

    /// Starts a complete round: everything the peer has and we lack comes here, and the reverse.
    pub(crate) fn begin_round(&mut self) {
        self.repair.begin_complete(0);
    }

    /// Whether a complete round has ended on this link and the position the peer announced at its
    /// start is applied.
    pub(crate) const fn is_synced(&self) -> bool {
        self.repair.has_completed() && self.inbound.has_caught_up()
    }

    /// Whether the peer has spoken.
    pub(crate) const fn is_open(&self) -> bool {
        self.inbound.is_open()
    }

    /// Whether everything the peer had when this link was made is here: streamed, or repaired where
    /// its log skipped something.
    pub(crate) const fn is_current(&self) -> bool {
        let (_, owes_round) = self.inbound.applied();
        self.inbound.has_caught_up() && !owes_round
    }

    /// Grows with everything that a round brings: a round whose progress stands still has stalled.
    pub(crate) const fn progress(&self) -> u64 {
        self.repair.progress()
    }

    /// Asks the peer for one session as it is from now on; [`LinkEvent::Answered`] follows with the
    /// number of the last `question` for that key. Whether it is asked: not when it has too many
    /// questions to answer.
    pub(crate) fn want(&mut self, key: SessionKey, question: u64) -> bool {
        self.inbound.look_up(key, question)
    }

    /// Whether the peer has told that it is ready (its transfer is over).
    pub(crate) const fn peer_is_ready(&self) -> bool {
        self.peer_ready
    }

    /// Whether our own ready state is to be told in heartbeats.
    pub(crate) const fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    pub(crate) const fn is_lagging(&self) -> bool {
        self.outbound.is_lagging()
    }

    /// Whether nothing is under way on either side's behalf.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.inbound.is_idle() && self.outbound.is_idle() && self.repair.is_idle()
    }

    #[cfg(test)]
    pub(super) fn batches_waiting(&self) -> usize {
        self.inbound.batches_waiting()
    }

    pub(crate) const fn acks(&self) -> LinkAcks {
        self.outbound.acks()
    }

    pub(crate) fn gauges(&self, replica: &Replica) -> LinkGauges {
        LinkGauges {
            acked_lag: replica.head().saturating_sub(self.outbound.acks().acked),
            queued_bytes: self.repair.in_flight(),
        }
    }

    /// Queues the goodbye, behind everything that is due.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Goodbye::No {
            self.leaving = Goodbye::Due;
        }
    }
}

/// What becomes of the items of one message.
#[derive(Debug)]
struct Applying<'a> {
    replica: &'a Replica,
    now: Now,
    changes: Option<Vec<Change>>,
    over: Option<&'static str>,
}

impl Applying<'_> {
    /// What is over a limit counts as done: an honest peer may hold it because a malicious one has
    /// sent it there, and must be heard all the same.
    fn apply(&mut self, key: SessionKey, item: Item) -> ApplyOutcome {
        let store = self.replica.store();
        match store.apply(&key, item, self.now, self.changes.as_mut()) {
            Ok(merged) => merged,
            Err(OverLimit(what)) => {
                self.over = Some(what);
                ApplyOutcome::Done
            }
        }
    }
}

/// So many urgent messages may leave before states that wait.
const MOST_OVERTAKING: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Shape};

    const NOW: Now = Now {
        wall_ms: 1_700_000_000_000,
        mono_ms: 1 << 41,
    };

    #[test]
    fn acknowledgement_is_answered_only_when_the_window_was_full() {
        let boot = |byte| BootId::from_bytes([byte; 8]);
        let replica = Replica::new(boot(1), Limits::default(), &Shape::default(), NOW);
        let options = LinkOptions {
            heartbeat_ms: 500,
            ack_timeout_ms: 2_000,
            collect: false,
        };
        let mut link = Link::new(&replica, boot(2), options, NOW);
        let ack = Message::Ack { to: 1 };
        assert!(!link.may_answer(&ack));
        assert!(link.may_answer(&Message::AskDigests));
        link.outbound.set_in_flight(outbound::MAX_IN_FLIGHT);
        assert!(link.may_answer(&ack));
    }
}
