//! What holds of writers that vectors have forgotten, in sessions and maps that do not end.

use super::{
    HOUR_MS, VALUE, World,
    plans::{Plan, THREE_NODES},
};
use crate::session::{KEPT_ORIGINS, SessionState};

/// What a node has written first goes to a peer that has had it for days, from others.
#[test]
fn change_of_a_writer_that_is_forgotten_goes_to_a_peer_that_is_linked_late() {
    for session in BOTH {
        assert_eq!(change_of_a_forgotten_writer(session), None, "{session}");
    }
}

/// The same from a node that does not know yet that others have forgotten it.
#[test]
fn what_was_counted_by_a_writer_that_is_forgotten_is_not_counted_twice() {
    for session in BOTH {
        assert_eq!(change_that_comes_late(session), None, "{session}");
    }
}

/// Scenes in which a broken rule shows.
pub(super) fn scenes() -> Option<String> {
    let scenes = BOTH.into_iter().find_map(change_of_a_forgotten_writer);
    scenes.or_else(|| BOTH.into_iter().find_map(change_that_comes_late))
}

fn change_of_a_forgotten_writer(session: usize) -> Option<String> {
    let mut world = world(session);
    for _ in 0..KEPT_ORIGINS {
        world.pass_a_day();
        world.change(1, session, "b", VALUE);
    }
    world.rest();
    world.check_forgotten(0, session, true);
    world.link_late(session)
}

fn change_that_comes_late(session: usize) -> Option<String> {
    let mut world = world(session);
    for _ in 1..KEPT_ORIGINS {
        world.pass_a_day();
        world.change(1, session, "b", VALUE);
    }
    world.pass_a_day();
    world.cut((0, 1));
    world.change(1, session, "b", VALUE);
    world.rest();
    world.check_forgotten(0, session, false);
    world.check_forgotten(2, session, true);
    world.link_late(session)
}

/// Returns three nodes in a row with a map and a session, into one of which the first node has
/// written. When the second one writes a day later it is another origin.
fn world(session: usize) -> World {
    let plan = Plan {
        maps: 1,
        idle_ms: u64::MAX,
        ..THREE_NODES
    };
    let mut world = World::new(1, plan);
    for node in &mut world.nodes {
        node.skew_ms = 0;
    }
    world.heal();
    world.link_only(&[(0, 1), (1, 2)]);
    world.create(0);
    world.change(0, session, "a", VALUE);
    world.count(0, session, "m", COUNTED);
    // So the session stays in memory as it is until the next commit.
    world.change_quietly(0, session, "c");
    for _ in 0..10 {
        world.rest();
    }
    world
}

impl World {
    fn pass_a_day(&mut self) {
        self.rest();
        self.pass(24 * HOUR_MS);
        self.rest();
        // What was acknowledged is rightly forgotten in a day.
        self.commits.clear();
    }

    /// Links the first node and the last one.
    fn link_late(mut self, session: usize) -> Option<String> {
        self.dial(0, 2);
        for _ in 0..40 {
            self.advance(10);
            self.deliver_all();
            self.check_honesty();
        }
        self.heal();
        self.check_equal();
        self.check_count(session);
        self.broken
    }

    /// Checks whether a copy has forgotten that the first node has ever written.
    fn check_forgotten(&mut self, node: usize, session: usize, expected: bool) {
        let writer = self.nodes[0].replica.boot();
        let key = self.sessions[session].key;
        let names = |state: &SessionState| {
            let entries = state.vector().entries();
            entries.iter().any(|(origin, _)| origin.boot == writer)
        };
        let named = self.nodes[node].replica.read(&key, names).ok();
        self.check(named == Some(!expected), || {
            format!("node {node} names the first writer: {named:?}")
        });
    }

    fn check_count(&mut self, session: usize) {
        let key = self.sessions[session].key;
        let count = |state: &SessionState| state.count("m");
        let counts: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.replica.read(&key, count))
            .collect();
        let all = counts.iter().all(|count| matches!(count, Ok(Ok(COUNTED))));
        self.check(all, || {
            format!("{COUNTED} was counted, and nodes say {counts:?}")
        });
    }
}

/// The map, and the session.
const BOTH: [usize; 2] = [0, 1];
const COUNTED: i64 = 5;
