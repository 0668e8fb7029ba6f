//! What everybody in a run shares: the plan, the nodes as they live, the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    history::History,
    look::{contents, written},
    plan::Plan,
    sockets::Sockets,
};
use crate::{
    MemberState,
    node::{Cluster, Node},
    session::SessionKey,
};

/// One run of a node's process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) node: usize,
    pub(super) run: u32,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node, self.run)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Storm,
    /// No new requests while the cluster converges.
    Lull,
    /// Every session is looked at on every node.
    Calm,
}

pub(super) struct Stage {
    pub(super) plan: Plan,
    phase: Mutex<Phase>,
    /// Wakes in the order in which visitors began to wait; a `watch` channel wakes in any.
    phase_changed: Notify,
    /// Visitors who have yet to hear that the storm is over.
    out_there: AtomicUsize,
    nodes: Mutex<Vec<Place>>,
    history: Mutex<History>,
}

#[derive(Default)]
struct Place {
    runs: u32,
    cluster: Option<Cluster>,
    sockets: Arc<Sockets>,
}

impl Stage {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            phase: Mutex::new(Phase::Storm),
            phase_changed: Notify::new(),
            out_there: AtomicUsize::new(0),
            nodes: Mutex::new((0..plan.nodes).map(|_| Place::default()).collect()),
            history: Mutex::new(History::new(plan.weather)),
            plan,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.phase_changed.notify_waiters();
    }

    /// A visitor sets out; [`Stage::calm`] is where it rests.
    pub(super) fn goes_out(&self) {
        self.out_there.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) async fn calm(&self) {
        self.out_there.fetch_sub(1, Ordering::Relaxed);
        loop {
            let changed = self.phase_changed.notified();
            if self.phase() == Phase::Calm {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node's process starts.
    pub(super) fn born(&self, node: usize) -> Life {
        let place = &mut self.nodes()[node];
        place.runs += 1;
        let run = place.runs;
        Life { node, run }
    }

    pub(super) fn lives(&self, life: Life, cluster: Cluster, sockets: Arc<Sockets>) {
        let place = &mut self.nodes()[life.node];
        place.cluster = Some(cluster);
        place.sockets = sockets;
    }

    /// Call it before the process is ended, so that nothing here keeps it alive.
    pub(super) fn dies(&self, node: usize) {
        let place = &mut self.nodes()[node];
        place.sockets.die();
        place.cluster = None;
    }

    pub(super) fn life(&self, node: usize) -> Option<Life> {
        self.present()[node].as_ref().map(|(life, _)| *life)
    }

    pub(super) fn alive(&self) -> Vec<Option<Life>> {
        let present = self.present();
        present.iter().map(|p| Some(p.as_ref()?.0)).collect()
    }

    /// Living nodes of which `holds` is true.
    pub(super) fn where_(&self, holds: impl Fn(&Node) -> bool) -> BTreeSet<Life> {
        let present = self.present();
        let living = present.iter().flatten();
        let found = living.filter(|(_, cluster)| holds(cluster.node()));
        found.map(|(life, _)| *life).collect()
    }

    /// The peers that a node waits for, as lives.
    pub(super) fn up_at(&self, node: usize) -> BTreeSet<Life> {
        let present = self.present();
        let Some((_, cluster)) = &present[node] else {
            return BTreeSet::new();
        };
        let members = cluster.members();
        let up = members.iter().filter(|m| m.state == MemberState::Up);
        let names: BTreeSet<_> = up.filter_map(|m| m.name.clone()).collect();
        let living = present.iter().flatten().map(|(life, _)| *life);
        living.filter(|l| names.contains(&name(l.node))).collect()
    }

    pub(super) fn is_ready(&self, node: usize) -> bool {
        let present = self.present();
        present[node].as_ref().is_some_and(|(_, c)| c.is_ready())
    }

    /// `Err` says what is still missing until all nodes are up, ready and equal.
    pub(super) fn settled(&self) -> Result<(), String> {
        if self.phase() != Phase::Storm && self.out_there.load(Ordering::Relaxed) > 0 {
            return Err("a request is under way".to_owned());
        }
        let present = self.present();
        let mut first = None;
        for (node, place) in present.iter().enumerate() {
            let Some((life, cluster)) = place else {
                return Err(format!("n{node} is down"));
            };
            if !cluster.is_ready() {
                return Err(format!("{life:?} is not ready"));
            }
            let members = cluster.members();
            let up = members.iter().filter(|m| m.state == MemberState::Up);
            if up.count() != present.len() - 1 || members.len() != present.len() - 1 {
                return Err(format!("{life:?} sees {members:?}"));
            }
            let view = (contents(cluster.node()), cluster.stats().tombstones);
            match &first {
                None => first = Some(view),
                Some(other) if *other == view => {}
                Some(_) => return Err(format!("{life:?} holds something else than n0")),
            }
        }
        Ok(())
    }

    /// What the first node holds: every session and its writes. After [`Stage::settled`], what all
    /// hold.
    pub(super) fn sessions(&self) -> BTreeMap<SessionKey, BTreeSet<u32>> {
        let present = self.present();
        let Some((_, cluster)) = present.iter().flatten().next() else {
            return BTreeMap::new();
        };
        let held = contents(cluster.node());
        let writes = held.into_iter().map(|(key, (_, slots, _))| {
            let names = slots.iter().filter_map(|(name, _)| written(name));
            (key, names.collect())
        });
        writes.collect()
    }

    fn present(&self) -> Vec<Option<(Life, Cluster)>> {
        let nodes = self.nodes();
        let places = nodes.iter().enumerate().map(|(node, place)| {
            let run = place.runs;
            let cluster = place.cluster.clone()?;
            Some((Life { node, run }, cluster))
        });
        places.collect()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Place>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn name(node: usize) -> String {
    format!("n{node}")
}
