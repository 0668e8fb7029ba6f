//! Scenes of sessions that end, or are about to.

use super::{
    HOUR_MS, VALUE, World,
    cable::Crash,
    checks,
    plans::{LIMITED, Plan, THREE_NODES},
    work,
};
use crate::{cluster::FetchReason, config::AtLimit, session::SessionState};

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

/// However often a session is written, nodes that its writer does not reach have it ten seconds
/// later, if there is a way over other nodes.
#[test]
fn session_that_is_written_all_the_time_reaches_a_node_beyond_a_cut() {
    for interval_ms in [50, 400, 900, 2500] {
        assert_eq!(hot_beyond_a_cut(interval_ms), None, "{interval_ms}");
    }
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

pub(super) fn beyond_a_limit(at_limit: AtLimit) -> Option<String> {
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
pub(super) fn clocks_and_a_limit() -> Option<String> {
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
        let key = world.sessions[at].key;
        world.end_surplus_beside(node, &key);
        if at >= 2 {
            world.heal();
        }
        latest.push(key);
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

pub(super) fn use_at_the_last_moment() -> Option<String> {
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

pub(super) fn visit_at_the_last_moment(is_cut: bool) -> Option<String> {
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
pub(super) fn logout_along_a_path() -> Option<String> {
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
pub(super) fn hot_beyond_a_cut(interval_ms: u64) -> Option<String> {
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

pub(super) fn destroyed_before_the_first_link() -> Option<String> {
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
