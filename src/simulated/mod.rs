//! The whole stack on simulated networks and simulated time: two to five nodes serve a real axum
//! app with the layer, the codec and the links; browsers visit them behind a balancer; machines
//! and networks fail. [`history`] has the rules that must hold all the time. In the end all faults
//! are over, and all nodes must hold the same within [`CONVERGES`] and show it to everybody.
//!
//! Everything follows from one number. A failure names it, and
//! `SEED=17 cargo test simulated::replays -- --nocapture` shows what happened.
//! `SEEDS=1000..2000 cargo test --release simulated::holds` looks at more of them.

mod app;
mod history;
mod look;
mod network;
mod plan;
mod sockets;
mod stage;
mod storm;
mod visitors;

use std::{env, fmt::Write as _, ops::Range, sync::Arc, time::Duration};

use self::{
    plan::Plan,
    stage::{Phase, Stage, name},
    storm::Storm,
};
use crate::session::Mutant;

/// What a run came to.
struct Run {
    stage: Arc<Stage>,
    /// From the end of all faults until all nodes were up and equal.
    converged: Duration,
}

#[test]
fn holds_in_gusty_and_wild_weather() {
    let seeds = env::var("SEEDS").map_or(SEEDS, |range| parse(&range));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let seeds = seeds.clone().skip(thread).step_by(threads);
            scope.spawn(move || seeds.for_each(|seed| verify(&run(seed), seed)));
        }
    });
}

#[test]
fn holds_with_encrypted_links_too() {
    for seed in ENCRYPTED_SEEDS {
        verify(&run_by(&Plan::of(seed).encrypted()), seed);
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in [3, 12, 16] {
        let (one, other) = (run(seed), run(seed));
        let (one, other) = (one.stage.history(), other.stage.history());
        let differ = one.lines().iter().zip(other.lines()).find(|(a, b)| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(one.digest(), other.digest(), "seed {seed}");
    }
}

/// The rules above are themselves tested by breaking the replication, one rule at a time.
#[test]
fn broken_rules_are_caught() {
    for mutant in MUTANTS {
        let is_caught = |seed| mutant.with(|| !run(seed).stage.history().violations().is_empty());
        let caught = HUNT.into_iter().find(|seed| is_caught(*seed));
        println!("{mutant:?} is caught by {caught:?}");
        assert!(caught.is_some(), "{mutant:?} passes");
    }
}

/// Shows the history of `SEED`, if it is given.
#[test]
fn replays() {
    if let Ok(seed) = env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        let run = run(seed);
        for line in run.stage.history().lines() {
            println!("{line}");
        }
        verify(&run, seed);
    }
}

fn run(seed: u64) -> Run {
    run_by(&Plan::of(seed))
}

fn run_by(plan: &Plan) -> Run {
    let seed = plan.seed;
    let stage = Arc::new(Stage::new(plan.clone()));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH + EPOCH)
        .simulation_duration(STORM + CONVERGES + LOOKS + Duration::from_secs(60))
        .tick_duration(TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(LATENCY)
        .tcp_capacity(1 << 16)
        .build();
    for node in 0..plan.nodes {
        let stage = Arc::clone(&stage);
        sim.host(name(node), move || app::serve(Arc::clone(&stage), node));
    }
    until(&mut sim, CONVERGES, || stage.settled()).expect("the nodes find each other");
    sim.client("visitors", visitors::visit(Arc::clone(&stage)));
    let mut storm = Storm::new(plan);
    let end = sim.elapsed() + STORM;
    while sim.elapsed() < end {
        storm.blow(&mut sim, &stage);
        step(&mut sim);
    }
    storm.abate(&mut sim);
    stage.set_phase(Phase::Lull);
    stage.history().note("-- all faults are over");
    let mut converged = CONVERGES;
    match converge(&mut sim, &stage) {
        Ok(after) => {
            converged = after;
            let alive: Vec<_> = stage.alive().into_iter().flatten().collect();
            stage.history().calm(&stage.sessions(), &alive);
            stage.set_phase(Phase::Calm);
            let over = sim.elapsed() + LOOKS;
            while !step(&mut sim) {
                assert!(
                    sim.elapsed() < over,
                    "seed {seed}: visitors do not come to an end"
                );
            }
        }
        Err(missing) => {
            let what = format!("not equal within {CONVERGES:?}: {missing}");
            stage.history().violated(what);
        }
    }
    (0..plan.nodes).for_each(|node| stage.dies(node));
    Run { stage, converged }
}

/// How long after the end of all faults the nodes were up and equal for good, or what is missing. A
/// link that died in silence looks alive until `down_after`, so nobody believes them before.
fn converge(sim: &mut turmoil::Sim<'_>, stage: &Stage) -> Result<Duration, String> {
    let healed = sim.elapsed();
    let mut unsettled = Duration::ZERO;
    loop {
        let passed = sim.elapsed() - healed;
        match stage.settled() {
            Ok(()) if passed >= SILENCE => return Ok(unsettled),
            Ok(()) => {}
            Err(missing) if passed >= CONVERGES => return Err(missing),
            Err(_) => unsettled = passed,
        }
        step(sim);
    }
}

/// Steps until `holds`; the last obstacle if that does not come in time.
fn until(
    sim: &mut turmoil::Sim<'_>,
    limit: Duration,
    holds: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let end = sim.elapsed() + limit;
    loop {
        match holds() {
            Err(missing) if sim.elapsed() >= end => return Err(missing),
            Err(_) => step(sim),
            Ok(()) => return Ok(()),
        };
    }
}

/// Whether all visitors have gone home.
fn step(sim: &mut turmoil::Sim<'_>) -> bool {
    sim.step().expect("neither app nor visitors fail")
}

fn verify(run: &Run, seed: u64) {
    let history = run.stage.history();
    let (sent, answered) = history.requests();
    let plan = &run.stage.plan;
    println!(
        "seed {seed}: {} nodes, {:?}, {answered} of {sent} requests, equal after {:?}, digest {:016x}",
        plan.nodes,
        plan.weather,
        run.converged,
        history.digest()
    );
    if history.violations().is_empty() {
        return;
    }
    let mut text = format!("{plan:?}\n");
    for violation in history.violations().iter().take(10) {
        writeln!(text, "{violation}").expect("a string takes everything");
    }
    panic!("{text}SEED={seed} cargo test simulated::replays -- --nocapture");
}

fn parse(range: &str) -> Range<u64> {
    let (from, to) = range.split_once("..").expect("SEEDS is like 100..200");
    let number = |text: &str| text.parse().expect("SEEDS is like 100..200");
    number(from)..number(to)
}

const SEEDS: Range<u64> = 0..24;
const ENCRYPTED_SEEDS: Range<u64> = 100..106;
/// Rules that a few runs show to be broken.
const MUTANTS: [Mutant; 5] = [
    Mutant::NeverRepair,
    Mutant::ReplaceCounts,
    Mutant::StampByClockOnly,
    Mutant::AcknowledgeRefused,
    Mutant::AliveBeatsDestroyed,
];
/// The seeds of which one must show it.
const HUNT: Range<u64> = 0..60;
/// How long things go wrong.
const STORM: Duration = Duration::from_secs(12);
/// Within that all nodes are up, ready and equal once nothing goes wrong any more: a silent link is
/// given up after 3 s, dialled again within 2 s, and its round takes a few heartbeats.
const CONVERGES: Duration = Duration::from_secs(12);
/// The default `down_after`, and a little time for the last bytes before it.
const SILENCE: Duration = Duration::from_millis(3_200);
/// Visitors look around for that long at most.
const LOOKS: Duration = Duration::from_secs(10);
/// Bytes travel, and hosts run, in steps of this.
const TICK: Duration = Duration::from_millis(5);
const LATENCY: Duration = Duration::from_millis(20);
/// Some day in 2026.
const EPOCH: Duration = Duration::from_secs(1_780_000_000);
