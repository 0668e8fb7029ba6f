//! The promises, as conditions on what nodes hold.

use std::{collections::HashSet, sync::Arc};

use super::{Known, Pair, SimNode, World};
use crate::session::{
    Content, Count, Item, KEPT_ORIGINS, Register, SessionKey, SessionState, Stamp, Tag, Vector,
    live_version,
};

impl World {
    /// A vector that covers a write means that write, or one that beats it, is here; and nothing is
    /// here that the vector does not cover. Only what changed since the last call is looked at.
    pub(super) fn check_honesty(&mut self) {
        let mut broken = None;
        for node in &mut self.nodes {
            node.checked.resize(self.sessions.len(), None);
            for (known, checked) in self.sessions.iter().zip(&mut node.checked) {
                let lie = node.replica.store().read(&known.key, |state| {
                    let version = live_version(&known.key, state.vector(), state.access());
                    if checked.replace(version) == Some(version) {
                        return None;
                    }
                    lie_of(state, known)
                });
                let lie = lie.ok().flatten();
                broken = broken.or(lie);
            }
        }
        if let Some(lie) = broken {
            self.check(false, || lie);
        }
    }

    /// What a peer has acknowledged, it holds.
    pub(super) fn check_acks(&mut self, pair: Pair, end: usize) {
        let (node, peer) = if end == 0 { pair } else { (pair.1, pair.0) };
        let acks = self.cables[&pair].ends[end].acks();
        let boot = self.nodes[node].replica.boot();
        let mut broken = None;
        for commit in &self.commits {
            let claimed = commit.position > acks.base && commit.position <= acks.acked;
            if commit.node != node || commit.boot != boot || !claimed {
                continue;
            }
            let key = &self.sessions[commit.session].key;
            let held = self.nodes[peer].replica.store().full(key, self.now(peer));
            broken = match (held, commit.upto) {
                (Item::Full(_), _) if commit.destroyed => {
                    Some("an acknowledged destruction is not held")
                }
                // A short-lived session may have ended at the peer and come from a third node.
                (Item::Full(state), Some(upto)) => {
                    let held = state.covers(upto) || self.plan.ends_sessions();
                    (!held).then_some("an acknowledged write is not held")
                }
                (Item::Absent, _) => {
                    let ended = self.plan.ends_sessions();
                    (!ended).then_some("an acknowledged session is not held")
                }
                _ => None,
            };
            if broken.is_some() {
                break;
            }
        }
        if let Some(broken) = broken {
            self.check(false, || broken.to_owned());
        }
    }

    /// A ready node holds what its peers held when it met them.
    pub(super) fn check_ready(&mut self, node: usize, must_hold: &[(SessionKey, Vector)]) {
        if self.plan.ends_sessions() {
            return;
        }
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        let missing = must_hold
            .iter()
            .any(|(key, vector)| match store.full(key, now) {
                Item::Full(state) => vector.entries().iter().any(|(origin, stamp)| {
                    !state.covers(Tag {
                        stamp: *stamp,
                        origin: *origin,
                    })
                }),
                Item::Absent => true,
                Item::Destroyed(_) | Item::Delta(_) | Item::Packed(_) => false,
            });
        self.check(!missing, || {
            "a ready node lacks what a peer held".to_owned()
        });
    }

    /// After faults all nodes are equal, nothing is left to say, and what was destroyed stays so.
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
        let digests = first.replica.store().digests();
        let mut alive = HashSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let equal = node.replica.store().digests() == digests;
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
            if node.replica.store().sessions() != alive.len() {
                return Some(format!("node {at} miscounts its sessions"));
            }
        }
        for end in self.cables.values().flat_map(|cable| &cable.ends) {
            if end.is_lagging() || !end.is_idle() {
                return Some("a link never comes to rest".to_owned());
            }
        }
        let came_back = self.commits.iter().any(|commit| {
            let still_runs = self.nodes[commit.node].replica.boot() == commit.boot;
            let key = &self.sessions[commit.session].key;
            commit.destroyed && still_runs && alive.contains(key)
        });
        came_back.then(|| "a destroyed session came back".to_owned())
    }

    /// Vectors and counters name nobody who has not written for as long as a tombstone lives.
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
                        Content::Removed => register.tag.stamp >= recent,
                        Content::Json(_) => true,
                    })
        };
        let bounded = self.nodes.iter().all(|node| {
            let store = node.replica.store();
            let mut known = self.sessions.iter();
            known.all(|known| store.read(&known.key, is_bounded).unwrap_or(true))
        });
        self.check(bounded, || "an origin is never forgotten".to_owned());
    }
}

type Shown = (Vec<(Arc<str>, Register)>, Vec<Tag>, Stamp);

/// What every copy must agree on. Removed names and burnt secrets are left out: each node forgets
/// them in its own time.
fn shown(node: &SimNode, known: &Known) -> Option<Shown> {
    let read = node.replica.store().read(&known.key, SessionState::clone);
    let state = read.ok()?;
    let live = |(name, register): &(Arc<str>, Register)| {
        let live = register.is_live();
        live.then(|| (name.clone(), register.clone()))
    };
    let secrets = state.secrets().states().iter();
    let alive = secrets.filter(|secret| secret.dead_at_ms.is_none());
    Some((
        state.registers().iter().filter_map(live).collect(),
        alive.map(|secret| secret.tag).collect(),
        state.access(),
    ))
}

/// What the copy claims and does not hold, or holds and does not own up to.
fn lie_of(state: &SessionState, known: &Known) -> Option<String> {
    let vector = state.vector();
    for (name, tag) in known.writes.iter().filter(|(_, tag)| vector.covers(*tag)) {
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
