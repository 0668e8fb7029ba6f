//! A node starts empty and gets all sessions from another one, which has users meanwhile, or not.

use std::time::Duration;

use crate::{
    BoxError,
    client::ask_json,
    cpu::CpuTime,
    figures::Spread,
    group::{Group, Links, plans, process_id, start_node},
    load::{Load, Pace, Plan, Routing},
    options::Setup,
    process::{NodePlan, NodeProcess},
    sample::{Sample, watch},
    visitor::{Checks, Visitor},
};

/// One that has all sessions, and one that will get them.
#[derive(Debug)]
struct Pair {
    donor: Group,
    joiner: NodePlan,
    visitors: Vec<Visitor>,
    sessions: usize,
}

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let mut pair = Pair::new(setup.links(), setup.many_sessions()).await?;
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let mut p99s = WHEN.map(|_| Vec::new());
    for _ in 0..setup.rounds.get() {
        quiet.push(pair.transfer().await?);
        let (took, samples) = pair.transfer_under_load().await?;
        busy.push(took);
        for (p99, sample) in p99s.iter_mut().zip(&samples) {
            p99.push(sample.p99_us);
        }
    }
    print(pair.sessions, &quiet, "a quiet donor");
    print(pair.sessions, &busy, &format!("a donor with {RATE} hits/s"));
    for (when, p99) in WHEN.into_iter().zip(p99s) {
        if let Some(p99) = Spread::of(p99) {
            println!("p99 of these hits {when}: {p99:.0} us");
        }
    }
    Ok(())
}

/// One transfer, in seconds.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// From the node's start until it had all sessions.
    in_all: f64,
    donor_cpu: f64,
    joiner_cpu: f64,
}

/// A few transfers without load.
pub(crate) async fn quick(setup: &Setup) -> Result<(), BoxError> {
    let pair = Pair::new(setup.links(), setup.some_sessions()).await?;
    let mut took = Vec::new();
    for _ in 0..3 {
        took.push(pair.transfer().await?);
    }
    print(pair.sessions, &took, "a quiet donor");
    Ok(())
}

impl Pair {
    async fn new(links: Links, sessions: usize) -> Result<Self, BoxError> {
        let [donor, joiner] = plans(2, links, &[])?
            .try_into()
            .map_err(|_| "two plans were asked for")?;
        let donor = Group::of_one(start_node(&donor).await?);
        let visitors = donor.fill(sessions).await?;
        Ok(Self {
            donor,
            joiner,
            visitors,
            sessions,
        })
    }

    async fn transfer(&self) -> Result<Took, BoxError> {
        let (took, node) = self.join().await?;
        node.kill().await?;
        Ok(took)
    }

    async fn join(&self) -> Result<(Took, NodeProcess), BoxError> {
        let donor = self.donor.cpu_times(1)?;
        let node = start_node(&self.joiner).await?;
        let ready = ask_json(node.http, "/ready").await?;
        let stats = ask_json(node.http, "/stats").await?;
        if stats["sessions"] != self.sessions {
            return Err(format!("the joiner is ready with {stats}").into());
        }
        let since = donor.first().zip(self.donor.cpu_times(1)?.pop());
        let donor = since.map_or(Duration::ZERO, |(before, after)| after.since(before));
        let joiner = CpuTime::whole(process_id(&node)?)?;
        let in_all = ready["ready_after_s"].as_f64();
        let took = Took {
            in_all: in_all.ok_or("a node that does not say when it was ready")?,
            donor_cpu: donor.as_secs_f64(),
            joiner_cpu: joiner.as_secs_f64(),
        };
        Ok((took, node))
    }

    /// The same, and the hits before, during and after the transfer.
    async fn transfer_under_load(&mut self) -> Result<(Took, [Sample; 3]), BoxError> {
        let plan = Plan {
            servers: self.donor.addresses(),
            path: "/hit",
            checks: Checks::Count,
            routing: Routing::Sticky,
            connections: 64,
        };
        let visitors = std::mem::take(&mut self.visitors);
        let load = Load::start(plan, visitors, Pace::PerSecond(RATE)).await?;
        let before = watch(&self.donor, 1, &load, tokio::time::sleep(MOMENT)).await?;
        let mut joined = None;
        let during = watch(&self.donor, 1, &load, async {
            joined = Some(self.join().await);
        });
        let during = during.await?;
        let (took, node) = joined.ok_or("the transfer was not waited for")??;
        let after = watch(&self.donor, 1, &load, tokio::time::sleep(MOMENT)).await?;
        node.kill().await?;
        self.visitors = load.stop().await?;
        let samples = [before, during, after];
        for (when, sample) in WHEN.iter().zip(&samples) {
            sample.check(&format!("hits {when}"))?;
        }
        Ok((took, samples))
    }
}

fn print(sessions: usize, transfers: &[Took], from: &str) {
    let [in_all, donor, joiner] = [
        |took: &Took| took.in_all,
        |took: &Took| took.donor_cpu,
        |took: &Took| took.joiner_cpu,
    ]
    .map(|figure| Spread::of(transfers.iter().map(figure)));
    if let (Some(in_all), Some(donor), Some(joiner)) = (in_all, donor, joiner) {
        println!(
            "{sessions} sessions to a restarted node from {from}: {in_all} s; CPU of the donor \
             {donor} s, of the joiner {joiner} s"
        );
    }
}

const RATE: f64 = 2000.0;
const MOMENT: Duration = Duration::from_secs(3);
/// Only behind the transfer there is a peer to wait for, as there is during it.
const WHEN: [&str; 3] = [
    "before it, without a peer",
    "during it",
    "after it, with the peer",
];
