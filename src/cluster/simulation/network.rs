//! What is under way, and the passing of time.

use super::{
    SHAPE, World, at,
    cable::{Cable, Packet},
    node::{SimNode, wake},
};
use crate::{
    cluster::{AckTracker, MemberLink as _},
    config::Limits,
    replica::{LinkEvent, Replica},
    wire::{DecodeLimits, Message},
};

impl World {
    /// Lets time pass, in ticks of 100 ms as on a real node.
    pub(super) fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.mono_ms += 100.min(ms);
            self.cables.retain(|_, cable| !cable.is_over());
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                self.nodes[node].sweep_some(now);
                self.end_some_surplus(node);
                // A task of its own on a real node: sessions may arrive before it begins.
                self.carry_out_searches(node);
                self.check_waits(node);
                self.nodes[node].table.sweep(DOWN_AFTER_MS, now);
            }
            for number in self.numbers() {
                for end in 0..2 {
                    self.tick(number, end);
                }
                self.send(number);
            }
            for node in 0..self.nodes.len() {
                self.advance_join(node);
                self.advance_leave(node);
            }
        }
    }

    /// Lets time pass in which nothing happens but heartbeats.
    pub(super) fn pass(&mut self, ms: u64) {
        self.mono_ms += ms;
        for cable in self.cables.values_mut() {
            // Links that were silent all the time are gone; the others were up and would have said so.
            let Some(swallowed) = cable.swallowed else {
                for end in cable.ends.iter().flatten() {
                    end.handle.hear(self.mono_ms);
                }
                continue;
            };
            if let Some(end) = &cable.ends[swallowed] {
                end.handle.hear(self.mono_ms);
            }
        }
    }

    fn tick(&mut self, number: u64, end: usize) {
        let Some(cable) = self.cables.get_mut(&number) else {
            return;
        };
        let Some(own) = &mut cable.ends[end] else {
            return;
        };
        let node = cable.nodes[end];
        let now = at(self.mono_ms, self.nodes[node].skew_ms);
        if own.handle.is_silent_for(DOWN_AFTER_MS, now) {
            self.close(number, end);
            return;
        }
        let SimParts { acks, replica } = parts(&self.nodes[node]);
        let mut waits = self.waits.iter();
        let expects_acks = waits.any(|wait| wait.commit.node == node);
        let ticked = own
            .machine
            .update(acks, |link| link.tick(replica, expects_acks, now));
        let Some((events, released)) = ticked else {
            return;
        };
        released.wake();
        self.handle_events(number, end, events);
        self.check_waits(node);
    }

    /// Lets both ends say what they have to say.
    pub(super) fn send(&mut self, number: u64) {
        for end in 0..2 {
            let Some(cable) = self.cables.get_mut(&number) else {
                return;
            };
            let node = cable.nodes[end];
            let Some(own) = &mut cable.ends[end] else {
                continue;
            };
            let now = at(self.mono_ms, self.nodes[node].skew_ms);
            let SimParts { acks, replica } = parts(&self.nodes[node]);
            let mut said = Vec::new();
            let filled = own.machine.update(acks, |link| {
                while let Some(message) = link.poll(replica, now) {
                    let mut bytes = Vec::new();
                    message.encode(now.mono_ms, &mut bytes);
                    link.sent(&message, bytes.len());
                    said.push(bytes);
                }
            });
            if let Some(((), released)) = filled {
                released.wake();
                self.check_waits(node);
            }
            for bytes in said {
                self.put(number, end, Packet::Message(bytes), 0);
            }
        }
    }

    pub(super) fn deliver_some(&mut self) {
        self.mono_ms += self.random.below(30) as u64;
        for number in self.numbers() {
            for end in 0..2 {
                for _ in 0..self.random.below(4) {
                    self.deliver(number, end);
                }
            }
            self.send(number);
        }
    }

    /// Delivers what `end` sent next, if its time has come. Returns whether it had.
    fn deliver(&mut self, number: u64, end: usize) -> bool {
        let Some(cable) = self.cables.get_mut(&number) else {
            return false;
        };
        let Some((at, _)) = cable.queues[end].front() else {
            return false;
        };
        if *at > self.mono_ms {
            return false;
        }
        let Some((_, packet)) = cable.queues[end].pop_front() else {
            return false;
        };
        match packet {
            Packet::Go => {
                if !self.admit(number, 1 - end) {
                    self.put(number, 1 - end, Packet::Closed, 0);
                }
            }
            Packet::Message(bytes) => self.hear(number, 1 - end, &bytes),
            Packet::Closed => self.close(number, 1 - end),
        }
        true
    }

    fn hear(&mut self, number: u64, end: usize, bytes: &[u8]) {
        let Some(cable) = self.cables.get_mut(&number) else {
            return;
        };
        let node = cable.nodes[end];
        let Some(own) = &mut cable.ends[end] else {
            return;
        };
        let now = at(self.mono_ms, self.nodes[node].skew_ms);
        own.handle.hear(now.mono_ms);
        let limits = DecodeLimits::new(&Limits::default(), &SHAPE);
        let message = match Message::decode(bytes, now.mono_ms, &limits) {
            Ok(message) => message,
            Err(error) => return self.distrust(&error),
        };
        let keys: Vec<_> = message.keys().collect();
        let SimParts { acks, replica } = parts(&self.nodes[node]);
        let handled = own
            .machine
            .update(acks, |link| link.handle(replica, message, bytes.len(), now));
        match handled {
            None => {}
            Some((Err(error), _)) => self.distrust(&error),
            Some((Ok(events), released)) => {
                released.wake();
                wake(self.nodes[node].fetches.merged(&keys));
                self.handle_events(number, end, events);
                self.check_waits(node);
            }
        }
    }

    fn distrust(&mut self, error: &dyn std::error::Error) {
        self.check(false, || {
            format!("an honest peer was taken for another: {error}")
        });
    }

    fn handle_events(&mut self, number: u64, end: usize, events: Vec<LinkEvent>) {
        let Some(cable) = self.cables.get(&number) else {
            return;
        };
        let (node, peer) = (cable.nodes[end], cable.nodes[1 - end]);
        let Some(handle) = cable.ends[end].as_ref().map(|own| own.handle.clone()) else {
            return;
        };
        let link = handle.id();
        let (mut has_moved, mut has_left) = (false, false);
        let now = self.now(node);
        for event in events {
            self.nodes[node].note_contact(peer, handle.identity().boot, &event, now);
            match event {
                LinkEvent::Acks => self.check_acks(number, end),
                LinkEvent::Answered(key, question) => {
                    wake(self.nodes[node].fetches.answered(&key, question, link));
                }
                LinkEvent::RoundCompleted { .. } | LinkEvent::PeersTransfer => has_moved = true,
                LinkEvent::Left => has_left = true,
                _ => {}
            }
        }
        if has_left {
            self.let_go(number, end);
        }
        if has_moved {
            self.advance_join(node);
        }
    }

    /// Ends all faults: everything is connected and committed, and time passes until nothing happens
    /// any more.
    pub(super) fn heal(&mut self) {
        self.start_all();
        self.commit_all();
        for round in 0..60 {
            self.dial_everybody();
            self.rest();
            self.save_all();
            let is_over = self.is_connected() && self.is_at_rest() && self.all_have_joined();
            if self.broken.is_some() || (round >= 2 && is_over) {
                return;
            }
        }
    }

    /// As [`Self::heal`], but nobody dials.
    pub(super) fn heal_what_is_connected(&mut self) {
        self.commit_all();
        for round in 0..40 {
            self.rest();
            if self.broken.is_some() || (round >= 2 && self.is_at_rest()) {
                return;
            }
        }
    }

    fn commit_all(&mut self) {
        for session in 0..self.sessions.len() {
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                let key = &self.sessions[session].key;
                self.nodes[node].replica.commit(key, now);
            }
        }
    }

    /// Lets half a second pass. Two comparisons of roots take two of them at least.
    pub(super) fn rest(&mut self) {
        for _ in 0..5 {
            self.advance(100);
            self.deliver_all();
            self.go_on_with_fetches();
        }
    }

    /// Delivers everything that is due, and what that brings about.
    pub(super) fn deliver_all(&mut self) {
        loop {
            let mut delivered = false;
            for number in self.numbers() {
                for end in 0..2 {
                    while self.deliver(number, end) {
                        delivered = true;
                    }
                }
                self.send(number);
            }
            if !delivered || self.broken.is_some() {
                return;
            }
        }
    }

    /// Returns whether each pair has its link, and no other connection is left.
    fn is_connected(&self) -> bool {
        let both = |cable: &Cable| cable.ends.iter().all(Option::is_some);
        self.cables.len() == self.pairs().len() && self.cables.values().all(both)
    }

    fn all_have_joined(&self) -> bool {
        self.nodes.iter().all(|node| node.join.is_none())
    }

    fn is_at_rest(&self) -> bool {
        self.cables.values().all(|cable| {
            let [low, high] = cable.nodes;
            let digests = |node: usize| self.nodes[node].replica.digests();
            let mut ends = cable.ends.iter().flatten();
            let mut links = ends.by_ref().map(|end| end.machine.link());
            let has_passed_on = |at: usize| {
                let replica = &self.nodes[cable.nodes[at]].replica;
                let end = cable.ends[at].as_ref();
                end.is_some_and(|end| end.machine.link().has_passed_on(replica))
            };
            has_passed_on(0)
                && has_passed_on(1)
                && cable.swallowed.is_none()
                && cable.ends.iter().all(Option::is_some)
                && digests(low) == digests(high)
                && links.all(|link| link.is_idle() && !link.is_lagging())
        })
    }
}

/// The parts of a node with which its links decide.
struct SimParts<'a> {
    acks: &'a AckTracker,
    replica: &'a Replica,
}

fn parts(node: &SimNode) -> SimParts<'_> {
    SimParts {
        acks: &node.acks,
        replica: &node.replica,
    }
}

/// A peer of which nothing was heard for so long is given up.
const DOWN_AFTER_MS: u64 = 1_500;
