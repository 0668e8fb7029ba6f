//! A link, which is one connection to one peer: what to say next, and what an incoming message
//! means.

mod agreement;
mod answers;
mod chunk;
pub(super) mod coalesce;
mod event;
mod groups;
mod inbound;
mod outbound;
#[cfg(test)]
mod pair;
mod refused;
mod round;
mod token_bucket;
mod window;

pub(crate) use self::event::{
    Arrears, Flow, LinkAcks, LinkEvent, LinkGauges, LinkOptions, PeersTransfer, RoundMark,
    Violation,
};
#[cfg(test)]
pub(crate) use self::pair::denied_in_doubt;
use self::{
    agreement::Agreement,
    answers::{Answers, Listing},
    groups::GroupSet,
    inbound::Inbound,
    outbound::Outbound,
    refused::RefusedCopies,
    round::Round,
    token_bucket::TokenBucket,
    window::Window,
};
use super::{
    Destroyed, Observer, Replica,
    lineage::{Past, Side},
    orders::OrderCursor,
    store::{
        apply::ApplyOutcome,
        doubts::{Comparison, Place},
        offer::ChangeForm,
    },
};
use crate::{
    session::{BootId, Item, Mutant, Now, Order, OrderContent, Retention, SessionKey},
    wire::{
        Message, PeerList, Position,
        message::{Lineage, Memory, RETENTION_HOPS},
    },
};

/// The decisions of one established link. Sans-I/O: after hello call [`Link::new`]; then
/// [`Link::handle`] for every message that arrives, [`Link::tick`] every 100 ms, and
/// [`Link::poll`] for messages to send, again after each of these, whenever the log grew, and soon
/// when it [waits for time](Link::waits_for_time), until it returns `None`. Time is monotonic.
#[derive(Debug)]
pub(crate) struct Link {
    peer: BootId,
    /// What was told of this node's past, by which both sides judge.
    past: Past,
    peers_lineage: Option<Lineage>,
    /// What the peer has told of its own. Nothing of a session leaves before.
    peers_past: Option<Past>,
    /// What the peer is to be told next, and the retentions that it was told last.
    memory_due: Option<Memory>,
    told: [Retention; RETENTION_HOPS],
    /// While this node does not know which of its sessions the peer still has.
    comparison: Option<Comparison>,
    /// Whether the peer did not know of its own sessions which of them this node still has, when the
    /// link was made.
    peer_doubts: bool,
    /// Whether its rounds wait for their answers, because this node is in doubt, too.
    holds_back: bool,
    agreement: Agreement,
    /// When the present rounds of both sides began, zero before the first.
    asked_ms: u64,
    peer_asked_ms: u64,
    inbound: Inbound,
    outbound: Outbound,
    round: Round,
    answers: Answers,
    /// What the peer holds and this node does not merge.
    refused: RefusedCopies,
    /// What may be on its way of the states of repair.
    window: Window,
    heartbeat_ms: u64,
    next_heartbeat_ms: u64,
    ready: bool,
    /// What is to be told of this node's transfer, and whether that is due.
    settled_hops: u8,
    is_settled_due: bool,
    peers_transfer: PeersTransfer,
    /// Of whom the peer is to be told next.
    peers_due: Option<PeerList>,
    leaving: Goodbye,
    /// Urgent messages since the last states, which must have their turn however many changes come.
    urgent_in_a_row: u32,
    orders: OrderCursor,
    /// How fast orders are passed on.
    orders_pace: TokenBucket,
    /// Whether event streams hear of what comes from the peer.
    notify_listeners_on_replication: bool,
    /// What happened while messages were polled, until the next tick.
    events: Vec<LinkEvent>,
    /// Bytes of current changes since the last complete round.
    batch_bytes: u64,
    /// What the peer has been given since it asked for all sessions first.
    given: Option<Flow>,
}

/// The state of this node's goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    No,
    Due,
    Said,
}

impl Link {
    pub(crate) fn new(replica: &Replica, peer: BootId, options: LinkOptions, now: Now) -> Self {
        replica.store.meet_peer();
        let applied = replica.applied.of(peer);
        let past = replica.past(now);
        let mut round = Round::new(replica.boot() < peer);
        let mut window = Window::new();
        window.set_in_use(replica.is_in_use());
        if applied.owes_round {
            round.begin_complete(1);
        }
        Self {
            peer,
            peers_lineage: None,
            peers_past: None,
            memory_due: Some(past.memory),
            told: past.memory.retentions,
            past,
            comparison: None,
            peer_doubts: false,
            holds_back: false,
            agreement: Agreement::default(),
            asked_ms: 0,
            peer_asked_ms: 0,
            inbound: Inbound::new(applied),
            outbound: Outbound::new(options.ack_timeout_ms, now),
            round,
            answers: Answers::default(),
            refused: RefusedCopies::default(),
            window,
            heartbeat_ms: options.heartbeat_ms,
            next_heartbeat_ms: now.mono_ms,
            ready: false,
            settled_hops: 0,
            is_settled_due: false,
            peers_transfer: PeersTransfer::Unknown,
            peers_due: None,
            leaving: Goodbye::No,
            urgent_in_a_row: 0,
            orders: OrderCursor::default(),
            orders_pace: TokenBucket::new(ORDER_BYTES_PER_MS, ORDER_BURST_MS),
            notify_listeners_on_replication: options.notify_listeners_on_replication,
            events: Vec::new(),
            batch_bytes: 0,
            given: None,
        }
    }

    /// Handles a message of `bytes` encoded bytes. Returns what came of it.
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
            return Err(Violation::Protocol(
                "resume must be the first message, once",
            ));
        }
        let mut merging = Merging {
            replica,
            now,
            observer: Observer::new(self.notify_listeners_on_replication),
            over_limit: None,
            refused: std::mem::take(&mut self.refused),
            confirms: self.comparison.as_ref().map(Comparison::place),
            has_changed: false,
            destroyed_ms: Vec::new(),
        };
        let mut events = Vec::new();
        self.judge(replica, &message, now);
        match message {
            Message::Resume {
                applied,
                head,
                lineage,
            } => {
                self.peers_lineage = Some(lineage);
                self.outbound.open(replica, applied, now)?;
                self.inbound.open(head);
                events.push(LinkEvent::Acks);
            }
            Message::Batch { from, to, items } => {
                self.batch_bytes += bytes as u64;
                let mut batch = self.inbound.begin_batch(from, to)?;
                for (key, item) in items {
                    batch.record(key, merging.apply(key, item));
                }
                self.inbound.finish_batch(batch)?;
            }
            Message::Skip { to } => {
                self.inbound.skip(to)?;
                if !self.ready || !Mutant::LeaveSkipsToJoin.is_on() {
                    self.round.begin_complete(1);
                }
            }
            Message::Ack { to } => {
                if self.outbound.acknowledge(to)? {
                    events.push(LinkEvent::Acks);
                }
            }
            Message::Want { keys } => self.outbound.asked_for(keys)?,
            Message::Answer { items } => {
                for (key, item) in items {
                    let outcome = merging.apply(key, item);
                    if let Some(question) = self.inbound.answered(&key, outcome)? {
                        events.push(LinkEvent::Answered(key, question));
                    }
                }
            }
            Message::Heartbeat { root, ready } => {
                if self.note_peers_transfer(match ready {
                    true => PeersTransfer::Over,
                    false => self.peers_transfer.or_under_way(),
                }) {
                    events.push(LinkEvent::PeersTransfer);
                }
                let is_equal = root == merging.refused.root(replica, now);
                // A peer that joins asks for all itself, of its donor first.
                if is_equal || ready || self.answers.have_been_asked() {
                    self.round.compare_root(is_equal);
                }
                self.agreement.compare_root(is_equal, now);
                if is_equal {
                    self.record_contact(replica, now.mono_ms);
                }
            }
            Message::CompareSums { sums, below } => {
                self.peer_asks(replica, now);
                self.answers.compare_sums(sums, GroupSet(below));
            }
            Message::SumsDiffer { differing, digests } => {
                let ours = merging.refused.digests(&replica.store);
                self.round
                    .compare_groups(&ours, GroupSet(differing), &digests)?;
            }
            Message::ExpectAcks { at_once } => self.inbound.expect_acks(at_once),
            Message::AskDigests => {
                self.peer_asks(replica, now);
                self.answers.asked_for_digests();
                if self.peers_transfer != PeersTransfer::Over {
                    self.given.get_or_insert_with(|| Flow {
                        began_ms: now.mono_ms,
                        ..Flow::default()
                    });
                }
            }
            Message::Digests { shards } => {
                self.note_progress_of_doubts(replica, now);
                let ours = merging.refused.digests(&replica.store);
                self.round.compare_digests(&ours, &shards);
            }
            Message::Listing {
                round,
                shard,
                complete,
                entries,
            } => {
                let listing = Listing {
                    round,
                    shard,
                    complete,
                    entries,
                };
                self.answers
                    .compare(replica, listing, &mut merging.refused, now)?;
            }
            Message::Differences {
                round,
                shard,
                last,
                items,
                wants,
            } => {
                for key in &wants {
                    merging.refused.forget(&replica.store, key);
                }
                if let Some(comparison) = &mut self.comparison {
                    comparison.record_asked_for(&wants);
                }
                self.note_progress_of_doubts(replica, now);
                self.round.wanted(round, shard, wants)?;
                self.round.record_merged(living(&items), bytes);
                self.merge_states(items, bytes, &mut merging)?;
                if last {
                    self.round.shard_done(shard);
                }
            }
            Message::Supply { items } => {
                self.round.record_merged(0, bytes);
                self.merge_states(items, bytes, &mut merging)?;
            }
            Message::Credit { bytes } => self.window.credit(bytes)?,
            Message::RoundDone => self.outbound.round_done(),
            Message::Leave => events.push(LinkEvent::Left),
            Message::Orders { orders } => {
                for order in orders {
                    events.extend(merging.take(order, self.peer));
                }
            }
            // It was judged by above.
            Message::Memory(_) => {}
            Message::Settled { hops } => {
                if self.note_peers_transfer(PeersTransfer::UnderWay { settled_hops: hops }) {
                    events.push(LinkEvent::PeersTransfer);
                }
            }
            Message::Peers(peers) => events.push(LinkEvent::Peers(peers)),
        }
        if self.round.take_ended() {
            self.agreement.end_round(now);
            self.round_is_over(replica, self.asked_ms);
        }
        if let Some(done) = self.round.take_completed() {
            self.inbound.round_done(done.skips);
            if let Some(comparison) = self.comparison.take() {
                let sessions = replica.store.end_doubts(&comparison);
                // What was in doubt has not left yet.
                self.round.begin_complete(0);
                events.push(LinkEvent::DroppedOutdated { sessions });
            }
            events.push(LinkEvent::RoundCompleted {
                sessions: done.sessions,
                bytes: done.bytes + std::mem::take(&mut self.batch_bytes),
            });
        }
        if self.inbound.moved() {
            replica.applied.set(self.peer, self.inbound.applied(), now);
        }
        self.refused = merging.refused;
        events.extend(merging.over_limit.map(LinkEvent::OverLimit));
        events.extend(merging.has_changed.then_some(LinkEvent::Grew));
        events.extend(merging.destroyed_ms.into_iter().map(LinkEvent::Destroyed));
        let changes = merging.observer.into_changes().into_iter();
        events.extend(changes.map(LinkEvent::Changed));
        Ok(events)
    }

    /// Returns whether a message may give this link something to say besides
    /// [what it owes](Self::owes_answer). An acknowledgement rarely does, and to wake the writer for
    /// each would double its work.
    pub(crate) const fn may_answer(&self, message: &Message) -> bool {
        match message {
            Message::Ack { .. } => self.outbound.is_full(),
            Message::Batch { .. } | Message::ExpectAcks { .. } => false,
            _ => true,
        }
    }

    /// Returns whether the peer's stream is to be answered now: with an acknowledgement that is due,
    /// a question or a tombstone.
    pub(crate) fn owes_answer(&self) -> bool {
        self.inbound.owes_answer()
    }

    /// Returns whether something is to be sent because time has passed.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        now.mono_ms >= self.next_heartbeat_ms
            || self.owes_answer()
            || self.outbound.has_to_tell()
            || self.is_settled_due
            || self.peers_due.is_some()
            || self.memory_due.is_some()
            || self.holds_back
    }

    /// Sets whether requests of this node wait for acknowledgements. As long as none does, the peer
    /// need not wake anybody for one.
    pub(crate) const fn expect_acks(&mut self, at_once: bool) {
        self.outbound.expect_acks(at_once);
    }

    /// Judges by what the peer has told of its past whether what is held here is in doubt. The first
    /// word after the peer's lineage is the occasion, which in an honest peer is that of its memory.
    fn judge(&mut self, replica: &Replica, message: &Message, now: Now) {
        let Some(lineage) = self.peers_lineage else {
            return;
        };
        let theirs = match message {
            Message::Memory(memory) => Past::of_peer(lineage, *memory, now),
            _ if self.peers_past.is_some() => return,
            _ => Past::of_lineage(lineage, now),
        };
        if self.peers_past.replace(theirs).is_some() {
            return;
        }
        let ours = Side {
            boot: replica.boot(),
            past: self.past,
        };
        let beside = Side {
            boot: self.peer,
            past: theirs,
        };
        self.peer_doubts = beside.is_doubtful_beside(&ours);
        if ours.is_doubtful_beside(&beside) {
            let known_ms = self.past.known_ms(&theirs);
            self.comparison = Some(replica.store.doubt_older_than(known_ms, now));
            self.round.begin_complete(0);
        }
    }

    fn note_progress_of_doubts(&self, replica: &Replica, now: Now) {
        if self.comparison.is_some() {
            replica.store.note_progress_of_doubts(now);
        }
    }

    /// Notes what the peer has told of its transfer. Returns whether that is news.
    fn note_peers_transfer(&mut self, told: PeersTransfer) -> bool {
        std::mem::replace(&mut self.peers_transfer, told) != told
    }

    /// Notes that the peer begins a round, and so has ended the one before.
    fn peer_asks(&mut self, replica: &Replica, now: Now) {
        let began_ms = std::mem::replace(&mut self.peer_asked_ms, now.mono_ms);
        if began_ms > 0 {
            self.agreement.end_round(now);
        }
        self.round_is_over(replica, began_ms);
    }

    /// Notes that a round of either side that began at an instant is over, if there was one.
    fn round_is_over(&self, replica: &Replica, began_ms: u64) {
        if began_ms > 0 && !Mutant::ContactByEqualityOnly.is_on() {
            self.record_contact(replica, began_ms);
        }
    }

    fn record_contact(&self, replica: &Replica, at_ms: u64) {
        // A node that doubts what it holds has told nobody of it.
        if let (Some(theirs), None) = (&self.peers_past, &self.comparison) {
            replica.lineage.record_contact(at_ms, theirs);
        }
    }

    /// Merges states of repair. Tombstones that they met here go back to the peer, which still
    /// holds the sessions.
    fn merge_states(
        &mut self,
        items: Vec<(SessionKey, Item)>,
        bytes: usize,
        merging: &mut Merging<'_>,
    ) -> Result<(), Violation> {
        self.window.record_merged(bytes);
        for (key, item) in items {
            self.inbound.answer_deleted(key, merging.apply(key, item))?;
        }
        Ok(())
    }

    /// Lets 100 ms pass. `expect_acks` says whether requests wait for acknowledgements.
    pub(crate) fn tick(
        &mut self,
        replica: &Replica,
        expect_acks: bool,
        now: Now,
    ) -> Vec<LinkEvent> {
        self.window.set_in_use(replica.is_in_use());
        if let Some(theirs) = &self.peers_past {
            replica.retention.hear(&theirs.memory.retentions);
        }
        if self.memory_due.is_none() && self.told != replica.retention.told() {
            let memory = replica.past(now).memory;
            self.told = memory.retentions;
            self.memory_due = Some(memory);
        }
        let mut events = std::mem::take(&mut self.events);
        self.inbound.tick();
        self.outbound.tick(replica, now, &mut events);
        self.outbound.expect_acks(expect_acks);
        events
    }

    /// Returns the next message by priority: acks, heartbeats, questions and answers, deltas,
    /// repair.
    pub(crate) fn poll(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.urgent_in_a_row >= MAX_URGENT_IN_A_ROW {
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
        if self.leaving == Goodbye::Said || self.peers_past.is_none() {
            return None;
        }
        if !self.round.has_supplies() && self.answers.is_empty() {
            return None;
        }
        let holds_back = self.holds_back(replica, now);
        if !self.round.has_supplies() && holds_back {
            return None;
        }
        let complete = self.round.is_complete() || self.answers.is_next_complete();
        if !self.window.allows(complete, now) {
            return None;
        }
        self.urgent_in_a_row = 0;
        let supplies = self.round.poll_states(replica, now);
        supplies.or_else(|| {
            let answers = (!holds_back).then_some(&mut self.answers);
            answers.and_then(|answers| answers.poll_states(replica, now))
        })
    }

    /// Returns whether the peer's rounds are not answered yet: it would drop what this node doubts
    /// itself.
    fn holds_back(&mut self, replica: &Replica, now: Now) -> bool {
        if !self.peer_doubts || self.answers.is_idle() || Mutant::AnswerInDoubt.is_on() {
            self.holds_back = false;
            return false;
        }
        self.holds_back = replica.store.is_settling_doubts(now);
        if !self.holds_back {
            self.answers.leave_out_doubted(replica);
        }
        self.holds_back
    }

    /// Returns the next message but for the states of repair. These take long to write and to
    /// merge, and what leaves together is acknowledged together.
    pub(crate) fn poll_urgent(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        let urgent = self.next_urgent(replica, now)?;
        self.urgent_in_a_row = self.urgent_in_a_row.saturating_add(1);
        Some(urgent)
    }

    fn next_urgent(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if self.inbound.take_opening() {
            return Some(Message::Resume {
                applied: self.inbound.applied().position,
                head: replica.head(),
                lineage: self.past.lineage,
            });
        }
        if self.leaving == Goodbye::Said {
            return None;
        }
        if let Some(memory) = self.memory_due.take() {
            return Some(Message::Memory(memory));
        }
        if let Some(message) = self.inbound.poll() {
            return Some(message);
        }
        if let Some(bytes) = self.window.credit_due() {
            return Some(Message::Credit { bytes });
        }
        if now.mono_ms >= self.next_heartbeat_ms {
            // From when it was due, so that those of a busy node do not come later and later.
            let next_ms = self.next_heartbeat_ms + self.heartbeat_ms;
            self.next_heartbeat_ms = next_ms.max(now.mono_ms + 1);
            self.refused.release(&replica.store);
            return Some(Message::Heartbeat {
                root: self.refused.root(replica, now),
                ready: self.ready,
            });
        }
        if std::mem::take(&mut self.is_settled_due) {
            return Some(Message::Settled {
                hops: self.settled_hops,
            });
        }
        if let Some(peers) = self.peers_due.take() {
            return Some(Message::Peers(peers));
        }
        self.peers_past?;
        // Before the records that stand for them in the log.
        let orders = self.poll_orders(replica, now);
        if orders.is_some() {
            return orders;
        }
        // Nobody waits for a peer that lags, so it gets what takes least.
        let form = match self.outbound.is_lagging() {
            true => ChangeForm::Delta,
            false => self.answers.form_of_changes(),
        };
        if let Some(expectation) = self.outbound.poll_expectation() {
            return Some(expectation);
        }
        let holds_back = self.holds_back(replica, now);
        let streamed = self.outbound.poll(replica, form, now, &mut self.events);
        let said = streamed
            .or_else(|| self.round.poll_report())
            .or_else(|| {
                let answers = (!holds_back).then_some(&mut self.answers);
                answers.and_then(|answers| answers.poll_digests(replica, &self.refused))
            })
            .or_else(|| self.round.poll(replica, &mut self.refused, now))?;
        if let Message::AskDigests | Message::CompareSums { .. } = said {
            self.asked_ms = now.mono_ms;
        }
        Some(said)
    }

    fn poll_orders(&mut self, replica: &Replica, now: Now) -> Option<Message> {
        if !self.orders_pace.allows(now) {
            return None;
        }
        let orders = replica.orders.next(&mut self.orders, self.peer);
        let bytes: usize = orders.iter().map(Order::weight).sum();
        self.orders_pace.spend(bytes as u64);
        (!orders.is_empty()).then_some(Message::Orders { orders })
    }

    /// Returns whether [`Link::poll`] has held something back, since this was asked last, until
    /// some time has passed. Poll again in a millisecond.
    pub(crate) const fn waits_for_time(&mut self) -> bool {
        self.window.take_waits()
    }

    /// Tells the link how many bytes the message just polled took, for its window.
    pub(crate) fn sent(&mut self, message: &Message, bytes: usize) {
        if let Message::Differences { items, .. } | Message::Supply { items } = message {
            self.window.sent(bytes);
            if let Some(given) = &mut self.given {
                given.sessions += living(items) as u64;
                given.bytes += bytes as u64;
            }
        } else if let (Message::Batch { .. }, Some(given)) = (message, &mut self.given) {
            // What is still in the log reaches a peer that joins by the stream of changes.
            given.bytes += bytes as u64;
        }
    }

    /// Starts a complete round: everything the peer has and this node lacks comes here, and the
    /// reverse.
    pub(crate) fn begin_round(&mut self) {
        self.round.go_ahead();
        self.round.ask();
    }

    /// Returns whether the complete round that was asked for last has ended, and the position that
    /// the peer announced when the link opened is applied.
    pub(crate) fn is_synced(&self) -> bool {
        self.round.has_completed() && self.inbound.has_caught_up()
    }

    /// Returns whether the peer has spoken.
    pub(crate) const fn is_open(&self) -> bool {
        self.inbound.is_open()
    }

    /// Has the peer told whom this node is linked with.
    pub(crate) fn tell_peers(&mut self, peers: PeerList) {
        self.peers_due = Some(peers);
    }

    /// Returns whether everything the peer had when this link was made is here: streamed, or
    /// repaired where its log skipped something.
    pub(crate) fn is_current(&self) -> bool {
        self.inbound.has_caught_up() && !self.inbound.applied().owes_round
    }

    /// Returns a number that grows with everything that a round brings: a round whose progress
    /// stands still has stalled.
    pub(crate) const fn progress(&self) -> u64 {
        self.round.progress()
    }

    /// Asks the peer for one session as it is from now on; [`LinkEvent::Answered`] follows with the
    /// number of the last `question` for that key. Returns whether it is asked: not when it has too
    /// many questions to answer.
    pub(crate) fn want(&mut self, key: SessionKey, question: u64) -> bool {
        self.inbound.look_up(key, question)
    }

    /// Returns how far the peer has come with its own state transfer.
    pub(crate) const fn peers_transfer(&self) -> PeersTransfer {
        self.peers_transfer
    }

    /// Notes that this node's state transfer is over, and tells the peer at once. Until
    /// then, rounds wait for [`Link::begin_round`].
    pub(crate) const fn set_ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.is_settled_due = false;
            self.next_heartbeat_ms = 0;
            self.round.go_ahead();
        }
    }

    /// Notes within how many hops nobody has anybody left to wait for. Returns whether the peer is
    /// to be told.
    pub(crate) const fn set_settled(&mut self, hops: u8) -> bool {
        self.is_settled_due |= hops != self.settled_hops && !self.ready;
        self.settled_hops = hops;
        self.is_settled_due
    }

    /// Returns how far this node has come with its rounds.
    pub(crate) const fn round_mark(&self) -> RoundMark {
        self.round.mark()
    }

    pub(crate) const fn is_lagging(&self) -> bool {
        self.outbound.is_lagging()
    }

    /// Returns what the peer has yet to get, of changes those up to a position.
    pub(crate) fn arrears(&self, replica: &Replica, upto: Option<Position>) -> Arrears {
        let acked = Position::number(self.outbound.acks().acked);
        let is_supplied = !self.round.has_supplies() && self.window.in_flight() == 0;
        let is_answered = self.answers.is_empty() && self.outbound.has_answered();
        Arrears {
            is_open: self.is_open(),
            is_lagging: self.is_lagging(),
            changes: Position::number(upto).saturating_sub(acked),
            has_repairs: !is_supplied
                || !is_answered
                || self.outbound.has_skipped()
                || !self.has_passed_on(replica),
            is_compared: self.round.has_completed(),
            is_equal: self.agreement.is_equal(),
            transfer: self.peers_transfer,
        }
    }

    /// Returns whether all orders have left.
    pub(crate) fn has_passed_on(&self, replica: &Replica) -> bool {
        replica.orders.is_at_end(&self.orders)
    }

    /// Returns whether this node leaves, and says so on this link.
    pub(crate) fn has_said_goodbye(&self) -> bool {
        self.leaving != Goodbye::No
    }

    /// Returns whether nothing is under way on either side's behalf.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let is_repair_idle = self.round.is_idle() && self.answers.is_empty();
        let are_streams_idle = self.inbound.is_idle() && self.outbound.is_idle();
        is_repair_idle && are_streams_idle && self.window.in_flight() == 0
    }

    /// Returns whether the peer has skipped what it has yet to repair.
    #[cfg(test)]
    pub(crate) const fn has_skipped(&self) -> bool {
        self.outbound.has_skipped()
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
            acked_lag: Position::number(replica.head())
                .saturating_sub(Position::number(self.outbound.acks().acked)),
            queued_bytes: self.window.in_flight(),
            agreement: self.agreement,
            receiving: self.round.received().map(|(sessions, bytes)| Flow {
                began_ms: self.asked_ms,
                sessions,
                bytes: bytes + self.batch_bytes,
            }),
            sending: self
                .given
                .filter(|_| self.peers_transfer != PeersTransfer::Over),
        }
    }

    /// Queues the goodbye, behind everything that is due.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Goodbye::No {
            self.leaving = Goodbye::Due;
        }
    }
}

/// The items of one message on their way into the store.
#[derive(Debug)]
struct Merging<'a> {
    replica: &'a Replica,
    now: Now,
    observer: Observer,
    over_limit: Option<&'static str>,
    /// Of the link.
    refused: RefusedCopies,
    /// The comparison for which what the peer holds is not in doubt here.
    confirms: Option<Place>,
    /// Whether this node has destroyed something, or learned an order, that others must hear of.
    has_changed: bool,
    /// The ages of the sessions that this node has destroyed, as orders want it.
    destroyed_ms: Vec<u64>,
}

impl Merging<'_> {
    /// Merges an item. What is over a limit counts as done: an honest peer may hold it because a
    /// malicious one has sent it there, and must be heard all the same.
    fn apply(&mut self, key: SessionKey, item: Item) -> ApplyOutcome {
        let store = &self.replica.store;
        if let Some(place) = self.confirms
            && item != Item::Absent
        {
            store.confirm(&key, place);
        }
        let outcome = match store.apply(&key, item, self.now, &mut self.observer) {
            Ok(outcome) => {
                self.refused.forget(store, &key);
                outcome
            }
            Err(over) => {
                self.over_limit = Some(over.what);
                if let Some(refused) = over.refused() {
                    self.refused.note(store, key, refused);
                }
                ApplyOutcome::Done
            }
        };
        let destroyed = self.replica.destroy_arrived(&key, self.now);
        self.note_destroyed(destroyed);
        outcome
    }

    /// Takes an order. Returns what is left to do of it.
    fn take(&mut self, order: Order, from: BootId) -> Option<LinkEvent> {
        let (order, destroyed) = self.replica.take(order, from, self.now)?;
        self.has_changed = true;
        self.note_destroyed(destroyed);
        match &order.content {
            OrderContent::Session { .. } => None,
            OrderContent::Search(_) => Some(LinkEvent::SearchOrdered),
            OrderContent::Report { .. } => Some(LinkEvent::Reported(order)),
        }
    }

    fn note_destroyed(&mut self, destroyed: Option<Destroyed>) {
        if let Some(Destroyed { change, age_ms }) = destroyed {
            self.has_changed = true;
            self.destroyed_ms.push(age_ms);
            self.observer.tell(|| [change]);
        }
    }
}

/// Counts the items that are sessions: a transfer brings what is left of destroyed ones, too.
fn living(items: &[(SessionKey, Item)]) -> usize {
    let is_living = |item: &Item| !matches!(item, Item::Destroyed(_) | Item::Absent);
    items.iter().filter(|(_, item)| is_living(item)).count()
}

/// Of orders, as their memory is counted. A peer that floods this node with them does not flood all
/// others through it.
const ORDER_BYTES_PER_MS: u64 = 1024;
/// All that a node keeps may leave at once, to a peer that has just come.
const ORDER_BURST_MS: u64 = 6 * 1024;
/// So many urgent messages may leave before states that wait.
const MAX_URGENT_IN_A_ROW: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Limits, Shape},
        session::fixtures::{NOW, boot},
    };

    #[test]
    fn acknowledgement_is_answered_only_when_the_window_was_full() {
        let replica = Replica::new(boot(1), Limits::default(), &Shape::default(), NOW);
        let options = LinkOptions {
            heartbeat_ms: 500,
            ack_timeout_ms: 2_000,
            notify_listeners_on_replication: false,
        };
        let mut link = Link::new(&replica, boot(2), options, NOW);
        let ack = Message::Ack {
            to: Position::following(0),
        };
        assert!(!link.may_answer(&ack));
        assert!(link.may_answer(&Message::AskDigests));
        assert!(!link.owes_answer());
        link.outbound.set_in_flight(outbound::MAX_IN_FLIGHT);
        assert!(link.may_answer(&ack));
    }
}
