//! Nodes that leave in order, and come back as others.

use super::{
    World,
    cable::{Crash, Packet, ends_of},
};
use crate::{
    cluster::{Handover, MemberLink as _},
    replica::Link,
    session::{SessionKey, Vector},
};

/// A node's leave that is under way.
pub(super) struct SimLeave {
    handover: Handover,
    until_ms: u64,
    /// What the node held when it began to leave, unless it was joining itself.
    held: Vec<(SessionKey, Vector)>,
}

impl World {
    pub(super) fn begin_to_leave(&mut self, node: usize) {
        let now = self.now(node);
        let held = match self.nodes[node].join {
            Some(_) => Vec::new(),
            None => self.vectors(node),
        };
        let own = &mut self.nodes[node];
        if own.leave.is_some() {
            return;
        }
        own.replica.commit_all(now);
        own.leave = Some(SimLeave {
            handover: Handover::new(own.replica.head(), own.join.is_none()),
            until_ms: now.mono_ms + LEAVE_TIMEOUT_MS,
            held,
        });
    }

    /// Lets a node leave. What happens meanwhile does so 300 ms later.
    pub(super) fn leave_from(&mut self, node: usize, meanwhile: impl FnOnce(&mut Self)) {
        self.begin_to_leave(node);
        let boot = self.nodes[node].replica.boot();
        let mut meanwhile = Some(meanwhile);
        for round in 0..100 {
            if round == 3
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile(self);
            }
            self.advance(100);
            self.deliver_all();
        }
        let has_left = self.nodes[node].replica.boot() != boot;
        self.check(has_left, || "a node never leaves".to_owned());
    }

    /// Returns the first broken promise, or that a node lacks sessions.
    pub(super) fn check_held_by(mut self, node: usize) -> Option<String> {
        let held = self.nodes[node].replica.sessions();
        self.check(held == self.sessions.len(), || {
            format!("node {node} holds {held} sessions")
        });
        self.broken
    }

    /// Goes on with what peers have yet to get. When nobody lacks anything, the node says goodbye and
    /// is gone; it comes back with nothing.
    pub(super) fn advance_leave(&mut self, node: usize) {
        let Some(mut leave) = self.nodes[node].leave.take() else {
            return;
        };
        let mut lacks = self.nodes[node].table.missed().len();
        for handle in self.nodes[node].table.links() {
            let id = handle.id();
            let upto = leave.handover.upto();
            let arrears = |world: &Self| {
                let replica = &world.nodes[node].replica;
                let mut ends = ends_of(&world.cables, node);
                let found = ends.find(|(_, _, own)| own.handle.id() == id);
                found.map(|(_, _, end)| end.machine.link().arrears(replica, upto))
            };
            let Some(before) = arrears(self) else {
                continue;
            };
            if leave.handover.begin_round(id, &before) {
                self.update(node, id, Link::begin_round);
            }
            let arrears = arrears(self).unwrap_or(before);
            lacks += usize::from(leave.handover.outstanding(id, &arrears).is_some());
        }
        if lacks == 0 {
            self.check_handed_over(node, &leave.held);
        }
        if lacks > 0 && self.mono_ms < leave.until_ms {
            self.nodes[node].leave = Some(leave);
            return;
        }
        for handle in self.nodes[node].table.links() {
            self.update(node, handle.id(), Link::leave);
        }
        for number in self.numbers() {
            self.send(number);
        }
        self.save(node);
        self.crash(node, Crash::Told);
    }

    /// Ends a link on which the peer has said goodbye.
    pub(super) fn let_go(&mut self, number: u64, end: usize) {
        let Some((own, peer, mut gone)) = self.take_end(number, end) else {
            return;
        };
        let node = &mut self.nodes[own];
        node.table.leave(gone.handle.id());
        node.table.close(gone.handle.id());
        node.contacts.remove(&peer);
        gone.machine.close(&node.acks).wake();
        gone.handle.close();
        self.put(number, end, Packet::Closed, 0);
        self.check_waits(own);
    }

    /// Checks that the peers to which a node has links hold what it held.
    fn check_handed_over(&mut self, node: usize, held: &[(SessionKey, Vector)]) {
        let is_excused = self.plan.ends_sessions() || self.plan.doubts_sessions();
        if is_excused || self.plan.max_sessions < self.plan.sessions {
            return;
        }
        let is_lacking = |peer: &usize| {
            let boot = self.nodes[*peer].replica.boot();
            let mut ends = ends_of(&self.cables, node);
            let is_linked = ends.any(|(_, _, own)| own.handle.identity().boot == boot);
            is_linked && held.iter().any(|held| self.lacks(*peer, held))
        };
        let lacking = (0..self.nodes.len()).find(is_lacking);
        self.check(lacking.is_none(), || {
            format!("a node has left though {lacking:?} lacks what it held")
        });
    }
}

const LEAVE_TIMEOUT_MS: u64 = 5_000;
