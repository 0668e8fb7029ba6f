//! What holds of nodes with directories: stops of some and of all, for moments and for days,
//! directories that are old or copied, clocks that are set back.

use super::{
    HOUR_MS, OPTIONS, VALUE, World,
    cable::ends_of,
    disk::Disks,
    plans::{Plan, THREE_NODES, run_seeds},
};
use crate::{
    replica::RoundMark,
    session::{Access, SessionState},
};

#[test]
fn histories_with_disks_keep_every_promise() {
    run_seeds("disks", 0, DISKS);
}

#[test]
fn histories_with_disks_that_nobody_waits_for_keep_every_promise() {
    run_seeds("late disks", 0, LATE_DISKS);
}

/// Nights come when some nodes are down, or all.
#[test]
fn histories_over_days_with_nodes_that_are_down_keep_every_promise() {
    run_seeds("days with disks", 0, DAYS_WITH_DISKS);
}

#[test]
fn histories_of_maps_on_disk_keep_every_promise() {
    run_seeds("maps on disk", 0, Plan { maps: 1, ..DISKS });
}

#[test]
fn histories_of_maps_on_disk_over_days_keep_every_promise() {
    let plan = Plan {
        maps: 1,
        ..DAYS_WITH_DISKS
    };
    run_seeds("maps on disk over days", 0, plan);
}

#[test]
fn session_that_was_destroyed_before_a_stop_of_all_for_days_stays_destroyed() {
    assert_eq!(stop_of_all(), None);
}

/// The others destroy a session of which it knows, and forget that.
#[test]
fn node_that_was_down_for_days_brings_nothing_back() {
    for seed in SEEDS {
        assert_eq!(down_for_days(seed, 0), None, "seed {seed}");
    }
}

#[test]
fn node_whose_clock_was_set_back_while_it_was_down_brings_nothing_back() {
    for seed in SEEDS {
        assert_eq!(down_for_days(seed, 10), None, "seed {seed}");
    }
}

/// It has saved the time of day since, and meets the others only after another start.
#[test]
fn node_whose_clock_was_set_back_brings_nothing_back_after_the_next_start_either() {
    for seed in SEEDS {
        assert_eq!(set_back_and_started_twice(seed), None, "seed {seed}");
    }
}

/// They meet each other before they meet the one that was not.
#[test]
fn two_nodes_that_were_down_for_days_bring_nothing_back() {
    for seed in SEEDS {
        assert_eq!(two_down_for_days(seed), None, "seed {seed}");
    }
}

/// They meet each other and the one that was not at the same moment.
#[test]
fn two_nodes_that_come_back_at_once_after_days_bring_nothing_back() {
    for seed in SEEDS {
        assert_eq!(two_back_at_once(seed), None, "seed {seed}");
    }
}

/// One that was down meets one that still has a session, and one that has destroyed it.
#[test]
fn node_in_doubt_hears_every_node_that_may_know() {
    for seed in SEEDS {
        assert_eq!(in_doubt_beside_two(seed), None, "seed {seed}");
    }
}

/// Each of three doubts beside the next one.
#[test]
fn nodes_that_doubt_in_a_circle_do_not_wait_for_each_other_for_long() {
    for seed in CIRCLES {
        assert_eq!(doubts_in_a_circle(seed), None, "seed {seed}");
    }
}

#[test]
fn node_that_starts_with_an_old_directory_brings_nothing_back() {
    for seed in SEEDS {
        assert_eq!(old_directory(seed), None, "seed {seed}");
    }
}

#[test]
fn two_nodes_with_copies_of_one_directory_are_two_nodes() {
    assert_eq!(copied_directory(), None);
}

#[test]
fn secret_that_was_replaced_after_a_directory_was_written_opens_nothing() {
    assert_eq!(directory_from_before_a_login(), None);
}

/// A node dies in the middle of a pass, so its facts do not say how late it was. Its clock was ahead.
#[test]
fn secret_that_was_replaced_after_the_last_facts_opens_nothing() {
    assert_eq!(clock_set_back_in_a_pass(), None);
}

/// A client has logged out of a session that only another node knows.
#[test]
fn order_outlives_a_stop_of_all() {
    assert_eq!(order_before_a_stop(), None);
}

/// One node has lost what the other one has made sure of, and has forgotten since then what it
/// destroyed.
#[test]
fn session_that_one_node_lost_with_its_machine_comes_from_the_other_after_days() {
    for seed in SEEDS {
        assert_eq!(lost_tail(seed), None, "seed {seed}");
    }
}

#[test]
fn nobody_waits_for_a_stuck_disk_for_long() {
    assert_eq!(stuck_disk(), None);
}

/// Scenes in which a broken rule shows.
pub(super) fn scenes() -> Option<String> {
    let scenes = stop_of_all().or_else(copied_directory);
    let scenes = scenes.or_else(directory_from_before_a_login);
    let scenes = scenes.or_else(clock_set_back_in_a_pass);
    let scenes = scenes.or_else(order_before_a_stop);
    let scenes = scenes.or_else(|| SEEDS.into_iter().find_map(|seed| down_for_days(seed, 0)));
    let scenes = scenes.or_else(|| SEEDS.into_iter().find_map(|seed| down_for_days(seed, 10)));
    let scenes = scenes.or_else(|| SEEDS.into_iter().find_map(set_back_and_started_twice));
    let scenes = scenes.or_else(|| SEEDS.into_iter().find_map(old_directory));
    let scenes = scenes.or_else(|| two_down_for_days(0));
    let scenes = scenes.or_else(|| SEEDS.into_iter().find_map(in_doubt_beside_two));
    let scenes = scenes.or_else(|| CIRCLES.into_iter().find_map(doubts_in_a_circle));
    scenes.or_else(|| SEEDS.into_iter().find_map(lost_tail))
}

fn stop_of_all() -> Option<String> {
    let mut world = world(0, 0);
    world.create(0);
    world.create(0);
    world.heal();
    world.cut((0, 1));
    world.destroy_session(0, 0);
    world.save_all();
    world.stop_all();
    world.pass(3 * DAY_MS);
    world.start_all();
    world.heal();
    world.check_held([1, 1])
}

fn down_for_days(seed: u64, days_set_back: u64) -> Option<String> {
    let mut world = world(seed, days_set_back * DAY_MS);
    world.create(0);
    world.create(0);
    world.heal();
    world.cut((0, 1));
    // Begun alone, and so unknown to the other one.
    world.pass(20_000);
    world.create(1);
    world.save_all();
    world.stop(1);
    world.destroy_session(0, 0);
    world.create(0);
    world.pass_alone(0, 26);
    world.skew_ms = Some(0);
    world.start(1);
    world.heal();
    world.check_held([3, 3])
}

fn set_back_and_started_twice(seed: u64) -> Option<String> {
    let mut world = world(seed, 10 * DAY_MS);
    world.create(0);
    world.create(0);
    world.heal();
    world.save_all();
    world.cut((0, 1));
    world.stop(1);
    world.destroy_session(0, 0);
    world.pass_alone(0, 26);
    world.skew_ms = Some(0);
    world.start(1);
    world.save_for_long();
    world.stop(1);
    world.start(1);
    world.heal();
    world.check_held([1, 1])
}

fn two_down_for_days(seed: u64) -> Option<String> {
    let mut world = world_after_two_were_down(seed);
    world.link_only(&[(1, 2)]);
    world.heal();
    world.check_held([1, 1, 1])
}

fn two_back_at_once(seed: u64) -> Option<String> {
    let mut world = world_after_two_were_down(seed);
    world.heal();
    world.check_held([1, 1, 1])
}

/// Returns three nodes. Two have just come back, and the other one has destroyed a session meanwhile
/// and forgotten that.
fn world_after_two_were_down(seed: u64) -> World {
    let mut world = World::new(seed, DISKS);
    world.skew_ms = Some(0);
    world.crash_all();
    world.create(0);
    world.create(0);
    world.heal();
    world.save_for_long();
    world.stop(1);
    world.stop(2);
    world.destroy_session(0, 0);
    world.pass_alone(0, 26);
    world.start(1);
    world.start(2);
    world
}

/// Two nodes go down one after the other, and the one that is left destroys a session. The second one
/// doubts it beside both. It is compared first with the last one, which has yet to learn that it was
/// away.
fn in_doubt_beside_two(seed: u64) -> Option<String> {
    let mut world = World::new(seed, DISKS);
    world.skew_ms = Some(0);
    world.crash_all();
    world.create(0);
    world.create(0);
    world.heal();
    world.save_for_long();
    world.stop(1);
    // So that the two have something to compare.
    world.change(2, 1, "a", VALUE);
    world.pass_linked(30);
    world.save_for_long();
    world.stop(2);
    world.destroy_session(0, 0);
    world.pass_alone(0, 30);
    world.start(1);
    world.start(2);
    world.dial(1, 2);
    world.let_second_node(|round| round.begun > 0);
    world.dial(0, 1);
    world.let_second_node(|round| round.ended > 0);
    world.dial(0, 2);
    world.heal();
    world.check_held([1, 1, 1])
}

/// The last node is cut off, later the second one goes down, so that the first one is alone, too. When
/// all meet, each may doubt beside the next one, if their boot ids are so.
fn doubts_in_a_circle(seed: u64) -> Option<String> {
    let mut world = World::new(seed, DISKS);
    world.skew_ms = Some(0);
    world.crash_all();
    world.create(0);
    world.heal();
    world.save_for_long();
    // So that nothing is left in their logs.
    world.crash_all();
    world.heal();
    world.pass_linked(24);
    world.cut_off(2);
    world.pass_linked(30);
    world.save_for_long();
    world.stop(1);
    world.pass_linked(40);
    // Begun alone. Nodes that are equal have nothing to doubt.
    world.create(0);
    world.create(2);
    world.start(1);
    for (from, to) in [(0, 2), (2, 1), (1, 0)] {
        world.dial(from, to);
    }
    world.heal();
    world.check_equal();
    world.check_held([3; 3])
}

fn old_directory(seed: u64) -> Option<String> {
    let mut world = world(seed, 0);
    world.create(0);
    world.create(0);
    world.heal();
    world.keep_image(1);
    world.destroy_session(0, 0);
    world.heal();
    for _ in 0..26 * 6 {
        world.pass(HOUR_MS / 6);
        world.rest();
    }
    let tombstones = [0, 1].map(|node| world.nodes[node].replica.tombstones());
    world.check(tombstones == [0, 0], || "tombstones are left".to_owned());
    let image = world.image(1);
    world.restart_with(1, image);
    world.heal();
    world.check_held([1, 1])
}

/// The first node has met nobody when its directory is copied.
fn copied_directory() -> Option<String> {
    let mut world = world(0, 0);
    world.stop_all();
    world.start(0);
    world.create(0);
    world.create(0);
    world.save(0);
    world.keep_image(0);
    let copy = world.image(0);
    world.restart_with(1, copy);
    world.destroy_session(0, 0);
    world.change(0, 1, "a", VALUE);
    world.change(1, 1, "b", VALUE);
    world.heal();
    let key = world.sessions[1].key;
    let names = |state: &SessionState| state.names().count();
    let names = [0, 1].map(|node| world.nodes[node].replica.read(&key, names).ok());
    world.check(names == [Some(2), Some(2)], || {
        format!("nodes show {names:?} attributes")
    });
    world.check_equal();
    world.check_held([1, 1])
}

fn directory_from_before_a_login() -> Option<String> {
    let mut world = world(0, 0);
    world.create(0);
    world.heal();
    world.save_all();
    world.stop(1);
    let (key, before) = (world.sessions[0].key, world.sessions[0].secret.hash());
    world.cycle(0);
    world.save_all();
    world.crash_all();
    world.heal();
    for node in 0..2 {
        let now = world.now(node);
        let opens = |state: &SessionState| state.secrets().presented(&before, now);
        let access = world.nodes[node].replica.read(&key, opens).ok();
        world.check(access == Some(Access::Superseded), || {
            format!("a replaced secret is {access:?} on node {node}")
        });
    }
    world.check_held([1, 1])
}

fn clock_set_back_in_a_pass() -> Option<String> {
    let mut world = world(0, 0);
    let sessions = world.plan.sessions;
    for _ in 0..sessions {
        world.create(0);
    }
    world.heal();
    let before = world.sessions.iter();
    let before: Vec<_> = before
        .map(|known| (known.key, known.secret.hash()))
        .collect();
    world.save_all();
    world.cut((0, 1));
    world.stop(0);
    world.skew_ms = Some(2 * HOUR_MS);
    world.start(0);
    for _ in 0..8 * sessions {
        world.cycle(0);
    }
    world.save_without_facts(0);
    world.stop(0);
    world.skew_ms = Some(0);
    world.start(0);
    world.heal();
    world.pass(60_000);
    let mut replaced = 0;
    for node in 0..2 {
        let now = world.now(node);
        for (key, secret) in &before {
            let opens = |state: &SessionState| state.secrets().presented(secret, now);
            let access = world.nodes[node].replica.read(key, opens).ok();
            replaced += usize::from(access == Some(Access::Replaced));
            world.check(access != Some(Access::Superseded), || {
                format!("a secret that died a minute ago is a straggler on node {node}")
            });
        }
    }
    world.check(replaced > 0, || "no secret was replaced".to_owned());
    world.check_equal();
    world.check_held([sessions, sessions])
}

fn order_before_a_stop() -> Option<String> {
    let mut world = world(0, 0);
    world.heal();
    world.cut((0, 1));
    world.create(1);
    world.log_out_of(0, 0);
    world.save_all();
    world.crash_all();
    world.heal();
    world.check_held([0, 0])
}

fn lost_tail(seed: u64) -> Option<String> {
    let mut world = world(seed, 0);
    world.heal();
    world.save_all();
    world.pass(20_000);
    for _ in 0..5 {
        world.create(0);
    }
    for _ in 0..10 {
        world.rest();
    }
    world.check(world.held() == [5, 5], || "no contact".to_owned());
    world.save(0);
    world.flush_once(1, 1);
    world.stop_all();
    world.start(1);
    world.pass_alone(1, 26);
    world.start(0);
    world.heal();
    world.check_held([5, 5])
}

fn stuck_disk() -> Option<String> {
    let plan = Plan { nodes: 1, ..DISKS };
    let mut world = World::new(0, plan);
    world.create_and_commit(0);
    world.check(world.waits.len() == 1, || "nobody waits".to_owned());
    for _ in 0..OPTIONS.ack_timeout_ms / 100 + 3 {
        world.advance(100);
    }
    world.check(world.waits.is_empty(), || {
        "a response waits for a stuck disk".to_owned()
    });
    world.create_and_commit(0);
    world.check(world.waits.is_empty(), || {
        "a response waits for a disk that is behind".to_owned()
    });
    world.save(0);
    world.create_and_commit(0);
    world.check(world.waits.len() == 1, || {
        "nobody waits for a disk that has caught up".to_owned()
    });
    world.save(0);
    world.check(world.waits.is_empty(), || "it is saved".to_owned());
    world.broken
}

/// Returns two nodes whose clocks are so far ahead, also when they start again.
fn world(seed: u64, skew_ms: u64) -> World {
    let plan = Plan { nodes: 2, ..DISKS };
    let mut world = World::new(seed, plan);
    for node in &mut world.nodes {
        node.skew_ms = skew_ms;
    }
    world.skew_ms = Some(skew_ms);
    world
}

impl World {
    /// Lets a node run alone for some hours, and use all it holds.
    fn pass_alone(&mut self, node: usize, hours: u64) {
        for _ in 0..hours * 6 {
            self.pass(HOUR_MS / 6);
            for session in 0..self.sessions.len() {
                self.touch_session(node, session);
            }
            self.heal_what_is_connected();
            self.save(node);
        }
        let tombstones = self.nodes[node].replica.tombstones();
        self.check(tombstones == 0, || {
            "the tombstone is not forgotten".to_owned()
        });
    }

    /// Lets hours pass, in which nodes that are linked are in contact.
    fn pass_linked(&mut self, hours: u64) {
        for _ in 0..hours * 6 {
            self.pass(HOUR_MS / 6);
            self.heal_what_is_connected();
        }
    }

    /// Lets time pass until the second node has come so far with its rounds on a link.
    fn let_second_node(&mut self, is_there: impl Fn(RoundMark) -> bool) {
        for _ in 0..1_000 {
            let mut ends = ends_of(&self.cables, 1);
            if ends.any(|(_, _, end)| is_there(end.machine.link().round_mark())) {
                return;
            }
            drop(ends);
            self.advance(10);
            self.deliver_all();
        }
    }

    /// Saves all, and the last contact from after that, too.
    fn save_for_long(&mut self) {
        for _ in 0..25 {
            self.rest();
        }
        self.save_all();
    }

    fn check_held(mut self, expected: impl AsRef<[usize]>) -> Option<String> {
        let (held, expected) = (self.held(), expected.as_ref());
        self.check(held == expected, || {
            format!("{held:?} sessions are held, and not {expected:?}")
        });
        self.broken
    }
}

pub(super) const DISKS: Plan = Plan {
    disks: Disks::BeforeResponse,
    // So that sessions outlive what is remembered of destroyed ones.
    idle_ms: u64::MAX,
    steps: 250,
    ..THREE_NODES
};

pub(super) const LATE_DISKS: Plan = Plan {
    disks: Disks::Late,
    ..DISKS
};

pub(super) const DAYS_WITH_DISKS: Plan = Plan {
    nights: 5,
    steps: 80,
    ..DISKS
};

const DAY_MS: u64 = 24 * HOUR_MS;
/// Which of two nodes has the higher boot id differs.
const SEEDS: std::ops::Range<u64> = 0..6;
const CIRCLES: std::ops::Range<u64> = 0..30;
