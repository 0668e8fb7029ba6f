//! Connections between nodes: dialled, greeted, closed, or lost in silence.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::{
    OPTIONS, Pair, World,
    node::{address, name, socket},
};
use crate::{
    cluster::{Dialler, LinkId, LinkIdentity, MemberLink, Newcomer, Reach, TrackedLink, Traffic},
    replica::{Link, LinkOptions},
    session::{BootId, SessionKey, Vector},
};

/// A connection and what is under way on it. End 0 dialled.
pub(super) struct Cable {
    pub(super) nodes: [usize; 2],
    /// Who said hello.
    pub(super) boots: [BootId; 2],
    pub(super) ends: [Option<End>; 2],
    /// What each end has sent, with the time it arrives.
    pub(super) queues: [VecDeque<(u64, Packet)>; 2],
    /// Half open: what this end sends is lost.
    pub(super) swallowed: Option<usize>,
}

/// What one node has of a link.
pub(super) struct End {
    pub(super) handle: SimLink,
    pub(super) machine: TrackedLink,
    /// What the peer held when the link was made: what a joiner must hold to be ready.
    pub(super) held: Vec<(SessionKey, Vector)>,
}

/// Something on its way.
pub(super) enum Packet {
    /// The dialler's last word of the handshake.
    Go,
    Message(Vec<u8>),
    /// The sender has closed its end.
    Closed,
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// As a process: the system closes its connections.
    Told,
    /// With its machine: nobody tells the peers.
    Untold,
}

/// A handle of a link, as the table of members holds it.
#[derive(Clone, Debug)]
pub(super) struct SimLink(Rc<Facts>);

#[derive(Debug)]
struct Facts {
    identity: LinkIdentity,
    is_closed: Cell<bool>,
    heard_ms: Cell<u64>,
}

impl Cable {
    /// Returns whether nothing can happen on it any more.
    pub(super) fn is_over(&self) -> bool {
        let mut packets = self.queues.iter().flatten();
        let greets = packets.any(|(_, packet)| matches!(packet, Packet::Go));
        self.ends.iter().all(Option::is_none) && !greets
    }
}

impl SimLink {
    pub(super) fn id(&self) -> LinkId {
        self.0.identity.id
    }

    pub(super) fn hear(&self, mono_ms: u64) {
        self.0.heard_ms.set(mono_ms);
    }

    pub(super) fn close(&self) {
        self.0.is_closed.set(true);
    }
}

impl MemberLink for SimLink {
    fn identity(&self) -> &LinkIdentity {
        &self.0.identity
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed.get()
    }

    fn heard_ms(&self) -> u64 {
        self.0.heard_ms.get()
    }

    fn is_expiring(&self) -> bool {
        false
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

impl World {
    /// Lets two nodes dial each other: one of them, or both at once. Now and then a dial fails.
    pub(super) fn connect(&mut self, pair: Pair) {
        let dials = match self.random.below(3) {
            0 => vec![pair],
            1 => vec![(pair.1, pair.0)],
            _ => vec![pair, (pair.1, pair.0)],
        };
        // Both have looked at their tables before either has heard of the other.
        let needed = dials.into_iter().filter(|dial| self.needs(*dial));
        for (from, to) in needed.collect::<Vec<_>>() {
            match self.random.below(16) {
                0 => {
                    let found = [Reach::Unreachable, Reach::Mute][self.random.below(2)];
                    self.fail_to_dial(from, to, found);
                }
                _ => self.dial(from, to),
            }
        }
    }

    /// Cuts all links but these, which are made, and lets what is linked come to rest.
    pub(super) fn link_only(&mut self, pairs: &[Pair]) {
        for pair in self.pairs() {
            self.cut(pair);
        }
        for (from, to) in pairs {
            self.dial(*from, *to);
        }
        self.heal_what_is_connected();
    }

    /// Lets a node dial each peer to which it has no link.
    pub(super) fn dial_everybody(&mut self) {
        for pair in self.pairs() {
            self.dial_each_other(pair);
        }
    }

    /// Lets two nodes dial each other if they have no link.
    pub(super) fn dial_each_other(&mut self, (low, high): Pair) {
        let dials = [(low, high), (high, low)];
        let needed: Vec<_> = dials.into_iter().filter(|dial| self.needs(*dial)).collect();
        for (from, to) in needed {
            self.dial(from, to);
        }
    }

    fn needs(&self, (from, to): (usize, usize)) -> bool {
        if self.is_down(from) {
            return false;
        }
        let table = &self.nodes[from].table;
        table.link_to(&address(to), socket(to)).is_none()
    }

    pub(super) fn fail_to_dial(&mut self, from: usize, to: usize, found: Reach) {
        let table = &mut self.nodes[from].table;
        table.dial_failed(&address(to), Some(socket(to)), found);
        self.advance_join(from);
    }

    /// Makes the dialler's end, as when the listener's hello has come, and sends it the last word.
    pub(super) fn dial(&mut self, from: usize, to: usize) {
        if self.is_down(to) {
            return self.fail_to_dial(from, to, Reach::Unreachable);
        }
        let boot = self.nodes[from].replica.boot();
        let now = self.now(to);
        let listener = &self.nodes[to].table;
        if listener.check(&name(from), boot, now).is_err() {
            // The node was here before under another boot, and that passes.
            return self.fail_to_dial(from, to, Reach::Replaced);
        }
        self.laid += 1;
        let number = self.laid;
        self.cables.insert(
            number,
            Cable {
                nodes: [from, to],
                boots: [boot, self.nodes[to].replica.boot()],
                ends: [None, None],
                queues: Default::default(),
                swallowed: None,
            },
        );
        if self.admit(number, 0) {
            self.put(number, 0, Packet::Go, 0);
            self.send(number);
        } else {
            self.cables.remove(&number);
        }
    }

    /// Makes one end of a connection, unless the node has a link that stays. Returns whether it did.
    pub(super) fn admit(&mut self, number: u64, end: usize) -> bool {
        let Some(cable) = self.cables.get(&number) else {
            return false;
        };
        let (own, other) = (cable.nodes[end], cable.nodes[1 - end]);
        let now = self.now(own);
        let peer = cable.boots[1 - end];
        let dialler = [Dialler::Us, Dialler::Them][end];
        let handle = SimLink(Rc::new(Facts {
            identity: LinkIdentity {
                id: id(number, end),
                name: name(other),
                boot: peer,
                dialler,
            },
            is_closed: Cell::new(false),
            heard_ms: Cell::new(now.mono_ms),
        }));
        let options = LinkOptions {
            // Whoever listens has packed sessions unpacked.
            notify_listeners_on_replication: own != 0,
            ..OPTIONS
        };
        let link = Link::new(&self.nodes[own].replica, peer, options, now);
        let (peer_address, advertised) = (address(other), address(other).to_string());
        let newcomer = Newcomer {
            link: handle.clone(),
            dialled: (dialler == Dialler::Us).then_some(&peer_address),
            advertised: Some(&advertised),
            remote: socket(other),
        };
        let Ok(admitted) = self.nodes[own].table.admit(newcomer, now) else {
            return false;
        };
        for old in admitted.replaced {
            self.replace(&old);
        }
        let mut machine = TrackedLink::new(handle.identity(), link);
        let node = &self.nodes[own];
        for gone in admitted.outlived {
            node.acks.forget(gone, None).wake();
        }
        if (node.join.is_none() || node.timed_out)
            && let Some(((), released)) = machine.update(&node.acks, Link::set_ready)
        {
            released.wake();
        }
        let made = End {
            handle,
            machine,
            held: self.vectors(other),
        };
        if let Some(cable) = self.cables.get_mut(&number) {
            cable.ends[end] = Some(made);
        }
        self.ask_new_link(own, id(number, end));
        self.check_waits(own);
        self.advance_join(own);
        true
    }

    /// Ends a link in favour of another. The peer learns of it after the other one.
    fn replace(&mut self, old: &SimLink) {
        let (number, end) = place(old.id());
        old.close();
        if let Some((own, _, mut gone)) = self.take_end(number, end) {
            let until_ms = self.mono_ms + OPTIONS.ack_timeout_ms;
            gone.machine
                .yield_to(&self.nodes[own].acks, until_ms)
                .wake();
            self.put(number, end, Packet::Closed, GIVING_WAY_MS);
        }
    }

    /// Ends one end of a connection. The other one learns of it when it arrives.
    pub(super) fn close(&mut self, number: u64, end: usize) {
        let Some((own, _, mut gone)) = self.take_end(number, end) else {
            return;
        };
        gone.handle.close();
        let until_ms = self.mono_ms + OPTIONS.ack_timeout_ms;
        let node = &mut self.nodes[own];
        gone.machine.lose(&node.acks, until_ms).wake();
        node.table.close(gone.handle.id());
        self.put(number, end, Packet::Closed, 0);
        self.check_waits(own);
    }

    /// Takes what a node has of a link. Returns it with the node and its peer.
    pub(super) fn take_end(&mut self, number: u64, end: usize) -> Option<(usize, usize, End)> {
        let cable = self.cables.get_mut(&number)?;
        let (own, peer) = (cable.nodes[end], cable.nodes[1 - end]);
        let gone = cable.ends[end].take()?;
        let node = &mut self.nodes[own];
        node.link_closed(gone.handle.id());
        let link = gone.machine.link();
        if link.is_open()
            && let Some(contact) = node.contacts.get_mut(&peer)
        {
            contact.lost_ms = Some(self.mono_ms);
            contact.was_counted = link.acks().counted;
            if link.has_skipped() {
                contact.skipped_ms = self.mono_ms;
            }
        }
        Some((own, peer, gone))
    }

    /// Stops the process of a node for so long, and lets it notice that.
    pub(super) fn stall(&mut self, node: usize, ms: u64) {
        self.pass(ms);
        let until_ms = self.mono_ms + OPTIONS.ack_timeout_ms;
        self.nodes[node].acks.renew(until_ms);
        for number in self.numbers() {
            let cable = &self.cables[&number];
            if let Some(end) = cable.nodes.iter().position(|own| *own == node) {
                self.close(number, end);
            }
        }
    }

    /// Ends all connections of a pair. Everything under way is lost, and both ends know.
    pub(super) fn cut(&mut self, pair: Pair) {
        let pair = [pair.0, pair.1];
        for number in self.numbers() {
            let Some(cable) = self.cables.get_mut(&number) else {
                continue;
            };
            if !pair.iter().all(|node| cable.nodes.contains(node)) {
                continue;
            }
            for end in 0..2 {
                self.close(number, end);
            }
            self.cables.remove(&number);
        }
    }

    pub(super) fn cut_off(&mut self, node: usize) {
        for pair in self.pairs() {
            if pair.0 == node || pair.1 == node {
                self.cut(pair);
            }
        }
    }

    /// Loses what one end says from now on, and tells nobody.
    pub(super) fn swallow(&mut self, pair: Pair) {
        let end = self.random.below(2);
        let cable = self
            .cables
            .values_mut()
            .find(|cable| cable.nodes.contains(&pair.0) && cable.nodes.contains(&pair.1));
        if let Some(cable) = cable
            && cable.swallowed.is_none()
        {
            cable.swallowed = Some(end);
            cable.queues[end].clear();
        }
    }

    /// Loses what a node says from now on, and tells nobody.
    pub(super) fn swallow_from(&mut self, node: usize) {
        for cable in self.cables.values_mut() {
            cable.swallowed = cable.nodes.iter().position(|own| *own == node);
            if let Some(end) = cable.swallowed {
                cable.queues[end].clear();
            }
        }
    }

    /// Kills a node. It forgets all and starts anew.
    pub(super) fn crash(&mut self, node: usize, how: Crash) {
        self.crashes += 1;
        self.unbroken[node] = false;
        for number in self.numbers() {
            let Some(cable) = self.cables.get_mut(&number) else {
                continue;
            };
            let Some(end) = cable.nodes.iter().position(|own| *own == node) else {
                continue;
            };
            cable.ends[end] = None;
            cable.queues[1 - end].clear();
            // What it has sent may still arrive.
            match how {
                Crash::Told => self.put(number, end, Packet::Closed, 0),
                Crash::Untold => cable.swallowed = Some(end),
            }
        }
        self.waits.retain(|wait| wait.commit.node != node);
        self.fetches.retain(|fetch| fetch.node != node);
        self.lose_tail(node, how);
        self.nodes[node] = self.boot(node);
        self.advance_join(node);
    }

    /// Sends something, unless it is lost.
    pub(super) fn put(&mut self, number: u64, end: usize, packet: Packet, after_ms: u64) {
        let Some(cable) = self.cables.get_mut(&number) else {
            return;
        };
        if cable.swallowed == Some(end) {
            return;
        }
        let delay = self.random.below(60) as u64 + after_ms;
        let last = cable.queues[end].back().map_or(0, |(at, _)| *at);
        let at = last.max(self.mono_ms + delay);
        cable.queues[end].push_back((at, packet));
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.cables.keys().copied().collect()
    }

    /// Returns the end that is this link, as long as it is there.
    pub(super) fn end(&mut self, id: LinkId) -> Option<&mut End> {
        let (number, end) = place(id);
        self.cables.get_mut(&number)?.ends[end].as_mut()
    }

    pub(super) fn vectors(&self, node: usize) -> Vec<(SessionKey, Vector)> {
        let replica = &self.nodes[node].replica;
        let read = |key: &SessionKey| replica.read(key, |state| state.vector().clone()).ok();
        let keys = self.sessions.iter().map(|known| known.key);
        keys.filter_map(|key| Some((key, read(&key)?))).collect()
    }
}

/// Returns the ends that a node has, with their connections.
pub(super) fn ends_of(
    cables: &BTreeMap<u64, Cable>,
    node: usize,
) -> impl Iterator<Item = (&Cable, usize, &End)> {
    cables.values().flat_map(move |cable| {
        let ends = cable.ends.iter().enumerate();
        ends.filter(move |(end, _)| cable.nodes[*end] == node)
            .filter_map(move |(end, made)| Some((cable, end, made.as_ref()?)))
    })
}

const fn id(number: u64, end: usize) -> LinkId {
    LinkId(number * 2 + end as u64)
}

const fn place(LinkId(id): LinkId) -> (u64, usize) {
    (id / 2, (id % 2) as usize)
}

/// How long the end of a link that another has replaced is kept from the peer.
const GIVING_WAY_MS: u64 = 500;
