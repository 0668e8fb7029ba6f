//! Whole nodes without their sockets, on virtual time: real stores, logs, links and bytes, real
//! joins, tables of members, acknowledgements and questions. A network delays, cuts, swallows and
//! forgets, dials cross and fail; nodes crash and come back empty; clocks are hours apart. One seed
//! decides everything, and every promise is checked after every step.
//!
//! `SIMULATION_HISTORIES=N` runs N histories of each plan instead of a few. A failure prints its
//! plan and seed, and `SIMULATION_SEED=S` with the same test runs that history alone.
//! `SIMULATION_MUTANT=M` looks at one of the known wrong variants.

mod apart;
mod cable;
mod checks;
mod destroy;
mod disk;
mod durable;
mod forgotten;
mod leave;
mod links;
mod mutants;
mod network;
mod node;
mod plans;
mod requests;
mod sessions;
mod waits;
mod work;

use std::{collections::BTreeMap, sync::Arc};

use self::{
    cable::Cable, disk::SimDisk, node::SimNode, plans::Plan, requests::SimFetch, waits::SimWait,
};
use crate::{
    config::{Expiry, Shape},
    replica::LinkOptions,
    session::{
        BootId, CookieValue, Now, OrderId, Search, SecretHash, SessionKey, SessionMeta,
        SessionSecret, Tag, Vector,
    },
    wire::Position,
};

struct World {
    plan: Plan,
    random: Random,
    mono_ms: u64,
    nodes: Vec<SimNode>,
    /// The connections, by number.
    cables: BTreeMap<u64, Cable>,
    /// How many there have been.
    laid: u64,
    sessions: Vec<Known>,
    boots: u8,
    commits: Vec<Commit>,
    /// What nodes were told to search for and to destroy.
    searches: Vec<SimSearch>,
    crashes: u32,
    /// The directories of nodes, and what they were when they were last copied.
    disks: Vec<SimDisk>,
    images: Vec<SimDisk>,
    /// Nodes that are down.
    down: Vec<bool>,
    /// What nodes have made sure of.
    saved: Vec<Commit>,
    /// How far the clocks of nodes that start are ahead. Anything if it is not said.
    skew_ms: Option<u64>,
    /// Requests that wait for acknowledgements, and for sessions.
    waits: Vec<SimWait>,
    fetches: Vec<SimFetch>,
    meta: Arc<SessionMeta>,
    /// What all nodes held of each map when they were last at peace.
    maps: Vec<Option<Vector>>,
    /// Nodes that have not crashed since.
    unbroken: Vec<bool>,
    /// The first broken promise.
    broken: Option<String>,
}

/// Two nodes, the lower number first.
type Pair = (usize, usize);

/// A session, or a map of the app, as its makers know it.
struct Known {
    meta: Arc<SessionMeta>,
    key: SessionKey,
    secret: SessionSecret,
    /// Every write ever made, by name.
    writes: Vec<(&'static str, Tag)>,
    adds: Vec<(&'static str, Tag)>,
    /// It was destroyed by a node that had met nobody, and so remembers nothing.
    is_forgotten: bool,
    /// A node has destroyed it, or ordered that. Others may have forgotten that by now.
    was_destroyed: bool,
}

impl Known {
    fn new(meta: Arc<SessionMeta>, CookieValue { key, secret }: CookieValue) -> Self {
        Self {
            meta,
            key,
            secret,
            writes: Vec::new(),
            adds: Vec::new(),
            is_forgotten: false,
            was_destroyed: false,
        }
    }

    fn is_map(&self) -> bool {
        self.meta.is_of_map()
    }
}

/// Something committed, to be compared with what acknowledgements claim.
#[derive(Clone)]
struct Commit {
    node: usize,
    boot: BootId,
    position: Option<Position>,
    session: usize,
    destroyed: bool,
    /// The secret of a client who logged out where its session was not known.
    logged_out: Option<SecretHash>,
    upto: Option<Tag>,
}

/// An order to destroy what holds a value.
struct SimSearch {
    id: OrderId,
    node: usize,
    boot: BootId,
    search: Search,
    /// The writes that it means: those of the past that are earlier by all clocks, too.
    meant: Vec<(SessionKey, Tag)>,
    /// The writes by nodes that knew of it: it does not mean them, whatever the clocks say.
    spared: Vec<Tag>,
    /// How many nodes had crashed by then.
    crashes: u32,
}

/// Of every node. The log's length is the plan's.
const SHAPE: Shape = Shape {
    lock_shards: 2,
    digests_per_lock: 4,
    log_records: 0,
};

const OPTIONS: LinkOptions = LinkOptions {
    ack_timeout_ms: 1_000,
    heartbeat_ms: 500,
    notify_listeners_on_replication: true,
};

impl World {
    fn new(seed: u64, plan: Plan) -> Self {
        let meta = SessionMeta {
            context: "".into(),
            route: None,
            expiry: Expiry::from_millis((plan.idle_ms < u64::MAX).then_some(plan.idle_ms), None),
        };
        let disks = || (0..plan.nodes).map(|_| SimDisk::default()).collect();
        let mut world = Self {
            plan,
            random: Random(seed),
            mono_ms: 1 << 41,
            nodes: Vec::new(),
            cables: BTreeMap::new(),
            laid: 0,
            sessions: Vec::new(),
            boots: 0,
            commits: Vec::new(),
            searches: Vec::new(),
            crashes: 0,
            disks: disks(),
            images: disks(),
            down: vec![false; plan.nodes],
            saved: Vec::new(),
            skew_ms: None,
            waits: Vec::new(),
            fetches: Vec::new(),
            meta: Arc::new(meta),
            maps: vec![None; plan.maps],
            unbroken: vec![true; plan.nodes],
            broken: None,
        };
        for name in 0..plan.maps {
            let meta = SessionMeta::of_map(&name.to_string());
            let cookie = CookieValue::of_map(&meta);
            world.sessions.push(Known::new(meta, cookie));
        }
        for node in 0..plan.nodes {
            let node = world.boot(node);
            world.nodes.push(node);
        }
        for pair in world.pairs() {
            world.connect(pair);
        }
        world
    }

    /// Runs a history. Returns the first broken promise, if any.
    fn run(mut self) -> Option<String> {
        self.burst();
        for _ in 0..self.plan.nights {
            if self.broken.is_some() {
                break;
            }
            self.let_night_fall();
            self.heal();
            // What happened so long ago is not claimed for ever, but the destroyed stay so.
            self.commits.retain(|commit| commit.destroyed);
            self.searches.clear();
            for known in &mut self.sessions {
                known.writes.clear();
                known.adds.clear();
            }
            self.burst();
            self.check_origins();
        }
        self.broken
    }

    /// Lets nodes work under faults, and then come to rest.
    fn burst(&mut self) {
        for step in 0..self.plan.steps {
            self.step();
            self.go_on_with_fetches();
            self.check_honesty();
            if step % INDEX_INTERVAL == 0 {
                self.check_index();
            }
            if self.broken.is_some() {
                return;
            }
        }
        self.heal();
        self.check_equal();
        self.check_maps();
        self.check_index();
    }

    fn now(&self, node: usize) -> Now {
        self.at(self.nodes[node].skew_ms)
    }

    fn at(&self, skew_ms: u64) -> Now {
        at(self.mono_ms, skew_ms)
    }

    /// Counts the sessions that each node holds.
    fn held(&self) -> Vec<usize> {
        let nodes = self.nodes.iter();
        nodes.map(|node| node.replica.sessions()).collect()
    }

    fn pairs(&self) -> Vec<Pair> {
        let nodes = self.plan.nodes;
        (0..nodes)
            .flat_map(|low| (low + 1..nodes).map(move |high| (low, high)))
            .collect()
    }

    fn any_pair(&mut self) -> Pair {
        let pairs = self.pairs();
        pairs[self.random.below(pairs.len())]
    }

    /// Checks that no node has ended its join with nothing, where others have sessions.
    fn check_no_ready_node_is_empty(&mut self) {
        let is_empty = |node: &SimNode| node.join.is_none() && node.replica.sessions() == 0;
        let empty = self.nodes.iter().any(is_empty);
        self.check(!empty, || "a ready node has nothing".to_owned());
    }

    /// Notes a promise if it does not hold. There is none once a node had no room even for those
    /// that were destroyed within a minute.
    fn check(&mut self, holds: bool, promise: impl FnOnce() -> String) {
        let has_lost = |node: &SimNode| node.replica.tombstone_use().lost > 0;
        if !holds && self.broken.is_none() && !self.nodes.iter().any(has_lost) {
            self.broken = Some(promise());
        }
    }
}

/// Reads both clocks of a node whose time of day is so far ahead.
const fn at(mono_ms: u64, skew_ms: u64) -> Now {
    Now {
        wall_ms: mono_ms - (1 << 41) + 1_700_000_000_000 + skew_ms,
        mono_ms,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Steps between two looks at what the indexes have.
const INDEX_INTERVAL: usize = 16;
const VALUE: Option<&[u8]> = Some(b"1");
const HOUR_MS: u64 = 60 * 60 * 1000;
