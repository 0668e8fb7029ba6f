//! Connections between nodes, and the passing of time.

use std::collections::VecDeque;

use super::{OPTIONS, Pair, SHAPE, World};
use crate::{
    config::Limits,
    replica::{Link, LinkEvent},
    session::{Mutant, SessionKey, Vector},
    wire::{DecodeLimits, Message},
};

/// A connection between two nodes and what is under way on it. End 0 is the lower number's.
pub(super) struct Cable {
    pub(super) ends: [Link; 2],
    /// What each end has sent, with the time it arrives.
    pub(super) queues: [VecDeque<(u64, Vec<u8>)>; 2],
    /// Half open: what this end sends is lost.
    swallowed: Option<usize>,
    /// What each end's peer held when the cable was laid: what a joiner must hold to be ready.
    held: [Vec<(SessionKey, Vector)>; 2],
}

impl World {
    /// Lays a cable, unless there is one that works.
    pub(super) fn connect(&mut self, pair: Pair) {
        if self
            .cables
            .get(&pair)
            .is_some_and(|cable| cable.swallowed.is_none())
        {
            return;
        }
        let (low, high) = pair;
        let end = |this: usize, other: usize| {
            let peer = self.nodes[other].replica.boot();
            let node = &self.nodes[this];
            let mut link = Link::new(&node.replica, peer, OPTIONS, self.now(this));
            if node.joining {
                link.begin_round();
            }
            link
        };
        let cable = Cable {
            ends: [end(low, high), end(high, low)],
            queues: Default::default(),
            swallowed: None,
            held: [self.vectors(high), self.vectors(low)],
        };
        self.cables.insert(pair, cable);
        self.send(pair);
    }

    /// Everything under way is lost, and both ends know.
    pub(super) fn cut(&mut self, pair: Pair) {
        self.cables.remove(&pair);
    }

    /// One end's words are lost from now on, and nobody knows.
    pub(super) fn swallow(&mut self, pair: Pair) {
        let end = self.random.below(2);
        if let Some(cable) = self.cables.get_mut(&pair)
            && cable.swallowed.is_none()
        {
            cable.swallowed = Some(end);
            cable.queues[end].clear();
        }
    }

    pub(super) fn cut_off(&mut self, node: usize) {
        self.cables
            .retain(|pair, _| pair.0 != node && pair.1 != node);
    }

    /// Time passes, in ticks of 100 ms as on a real node.
    pub(super) fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.mono_ms += 100.min(ms);
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                self.nodes[node].replica.sweep(now, true);
            }
            for pair in self.cabled() {
                for end in 0..2 {
                    self.tick(pair, end);
                }
                self.send(pair);
            }
        }
    }

    fn cabled(&self) -> Vec<Pair> {
        self.cables.keys().copied().collect()
    }

    fn tick(&mut self, pair: Pair, end: usize) {
        let node = [pair.0, pair.1][end];
        let now = self.now(node);
        if let Some(cable) = self.cables.get_mut(&pair) {
            cable.ends[end].tick(&self.nodes[node].replica, now);
        }
    }

    /// Lets both ends say what they have to say.
    fn send(&mut self, pair: Pair) {
        for end in 0..2 {
            let node = [pair.0, pair.1][end];
            let now = self.now(node);
            let Some(cable) = self.cables.get_mut(&pair) else {
                return;
            };
            let replica = &self.nodes[node].replica;
            while let Some(message) = cable.ends[end].poll(replica, now) {
                let mut bytes = Vec::new();
                message.encode(now.mono_ms, &mut bytes);
                cable.ends[end].sent(&message, bytes.len());
                if cable.swallowed == Some(end) {
                    continue;
                }
                let delay = self.random.below(60) as u64;
                let last = cable.queues[end].back().map_or(0, |(at, _)| *at);
                let at = last.max(self.mono_ms + delay);
                cable.queues[end].push_back((at, bytes));
            }
        }
    }

    pub(super) fn deliver_some(&mut self) {
        self.mono_ms += self.random.below(30) as u64;
        for pair in self.cabled() {
            for end in 0..2 {
                for _ in 0..self.random.below(4) {
                    self.deliver(pair, end);
                }
            }
            self.send(pair);
        }
    }

    /// Delivers the next message that `end` sent, if its time has come. Whether it had.
    fn deliver(&mut self, pair: Pair, end: usize) -> bool {
        let node = [pair.1, pair.0][end];
        let now = self.now(node);
        let Some(cable) = self.cables.get_mut(&pair) else {
            return false;
        };
        if cable.queues[end]
            .front()
            .is_none_or(|(at, _)| *at > self.mono_ms)
        {
            return false;
        }
        let Some((_, bytes)) = cable.queues[end].pop_front() else {
            return false;
        };
        let limits = DecodeLimits::new(&Limits::default(), &SHAPE);
        let replica = &self.nodes[node].replica;
        let receiver = &mut cable.ends[1 - end];
        let handled = Message::decode(&bytes, now.mono_ms, &limits)
            .map_err(|error| error.to_string())
            .and_then(|message| {
                let handled = receiver.handle(replica, message, bytes.len(), now);
                handled.map_err(|error| error.to_string())
            });
        match handled {
            Ok(events) => {
                self.note_ready(node);
                if events.contains(&LinkEvent::Acks) {
                    self.check_acks(pair, 1 - end);
                }
            }
            Err(error) => self.check(false, || {
                format!("an honest peer was taken for another: {error}")
            }),
        }
        true
    }

    /// A joiner is ready when all its links are synced; then it holds what its peers held.
    fn note_ready(&mut self, node: usize) {
        if !self.nodes[node].joining {
            return;
        }
        let links = || {
            let cables = self.cables.iter();
            let own = cables.filter(move |(pair, _)| pair.0 == node || pair.1 == node);
            own.map(move |(pair, cable)| (cable, usize::from(pair.1 == node)))
        };
        let synced = |(cable, end): (&Cable, usize)| cable.ends[end].is_synced();
        let ready = if Mutant::ReadyAfterDonor.is_on() {
            links().any(synced)
        } else {
            links().all(synced)
        };
        if !ready {
            return;
        }
        let must_hold: Vec<_> = links()
            .flat_map(|(cable, end)| cable.held[end].clone())
            .collect();
        self.nodes[node].joining = false;
        self.check_ready(node, &must_hold);
    }

    /// Faults are over: everything is connected, everything is committed, and time passes until
    /// nothing happens any more.
    pub(super) fn heal(&mut self) {
        for pair in self.pairs() {
            self.connect(pair);
        }
        self.heal_what_is_connected();
    }

    pub(super) fn heal_what_is_connected(&mut self) {
        for session in 0..self.sessions.len() {
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                self.nodes[node]
                    .replica
                    .commit(&self.sessions[session].key, now);
            }
        }
        // Two comparisons of roots at least, and as long as it takes, within a bound.
        for round in 0..40 {
            for _ in 0..5 {
                self.advance(100);
                self.settle_down();
            }
            if self.broken.is_some() || (round >= 2 && self.is_at_rest()) {
                return;
            }
        }
    }

    /// Delivers everything that is due, and what that brings about.
    fn settle_down(&mut self) {
        loop {
            let mut delivered = false;
            for pair in self.cabled() {
                for end in 0..2 {
                    while self.deliver(pair, end) {
                        delivered = true;
                    }
                }
                self.send(pair);
            }
            if !delivered || self.broken.is_some() {
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let connected_alike = self.cables.keys().all(|(low, high)| {
            let digests = |node: usize| self.nodes[node].replica.store().digests();
            digests(*low) == digests(*high)
        });
        let mut ends = self.cables.values().flat_map(|cable| &cable.ends);
        connected_alike && ends.all(|end| end.is_idle() && !end.is_lagging())
    }

    fn vectors(&self, node: usize) -> Vec<(SessionKey, Vector)> {
        let store = self.nodes[node].replica.store();
        let read = |key: &SessionKey| store.read(key, |state| state.vector().clone()).ok();
        let keys = self.sessions.iter().map(|known| known.key);
        keys.filter_map(|key| Some((key, read(&key)?))).collect()
    }
}
