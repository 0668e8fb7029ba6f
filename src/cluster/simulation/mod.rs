//! Whole nodes without their sockets, on virtual time: real stores, logs, links and bytes, real
//! joins, tables of members, acknowledgements and questions. A network delays, cuts, swallows and
//! forgets, dials cross and fail; nodes crash and come back empty; clocks are hours apart. One seed
//! decides everything, and every promise is checked after every step.
//!
//! `SIMULATION_HISTORIES=N` runs N histories of each plan instead of a few. A failure prints its
//! plan and seed, and `SIMULATION_SEED=S` with the same test runs that history alone.
//! `SIMULATION_MUTANT=M` looks at one of the known wrong variants.

mod cable;
mod checks;
mod disk;
mod durable;
mod forgotten;
mod leave;
mod network;
mod node;
mod requests;
mod waits;
mod work;

use std::{collections::BTreeMap, sync::Arc};

use self::{
    cable::{Cable, Crash},
    disk::{Disks, SimDisk},
    durable::{DAYS_WITH_DISKS, DISKS, LATE_DISKS},
    node::SimNode,
    requests::SimFetch,
    waits::SimWait,
};
use crate::{
    cluster::{FetchReason, Reach},
    config::{AtLimit, Expiry, Shape},
    replica::{Link, LinkOptions},
    session::{
        BootId, CookieValue, Mutant, Now, Search, SecretHash, SessionKey, SessionMeta,
        SessionSecret, SessionState, Tag, Vector,
    },
    wire::Position,
};

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

/// Nobody uses it for a month, somebody destroys it, and it is in doubt when nodes meet.
#[test]
fn map_of_the_app_never_ends() {
    for seed in 0..8 {
        assert_eq!(map_without_end(seed), None, "seed {seed}");
    }
}

/// Nodes that do not know of each other's sessions let more of them have a value than may.
#[test]
fn sessions_beyond_a_limit_end_alike_on_all_nodes() {
    for at_limit in [AtLimit::EndOldest, AtLimit::Refuse] {
        assert_eq!(beyond_a_limit(at_limit), None, "{at_limit:?}");
    }
}

/// Two get a value within a millisecond, and others on nodes whose clocks are hours apart.
#[test]
fn who_gets_a_limited_value_last_keeps_it_whatever_the_clocks_say() {
    assert_eq!(clocks_and_a_limit(), None);
}

/// A client comes back when its session is about to end because it has not, on one of two nodes.
#[test]
fn client_that_comes_back_at_the_last_moment_keeps_its_session_on_all_nodes() {
    for is_cut in [false, true] {
        assert_eq!(visit_at_the_last_moment(is_cut), None, "{is_cut}");
    }
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

/// The same as with a cut of a day, where the others have soon forgotten what they destroyed.
#[test]
fn session_destroyed_during_a_cut_longer_than_it_is_remembered_stays_destroyed() {
    assert_eq!(cut_beyond_memory(), None);
}

/// Of five nodes in a row the first runs out of room.
#[test]
fn nodes_that_reach_each_other_remember_what_was_destroyed_equally_long() {
    assert_eq!(room_that_runs_out(), None);
}

/// A node is cut off for 26 hours and uses three sessions all the time. One is destroyed elsewhere,
/// and the tombstone forgotten; one lives everywhere; one was begun there.
#[test]
fn session_destroyed_during_a_cut_longer_than_a_tombstone_lives_stays_destroyed() {
    assert_eq!(long_cut(), None);
}

/// The link breaks right after it was begun, before the nodes have compared what they hold.
#[test]
fn session_begun_right_before_such_a_cut_stays_destroyed() {
    for ms in HEARTBEAT_PHASES {
        assert_eq!(begun_right_before_a_cut(ms), None, "{ms} ms");
    }
}

/// Each node meets another one all the time, so nobody knows that it was away.
#[test]
fn session_destroyed_in_one_group_comes_back_from_another_after_a_day_apart() {
    let plan = Plan {
        nodes: 4,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.create(0);
    world.heal();
    for pair in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut(pair);
    }
    world.destroy_session(0, 0);
    for _ in 0..(26 * 6) {
        world.pass(HOUR_MS / 6);
        world.touch_session(2, 0);
        world.touch_session(3, 0);
        world.heal_what_is_connected();
        // What was acknowledged is rightly forgotten in a day.
        world.commits.clear();
    }
    assert_eq!(world.held(), [0, 0, 1, 1]);
    world.heal();
    assert_eq!(world.held(), [1; 4]);
}

/// However often a session is written, nodes that its writer does not reach have it ten seconds
/// later, if there is a way over other nodes.
#[test]
fn session_that_is_written_all_the_time_reaches_a_node_beyond_a_cut() {
    for interval_ms in [50, 400, 900, 2500] {
        assert_eq!(hot_beyond_a_cut(interval_ms), None, "{interval_ms}");
    }
}

/// More sessions that one node cannot take in than their link remembers keep two nodes from ever being
/// equal.
#[test]
fn nodes_that_are_linked_and_never_equal_are_not_away() {
    assert_eq!(day_without_equality(), None);
}

/// Nodes that meet an older write before and after they have forgotten a removal end alike.
#[test]
fn removal_that_one_node_has_forgotten_is_not_undone() {
    assert_eq!(removal_forgotten_on_one_node(), None);
}

/// Nodes restart by turns for a day, and each gets the tombstone from the other.
#[test]
fn tombstone_handed_from_node_to_node_keeps_its_age() {
    assert_eq!(restarts_by_turns(), None);
}

/// A log of three records holds less than a node changes in `ack_timeout`.
#[test]
fn nobody_waits_for_a_stuck_peer_however_short_the_log() {
    assert_eq!(stuck_peer(), None);
}

#[test]
fn node_that_leaves_waits_for_a_peer_that_has_just_lost_its_link() {
    assert_eq!(leave_during_a_cut(), None);
}

/// What a third node wrote that is gone is in the log of none.
#[test]
fn node_that_leaves_waits_for_a_peer_that_joins() {
    assert_eq!(leave_beside_a_joiner(), None);
}

/// A link breaks right before a write, and the writer dies right after the response.
#[test]
fn what_is_acknowledged_after_a_link_broke_is_held_by_the_peer() {
    for is_first in [true, false] {
        for fault in [LinkFault::Reset, LinkFault::Stall, LinkFault::ResetAndStall] {
            let broken = write_beside(fault, is_first);
            assert_eq!(broken, None, "{fault:?}, first: {is_first}");
        }
    }
}

/// Acknowledgements that nobody waits for come late, but before the peer counts as lagging.
#[test]
fn peer_that_keeps_up_does_not_lag_though_nobody_waits_for_it() {
    assert_eq!(writer_without_waiters(), None);
}

/// A request begins when peers are about to drop their copies, and runs for long.
#[test]
fn use_that_begins_at_the_last_moment_keeps_the_session_on_other_nodes() {
    assert_eq!(use_at_the_last_moment(), None);
}

/// The dialler asks as soon as its end of the link is made, and the listener's is made later.
#[test]
fn request_goes_on_without_a_session_that_a_node_destroyed_before_it_met_anybody() {
    assert_eq!(destroyed_before_the_first_link(), None);
}

/// A client presents its cookie to a node that does not know the session.
#[test]
fn logout_reaches_a_session_along_any_path_of_links() {
    assert_eq!(logout_along_a_path(), None);
}

/// Only the last of four nodes in a row has sessions, and the first reaches the second alone.
#[test]
fn nodes_that_join_from_each_other_are_not_ready_without_what_one_of_them_still_waits_for() {
    for seed in 0..20 {
        assert_eq!(joins_in_a_row(seed), None, "seed {seed}");
    }
}

#[test]
fn node_that_peers_answer_without_a_link_is_not_ready_without_their_sessions() {
    assert_eq!(join_at_a_closed_door(), None);
}

/// The checker is checked: with any rule broken it finds a broken promise.
#[test]
fn every_known_wrong_variant_is_noticed() {
    let asked = std::env::var("SIMULATION_MUTANT").ok();
    let is_asked = |mutant: &Mutant| {
        asked
            .as_ref()
            .is_none_or(|name| *name == format!("{mutant:?}"))
    };
    let of_nodes = Mutant::OF_NODES
        .iter()
        .map(|mutant| (mutant, hunt as fn() -> _));
    let of_disks = Mutant::OF_DISKS
        .iter()
        .map(|mutant| (mutant, hunt_with_disks as fn() -> _));
    let all = of_nodes.chain(of_disks);
    for (mutant, hunt) in all.filter(|(mutant, _)| is_asked(mutant)) {
        let noticed = mutant.with(hunt);
        let Some((histories, promise)) = noticed else {
            panic!("{mutant:?} was not noticed");
        };
        println!("{mutant:?}: history {histories}: {promise}");
    }
}

/// Looks for the first broken promise. Returns it, and after how many histories it came.
fn hunt() -> Option<(u64, String)> {
    let scenes = long_cut().or_else(restarts_by_turns);
    let scenes = scenes.or_else(|| {
        HEARTBEAT_PHASES
            .into_iter()
            .find_map(begun_right_before_a_cut)
    });
    let scenes = scenes.or_else(removal_forgotten_on_one_node);
    let scenes = scenes.or_else(stuck_peer).or_else(writer_without_waiters);
    let scenes = scenes.or_else(|| write_beside(LinkFault::Reset, true));
    let scenes = scenes.or_else(|| write_beside(LinkFault::ResetAndStall, false));
    let scenes = scenes.or_else(leave_during_a_cut);
    let scenes = scenes.or_else(leave_beside_a_joiner);
    let scenes = scenes.or_else(logout_along_a_path);
    let scenes = scenes.or_else(use_at_the_last_moment);
    let scenes = scenes.or_else(|| beyond_a_limit(AtLimit::EndOldest));
    let scenes = scenes.or_else(clocks_and_a_limit);
    let scenes = scenes.or_else(|| visit_at_the_last_moment(true));
    let scenes = scenes.or_else(|| hot_beyond_a_cut(400));
    let scenes = scenes.or_else(day_without_equality);
    let scenes = scenes.or_else(|| joins_in_a_row(0));
    let scenes = scenes.or_else(cut_beyond_memory);
    let scenes = scenes.or_else(|| (0..8).find_map(map_without_end));
    let scenes = scenes.or_else(room_that_runs_out);
    let scenes = scenes.or_else(forgotten::scenes);
    if let Some(broken) = scenes.or_else(join_at_a_closed_door) {
        return Some((0, broken));
    }
    let plans = [
        THREE_NODES,
        SHORT_LOG,
        HOT_SESSIONS,
        SHORT_LIVES,
        MANY_DAYS,
        MANY_NAMES,
        LITTLE_MEMORY,
        MAPS,
    ];
    hunt_in(&plans)
}

/// The same with nodes that have directories.
fn hunt_with_disks() -> Option<(u64, String)> {
    let broken = durable::scenes().map(|broken| (0, broken));
    broken.or_else(|| hunt_in(&[DISKS, LATE_DISKS, DAYS_WITH_DISKS]))
}

fn hunt_in(plans: &[Plan]) -> Option<(u64, String)> {
    (0..MUTANT_HISTORIES).find_map(|seed| {
        let plan = plans[seed as usize % plans.len()];
        let broken = World::new(seed, plan).run()?;
        Some((seed + 1, broken))
    })
}

fn long_cut() -> Option<String> {
    let mut world = World::new(1, THREE_NODES);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.create(0);
    world.create(0);
    world.heal();
    world.cut_off(1);
    world.destroy_session(0, 0);
    world.heal_what_is_connected();
    // Begun alone, and so unknown to the others.
    world.pass(20_000);
    world.create(1);
    // What was acknowledged is rightly forgotten in a day.
    world.commits.clear();
    for _ in 0..(26 * 6) {
        world.pass(HOUR_MS / 6);
        for node in 0..3 {
            for session in 0..3 {
                world.touch_session(node, session);
            }
        }
        world.change(1, 1, "alone", VALUE);
        world.heal_what_is_connected();
    }
    let before = world.held();
    let tombstones = world.nodes[0].replica.tombstones();
    world.check(before == [1, 3, 1], || {
        format!("before the meeting: {before:?}")
    });
    world.check(tombstones == 0, || {
        "the tombstone is not forgotten".to_owned()
    });
    world.heal();
    let after = world.held();
    world.check(after == [2, 2, 2], || {
        format!("after the meeting: {after:?}")
    });
    let key = world.sessions[1].key;
    let has = |state: &SessionState| state.register("alone").is_some();
    let kept = world.nodes[0].replica.read(&key, has);
    world.check(matches!(kept, Ok(true)), || {
        "a write to a session that all nodes have was dropped".to_owned()
    });
    world.check_equal();
    world.broken
}

fn begun_right_before_a_cut(after_ms: u64) -> Option<String> {
    let mut world = World::new(1, THREE_NODES);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.create(1);
    world.heal();
    world.advance(after_ms);
    world.create_and_commit(1);
    let began_ms = world.mono_ms;
    while world.held() != [2; 3] && world.mono_ms < began_ms + 400 {
        world.deliver_all();
        world.advance(10);
    }
    world.check(world.held() == [2; 3], || {
        "it has reached nobody".to_owned()
    });
    world.cut_off(1);
    world.destroy_session(0, 1);
    world.commits.clear();
    for _ in 0..(26 * 6) {
        world.pass(HOUR_MS / 6);
        for node in 0..3 {
            world.touch_session(node, 0);
            world.touch_session(node, 1);
        }
        world.heal_what_is_connected();
    }
    let before = world.held();
    let tombstones = world.nodes[0].replica.tombstones();
    world.check(before == [1, 2, 1] && tombstones == 0, || {
        format!("before the meeting: {before:?}, {tombstones} tombstones")
    });
    world.heal();
    let after = world.held();
    world.check(after == [1; 3], || format!("after the meeting: {after:?}"));
    world.broken
}

fn cut_beyond_memory() -> Option<String> {
    let mut world = World::new(1, LITTLE_MEMORY);
    world.create(0);
    world.create(0);
    world.heal();
    world.cut_off(1);
    world.destroy_session(0, 0);
    world.come_and_go(0, LITTLE_MEMORY.tombstones * 7 / 8);
    // Begun alone, and so unknown to the others.
    world.pass(20_000);
    world.create(1);
    for _ in 0..6 {
        world.heal_what_is_connected();
        world.pass(20_000);
        world.change(1, 1, "alone", VALUE);
    }
    world.heal_what_is_connected();
    let before = world.held();
    let tombstones = world.nodes[0].replica.tombstones();
    world.check(before == [1, 3, 1] && tombstones == 0, || {
        format!("before the meeting: {before:?}, {tombstones} tombstones")
    });
    world.heal();
    let after = world.held();
    world.check(after == [2, 2, 2], || {
        format!("after the meeting: {after:?}")
    });
    world.check_equal();
    world.broken
}

fn room_that_runs_out() -> Option<String> {
    let plan = Plan {
        nodes: 5,
        ..LITTLE_MEMORY
    };
    let mut world = World::new(1, plan);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.heal();
    world.link_only(&[(0, 1), (1, 2), (2, 3), (3, 4)]);
    world.come_and_go(0, plan.tombstones * 7 / 8);
    let retentions = |world: &World| {
        let nodes = world.nodes.iter();
        let all = nodes.map(|node| node.replica.tombstone_use().retention_ms);
        all.collect::<Vec<_>>()
    };
    world.heal_what_is_connected();
    let told = retentions(&world);
    world.pass(60_000);
    world.heal_what_is_connected();
    let nodes = world.nodes.iter();
    let held: Vec<_> = nodes.map(|node| node.replica.tombstones()).collect();
    world.check(held == [0; 5], || format!("{held:?} tombstones are left"));
    world.check(told == [Some(60_000); 5], || format!("{told:?}"));
    for _ in 0..20 {
        world.pass(24 * HOUR_MS);
        world.heal_what_is_connected();
    }
    let told = retentions(&world);
    world.check(told == [None; 5], || format!("{told:?} in spite of room"));
    world.broken
}

/// Node 1 writes what node 0 removes a little later. Node 2 hears of both while it remembers the
/// removal, node 0 hears of the write when it has removed so much that it does not any more.
fn removal_forgotten_on_one_node() -> Option<String> {
    let plan = Plan {
        nodes: 4,
        ..MANY_NAMES
    };
    let mut world = World::new(1, plan);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.create(0);
    world.change(0, 0, "a", VALUE);
    world.heal();
    world.link_only(&[(0, 2), (1, 3)]);
    world.change(1, 0, "a", VALUE);
    world.mono_ms += 10;
    world.change(0, 0, "a", None);
    world.heal_what_is_connected();
    world.link_only(&[(1, 2)]);
    for name in ["b", "c", "d", "e"] {
        world.change(0, 0, name, VALUE);
        world.change(0, 0, name, None);
    }
    world.link_only(&[(0, 3)]);
    let key = world.sessions[0].key;
    let has = |state: &SessionState| state.names().next().is_some();
    let held = [0, 2].map(|node| world.nodes[node].replica.read(&key, has).ok());
    world.check(held == [Some(true), Some(false)], || {
        format!("nodes 0 and 2 show {held:?}")
    });
    world.heal();
    world.check_equal();
    world.broken
}

fn beyond_a_limit(at_limit: AtLimit) -> Option<String> {
    let plan = Plan {
        limit: Some((2, at_limit)),
        ..LIMITED
    };
    let mut world = World::new(1, plan);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    for at in 0..5 {
        world.create(at % 3);
    }
    world.heal();
    for node in 0..3 {
        world.cut_off(node);
    }
    for at in 0..5 {
        world.mono_ms += 10;
        world.change(at % 3, at, work::SEARCHED, VALUE);
    }
    world.heal();
    let expected = match at_limit {
        AtLimit::EndOldest => [3, 4],
        AtLimit::Refuse => [0, 1],
    };
    let mut expected = expected.map(|at: usize| world.sessions[at].key);
    expected.sort_unstable();
    let nodes = world.nodes.iter();
    let held: Vec<_> = nodes.map(|node| checks::holders(node, b"1")).collect();
    world.check(held.iter().all(|held| *held == expected), || {
        format!("{held:?} have a value that {expected:?} may have")
    });
    world.check_equal();
    world.broken
}

/// Each of nine sessions gets a value of which there may be two.
fn clocks_and_a_limit() -> Option<String> {
    let mut world = World::new(1, LIMITED);
    for (node, skew_ms) in [2 * HOUR_MS, 0, HOUR_MS].into_iter().enumerate() {
        world.nodes[node].skew_ms = skew_ms;
    }
    for _ in 0..9 {
        world.create(0);
    }
    world.heal();
    let mut latest = Vec::new();
    for at in 0..9 {
        // Three on one node at one moment, then by turns.
        let node = at.max(2) % 3;
        world.change(node, at, work::SEARCHED, VALUE);
        world.end_surplus(node);
        if at >= 2 {
            world.heal();
        }
        latest.push(world.sessions[at].key);
        let mut expected = latest[at.saturating_sub(1)..].to_vec();
        expected.sort_unstable();
        let held = checks::holders(&world.nodes[node], b"1");
        world.check(held == expected, || {
            format!("{held:?} have a value that {expected:?} got last")
        });
    }
    world.check_equal();
    world.broken
}

/// Node 2 gives a map to node 1 and dies, and node 3 one to node 0. A month later nodes 0 and 1 meet,
/// which were alone meanwhile: one of them doubts what the other lacks.
fn map_without_end(seed: u64) -> Option<String> {
    let plan = Plan {
        nodes: 4,
        maps: 2,
        unconfirmed_ms: 120_000,
        ..THREE_NODES
    };
    let mut world = World::new(seed, plan);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.heal();
    world.link_only(&[(0, 3), (1, 2)]);
    world.change(2, 0, "a", VALUE);
    world.change(3, 1, "a", VALUE);
    world.heal_what_is_connected();
    world.destroy_session(1, 0);
    world.heal_what_is_connected();
    for pair in world.pairs() {
        world.cut(pair);
    }
    for gone in [2, 3] {
        world.crash(gone, Crash::Told);
    }
    for _ in 0..30 {
        world.pass(24 * HOUR_MS);
        world.rest();
    }
    let before = world.held();
    world.check(before == [1, 1, 0, 0], || {
        format!("maps held after a month: {before:?}")
    });
    world.link_only(&[(0, 1)]);
    world.heal();
    let after = world.held();
    world.check(after == [2; 4], || {
        format!("maps held after the meeting: {after:?}")
    });
    world.check_equal();
    world.broken
}

fn use_at_the_last_moment() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    let began_ms = world.mono_ms;
    world.create(0);
    world.heal();
    // Half a second before the first copy may be dropped: the limit, the minute within which use is
    // told, and two seconds.
    let last_ms = began_ms + plan.idle_ms + 61_500;
    world.pass(last_ms - world.mono_ms);
    let opened = world.open_session(0, 0);
    world.check(opened, || "the session has ended too early".to_owned());
    for _ in 0..50 {
        world.advance(100);
        world.deliver_all();
        let held = world.held();
        world.check(held == [1, 1], || {
            format!("sessions held while one is in use: {held:?}")
        });
    }
    world.broken
}

fn visit_at_the_last_moment(is_cut: bool) -> Option<String> {
    let plan = Plan {
        nodes: 2,
        unconfirmed_ms: 120_000,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    let began_ms = world.mono_ms;
    world.create(0);
    world.heal();
    if is_cut {
        world.cut((0, 1));
    }
    // Half a second before the first copy may be dropped: the limit, a twentieth of it, and two
    // seconds.
    let last_ms = began_ms + plan.unconfirmed_ms + 6_000 + 1_500;
    world.pass(last_ms - world.mono_ms);
    world.touch_session(1, 0);
    let look = |world: &mut World| {
        for _ in 0..50 {
            world.advance(100);
            world.deliver_all();
        }
        world.held()
    };
    let held = look(&mut world);
    world.check(held == [usize::from(!is_cut), 1], || {
        format!("sessions held after the visit: {held:?}")
    });
    world.heal();
    // It has its own idle limit now.
    world.pass(plan.idle_ms - 60_000);
    let held = look(&mut world);
    world.check(held == [1, 1], || {
        format!("sessions held of a client that has come back: {held:?}")
    });
    world.heal();
    world.check_equal();
    world.broken
}

/// Of four nodes in a row the first holds a session, and its client logs out at the last.
fn logout_along_a_path() -> Option<String> {
    let plan = Plan {
        nodes: 4,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.heal();
    for pair in [(0, 2), (0, 3), (1, 3)] {
        world.cut(pair);
    }
    world.create(0);
    world.log_out_of(3, 0);
    // Repair leaves out for longer what has changed: no repair has a part in it.
    for _ in 0..8 {
        world.deliver_all();
        world.advance(100);
    }
    let held = world.held();
    world.check(held == [0; 4], || {
        format!("sessions after a logout at the end of a path: {held:?}")
    });
    world.heal();
    world.check_equal();
    world.broken
}

/// Nodes 0 and 1 have no link, node 2 reaches both. Every ten seconds node 1 must have got what
/// node 0 had written before.
fn hot_beyond_a_cut(interval_ms: u64) -> Option<String> {
    let mut world = World::new(1, THREE_NODES);
    world.heal();
    world.cut((0, 1));
    world.create(0);
    for _ in 0..3 {
        let before = world.own_write(0);
        for _ in 0..10_000 / interval_ms {
            world.change(0, 0, "a", VALUE);
            for _ in 0..interval_ms.div_ceil(50) {
                world.advance(50);
                world.deliver_some();
            }
        }
        let has = |state: &SessionState| before.is_none_or(|tag| state.covers(tag));
        let key = world.sessions[0].key;
        let held = world.nodes[1].replica.read(&key, has);
        world.check(matches!(held, Ok(true)), || {
            format!("node 1 holds {held:?}")
        });
    }
    world.broken
}

/// Nodes 0 and 1 are linked for a day, and talk every ten minutes.
fn day_without_equality() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        // Two of them fall into one of eight digest shards.
        sessions: 9,
        bytes_of_node_1: 200,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.heal();
    for session in 0..plan.sessions {
        world.create(0);
        world.change(0, session, "a", Some(&[b'1'; 900]));
    }
    // What is over a limit is acknowledged, although it is not merged.
    world.commits.clear();
    for _ in 0..(26 * 6) {
        world.pass(HOUR_MS / 6);
        for session in 0..plan.sessions {
            world.touch_session(0, session);
        }
        world.heal_what_is_connected();
    }
    let [one, other] = [0, 1].map(|node| world.nodes[node].replica.digests());
    world.check(one != other, || "they are equal".to_owned());
    for node in 0..2 {
        let away = world.nodes[node].replica.is_away(world.now(node));
        world.check(!away, || format!("node {node} takes itself for away"));
    }
    world.broken
}

fn restarts_by_turns() -> Option<String> {
    let mut world = World::new(
        1,
        Plan {
            nodes: 2,
            ..THREE_NODES
        },
    );
    world.create(0);
    world.heal();
    world.destroy_session(0, 0);
    world.heal();
    for hours in 0..26 {
        world.pass(HOUR_MS);
        world.crash(hours % 2, Crash::Told);
        world.heal();
    }
    let remembered = world.nodes[0].replica.tombstones();
    world.check(remembered == 0, || "a tombstone lives for ever".to_owned());
    world.broken
}

fn stuck_peer() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..SHORT_LOG
    };
    let mut world = World::new(1, plan);
    world.create(0);
    world.heal();
    world.swallow_from(1);
    for _ in 0..OPTIONS.ack_timeout_ms / 100 + 2 {
        world.add(0);
        world.advance(100);
        // It is heard, and acknowledges nothing.
        for end in world.cables.values().flat_map(|cable| &cable.ends) {
            end.iter().for_each(|end| end.handle.hear(world.mono_ms));
        }
    }
    let wait_on = world.waits.len();
    world.check(wait_on == 0, || {
        format!("{wait_on} requests wait for a stuck peer")
    });
    world.broken
}

/// What happens to a node right before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkFault {
    Reset,
    /// Its process is stopped, and makes its links anew.
    Stall,
    /// It is stopped before it has a new link.
    ResetAndStall,
}

/// The write is the first of its node, or one of many.
fn write_beside(fault: LinkFault, is_first: bool) -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.heal();
    if !is_first {
        world.create(0);
        world.heal();
    }
    if fault != LinkFault::Stall {
        world.cut((0, 1));
    }
    if fault != LinkFault::Reset {
        world.stall(0, 1_200);
    }
    world.create_and_commit(0);
    for _ in 0..5 {
        world.advance(100);
    }
    world.check(world.waits.len() == 1, || {
        "a request went on alone".to_owned()
    });
    world.dial_everybody();
    while !world.waits.is_empty() && world.broken.is_none() {
        world.advance(10);
        world.deliver_all();
    }
    world.crash(0, Crash::Untold);
    let held = world.nodes[1].replica.sessions();
    world.check(held == world.sessions.len(), || {
        format!("the peer holds {held} sessions")
    });
    world.broken
}

fn leave_during_a_cut() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.heal();
    world.cut((0, 1));
    world.create(0);
    world.leave_from(0, |world| world.dial_everybody());
    world.check_held_by(1)
}

fn leave_beside_a_joiner() -> Option<String> {
    let mut world = World::new(1, THREE_NODES);
    world.heal();
    world.cut_off(1);
    world.create(2);
    world.create(2);
    world.heal_what_is_connected();
    for gone in [2, 1] {
        world.crash(gone, Crash::Told);
    }
    world.fail_to_dial(0, 2, Reach::Unreachable);
    world.dial_each_other((0, 1));
    world.leave_from(0, |_| ());
    world.check_held_by(1)
}

fn destroyed_before_the_first_link() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.cut((0, 1));
    world.crash(1, Crash::Told);
    world.create(1);
    world.dial(0, 1);
    world.ask_for(0, 0, FetchReason::Token);
    world.destroy_session(1, 0);
    world.heal_what_is_connected();
    world.check_equal();
    world.broken
}

fn writer_without_waiters() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.create(0);
    world.heal();
    for _ in 0..30 {
        world.write_quietly(0, 0);
        world.advance(100);
        let mut ends = world.cables.values().flat_map(|cable| &cable.ends);
        let is_late = ends.any(|end| {
            let link = end.as_ref().map(|end| end.machine.link());
            link.is_some_and(Link::is_lagging)
        });
        world.check(!is_late, || {
            "a peer that keeps up is taken for one that lags".to_owned()
        });
        world.deliver_all();
    }
    world.broken
}

fn joins_in_a_row(seed: u64) -> Option<String> {
    let plan = Plan {
        nodes: 4,
        ..THREE_NODES
    };
    let mut world = World::new(seed, plan);
    world.create(3);
    world.create(3);
    world.heal();
    for node in 0..3 {
        world.crash(node, Crash::Told);
    }
    for round in 0..30 {
        for (low, high) in world.pairs() {
            match high - low {
                1 if high < 3 || round >= 5 => world.dial_each_other((low, high)),
                1 => {}
                _ => {
                    world.fail_to_dial(low, high, Reach::Unreachable);
                    world.fail_to_dial(high, low, Reach::Unreachable);
                }
            }
        }
        world.rest();
        world.check_no_ready_node_is_empty();
    }
    let is_joining = world.nodes.iter().any(|node| node.join.is_some());
    world.check(!is_joining, || "a node is never ready".to_owned());
    world.broken
}

fn join_at_a_closed_door() -> Option<String> {
    let plan = Plan {
        nodes: 2,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    world.create(0);
    world.heal();
    world.crash(1, Crash::Told);
    for round in 0..12 {
        let found = [Reach::Mute, Reach::Refused, Reach::Replaced][round % 3];
        world.fail_to_dial(1, 0, found);
        world.rest();
        world.check_no_ready_node_is_empty();
    }
    let has_timed_out = world.nodes[1].timed_out;
    world.check(has_timed_out, || "a node waits for ever".to_owned());
    world.heal();
    world.check_equal();
    world.broken
}

fn run_seeds(name: &str, first: u64, plan: Plan) {
    let asked = |variable| std::env::var(variable).ok()?.parse().ok();
    let (first, count) = match asked("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (first, asked("SIMULATION_HISTORIES").unwrap_or(HISTORIES)),
    };
    for seed in first..first + count {
        if let Some(broken) = World::new(seed, plan).run() {
            panic!("plan `{name}`, SIMULATION_SEED={seed}: {broken}");
        }
    }
}

/// What a family of histories has in common.
#[derive(Clone, Copy, Debug)]
struct Plan {
    nodes: usize,
    sessions: usize,
    max_sessions: usize,
    /// What a session may weigh on node 1. On others it is 1 000.
    bytes_of_node_1: usize,
    log_records: usize,
    /// `u64::MAX` for none.
    idle_ms: u64,
    /// The idle limit of sessions whose clients have not come back.
    unconfirmed_ms: u64,
    /// How many maps the app has.
    maps: usize,
    /// Attribute names in use. Of more than three any may be removed.
    names: usize,
    steps: usize,
    /// How often all is quiet for a night and then goes on.
    nights: usize,
    night_ms: u64,
    /// How many sessions may have a value, and what happens beyond.
    limit: Option<(usize, AtLimit)>,
    /// Destroyed sessions that nodes have room for. Node 1 has room for a million.
    tombstones: usize,
    disks: Disks,
}

const THREE_NODES: Plan = Plan {
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
const MAPS: Plan = Plan {
    maps: 2,
    idle_ms: 3_000,
    unconfirmed_ms: 3_000,
    steps: 300,
    ..THREE_NODES
};

const LIMITED: Plan = Plan {
    sessions: 12,
    limit: Some((2, AtLimit::EndOldest)),
    ..THREE_NODES
};

const SHORT_LOG: Plan = Plan {
    log_records: 3,
    ..THREE_NODES
};

const HOT_SESSIONS: Plan = Plan {
    sessions: 2,
    ..THREE_NODES
};

const MANY_NAMES: Plan = Plan {
    names: 9,
    sessions: 2,
    steps: 300,
    ..THREE_NODES
};

const SHORT_LIVES: Plan = Plan {
    idle_ms: 3_000,
    steps: 300,
    ..THREE_NODES
};

/// Clients that come back, and others that do not, at nodes that are full all the time.
const VISITORS: Plan = Plan {
    sessions: 30,
    max_sessions: 8,
    unconfirmed_ms: 6_000,
    steps: 400,
    ..THREE_NODES
};

const MANY_DAYS: Plan = Plan {
    sessions: 3,
    idle_ms: 40 * HOUR_MS,
    nights: 6,
    steps: 60,
    ..THREE_NODES
};

const LITTLE_MEMORY: Plan = Plan {
    sessions: 100,
    steps: 100,
    nights: 7,
    night_ms: 45_000,
    tombstones: 40,
    ..THREE_NODES
};

/// Histories of each plan in an ordinary test run.
const HISTORIES: u64 = 150;
/// How many histories are looked at for a broken rule at most.
const MUTANT_HISTORIES: u64 = 20_000;
/// Steps between two looks at what the indexes have.
const INDEX_INTERVAL: usize = 16;
const VALUE: Option<&[u8]> = Some(b"1");
/// When something happens between two heartbeats.
const HEARTBEAT_PHASES: [u64; 5] = [0, 100, 200, 300, 400];
const HOUR_MS: u64 = 60 * 60 * 1000;

impl Plan {
    /// Returns whether idle sessions end within a history.
    const fn ends_sessions(&self) -> bool {
        self.idle_ms < 60_000
            || self.unconfirmed_ms < 60_000
            || self.nights as u64 * self.night_ms > self.idle_ms
    }

    /// Returns whether there is not room for all destroyed sessions.
    const fn forgets_destroyed(&self) -> bool {
        self.tombstones < self.sessions
    }

    /// Returns whether nodes may have been down for long. What they doubt they give a little later.
    fn doubts_sessions(&self) -> bool {
        self.disks != Disks::None && self.nights > 0
    }

    /// Returns whether more removals may be remembered than a session has room for.
    const fn forgets_removals(&self) -> bool {
        self.names > 3
    }
}

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
    node: usize,
    boot: BootId,
    search: Search,
    /// The writes that it means: those of the past that are earlier by all clocks, too.
    meant: Vec<(SessionKey, Tag)>,
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
