//! Scenes of nodes that are apart for hours and days.

use super::{
    HOUR_MS, VALUE, World,
    cable::Crash,
    plans::{LITTLE_MEMORY, MANY_NAMES, Plan, THREE_NODES},
};
use crate::session::SessionState;

/// Nobody uses it for a month, somebody destroys it, and it is in doubt when nodes meet.
#[test]
fn map_of_the_app_never_ends() {
    for seed in 0..8 {
        assert_eq!(map_without_end(seed), None, "seed {seed}");
    }
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

/// The nodes that destroyed it hold nothing else either.
#[test]
fn only_session_of_all_that_was_destroyed_during_such_a_cut_stays_destroyed() {
    assert_eq!(long_cut_from_the_empty(), None);
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

pub(super) fn long_cut() -> Option<String> {
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

pub(super) fn long_cut_from_the_empty() -> Option<String> {
    let mut world = World::new(1, THREE_NODES);
    world.create(0);
    world.heal();
    world.cut_off(1);
    world.destroy_session(0, 0);
    world.heal_what_is_connected();
    // What was acknowledged is rightly forgotten in a day.
    world.commits.clear();
    for _ in 0..(26 * 6) {
        world.pass(HOUR_MS / 6);
        world.touch_session(1, 0);
        world.heal_what_is_connected();
    }
    let (before, tombstones) = (world.held(), world.nodes[0].replica.tombstones());
    world.check((before == [0, 1, 0]) && tombstones == 0, || {
        format!("before the meeting: {before:?} and {tombstones} tombstones")
    });
    world.heal();
    let after = world.held();
    world.check(after == [0, 0, 0], || {
        format!("after the meeting: {after:?}")
    });
    world.check_equal();
    world.broken
}

pub(super) fn begun_right_before_a_cut(after_ms: u64) -> Option<String> {
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

pub(super) fn cut_beyond_memory() -> Option<String> {
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

pub(super) fn room_that_runs_out() -> Option<String> {
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
pub(super) fn removal_forgotten_on_one_node() -> Option<String> {
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

/// Node 2 gives a map to node 1 and dies, and node 3 one to node 0. A month later nodes 0 and 1 meet,
/// which were alone meanwhile: one of them doubts what the other lacks.
pub(super) fn map_without_end(seed: u64) -> Option<String> {
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

/// Nodes 0 and 1 are linked for a day, and talk every ten minutes.
pub(super) fn day_without_equality() -> Option<String> {
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

pub(super) fn restarts_by_turns() -> Option<String> {
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

/// When something happens between two heartbeats.
pub(super) const HEARTBEAT_PHASES: [u64; 5] = [0, 100, 200, 300, 400];
