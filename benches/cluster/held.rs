//! What sessions cost while they are held: memory, the CPU time of a hit among many, and that of
//! doing nothing.

use std::time::Duration;

use crate::{
    BoxError,
    figures::Spread,
    group::Group,
    load::{Pace, Plan, Routing},
    options::Setup,
    pages::PADDING,
    peers::Peers,
    sample::{Sample, sample},
    visitor::{Checks, Visitor},
};

/// A cluster and the visitors of its sessions.
#[derive(Debug)]
struct Full {
    group: Group,
    visitors: Vec<Visitor>,
    samples: Vec<Sample>,
}

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let sessions = setup.many_sessions();
    println!("{sessions} sessions, each with an attribute of {PADDING} bytes and a counter\n");
    // All must be made and measured before the first ends.
    let idle_timeout = 60 + sessions / 5_000;
    let flags = ["--idle-timeout".to_owned(), idle_timeout.to_string()];

    let few = Group::cluster(2, setup.links(), &[]).await?;
    let mut few = Full::filled(few, FEW).await?;
    let group = Group::cluster(2, setup.links(), &flags).await?;
    let empty = group.resident_bytes()?;
    let mut many = Full::filled(group, sessions).await?;
    let full = many.group.settled_bytes().await?;
    print_memory("two nodes", &empty, &full, sessions);

    for _ in 0..setup.rounds.get() {
        few.hit(setup.seconds).await?;
        many.hit(setup.seconds).await?;
    }
    let rounds = many.samples.iter().zip(&few.samples);
    let ratio = rounds.map(|(many, few)| many.cpu_us_in_all() / few.cpu_us_in_all());
    print_cpu("CPU us for each hit, 1 000 sessions", few.cpu_us());
    print_cpu(
        &format!("CPU us for each hit, {sessions} sessions"),
        many.cpu_us(),
    );
    print_cpu("ratio", Spread::of(ratio));

    drop(few);
    // What was hit last has yet to be put to rest.
    tokio::time::sleep(AFTER_LOAD).await;
    let before = many.group.cpu_times(2)?;
    tokio::time::sleep(IDLE).await;
    let idle = many.group.cpu_times(2)?;
    for (after, before) in idle.iter().zip(&before) {
        let part = after.since(before).as_secs_f64() / IDLE.as_secs_f64();
        println!("idle: {:.2} % of a core", part * 100.0);
    }

    println!("waiting for the sessions to end, {idle_timeout} s after their last use");
    many.group.until_all_hold(0).await?;
    let after = many.group.settled_bytes().await?;
    for ((empty, full), after) in empty.iter().zip(&full).zip(&after) {
        let returned = full.saturating_sub(*after) as f64 / (full - empty) as f64;
        let (full, after) = (full >> 20, after >> 20);
        println!(
            "{full} MiB, then {after} MiB: {:.0} % returned",
            returned * 100.0
        );
    }
    Ok(())
}

/// Bytes of memory for each session, of a cluster and of others.
pub(crate) async fn memory(setup: &Setup, peers: Option<&Peers>) -> Result<(), BoxError> {
    let sessions = setup.some_sessions();
    let cluster = Group::cluster(2, setup.links(), &[]).await?;
    let empty = cluster.resident_bytes()?;
    let full = Full::filled(cluster, sessions).await?;
    print_memory(
        "two nodes",
        &empty,
        &full.group.settled_bytes().await?,
        sessions,
    );
    drop(full);
    for (name, group) in peers.iter().flat_map(|peers| peers.groups()) {
        let empty = group.resident_bytes()?;
        group.fill(sessions).await?;
        print_memory(name, &empty, &group.settled_bytes().await?, sessions);
    }
    Ok(())
}

impl Full {
    async fn filled(group: Group, sessions: usize) -> Result<Self, BoxError> {
        let visitors = group.fill(sessions).await?;
        group.until_all_hold(sessions).await?;
        Ok(Self {
            group,
            visitors,
            samples: Vec::new(),
        })
    }

    /// Each session is hit in its turn, so among many it is never one that was used just before.
    async fn hit(&mut self, length: Duration) -> Result<(), BoxError> {
        let plan = Plan {
            servers: self.group.addresses(),
            path: "/hit",
            checks: Checks::Count,
            routing: Routing::RoundRobin,
            connections: 64,
        };
        let pace = Pace::AsFastAsAnswered;
        let sample = sample(&self.group, plan, &mut self.visitors, pace, length).await?;
        sample.check("hits among many")?;
        self.samples.push(sample);
        Ok(())
    }

    fn cpu_us(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(Sample::cpu_us_in_all))
    }
}

fn print_cpu(what: &str, spread: Option<Spread>) {
    if let Some(spread) = spread {
        println!("{what}: {spread}");
    }
}

fn print_memory(what: &str, empty: &[u64], full: &[u64], sessions: usize) {
    let growth = empty
        .iter()
        .zip(full)
        .map(|(empty, full)| full.saturating_sub(*empty));
    let each = growth.map(|bytes| format!("{}", bytes / sessions as u64));
    let each: Vec<String> = each.collect();
    println!(
        "bytes of memory for each session, {what}: {}",
        each.join(" + ")
    );
}

const FEW: usize = 1_000;
const AFTER_LOAD: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
