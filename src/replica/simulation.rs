//! Whole replicas on virtual time: real stores, logs, links and bytes; a network that delays, cuts
//! and forgets; nodes that crash and come back empty. One seed decides everything.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::BytesMut;

use super::{Link, LinkEvent, LinkOptions, Opened, Replica, Shipping};
use crate::{
    config::{Expiry, Limits, Shape},
    session::{
        Birth, BootId, Content, Count, Item, Locator, Now, Secret, SessionState, Slot, Stamp, Tag,
    },
    wire::{DecodeLimits, Message},
};

#[test]
fn random_histories_keep_every_promise() {
    run_seeds(0, 150, Plan::default());
}

#[test]
fn histories_with_a_log_of_three_records_converge() {
    let plan = Plan {
        log_records: 3,
        ..Plan::default()
    };
    run_seeds(1_000_000, 100, plan);
}

#[test]
fn histories_with_two_hot_sessions_converge() {
    let plan = Plan {
        sessions: 2,
        ..Plan::default()
    };
    run_seeds(2_000_000, 100, plan);
}

#[test]
fn histories_with_short_lives_converge() {
    let plan = Plan {
        idle_ms: 3_000,
        ..Plan::default()
    };
    run_seeds(3_000_000, 100, plan);
}

/// `SIMULATION_HISTORIES` overrides how many histories a test runs.
fn run_seeds(first: u64, count: u64, plan: Plan) {
    let asked = std::env::var("SIMULATION_HISTORIES").ok();
    let count = asked.and_then(|text| text.parse().ok()).unwrap_or(count);
    for seed in first..first + count {
        let mut world = World::new(seed, plan);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = outcome {
            println!("seed {seed} of {plan:?} broke a promise");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Days pass between bursts of work, nodes come and go: whoever wrote long ago is forgotten.
#[test]
fn histories_over_many_days_forget_origins_alike() {
    let plan = Plan {
        sessions: 3,
        idle_ms: 40 * HOUR_MS,
        nights: 6,
        steps: 120,
        ..Plan::default()
    };
    run_seeds(4_000_000, 40, plan);
}

/// A node is cut off for 25 hours and its session is used there all the time; elsewhere the same
/// session is destroyed, and the tombstone forgotten.
#[test]
fn session_destroyed_during_a_cut_longer_than_a_tombstone_lives_stays_destroyed() {
    let plan = Plan {
        nodes: 3,
        ..Plan::default()
    };
    let mut world = World::new(1, plan);
    world.create(0);
    world.create(0);
    world.heal();
    world.cables.retain(|pair, _| *pair == (0, 2));
    world.destroy_session(0, 0);
    (0..20).for_each(|_| world.deliver_some());
    // What was acknowledged is rightly forgotten in a day.
    world.commits.clear();
    for _ in 0..(25 * 6) {
        world.mono_ms += 10 * 60 * 1000;
        for node in 0..3 {
            world.touch_session(node, 0);
            world.touch_session(node, 1);
        }
        world.advance(1_000);
        (0..20).for_each(|_| world.deliver_some());
    }
    let held = |world: &World| {
        let nodes = world.nodes.iter();
        nodes
            .map(|node| node.replica.store().sessions())
            .collect::<Vec<_>>()
    };
    assert_eq!(held(&world), [1, 2, 1]);
    let tombstones = world.nodes[0].replica.store().tombstones();
    assert_eq!(tombstones, 0, "forgotten");
    world.heal();
    assert_eq!(held(&world), [1, 1, 1]);
    world.check_equal();
}

/// What a family of histories has in common.
#[derive(Clone, Copy, Debug)]
struct Plan {
    nodes: usize,
    sessions: usize,
    log_records: usize,
    idle_ms: u64,
    steps: usize,
    /// How often all is quiet for 30 hours and then goes on.
    nights: usize,
}

impl Plan {
    /// Whether idle sessions end within a history.
    const fn ends_sessions(&self) -> bool {
        self.idle_ms < 60_000 || self.nights > 0
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 3,
            sessions: 6,
            log_records: 64,
            idle_ms: 30 * 60 * 1000,
            steps: 400,
            nights: 0,
        }
    }
}

struct World {
    plan: Plan,
    random: Random,
    mono_ms: u64,
    nodes: Vec<SimNode>,
    cables: BTreeMap<(usize, usize), Cable>,
    sessions: Vec<Known>,
    boots: u8,
    commits: Vec<Commit>,
}

struct SimNode {
    replica: Replica,
    skew_ms: u64,
    joining: bool,
}

/// A connection between two nodes and what is under way on it. End 0 is the lower number's.
struct Cable {
    ends: [Link; 2],
    queues: [VecDeque<(u64, Vec<u8>)>; 2],
}

struct Known {
    key: Locator,
    secret: Secret,
    /// Every write ever made, by name.
    writes: Vec<(&'static str, Tag)>,
    adds: Vec<(&'static str, Tag)>,
}

/// Something committed, to be compared with what acknowledgements claim.
struct Commit {
    node: usize,
    boot: BootId,
    position: u64,
    session: usize,
    destroyed: bool,
    upto: Option<Tag>,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

const NAMES: [&str; 3] = ["a", "b", "c"];
const COUNTERS: [&str; 2] = ["m", "n"];
const OPTIONS: LinkOptions = LinkOptions {
    ack_timeout_ms: 1_000,
    heartbeat_ms: 500,
    collect: true,
};

impl World {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut world = Self {
            plan,
            random: Random(seed),
            mono_ms: 1 << 41,
            nodes: Vec::new(),
            cables: BTreeMap::new(),
            sessions: Vec::new(),
            boots: 0,
            commits: Vec::new(),
        };
        for _ in 0..plan.nodes {
            let node = world.boot(false);
            world.nodes.push(node);
        }
        for pair in world.pairs() {
            world.connect(pair);
        }
        world
    }

    fn run(&mut self) {
        self.work();
        for _ in 0..self.plan.nights {
            self.mono_ms += 30 * HOUR_MS;
            // Links that were up all the time would have said so.
            self.heal();
            // What happened so long ago is not claimed for ever.
            self.commits.clear();
            for known in &mut self.sessions {
                known.writes.clear();
                known.adds.clear();
            }
            self.work();
            self.check_origins();
        }
    }

    fn work(&mut self) {
        for _ in 0..self.plan.steps {
            self.step();
            self.check_honesty();
        }
        self.heal();
        self.check_equal();
    }

    /// Vectors and counters name nobody who has not written for as long as a tombstone lives.
    fn check_origins(&self) {
        for node in &self.nodes {
            for known in &self.sessions {
                let checked = node.replica.store().read(&known.key, |state| {
                    let floor = state.floor();
                    let entries = state.vector().entries();
                    assert!(entries.iter().all(|(_, stamp)| *stamp >= floor));
                    for (_, slot) in state.slots() {
                        if let Content::Counter(counter) = &slot.content {
                            let known = |count: &Count| state.vector().of(count.origin) >= floor;
                            assert!(counter.counts.iter().all(known), "a settled count");
                        }
                    }
                });
                drop(checked);
            }
        }
    }

    fn step(&mut self) {
        let node = self.random.below(self.nodes.len());
        match self.random.below(100) {
            0..8 => self.create(node),
            8..30 => self.write(node),
            30..40 => self.add(node),
            40..44 => self.remove(node),
            44..46 => self.cycle(node),
            46..48 => self.destroy(node),
            48..54 => self.touch(node),
            54..58 => {
                let pair = self.any_pair();
                self.cables.remove(&pair);
            }
            58..64 => {
                let pair = self.any_pair();
                if !self.cables.contains_key(&pair) {
                    self.connect(pair);
                }
            }
            64..65 => self.crash(node),
            65..75 => {
                let passed = self.random.below(400) as u64;
                self.advance(passed);
            }
            _ => self.deliver_some(),
        }
    }

    fn now(&self, node: usize) -> Now {
        self.at(self.nodes[node].skew_ms)
    }

    fn at(&self, skew_ms: u64) -> Now {
        Now {
            wall_ms: self.mono_ms - (1 << 41) + 1_700_000_000_000 + skew_ms,
            mono_ms: self.mono_ms,
        }
    }

    fn boot(&mut self, joining: bool) -> SimNode {
        self.boots += 1;
        let mut boot = [self.random.next().to_le_bytes()[0]; 8];
        boot[7] = self.boots;
        let shape = Shape {
            lock_shards: 2,
            digests_per_lock: 4,
            log_records: self.plan.log_records,
        };
        let boot = BootId::from_random(boot);
        let skew_ms = self.random.below(3) as u64 * 3_600_000;
        SimNode {
            replica: Replica::new(boot, Limits::default(), &shape, self.at(skew_ms)),
            skew_ms,
            joining,
        }
    }

    fn create(&mut self, node: usize) {
        if self.sessions.len() >= self.plan.sessions {
            return;
        }
        let mut key = [0; 16];
        for byte in &mut key {
            *byte = self.random.next().to_le_bytes()[0];
        }
        let key = Locator::from_random(key);
        let secret = Secret::from_random([self.sessions.len() as u8; 16]);
        let birth = Arc::new(Birth {
            context: "".into(),
            route: None,
            expiry: Expiry::from_millis(Some(self.plan.idle_ms), None),
        });
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        store
            .create(birth, key, secret.hash(), now)
            .expect("within limits");
        store.release(&key, Shipping::Now, now);
        self.sessions.push(Known {
            key,
            secret,
            writes: Vec::new(),
            adds: Vec::new(),
        });
        self.maybe_commit(node, self.sessions.len() - 1);
    }

    fn any_session(&mut self) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| self.random.below(self.sessions.len()))
    }

    fn write(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let name = NAMES[self.random.below(NAMES.len())];
        let value: Arc<[u8]> = self.random.next().to_string().into_bytes().into();
        let shipping = if self.random.below(4) == 0 {
            Shipping::Later
        } else {
            Shipping::Now
        };
        let key = self.sessions[session].key;
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        let written = store.write(&key, shipping, true, now, |writer| {
            writer.set(name, value)?;
            Ok(writer.tag(name).expect("just set"))
        });
        if let Ok((tag, _)) = written {
            self.sessions[session].writes.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    fn add(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let name = COUNTERS[self.random.below(COUNTERS.len())];
        let by = self.random.below(9) as i64 - 3;
        let key = self.sessions[session].key;
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        let written = store.write(&key, Shipping::Now, true, now, |writer| {
            writer.add(name, by)?;
            let origin = own_origin(writer.state().slot(name).expect("just added"));
            Ok(origin)
        });
        if let Ok((tag, _)) = written {
            self.sessions[session].adds.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    fn remove(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let names = [NAMES[0], COUNTERS[0]];
        let name = names[self.random.below(2)];
        let key = self.sessions[session].key;
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        let written = store.write(&key, Shipping::Now, true, now, |writer| {
            let there = writer.remove(name)?;
            Ok(writer.tag(name).filter(|_| there))
        });
        if let Ok((Some(tag), _)) = written {
            self.sessions[session].writes.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    fn cycle(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&self.random.next().to_le_bytes());
        let secret = Secret::from_random(bytes);
        let key = self.sessions[session].key;
        let now = self.now(node);
        let store = self.nodes[node].replica.store();
        let hash = secret.hash();
        let cycled = store.write(&key, Shipping::Now, true, now, |writer| writer.cycle(hash));
        if cycled.is_ok() {
            self.sessions[session].secret = secret;
            self.maybe_commit(node, session);
        }
    }

    fn destroy(&mut self, node: usize) {
        if let Some(session) = self.any_session() {
            self.destroy_session(node, session);
        }
    }

    fn destroy_session(&mut self, node: usize, session: usize) {
        let key = self.sessions[session].key;
        let now = self.now(node);
        let destroyed = self.nodes[node].replica.store().destroy(&key, now);
        if destroyed.is_some() {
            self.maybe_commit(node, session);
        }
    }

    fn touch(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        self.touch_session(node, session);
    }

    fn touch_session(&self, node: usize, session: usize) {
        let known = &self.sessions[session];
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        let store = replica.store();
        if store.open("", &known.key, &known.secret, Shipping::Now, now) == Opened::Alive {
            store.release(&known.key, Shipping::Now, now);
            replica.commit(&known.key, now);
        }
    }

    /// Commits now and then only: writes of other requests are under way.
    fn maybe_commit(&mut self, node: usize, session: usize) {
        if self.random.below(5) == 0 {
            return;
        }
        let key = self.sessions[session].key;
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        let before = replica.head();
        replica.commit(&key, now);
        let position = replica.head();
        if position == before {
            return;
        }
        let upto = own_stamp(replica, &key);
        let destroyed = matches!(replica.store().full(&key, now), Item::Destroyed(_));
        self.commits.push(Commit {
            node,
            boot: replica.boot(),
            position,
            session,
            destroyed,
            upto,
        });
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let nodes = self.plan.nodes;
        (0..nodes)
            .flat_map(|low| (low + 1..nodes).map(move |high| (low, high)))
            .collect()
    }

    fn any_pair(&mut self) -> (usize, usize) {
        let pairs = self.pairs();
        pairs[self.random.below(pairs.len())]
    }

    fn connect(&mut self, (low, high): (usize, usize)) {
        let end = |this: usize, other: usize| {
            let peer = self.nodes[other].replica.boot();
            let mut link = Link::new(&self.nodes[this].replica, peer, OPTIONS, self.now(this));
            if self.nodes[this].joining {
                link.begin_round();
            }
            link
        };
        let ends = [end(low, high), end(high, low)];
        let queues = [VecDeque::new(), VecDeque::new()];
        self.cables.insert((low, high), Cable { ends, queues });
        self.send((low, high));
    }

    fn crash(&mut self, node: usize) {
        self.cables
            .retain(|pair, _| pair.0 != node && pair.1 != node);
        self.nodes[node] = self.boot(true);
    }

    fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.mono_ms += 100.min(ms);
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                self.nodes[node].replica.sweep(now, true);
            }
            let pairs: Vec<_> = self.cables.keys().copied().collect();
            for pair in pairs {
                for end in 0..2 {
                    self.tick(pair, end);
                }
                self.send(pair);
            }
        }
    }

    fn tick(&mut self, pair: (usize, usize), end: usize) {
        let node = if end == 0 { pair.0 } else { pair.1 };
        let now = self.now(node);
        let cable = self.cables.get_mut(&pair).expect("connected");
        cable.ends[end].tick(&self.nodes[node].replica, now);
    }

    /// Lets both ends say what they have to say.
    fn send(&mut self, pair: (usize, usize)) {
        for end in 0..2 {
            let node = if end == 0 { pair.0 } else { pair.1 };
            let now = self.now(node);
            let Some(cable) = self.cables.get_mut(&pair) else {
                return;
            };
            let replica = &self.nodes[node].replica;
            while let Some(message) = cable.ends[end].poll(replica, now) {
                let mut bytes = BytesMut::new();
                message.encode(now.mono_ms, &mut bytes);
                cable.ends[end].sent(&message, bytes.len());
                let delay = self.random.below(60) as u64;
                let last = cable.queues[end].back().map_or(0, |(at, _)| *at);
                let at = last.max(self.mono_ms + delay);
                cable.queues[end].push_back((at, bytes.to_vec()));
            }
        }
    }

    fn deliver_some(&mut self) {
        self.mono_ms += self.random.below(30) as u64;
        let pairs: Vec<_> = self.cables.keys().copied().collect();
        for pair in pairs {
            for end in 0..2 {
                for _ in 0..self.random.below(4) {
                    self.deliver(pair, end);
                }
            }
            self.send(pair);
        }
    }

    /// Delivers the next message that `end` sent, if its time has come.
    fn deliver(&mut self, pair: (usize, usize), end: usize) {
        let node = if end == 0 { pair.1 } else { pair.0 };
        let now = self.now(node);
        let cable = self.cables.get_mut(&pair).expect("connected");
        if cable.queues[end]
            .front()
            .is_none_or(|(at, _)| *at > self.mono_ms)
        {
            return;
        }
        let (_, bytes) = cable.queues[end].pop_front().expect("looked at");
        let limits = DecodeLimits {
            max_session_bytes: 1 << 20,
            max_names: 4096,
            digest_shards: 8,
        };
        let message = Message::decode(&bytes, now.mono_ms, &limits).expect("own bytes");
        let receiver = &mut cable.ends[1 - end];
        let replica = &self.nodes[node].replica;
        let events = receiver
            .handle(replica, message, bytes.len(), now)
            .expect("an honest peer");
        if receiver.is_settled() && self.nodes[node].joining {
            let settled = self
                .cables
                .iter()
                .filter(|(pair, _)| pair.0 == node || pair.1 == node)
                .all(|(pair, cable)| cable.ends[usize::from(pair.1 == node)].is_settled());
            self.nodes[node].joining = !settled;
        }
        if events.contains(&LinkEvent::Acks) {
            self.check_acks(pair, 1 - end);
        }
    }

    /// I4: what a peer has acknowledged, it holds.
    fn check_acks(&mut self, pair: (usize, usize), end: usize) {
        let (node, peer) = if end == 0 { pair } else { (pair.1, pair.0) };
        let acks = self.cables[&pair].ends[end].acks();
        let boot = self.nodes[node].replica.boot();
        for commit in &self.commits {
            let claimed = commit.position > acks.base && commit.position <= acks.acked;
            if commit.node != node || commit.boot != boot || !claimed {
                continue;
            }
            let key = &self.sessions[commit.session].key;
            let held = self.nodes[peer].replica.store().full(key, self.now(peer));
            match (held, commit.upto) {
                (Item::Full(state), Some(upto)) => {
                    assert!(!commit.destroyed, "acknowledged destruction is not held");
                    // A short-lived session may have ended at the peer and come from a third node.
                    let held = state.vector().covers(upto) || self.plan.ends_sessions();
                    assert!(held, "acknowledged write is not held");
                }
                (Item::Absent, _) => assert!(
                    self.plan.ends_sessions() || commit.upto.is_none() && !commit.destroyed,
                    "acknowledged session is not held"
                ),
                _ => {}
            }
        }
    }

    /// I1 and I6 on every node.
    fn check_honesty(&self) {
        for node in &self.nodes {
            for known in &self.sessions {
                let checked = node
                    .replica
                    .store()
                    .read(&known.key, |state| check_state(state, known));
                drop(checked);
            }
        }
    }

    /// Faults are over: everything is connected and time passes.
    fn heal(&mut self) {
        let missing: Vec<_> = self
            .pairs()
            .into_iter()
            .filter(|pair| !self.cables.contains_key(pair))
            .collect();
        for pair in missing {
            self.connect(pair);
        }
        for session in 0..self.sessions.len() {
            for node in 0..self.nodes.len() {
                let now = self.now(node);
                self.nodes[node]
                    .replica
                    .commit(&self.sessions[session].key, now);
            }
        }
        for _ in 0..120 {
            self.advance(100);
            for _ in 0..40 {
                self.deliver_some();
            }
        }
    }

    /// I2 and I5: all nodes are equal, and nothing is left to say.
    fn check_equal(&mut self) {
        let first = &self.nodes[0];
        let digests = first.replica.store().digests();
        let mut alive = HashSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!(
                node.replica.store().digests(),
                digests,
                "digests of node {at}"
            );
            for known in &self.sessions {
                let mine = shown(node, known, self.now(at));
                assert_eq!(
                    mine,
                    shown(first, known, self.now(0)),
                    "session on node {at}"
                );
                if mine.is_some() {
                    alive.insert(known.key);
                }
            }
        }
        for cable in self.cables.values() {
            for end in &cable.ends {
                assert!(!end.is_lagging(), "caught up");
            }
        }
        let store = first.replica.store();
        assert_eq!(store.sessions(), alive.len(), "sessions are counted");
        for commit in self.commits.iter().filter(|commit| commit.destroyed) {
            let node = &self.nodes[commit.node];
            if node.replica.boot() == commit.boot {
                let key = &self.sessions[commit.session].key;
                assert!(!alive.contains(key), "a destroyed session came back");
            }
        }
    }
}

type Shown = (Vec<(Arc<str>, Slot)>, Vec<Tag>, Stamp);

/// What every copy must agree on. Removed names and burnt secrets are left out: each node forgets
/// them in its own time.
fn shown(node: &SimNode, known: &Known, now: Now) -> Option<Shown> {
    let Item::Full(state) = node.replica.store().full(&known.key, now) else {
        return None;
    };
    let live = |(name, slot): &(Arc<str>, Slot)| {
        let live = slot.is_live();
        live.then(|| (name.clone(), slot.clone()))
    };
    let secrets = state.secrets().states().iter();
    let alive = secrets.filter(|secret| secret.dead_at_ms.is_none());
    Some((
        state.slots().iter().filter_map(live).collect(),
        alive.map(|secret| secret.tag).collect(),
        state.access(),
    ))
}

fn own_origin(slot: &Slot) -> Tag {
    let Content::Counter(counter) = &slot.content else {
        panic!("a counter");
    };
    counter
        .counts
        .iter()
        .map(|count| Tag {
            stamp: count.stamp,
            origin: count.origin,
        })
        .max()
        .expect("just added")
}

fn own_stamp(replica: &Replica, key: &Locator) -> Option<Tag> {
    let boot = replica.boot();
    let read = replica.store().read(key, |state| {
        let own = state.vector().entries().iter();
        own.filter(|(origin, _)| origin.boot == boot)
            .map(|(origin, stamp)| Tag {
                stamp: *stamp,
                origin: *origin,
            })
            .max()
    });
    read.ok().flatten()
}

fn check_state(state: &SessionState, known: &Known) {
    let vector = state.vector();
    for (name, tag) in known.writes.iter().filter(|(_, tag)| vector.covers(*tag)) {
        let held = state.slot(name).map_or(Tag::BOTTOM, |slot| slot.tag);
        assert!(
            held >= *tag,
            "I1: {name} of {tag:?} is claimed but {held:?} is here"
        );
    }
    for (name, tag) in known.adds.iter().filter(|(_, tag)| vector.covers(*tag)) {
        let slot = state
            .slot(name)
            .expect("I1: a counter is claimed but not here");
        let here = slot.tag.stamp > tag.stamp
            || match &slot.content {
                Content::Counter(counter) => counter
                    .counts
                    .iter()
                    .any(|count| count.origin == tag.origin && count.stamp >= tag.stamp),
                _ => false,
            };
        // A reset that did not see the increment beats it whatever their stamps are.
        let reset_since = slot.tag != Tag::BOTTOM;
        assert!(
            here || reset_since,
            "I1: an increment is claimed but not here"
        );
    }
    for (name, slot) in state.slots() {
        let covered = slot.tag == Tag::BOTTOM || state.covers(slot.tag);
        assert!(covered, "I6: {name} is here but not covered");
        if let Content::Counter(counter) = &slot.content {
            for count in &counter.counts {
                assert!(
                    vector.of(count.origin) >= count.stamp,
                    "I6: count of {name}"
                );
            }
        }
    }
    for secret in state.secrets().states() {
        assert!(
            state.covers(secret.tag),
            "I6: a secret is here but not covered"
        );
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
}

/// Keys by digest shard would hide a shard that no key falls into.
#[test]
fn every_digest_shard_is_reached() {
    let shape = Shape {
        lock_shards: 4,
        digests_per_lock: 4,
        log_records: 8,
    };
    let now = Now {
        wall_ms: 1,
        mono_ms: 1 << 41,
    };
    let replica = Replica::new(BootId::from_random([1; 8]), Limits::default(), &shape, now);
    let mut random = Random(1);
    let mut listed = HashMap::new();
    for _ in 0..200 {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&random.next().to_le_bytes());
        let birth = Arc::new(Birth {
            context: "".into(),
            route: None,
            expiry: Expiry::default(),
        });
        let key = Locator::from_random(key);
        let hash = Secret::from_random([0; 16]).hash();
        replica.store().create(birth, key, hash, now).expect("room");
    }
    for shard in 0..16 {
        for (key, _) in replica.store().listing(shard, true, now) {
            assert_eq!(listed.insert(key, shard), None, "listed once");
        }
    }
    assert_eq!(listed.len(), 200);
    assert_eq!(listed.values().collect::<HashSet<_>>().len(), 16);
    assert!(replica.store().digests().iter().all(|digest| *digest != 0));
}
