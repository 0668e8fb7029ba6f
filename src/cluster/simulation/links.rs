//! Scenes of links that break, and of nodes that join and leave.

use super::{
    OPTIONS, World,
    cable::Crash,
    plans::{Plan, SHORT_LOG, THREE_NODES},
};
use crate::{cluster::Reach, replica::Link};

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

pub(super) fn stuck_peer() -> Option<String> {
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
pub(super) enum LinkFault {
    Reset,
    /// Its process is stopped, and makes its links anew.
    Stall,
    /// It is stopped before it has a new link.
    ResetAndStall,
}

/// The write is the first of its node, or one of many.
pub(super) fn write_beside(fault: LinkFault, is_first: bool) -> Option<String> {
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

pub(super) fn leave_during_a_cut() -> Option<String> {
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

pub(super) fn leave_beside_a_joiner() -> Option<String> {
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

pub(super) fn writer_without_waiters() -> Option<String> {
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

pub(super) fn joins_in_a_row(seed: u64) -> Option<String> {
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

pub(super) fn join_at_a_closed_door() -> Option<String> {
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
