//! The promises, as conditions on what nodes hold.

use std::{collections::HashSet, sync::Arc};

use super::{
    Known, SimNode, SimSearch, World, cable::ends_of, disk::Disks, plans::Plan, work::SEARCHED,
};
use crate::cluster::MemberLink as _;
use crate::session::{
    Content, Count, Item, KEPT_ORIGINS, Register, Search, SessionKey, SessionState, Stamp, Tag,
    Vector,
};

impl World {
    /// Checks that a vector that covers a write means that this write, or one that beats it, is here,
    /// and that nothing is here that the vector does not cover. Only what changed since the last call
    /// is looked at.
    pub(super) fn check_honesty(&mut self) {
        let mut broken = None;
        for node in &mut self.nodes {
            node.checked.resize(self.sessions.len(), None);
            for (known, checked) in self.sessions.iter().zip(&mut node.checked) {
                let lie = node.replica.read(&known.key, |state| {
                    let version = state.version(&known.key);
                    if checked.replace(version) == Some(version) {
                        return None;
                    }
                    lie_of(state, known, self.plan)
                });
                let lie = lie.ok().flatten();
                broken = broken.or(lie);
            }
        }
        if let Some(lie) = broken {
            self.check(false, || lie);
        }
    }

    /// Checks that an index has what the sessions of its node call for, and that sessions are found
    /// by it as they are by looking at all.
    pub(super) fn check_index(&mut self) {
        let is_found = |node: &SimNode, json: &[u8]| {
            let search = Search {
                context: "".into(),
                name: SEARCHED.into(),
                json: json.into(),
                keep: None,
                upto: Stamp::MAX,
            };
            let mut found = node.replica.find(&search, Stamp::MAX);
            found.sort_unstable();
            found == holders(node, json)
        };
        let mut nodes = self.nodes.iter();
        let broken = nodes.any(|node| {
            let replica = &node.replica;
            !replica.index_is_in_step() || [b"0", b"1"].iter().any(|json| !is_found(node, *json))
        });
        self.check(!broken, || {
            "an index has other sessions than the node".to_owned()
        });
    }

    /// Checks that a peer holds what it has acknowledged.
    pub(super) fn check_acks(&mut self, number: u64, end: usize) {
        let Some(cable) = self.cables.get(&number) else {
            return;
        };
        let (node, peer) = (cable.nodes[end], cable.nodes[1 - end]);
        let Some(own) = &cable.ends[end] else {
            return;
        };
        let acks = own.machine.link().acks();
        if self.nodes[peer].replica.boot() != own.handle.identity().boot {
            // It held what it has acknowledged, and has crashed since.
            return;
        }
        let boot = self.nodes[node].replica.boot();
        let broken = self.commits.iter().any(|commit| {
            let is_claimed = commit.position > acks.base && commit.position <= acks.acked;
            let is_own = commit.node == node && commit.boot == boot;
            is_own && is_claimed && !self.holds(peer, commit)
        });
        self.check(!broken, || "what was acknowledged is not held".to_owned());
    }

    /// Checks that a node that becomes ready holds what its peers held when it met them.
    pub(super) fn check_ready(&mut self, node: usize) {
        if self.plan.ends_sessions() || self.plan.doubts_sessions() {
            return;
        }
        let mut ends = ends_of(&self.cables, node);
        let missing = ends.any(|(_, _, own)| own.held.iter().any(|held| self.lacks(node, held)));
        drop(ends);
        self.check(!missing, || {
            "a ready node lacks what a peer held".to_owned()
        });
    }

    /// Returns whether a node lacks something of a copy that another one held.
    pub(super) fn lacks(&self, node: usize, (key, vector): &(SessionKey, Vector)) -> bool {
        match self.held_of(node, key) {
            Item::Full(state) => vector.entries().iter().any(|(origin, stamp)| {
                !state.covers(Tag {
                    stamp: *stamp,
                    origin: *origin,
                })
            }),
            Item::Absent => !self.is_forgotten(key),
            Item::Destroyed(_) | Item::Delta(_) | Item::Packed(_) => false,
        }
    }

    /// Returns what a node has of a session, also if it doubts it.
    pub(super) fn held_of(&self, node: usize, key: &SessionKey) -> Item {
        let replica = &self.nodes[node].replica;
        let state = replica.read(key, SessionState::clone);
        state.map_or_else(
            |_| replica.full(key, self.now(node)),
            |state| Item::Full(Box::new(state)),
        )
    }

    /// Returns whether a session may have been destroyed, and that be forgotten.
    fn is_forgotten(&self, key: &SessionKey) -> bool {
        let mut sessions = self.sessions.iter();
        let was_lost = |known: &Known| {
            known.is_forgotten || (known.was_destroyed && self.plan.disks != Disks::None)
        };
        let was_untold = sessions.any(|known| known.key == *key && was_lost(known));
        let lives = |node: &SimNode| node.replica.read(key, |_| ()).is_ok();
        was_untold || (self.plan.forgets_destroyed() && !self.nodes.iter().any(lives))
    }

    /// Checks that after all faults nodes are equal, nothing is left to say or to wait for, and what
    /// was destroyed stays so.
    pub(super) fn check_equal(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let broken = self.difference();
        if let Some(broken) = broken {
            self.check(false, || broken);
        }
    }

    fn difference(&self) -> Option<String> {
        let first = &self.nodes[0];
        let digests = first.replica.digests();
        let mut alive = HashSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let equal = node.replica.digests() == digests;
            for known in &self.sessions {
                let mine = shown(node, known);
                if mine != shown(first, known) && equal {
                    return Some(format!(
                        "equal digests, but node {at} shows another session"
                    ));
                }
                if mine.is_some() {
                    alive.insert(known.key);
                }
            }
            if !equal {
                return Some(format!("node {at} differs from node 0 after all faults"));
            }
            if let Some((most, _)) = self.plan.limit {
                let beyond = [b"0", b"1"]
                    .iter()
                    .any(|json| holders(node, *json).len() > most);
                if beyond {
                    return Some(format!("on node {at} more sessions have a value than may"));
                }
            }
            if node.replica.sessions() != alive.len() {
                return Some(format!("node {at} miscounts its sessions"));
            }
        }
        for cable in self.cables.values() {
            let [Some(one), Some(other)] = &cable.ends else {
                return Some("half a connection is left".to_owned());
            };
            let links = [one, other].map(|end| end.machine.link());
            if links
                .iter()
                .any(|link| link.is_lagging() || !link.is_idle())
            {
                return Some("a link never comes to rest".to_owned());
            }
        }
        if self.cables.len() != self.pairs().len() {
            return Some("two nodes that dial each other get no link".to_owned());
        }
        if self.nodes.iter().any(|node| node.join.is_some()) {
            return Some("a node is never ready".to_owned());
        }
        if !self.waits.is_empty() || !self.fetches.is_empty() {
            return Some("a request waits for ever".to_owned());
        }
        if self.nodes.iter().any(|node| !node.fetches.is_empty()) {
            return Some("a key is waited for by nobody".to_owned());
        }
        let came_back = self.commits.iter().any(|commit| {
            let still_runs = self.nodes[commit.node].replica.boot() == commit.boot;
            let key = &self.sessions[commit.session].key;
            commit.destroyed && still_runs && alive.contains(key)
        });
        if came_back {
            return Some("a destroyed session came back".to_owned());
        }
        if let Some(lost) = self.lost_commit() {
            return Some(lost);
        }
        let is_open = self.commits.iter().any(|commit| {
            let still_runs = self.nodes[commit.node].replica.boot() == commit.boot;
            still_runs && (0..self.nodes.len()).any(|node| self.is_open(node, commit))
        });
        if is_open {
            return Some("a session lives of which its client has logged out".to_owned());
        }
        // What a node has sent right before it crashed, or dropped at the session's limit, may have
        // come behind the search.
        if self.plan.ends_sessions() {
            return None;
        }
        let mut searches = self.searches.iter().filter(|searched| {
            let still_runs = self.nodes[searched.node].replica.boot() == searched.boot;
            still_runs && searched.crashes == self.crashes
        });
        let lives = searches.any(|SimSearch { search, meant, .. }| {
            let lives_on = |node: &SimNode, key: &SessionKey| {
                let name = &search.name;
                let register = node
                    .replica
                    .read(key, |state| state.register(name).cloned());
                let tag = register.ok().flatten().map(|register| register.tag);
                tag.is_some_and(|tag| meant.contains(&(*key, tag)))
            };
            self.nodes.iter().any(|node| {
                let mut found = node.replica.find(search, search.upto).into_iter();
                found.any(|key| lives_on(node, &key))
            })
        });
        lives.then(|| "a session lives that was to be destroyed".to_owned())
    }

    /// Checks that a map is held with all that it held before, if a node has held it all the time.
    pub(super) fn check_maps(&mut self) {
        let is_kept = self.unbroken.iter().any(|unbroken| *unbroken);
        for map in 0..self.maps.len() {
            let key = self.sessions[map].key;
            let vector_of = |node: &SimNode| {
                let vector = |state: &SessionState| state.vector().clone();
                node.replica.read(&key, vector).ok()
            };
            let now_held = vector_of(&self.nodes[0]);
            if let Some(before) = std::mem::replace(&mut self.maps[map], now_held) {
                let held = (key, before);
                let is_lost =
                    |node| vector_of(&self.nodes[node]).is_none() || self.lacks(node, &held);
                let is_lost = is_kept && (0..self.nodes.len()).any(is_lost);
                self.check(!is_lost, || "a map, or a part of it, is lost".to_owned());
            }
        }
        self.unbroken.fill(true);
    }

    /// Checks that vectors and counters name nobody who has not written for as long as a tombstone
    /// lives.
    pub(super) fn check_origins(&mut self) {
        let is_bounded = |state: &SessionState| {
            let vector = state.vector();
            let recent = vector.max_stamp().earlier(state.meta().gc_grace_ms());
            let entries = vector.entries();
            let oldest = entries.iter().map(|entry| entry.1).min();
            let oldest = oldest.unwrap_or(recent);
            let newer = entries.iter().filter(|(_, stamp)| *stamp > oldest).count();
            let named = |count: &Count| vector.of(count.origin) > Stamp::ZERO;
            (oldest >= recent || newer < KEPT_ORIGINS)
                && state
                    .registers()
                    .iter()
                    .all(|(_, register)| match &register.content {
                        Content::Counter(counter) => counter.counts.iter().all(named),
                        Content::Json(_) | Content::Removed => true,
                    })
        };
        let bounded = self.nodes.iter().all(|node| {
            let replica = &node.replica;
            let mut known = self.sessions.iter();
            known.all(|known| replica.read(&known.key, is_bounded).unwrap_or(true))
        });
        self.check(bounded, || "an origin is never forgotten".to_owned());
    }
}

/// Returns the sessions of a node that have a value, by looking at all.
pub(super) fn holders(node: &SimNode, json: &[u8]) -> Vec<SessionKey> {
    node.replica.select(|state| {
        let is_session = !state.meta().is_of_map();
        let held = state.json(SEARCHED).ok().flatten();
        is_session && held.is_some_and(|held| **held == *json)
    })
}

type Shown = (Vec<(Arc<str>, Register)>, Vec<Tag>, Stamp);

/// Returns what every copy must agree on. Removed names and dead secrets are left out: each node
/// forgets them in its own time.
fn shown(node: &SimNode, known: &Known) -> Option<Shown> {
    let read = node.replica.read(&known.key, SessionState::clone);
    let state = read.ok()?;
    let live = |(name, register): &(Arc<str>, Register)| {
        let live = register.is_present();
        live.then(|| (name.clone(), register.clone()))
    };
    let secrets = state.secrets().states().iter();
    let alive = secrets.filter(|secret| secret.dead_at_ms.is_none());
    // Several nodes may have begun a map, each with a tag of its own.
    let alive = alive.filter(|_| !known.is_map());
    Some((
        state.registers().iter().filter_map(live).collect(),
        alive.map(|secret| secret.tag).collect(),
        state.access(),
    ))
}

/// Returns what the copy claims and does not hold, or holds and does not claim.
fn lie_of(state: &SessionState, known: &Known, plan: Plan) -> Option<String> {
    let vector = state.vector();
    let claimed = known.writes.iter().filter(|(_, tag)| vector.covers(*tag));
    // A write that a forgotten removal has beaten need not be here.
    for (name, tag) in claimed.filter(|_| !plan.forgets_removals()) {
        let held = state
            .register(name)
            .map_or(Tag::BOTTOM, |register| register.tag);
        if held < *tag {
            return Some(format!(
                "{name} of {tag:?} is claimed, but {held:?} is here"
            ));
        }
    }
    for (name, tag) in known.adds.iter().filter(|(_, tag)| vector.covers(*tag)) {
        let counts = |register: &Register| match &register.content {
            Content::Counter(counter) => counter
                .counts
                .iter()
                .any(|count| count.origin == tag.origin && count.stamp >= tag.stamp),
            Content::Json(_) | Content::Removed => false,
        };
        // A reset that did not see the increment beats it whatever their stamps are.
        let beaten = |register: &Register| register.tag != Tag::BOTTOM;
        if !state
            .register(name)
            .is_some_and(|register| counts(register) || beaten(register))
        {
            return Some(format!("an increment of {name} is claimed but not here"));
        }
    }
    for (name, register) in state.registers() {
        if register.tag != Tag::BOTTOM && !state.covers(register.tag) {
            return Some(format!("{name} is here but not covered"));
        }
        if let Content::Counter(counter) = &register.content
            && counter
                .counts
                .iter()
                .any(|count| vector.of(count.origin) < count.stamp)
        {
            return Some(format!("a count of {name} is here but not covered"));
        }
    }
    let mut secrets = state.secrets().states().iter();
    if secrets.any(|secret| !state.covers(secret.tag)) {
        return Some("a secret is here but not covered".to_owned());
    }
    // Nobody holds a session without its creation.
    let born = state
        .secrets()
        .states()
        .iter()
        .any(|secret| secret.dead_at_ms.is_none());
    (!born).then(|| "a session without a living secret".to_owned())
}
