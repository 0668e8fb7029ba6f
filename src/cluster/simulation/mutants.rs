//! The checker is checked: rules are broken one by one.

use super::{
    World,
    apart::{
        HEARTBEAT_PHASES, begun_right_before_a_cut, cut_beyond_memory, day_without_equality,
        long_cut, long_cut_from_the_empty, map_without_end, removal_forgotten_on_one_node,
        restarts_by_turns, room_that_runs_out,
    },
    durable::{self, DAYS_WITH_DISKS, DISKS, LATE_DISKS},
    forgotten,
    links::{
        LinkFault, join_at_a_closed_door, joins_in_a_row, leave_beside_a_joiner,
        leave_during_a_cut, stuck_peer, write_beside, writer_without_waiters,
    },
    plans::{
        HOT_SESSIONS, LITTLE_MEMORY, MANY_DAYS, MANY_NAMES, MAPS, Plan, SHORT_LIVES, SHORT_LOG,
        THREE_NODES,
    },
    sessions::{
        beyond_a_limit, clocks_and_a_limit, hot_beyond_a_cut, logout_along_a_path,
        use_at_the_last_moment, visit_at_the_last_moment,
    },
};
use crate::{config::AtLimit, replica::denied_in_doubt, session::Mutant};

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
    let scenes = long_cut().or_else(long_cut_from_the_empty);
    let scenes = scenes.or_else(restarts_by_turns);
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
    let broken = denied_in_doubt().or_else(durable::scenes);
    let broken = broken.map(|broken| (0, broken));
    let plans = [DISKS, LATE_DISKS, DAYS_WITH_DISKS];
    broken.or_else(|| hunt_in(&plans))
}

fn hunt_in(plans: &[Plan]) -> Option<(u64, String)> {
    (0..MUTANT_HISTORIES).find_map(|seed| look(plans, seed))
}

fn look(plans: &[Plan], seed: u64) -> Option<(u64, String)> {
    let plan = plans[seed as usize % plans.len()];
    let broken = World::new(seed, plan).run()?;
    Some((seed + 1, broken))
}

/// How many histories are looked at for a broken rule at most.
const MUTANT_HISTORIES: u64 = 20_000;
