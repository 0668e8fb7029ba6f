//! Three nodes, the wires between them, and what fate does to both.

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    fmt,
    hash::{BuildHasher as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::task::JoinSet;

use crate::{
    clients::{Client, Scene, look},
    story::{End, Life, Story, Survivors, Wrong},
    support::{
        process::NodePlan,
        processes::{Node, PAUSE, Signal, TRIES, plans, state_of},
        proxy::{Proxy, Wire},
    },
};

pub(crate) const NODES: usize = 3;

/// The nodes.
#[derive(Debug)]
pub(crate) struct Stage {
    slots: Vec<Slot>,
    /// By who dials, and whom.
    wires: Vec<((usize, usize), Proxy)>,
    scene: Arc<Scene>,
    untroubled: Vec<Life>,
    /// Those that ended, each with the peers of which its log tells trouble.
    ended: Vec<(Life, [bool; NODES])>,
}

/// The place of a node.
#[derive(Debug)]
enum Slot {
    Runs(Box<Node>),
    Down(NodePlan),
    /// While the node is moved from one to the other.
    Empty,
}

/// What a storm has come to.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    faults: Vec<Fault>,
    pub(crate) requests: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) doubts: Vec<String>,
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            requests,
            violations,
            doubts,
        } = self;
        write!(
            f,
            "{requests} requests, {} violations, {} doubts {doubts:?} after {faults:?}",
            violations.len(),
            doubts.len()
        )
    }
}

/// What fate does.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(usize),
    Terminate(usize),
    Restart(usize),
    Stop(usize),
    Continue(usize),
    Cut(usize, usize),
    Jam(usize, usize),
    Heal(usize, usize),
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let mut plans = plans(&["node1", "node2", "node3"]);
        let links: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
        let mut wires = Vec::new();
        for (from, plan) in plans.iter_mut().enumerate() {
            // A storm may last longer than sessions whose clients have not come back.
            plan.flags.push("--unconfirmed-timeout=1800".to_owned());
            plan.peers.clear();
            for (to, target) in links.iter().enumerate().filter(|(to, _)| *to != from) {
                let wire = Proxy::new().await;
                wire.lead_to(*target);
                plan.peers.push(wire.address());
                wires.push(((from, to), wire));
            }
        }
        let mut slots = Vec::new();
        for plan in plans {
            slots.push(Slot::Runs(Box::new(Node::start(plan).await)));
        }
        let hosts = [0, 1, 2].map(|at| match &slots[at] {
            Slot::Runs(node) => node.http(),
            Slot::Down(_) | Slot::Empty => unreachable!("all were started"),
        });
        let scene = Scene {
            hosts,
            lives: Default::default(),
            linked: Default::default(),
            stopped: Default::default(),
            was_apart: AtomicBool::default(),
            requests: AtomicU64::default(),
            is_over: AtomicBool::default(),
        };
        let mut stage = Self {
            slots,
            wires,
            scene: Arc::new(scene),
            untroubled: Vec::new(),
            ended: Vec::new(),
        };
        stage.calm().await;
        stage
    }

    /// Lets clients work under faults and the nodes come to rest, and judges what they hold then.
    pub(crate) async fn storm(&mut self, mut random: Random, stories: &mut Vec<Story>) -> Storm {
        let mut storm = Storm::default();
        let before = self.scene.requests.load(Ordering::SeqCst);
        self.scene.is_over.store(false, Ordering::SeqCst);
        let mut clients = JoinSet::new();
        let living = |story: &Story| matches!(story.end, End::Lives);
        let mut old: Vec<Story> = stories.extract_if(.., |story| living(story)).collect();
        old.truncate(CLIENTS * 4);
        for number in 0..CLIENTS {
            let share = old.len().min(old.len().div_ceil(CLIENTS - number));
            let client = Client {
                scene: Arc::clone(&self.scene),
                random: Random::new(random.next()),
                stories: old.drain(..share).collect(),
                violations: Vec::new(),
            };
            clients.spawn(client.run());
        }
        let victim = random.below(NODES);
        let kind = random.below(5);
        let mut stopped = BTreeSet::new();
        for _ in 0..(4 + random.below(8)) {
            let fault = self.fault(&mut random, victim, kind, &stopped);
            storm.faults.push(fault);
            self.carry_out(fault, &mut stopped).await;
            self.requests(10 + random.below(150) as u64).await;
        }
        self.scene.is_over.store(true, Ordering::SeqCst);
        for node in std::mem::take(&mut stopped) {
            self.signal(node, Signal::Continue);
        }
        for client in clients.join_all().await {
            stories.extend(client.stories);
            storm.violations.extend(client.violations);
        }
        self.calm().await;
        self.judge(stories, &mut storm).await;
        storm.requests = self.scene.requests.load(Ordering::SeqCst) - before;
        storm
    }

    /// Chooses what happens next. One node alone ends in a storm, so the others hold what all held
    /// before it.
    fn fault(
        &self,
        random: &mut Random,
        victim: usize,
        kind: usize,
        stopped: &BTreeSet<usize>,
    ) -> Fault {
        let node = random.below(NODES);
        let other = (node + 1 + random.below(NODES - 1)) % NODES;
        let (low, high) = (node.min(other), node.max(other));
        let act = match kind {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => random.below(3),
        };
        match act {
            0 if stopped.contains(&victim) => Fault::Continue(victim),
            0 => match (&self.slots[victim], random.below(3)) {
                (Slot::Down(_) | Slot::Empty, _) => Fault::Restart(victim),
                (Slot::Runs(_), 0) => Fault::Terminate(victim),
                (Slot::Runs(_), _) => Fault::Kill(victim),
            },
            1 => match stopped.first() {
                Some(stopped) if random.below(2) == 0 => Fault::Continue(*stopped),
                _ if stopped.contains(&node) => Fault::Continue(node),
                _ => match self.slots[node] {
                    Slot::Runs(_) => Fault::Stop(node),
                    Slot::Down(_) | Slot::Empty => Fault::Restart(node),
                },
            },
            _ => match random.below(4) {
                0 | 1 => Fault::Cut(low, high),
                2 => Fault::Jam(low, high),
                _ => Fault::Heal(low, high),
            },
        }
    }

    async fn carry_out(&mut self, fault: Fault, stopped: &mut BTreeSet<usize>) {
        match fault {
            Fault::Kill(at) => {
                if let Slot::Runs(node) = std::mem::replace(&mut self.slots[at], Slot::Empty) {
                    let log = node.log();
                    let plan = node.kill().await;
                    self.ended(at, plan, &log);
                }
            }
            Fault::Terminate(at) => {
                if let Slot::Runs(node) = std::mem::replace(&mut self.slots[at], Slot::Empty) {
                    let (plan, _, log) = node.terminate().await;
                    self.ended(at, plan, &log);
                }
            }
            Fault::Restart(at) => self.restart(at).await,
            Fault::Stop(at) => {
                self.scene.stopped[at].store(true, Ordering::SeqCst);
                stopped.insert(at);
                self.signal(at, Signal::Stop);
            }
            Fault::Continue(at) => {
                stopped.remove(&at);
                self.signal(at, Signal::Continue);
            }
            Fault::Cut(low, high) => self.set(low, high, Wire::Cut),
            Fault::Jam(low, high) => self.set(low, high, Wire::Jammed),
            Fault::Heal(low, high) => self.set(low, high, Wire::Whole),
        }
    }

    /// Notes that a process is gone.
    fn ended(&mut self, at: usize, plan: NodePlan, log: &str) {
        let life = self.scene.life(at);
        if !TROUBLE.iter().any(|sign| log.contains(sign)) {
            self.untroubled.push(life);
        }
        self.ended.push((life, troubled_peers(log)));
        self.scene.lives[at].fetch_add(1, Ordering::SeqCst);
        self.slots[at] = Slot::Down(plan);
    }

    async fn restart(&mut self, at: usize) {
        match std::mem::replace(&mut self.slots[at], Slot::Empty) {
            Slot::Down(plan) => self.slots[at] = Slot::Runs(Box::new(Node::start(plan).await)),
            other => self.slots[at] = other,
        }
        // Where nobody can be linked the weather is not clear anyway.
        if !self.scene.was_apart.load(Ordering::SeqCst) && !self.scene.was_stopped() {
            self.until_linked(at).await;
        }
    }

    fn signal(&self, at: usize, signal: Signal) {
        if let Slot::Runs(node) = &self.slots[at] {
            node.signal(signal);
        }
    }

    fn set(&self, low: usize, high: usize, wire: Wire) {
        if wire != Wire::Whole {
            self.scene.was_apart.store(true, Ordering::SeqCst);
        }
        for (ends, proxy) in &self.wires {
            if *ends == (low, high) || *ends == (high, low) {
                proxy.set(wire);
            }
        }
    }

    /// Waits until the clients have begun so many further requests.
    async fn requests(&self, further: u64) {
        let goal = self.scene.requests.load(Ordering::SeqCst) + further;
        for _ in 0..TRIES {
            if self.scene.requests.load(Ordering::SeqCst) >= goal {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the clients have come to a halt\n{}", self.logs());
    }

    /// Ends all faults, and waits until all nodes are linked.
    async fn calm(&mut self) {
        for (_, proxy) in &self.wires {
            proxy.set(Wire::Whole);
        }
        for at in 0..NODES {
            if let Slot::Down(_) = &self.slots[at] {
                self.restart(at).await;
            }
        }
        for at in 0..NODES {
            self.until_linked(at).await;
        }
        self.scene.was_apart.store(false, Ordering::SeqCst);
        for stopped in &self.scene.stopped {
            stopped.store(false, Ordering::SeqCst);
        }
    }

    async fn until_linked(&self, at: usize) {
        if let Slot::Runs(node) = &self.slots[at] {
            node.until_ready().await;
            node.until("linked", |status| {
                let names = ["node1", "node2", "node3"].into_iter();
                let mut others = names.filter(|name| *name != node.name());
                others.all(|name| state_of(status, name) == Some("up"))
            })
            .await;
            let life = self.scene.life(at);
            self.scene.linked[at].store(life.number, Ordering::SeqCst);
        }
    }

    /// Compares what all nodes hold with what clients were told.
    async fn judge(&mut self, stories: &mut Vec<Story>, storm: &mut Storm) {
        let survivors = Survivors {
            alive: (0..NODES).map(|at| self.scene.life(at)).collect(),
            untroubled: std::mem::take(&mut self.untroubled),
            ended: std::mem::take(&mut self.ended),
        };
        // Of all together: what has not come after the first ones does not come for the others.
        let mut tries = 0;
        for story in stories.iter_mut() {
            loop {
                let mut held = Vec::new();
                for host in self.scene.hosts {
                    held.push(look(host, story).await);
                }
                tries += 1;
                match story.judge(&held, &survivors) {
                    Err(_) if tries < COMPARISONS => tokio::time::sleep(PAUSE).await,
                    Err(Wrong::Violation(what)) => {
                        storm.violations.push(what);
                        break;
                    }
                    Err(Wrong::Doubt(what)) => {
                        storm.doubts.push(what);
                        story.settle(held[0]);
                        break;
                    }
                    Ok(()) => {
                        story.settle(held[0]);
                        break;
                    }
                }
            }
        }
        let surplus = stories.len().saturating_sub(REMEMBERED);
        stories.drain(..surplus);
    }

    /// What the nodes have logged.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for slot in &self.slots {
            if let Slot::Runs(node) = slot {
                text.push_str(&format!("--- {}\n{}\n", node.name(), node.log()));
            }
        }
        text
    }
}

/// Returns the peers that a node's log tells trouble of.
fn troubled_peers(log: &str) -> [bool; NODES] {
    ["node1", "node2", "node3"].map(|name| {
        let signs = ["suspect", "lagging", "disappeared"];
        let mut told = signs
            .iter()
            .map(|sign| format!("member {sign}: [{name} at"));
        told.any(|told| log.contains(&told))
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) const fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Another one each time.
pub(crate) fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000
}

const CLIENTS: usize = 6;
/// What a node logs when its peers may not have held what it acknowledged.
const TROUBLE: [&str; 3] = ["lagging", "suspect", "was stopped"];
/// How often nodes that differ are looked at, with a pause after each.
const COMPARISONS: u32 = 1500;
/// Sessions that are looked at after later storms.
const REMEMBERED: usize = 300;
