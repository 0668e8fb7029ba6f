//! Families of random histories, each with a plan of what may happen.

use super::{HOUR_MS, World, disk::Disks};
use crate::config::AtLimit;

#[test]
fn random_histories_keep_every_promise() {
    run_seeds("three nodes", 0, THREE_NODES);
}

#[test]
fn histories_of_two_nodes_keep_every_promise() {
    run_seeds(
        "two nodes",
        0,
        Plan {
            nodes: 2,
            ..THREE_NODES
        },
    );
}

#[test]
fn histories_of_five_nodes_keep_every_promise() {
    run_seeds(
        "five nodes",
        0,
        Plan {
            nodes: 5,
            ..THREE_NODES
        },
    );
}

#[test]
fn histories_of_eight_nodes_keep_every_promise() {
    run_seeds(
        "eight nodes",
        0,
        Plan {
            nodes: 8,
            ..THREE_NODES
        },
    );
}

#[test]
fn histories_with_a_log_of_three_records_keep_every_promise() {
    run_seeds("short log", 0, SHORT_LOG);
}

#[test]
fn histories_with_two_hot_sessions_keep_every_promise() {
    run_seeds("hot sessions", 0, HOT_SESSIONS);
}

#[test]
fn histories_with_short_lives_keep_every_promise() {
    run_seeds("short lives", 0, SHORT_LIVES);
}

#[test]
fn histories_with_a_full_store_keep_every_promise() {
    let plan = Plan {
        sessions: 12,
        max_sessions: 6,
        ..THREE_NODES
    };
    run_seeds("full store", 0, plan);
}

#[test]
fn histories_of_visitors_that_do_not_come_back_keep_every_promise() {
    run_seeds("visitors", 0, VISITORS);
}

#[test]
fn histories_with_limits_for_each_value_keep_every_promise() {
    run_seeds("oldest ends", 0, LIMITED);
    let plan = Plan {
        limit: Some((2, AtLimit::Refuse)),
        ..LIMITED
    };
    run_seeds("latest is refused", 0, plan);
}

#[test]
fn histories_with_maps_of_the_app_keep_every_promise() {
    run_seeds("maps", 0, MAPS);
}

#[test]
fn histories_of_maps_at_full_nodes_keep_every_promise() {
    let plan = Plan {
        maps: 1,
        ..VISITORS
    };
    run_seeds("maps at full nodes", 0, plan);
}

#[test]
fn histories_of_maps_over_many_days_keep_every_promise() {
    let plan = Plan {
        maps: 1,
        ..MANY_DAYS
    };
    run_seeds("maps over many days", 0, plan);
}

#[test]
fn histories_of_maps_with_many_names_end_alike() {
    let plan = Plan {
        maps: 1,
        ..MANY_NAMES
    };
    run_seeds("maps with many names", 0, plan);
}

/// So many names are removed that removals are forgotten, each node's at its own time.
#[test]
fn histories_of_many_removed_names_end_alike() {
    run_seeds("many names", 0, MANY_NAMES);
}

/// Days pass between bursts of work, nodes come and go: whoever wrote long ago is forgotten.
#[test]
fn histories_over_many_days_forget_origins_alike() {
    run_seeds("many days", 0, MANY_DAYS);
}

/// Nodes remember what was destroyed for a minute or two, and rest for nearly as long.
#[test]
fn histories_with_little_memory_of_the_destroyed_keep_every_promise() {
    run_seeds("little memory", 0, LITTLE_MEMORY);
}

pub(super) fn run_seeds(name: &str, first: u64, plan: Plan) {
    let asked = |variable| std::env::var(variable).ok()?.parse().ok();
    let (first, count) = match asked("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => {
            let count = asked("SIMULATION_HISTORIES").unwrap_or(HISTORIES);
            (first, count / plan.takes())
        }
    };
    for seed in first..first + count {
        if let Some(broken) = World::new(seed, plan).run() {
            panic!("plan `{name}`, SIMULATION_SEED={seed}: {broken}");
        }
    }
}

/// What a family of histories has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) sessions: usize,
    pub(super) max_sessions: usize,
    /// What a session may weigh on node 1. On others it is 1 000.
    pub(super) bytes_of_node_1: usize,
    pub(super) log_records: usize,
    /// `u64::MAX` for none.
    pub(super) idle_ms: u64,
    /// The idle limit of sessions whose clients have not come back.
    pub(super) unconfirmed_ms: u64,
    /// How many maps the app has.
    pub(super) maps: usize,
    /// Attribute names in use. Of more than three any may be removed.
    pub(super) names: usize,
    pub(super) steps: usize,
    /// How often all is quiet for a night and then goes on.
    pub(super) nights: usize,
    pub(super) night_ms: u64,
    /// How many sessions may have a value, and what happens beyond.
    pub(super) limit: Option<(usize, AtLimit)>,
    /// Destroyed sessions that nodes have room for. Node 1 has room for a million.
    pub(super) tombstones: usize,
    pub(super) disks: Disks,
}

pub(super) const THREE_NODES: Plan = Plan {
    nodes: 3,
    sessions: 6,
    max_sessions: 1000,
    bytes_of_node_1: 1_000,
    log_records: 64,
    idle_ms: HOUR_MS / 2,
    unconfirmed_ms: u64::MAX,
    maps: 0,
    names: 3,
    steps: 150,
    nights: 0,
    night_ms: 30 * HOUR_MS,
    limit: None,
    tombstones: 1_000_000,
    disks: Disks::None,
};

/// Sessions come and go, and are over at once.
pub(super) const MAPS: Plan = Plan {
    maps: 2,
    idle_ms: 3_000,
    unconfirmed_ms: 3_000,
    steps: 300,
    ..THREE_NODES
};

pub(super) const LIMITED: Plan = Plan {
    sessions: 12,
    limit: Some((2, AtLimit::EndOldest)),
    ..THREE_NODES
};

pub(super) const SHORT_LOG: Plan = Plan {
    log_records: 3,
    ..THREE_NODES
};

pub(super) const HOT_SESSIONS: Plan = Plan {
    sessions: 2,
    ..THREE_NODES
};

pub(super) const MANY_NAMES: Plan = Plan {
    names: 9,
    sessions: 2,
    steps: 300,
    ..THREE_NODES
};

pub(super) const SHORT_LIVES: Plan = Plan {
    idle_ms: 3_000,
    steps: 300,
    ..THREE_NODES
};

/// Clients that come back, and others that do not, at nodes that are full all the time.
pub(super) const VISITORS: Plan = Plan {
    sessions: 30,
    max_sessions: 8,
    unconfirmed_ms: 6_000,
    steps: 400,
    ..THREE_NODES
};

pub(super) const MANY_DAYS: Plan = Plan {
    sessions: 3,
    idle_ms: 40 * HOUR_MS,
    nights: 6,
    steps: 60,
    ..THREE_NODES
};

pub(super) const LITTLE_MEMORY: Plan = Plan {
    sessions: 100,
    steps: 100,
    nights: 7,
    night_ms: 45_000,
    tombstones: 40,
    ..THREE_NODES
};

/// Histories of each plan in an ordinary test run.
pub(super) const HISTORIES: u64 = 150;

impl Plan {
    /// Returns how many times as long a history takes as one of few nodes.
    const fn takes(&self) -> u64 {
        if self.nodes < 8 { 1 } else { 3 }
    }

    /// Returns whether idle sessions end within a history.
    pub(super) const fn ends_sessions(&self) -> bool {
        self.idle_ms < 60_000
            || self.unconfirmed_ms < 60_000
            || self.nights as u64 * self.night_ms > self.idle_ms
    }

    /// Returns whether there is not room for all destroyed sessions.
    pub(super) const fn forgets_destroyed(&self) -> bool {
        self.tombstones < self.sessions
    }

    /// Returns whether nodes may have been down for long. What they doubt they give a little later.
    pub(super) fn doubts_sessions(&self) -> bool {
        self.disks != Disks::None && self.nights > 0
    }

    /// Returns whether more removals may be remembered than a session has room for.
    pub(super) const fn forgets_removals(&self) -> bool {
        self.names > 3
    }
}
