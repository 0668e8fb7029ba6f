//! What goes wrong, when, and for how long.

use std::time::Duration;

use super::{
    plan::{Dice, Plan, Weather},
    stage::{Stage, name},
};

/// Faults by the plan's seed. Call [`Storm::blow`] before every step.
pub(super) struct Storm {
    dice: Dice,
    plan: Plan,
    next: Duration,
    blowing: Vec<Blowing>,
}

struct Blowing {
    fault: Fault,
    until: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// The process is killed; its connections close.
    Crash(usize),
    /// The machine is off: nobody is told.
    PowerOff(usize),
    /// Bytes wait.
    Hold(usize, usize),
    /// Bytes are lost, both ways or one.
    Cut(usize, usize),
    CutOneWay(usize, usize),
    Slow(usize, usize, Duration),
}

impl Storm {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            dice: Dice::new(plan.seed, 0x5708),
            plan: plan.clone(),
            next: Duration::ZERO,
            blowing: Vec::new(),
        }
    }

    /// Begins and ends faults that are due.
    pub(super) fn blow(&mut self, sim: &mut turmoil::Sim<'_>, stage: &Stage) {
        let now = sim.elapsed();
        let due = |blowing: &mut Blowing| blowing.until <= now;
        let over: Vec<_> = self.blowing.extract_if(.., due).collect();
        for blowing in over {
            stage.history().note(format!("-- end {:?}", blowing.fault));
            undo(&blowing.fault, self.plan.nodes, sim);
        }
        if now < self.next {
            return;
        }
        let gusty = self.plan.weather == Weather::Gusty;
        if gusty && (!self.blowing.is_empty() || stage.settled().is_err()) {
            return;
        }
        let pause = self.dice.ms(100, if gusty { 600 } else { 1200 });
        self.next = now + pause;
        let (fault, lasts) = if gusty { self.gust() } else { self.blast() };
        if self.is_free(&fault) {
            stage.history().note(format!("-- {fault:?}"));
            begin(&fault, self.plan.nodes, sim, stage);
            let until = now + lasts;
            self.blowing.push(Blowing { fault, until });
        }
    }

    /// Ends all faults.
    pub(super) fn abate(&mut self, sim: &mut turmoil::Sim<'_>) {
        for blowing in self.blowing.drain(..) {
            undo(&blowing.fault, self.plan.nodes, sim);
        }
    }

    /// What costs nothing that was acknowledged. A hold is shorter than `ack_timeout`.
    fn gust(&mut self) -> (Fault, Duration) {
        let (a, b) = self.pair();
        match self.dice.below(4) {
            0 | 1 => (Fault::Crash(a), self.dice.ms(50, 4_000)),
            2 => (Fault::Hold(a, b), self.dice.ms(50, 600)),
            _ => {
                let latency = self.dice.ms(20, 150);
                (Fault::Slow(a, b, latency), self.dice.ms(200, 2_000))
            }
        }
    }

    fn blast(&mut self) -> (Fault, Duration) {
        let (a, b) = self.pair();
        let lasts = self.dice.ms(100, 6_000);
        let fault = match self.dice.below(12) {
            0..3 => Fault::Crash(a),
            3 => Fault::PowerOff(a),
            4..6 => Fault::Hold(a, b),
            6..9 => Fault::Cut(a, b),
            9..11 => Fault::CutOneWay(a, b),
            _ => Fault::Slow(a, b, self.dice.ms(20, 700)),
        };
        (fault, lasts)
    }

    fn pair(&mut self) -> (usize, usize) {
        let a = self.dice.below(self.plan.nodes);
        let other = self.dice.below(self.plan.nodes - 1);
        (a, if other < a { other } else { other + 1 })
    }

    /// The simulation knows one state for each pair, and somebody must stay to be visited.
    fn is_free(&self, fault: &Fault) -> bool {
        let down = |f: &Fault| matches!(f, Fault::Crash(_) | Fault::PowerOff(_));
        let faults = || self.blowing.iter().map(|blowing| &blowing.fault);
        if down(fault) && faults().filter(|f| down(f)).count() + 1 >= self.plan.nodes {
            return false;
        }
        let nodes = self.plan.nodes;
        !faults().any(|other| {
            let taken = pairs(other, nodes);
            let meets = |(a, b)| taken.contains(&(a, b)) || taken.contains(&(b, a));
            dead(other).is_some() && dead(other) == dead(fault)
                || pairs(fault, nodes).into_iter().any(meets)
        })
    }
}

fn begin(fault: &Fault, nodes: usize, sim: &mut turmoil::Sim<'_>, stage: &Stage) {
    for (a, b) in pairs(fault, nodes) {
        let (from, to) = (name(a), name(b));
        match fault {
            Fault::Hold(..) => sim.hold(from, to),
            Fault::CutOneWay(..) => sim.partition_oneway(from, to),
            Fault::Slow(_, _, latency) => sim.set_link_latency(from, to, *latency),
            Fault::Crash(_) | Fault::PowerOff(_) | Fault::Cut(..) => sim.partition(from, to),
        }
    }
    if let Some(node) = dead(fault) {
        stage.dies(node);
        sim.crash(name(node));
    }
}

fn undo(fault: &Fault, nodes: usize, sim: &mut turmoil::Sim<'_>) {
    for (a, b) in pairs(fault, nodes) {
        let (from, to) = (name(a), name(b));
        match fault {
            Fault::Hold(..) => sim.release(from, to),
            Fault::CutOneWay(..) => sim.repair_oneway(from, to),
            Fault::Slow(..) => sim.set_link_latency(from, to, LATENCY),
            Fault::Crash(_) | Fault::PowerOff(_) | Fault::Cut(..) => sim.repair(from, to),
        }
    }
    if let Some(node) = dead(fault) {
        sim.bounce(name(node));
    }
}

const fn dead(fault: &Fault) -> Option<usize> {
    match fault {
        Fault::Crash(node) | Fault::PowerOff(node) => Some(*node),
        _ => None,
    }
}

/// Whose links it takes.
fn pairs(fault: &Fault, nodes: usize) -> Vec<(usize, usize)> {
    match *fault {
        Fault::Crash(_) => Vec::new(),
        Fault::PowerOff(node) => (0..nodes)
            .filter(|n| *n != node)
            .map(|n| (node, n))
            .collect(),
        Fault::Hold(a, b) | Fault::Cut(a, b) | Fault::CutOneWay(a, b) | Fault::Slow(a, b, _) => {
            vec![(a, b)]
        }
    }
}

/// Of a link in good weather, about.
const LATENCY: Duration = Duration::from_millis(2);
