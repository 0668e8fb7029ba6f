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
    process::NodePlan,
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
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds.get() {
        quiet.push(pair.transfer().await?);
        let (took, samples) = pair.transfer_under_load().await?;
        busy.push(took);
        before.push(samples[0].p99_us);
        during.push(samples[1].p99_us);
    }
    print(pair.sessions, &quiet, "a quiet donor");
    print(pair.sessions, &busy, &format!("a donor with {RATE} hits/s"));
    for (what, p99) in [("before", before), ("during", during)] {
        if let Some(p99) = Spread::of(p99) {
            println!("p99 of these hits {what}: {p99:.0} us");
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
        node.kill().await?;
        let in_all = ready["ready_after_s"].as_f64();
        Ok(Took {
            in_all: in_all.ok_or("a node that does not say when it was ready")?,
            donor_cpu: donor.as_secs_f64(),
            joiner_cpu: joiner.as_secs_f64(),
        })
    }

    /// The same, and the hits before and during the transfer.
    async fn transfer_under_load(&mut self) -> Result<(Took, [Sample; 2]), BoxError> {
        let plan = Plan {
            servers: self.donor.addresses(),
            path: "/hit",
            checks: Checks::Count,
            routing: Routing::Sticky,
            connections: 64,
        };
        let visitors = std::mem::take(&mut self.visitors);
        let load = Load::start(plan, visitors, Pace::PerSecond(RATE)).await?;
        let before = watch(&self.donor, 1, &load, tokio::time::sleep(BEFORE)).await?;
        let mut took = None;
        let during = watch(&self.donor, 1, &load, async {
            took = Some(self.transfer().await);
        });
        let during = during.await?;
        self.visitors = load.stop().await?;
        before.check("hits before the transfer")?;
        during.check("hits during the transfer")?;
        let took = took.ok_or("the transfer was not waited for")??;
        Ok((took, [before, during]))
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
const BEFORE: Duration = Duration::from_secs(3);
