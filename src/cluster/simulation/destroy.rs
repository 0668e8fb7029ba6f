//! What is destroyed: a session by its id or by its client, and all that a search finds.

use super::{Commit, SimSearch, World, node::name, work::SEARCHED};
use crate::{
    replica::Replicate,
    session::{
        Access, Order, OrderContent, OrderId, Proof, Search, SessionKey, SessionState, Stamp, Tag,
    },
    wire::Position,
};

impl World {
    /// Notes that no search means a write that the node knows of: it came later.
    pub(super) fn spare(&mut self, node: usize, tag: Tag) {
        let orders = self.nodes[node].replica.orders();
        let known = self.searches.iter_mut().filter(|one| orders.knows(one.id));
        known.for_each(|searched| searched.spared.push(tag));
    }

    pub(super) fn destroy(&mut self, node: usize) {
        if let Some(session) = self.any_session() {
            self.destroy_session(node, session);
        }
    }

    pub(super) fn destroy_session(&mut self, node: usize, session: usize) {
        let key = self.sessions[session].key;
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        if replica.destroy(&key, now).is_some() {
            self.sessions[session].is_forgotten = !replica.is_destroyed(&key);
            self.sessions[session].was_destroyed = true;
            self.maybe_commit(node, session);
        }
    }

    pub(super) fn log_out(&mut self, node: usize) {
        if let Some(session) = self.any_session() {
            self.log_out_of(node, session);
        }
    }

    /// Lets the client of a session log out, whether the node knows it or not.
    pub(super) fn log_out_of(&mut self, node: usize, session: usize) {
        let now = self.now(node);
        let known = &self.sessions[session];
        let (key, secret) = (known.key, known.secret.hash());
        let replica = &self.nodes[node].replica;
        match replica.open("", &key, &known.secret, Replicate::Now, now, |_| ()) {
            Access::Alive => {
                replica.unpin(&key, Replicate::Now, now);
                return self.destroy_session(node, session);
            }
            Access::Superseded => return,
            Access::Replaced | Access::Forged | Access::Unknown => {}
        }
        let proof = Proof {
            context: "".into(),
            secret,
        };
        if replica.is_spent(&key, &proof) {
            return;
        }
        let content = OrderContent::Session {
            key,
            proof: Some(proof),
        };
        let boot = replica.boot();
        // No client can open a map, and so end it.
        self.sessions[session].was_destroyed = !known.is_map();
        let position = self.give(node, content);
        let commit = Commit {
            node,
            boot,
            position: Some(position),
            session,
            destroyed: false,
            logged_out: Some(secret),
            upto: None,
        };
        self.commits.push(commit.clone());
        self.wait_for(commit);
    }

    /// Destroys what holds a value, here and everywhere.
    pub(super) fn destroy_where(&mut self, node: usize) {
        let now = self.now(node);
        let search = Search {
            context: "".into(),
            name: SEARCHED.into(),
            json: self.random.below(2).to_string().into_bytes().into(),
            keep: None,
            upto: Stamp::ZERO.next(now).unwrap_or(Stamp::MAX),
        };
        // What only a node that has crashed had, and sent before, may come behind the search.
        let meant = self.sessions.iter().flat_map(|known| {
            let held = self.nodes.iter().filter_map(|node| {
                let tag = |state: &SessionState| state.register(SEARCHED).map(|held| held.tag);
                node.replica.read(&known.key, tag).ok().flatten()
            });
            let earlier = held.filter(|tag| tag.stamp <= search.upto);
            earlier.map(|tag| (known.key, tag))
        });
        let meant = meant.collect();
        self.carry_out(node, &search, Stamp::MAX);
        let id = self.fresh_order_id();
        self.give_with(id, node, OrderContent::Search(search.clone()));
        self.searches.push(SimSearch {
            id,
            meant,
            spared: Vec::new(),
            node,
            boot: self.nodes[node].replica.boot(),
            search,
            crashes: self.crashes,
        });
    }

    /// Carries out the searches of other nodes.
    pub(super) fn carry_out_searches(&mut self, node: usize) {
        while let Some(order) = self.nodes[node].replica.orders().next_search() {
            let OrderContent::Search(search) = &order.content else {
                continue;
            };
            self.check_spared(node, order.id, search);
            let destroyed = self.carry_out(node, search, search.upto);
            let report = OrderContent::Report {
                search: order.id,
                node: name(node),
                destroyed,
            };
            self.give(node, report);
        }
    }

    fn carry_out(&mut self, node: usize, search: &Search, upto: Stamp) -> u64 {
        let found = self.nodes[node].replica.find(search, upto);
        self.destroy_all(node, &found);
        found.len() as u64
    }

    /// Ends the next sessions beyond limits of how many may have one value.
    pub(super) fn end_some_surplus(&mut self, node: usize) {
        let surplus = self.nodes[node].replica.surplus(self.now(node));
        self.destroy_all(node, &surplus);
    }

    /// Ends the sessions that are beyond such a limit since this one was written.
    pub(super) fn end_surplus_beside(&mut self, node: usize, key: &SessionKey) {
        let surplus = self.nodes[node].replica.surplus_beside(key, self.now(node));
        self.destroy_all(node, &surplus);
    }

    fn destroy_all(&mut self, node: usize, keys: &[SessionKey]) {
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        for key in keys {
            replica.destroy(key, now);
            replica.commit(key, now);
            let mut sessions = self.sessions.iter_mut();
            if let Some(known) = sessions.find(|known| known.key == *key) {
                known.is_forgotten = !replica.is_destroyed(key);
                known.was_destroyed = true;
            }
        }
    }

    /// Checks that a node destroys nothing that was written by one that knew of the search.
    fn check_spared(&mut self, node: usize, id: OrderId, search: &Search) {
        let replica = &self.nodes[node].replica;
        let found = replica.find(search, search.upto).into_iter();
        let tag = |state: &SessionState| state.register(&search.name).map(|held| held.tag);
        let tags: Vec<Tag> = found
            .filter_map(|key| replica.read(&key, tag).ok().flatten())
            .collect();
        let mut searches = self.searches.iter();
        let is_meant = searches
            .find(|searched| searched.id == id)
            .is_some_and(|searched| tags.iter().any(|tag| searched.spared.contains(tag)));
        self.check(!is_meant, || {
            "a session ends by a search though its value was written later".to_owned()
        });
    }

    fn give(&mut self, node: usize, content: OrderContent) -> Position {
        let id = self.fresh_order_id();
        self.give_with(id, node, content)
    }

    fn fresh_order_id(&mut self) -> OrderId {
        let mut id = [0; 16];
        id.fill_with(|| self.random.byte());
        OrderId::from_bytes(id)
    }

    fn give_with(&mut self, id: OrderId, node: usize, content: OrderContent) -> Position {
        let now = self.now(node);
        let order = Order {
            id,
            issued_ms: now.mono_ms,
            hops: 0,
            content,
        };
        self.nodes[node].replica.give(order, now)
    }
}
