//! What sessions on disk cost: CPU and rate beside memory alone and beside a Redis that writes as
//! often, bytes on disk, and how long a pair takes to come back after a stop of both.

use std::{fs, io, path::Path};

use crate::{
    BoxError,
    client::ask_json,
    data_dir::DataDirs,
    figures::Spread,
    group::{Group, plans, process_id, start_node},
    load::{Load, Pace, Plan, Routing},
    options::Setup,
    peers::{self, Persistence},
    process::NodePlan,
    sample::{Sample, sample},
    table::Table,
    visitor::{Checks, Visitor},
};

/// Servers that keep sessions in one way.
#[derive(Debug)]
struct Kept {
    name: &'static str,
    group: Group,
    visitors: Vec<Visitor>,
    samples: Vec<Sample>,
}

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let dirs = DataDirs::new(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    compare(setup, &dirs).await?;
    restart(setup, &dirs).await
}

/// Prints the table of costs at 64 requests at a time.
async fn compare(setup: &Setup, dirs: &DataDirs) -> Result<(), BoxError> {
    let mut all = vec![
        Kept::new(MEMORY, Group::cluster(2, setup.links(), &[]).await?),
        Kept::new(EVERY, on_disk(setup, dirs, "100ms").await?),
        Kept::new(
            "Sync::BeforeResponse",
            on_disk(setup, dirs, "response").await?,
        ),
    ];
    match peers::redis().await? {
        Some(redis) => {
            for (name, mode) in [
                ("tower-sessions, Redis, everysec", Persistence::EverySecond),
                ("tower-sessions, Redis, always", Persistence::Always),
            ] {
                let group = redis.start(mode, &dirs.of(name)).await?;
                all.push(Kept::new(name, group));
            }
        }
        None => println!("without Redis: there is no redis-server on the path\n"),
    }
    for _ in 0..setup.rounds.get() {
        for kept in &mut all {
            let plan = Plan {
                servers: kept.group.addresses(),
                path: "/hit",
                checks: Checks::Count,
                routing: Routing::RoundRobin,
                connections: AT_ONCE,
            };
            let pace = Pace::AsFastAsAnswered;
            let taken = sample(&kept.group, plan, &mut kept.visitors, pace, setup.seconds);
            let taken = taken
                .await
                .map_err(|error| format!("{}: {error}", kept.name))?;
            taken.check(kept.name)?;
            kept.samples.push(taken);
        }
    }
    print(&all);
    Ok(())
}

impl Kept {
    fn new(name: &'static str, group: Group) -> Self {
        let servers = group.addresses().len();
        let visitors = (0..AT_ONCE).map(|at| Visitor::new("", 0, at % servers));
        Self {
            name,
            visitors: visitors.collect(),
            group,
            samples: Vec::new(),
        }
    }
}

async fn on_disk(setup: &Setup, dirs: &DataDirs, sync: &str) -> Result<Group, BoxError> {
    let mut nodes = Vec::new();
    for plan in plans_on_disk(setup, dirs, sync)? {
        nodes.push(start_node(&plan).await?);
    }
    Group::of_nodes(nodes).await
}

fn plans_on_disk(setup: &Setup, dirs: &DataDirs, sync: &str) -> Result<Vec<NodePlan>, BoxError> {
    let flags = ["--sync", sync].map(str::to_owned);
    let mut plans = plans(2, setup.links(), &flags)?;
    for plan in &mut plans {
        plan.data_dir = Some(dirs.of(&format!("{}-{sync}", plan.name)));
    }
    Ok(plans)
}

fn print(all: &[Kept]) {
    let heads = [
        "/hit, two servers, 64 at once",
        "requests/s",
        "p50 us",
        "p99 us",
        "CPU us",
        "times memory",
    ];
    let mut table = Table::new(&heads);
    for kept in all {
        let median = |figure: &dyn Fn(&Sample) -> f64| {
            Spread::of(kept.samples.iter().map(figure)).map_or(f64::NAN, |spread| spread.median)
        };
        let rounds = kept.samples.iter().zip(&all[0].samples);
        let times =
            Spread::of(rounds.map(|(one, memory)| one.cpu_us_in_all() / memory.cpu_us_in_all()));
        table.row(vec![
            kept.name.to_owned(),
            format!("{:.0}", median(&|s| s.per_second)),
            format!("{:.0}", median(&|s| s.p50_us)),
            format!("{:.0}", median(&|s| s.p99_us)),
            format!("{:.1}", median(&Sample::cpu_us_in_all)),
            times.map_or_else(String::new, |times| format!("{times:.2}")),
        ]);
    }
    table.print();
}

/// Fills a pair, changes sessions for a while, kills both nodes and starts them again.
async fn restart(setup: &Setup, dirs: &DataDirs) -> Result<(), BoxError> {
    let sessions = setup.many_sessions();
    let mut plans = plans_on_disk(setup, dirs, "100ms")?;
    for plan in &mut plans {
        plan.data_dir = Some(dirs.of(&format!("{}-many", plan.name)));
    }
    let mut nodes = Vec::new();
    for plan in &plans {
        nodes.push(start_node(plan).await?);
    }
    let group = Group::of_nodes(nodes).await?;
    let visitors = group.fill(sessions).await?;
    group.until_all_hold(sessions).await?;
    group.until_all_saved().await?;
    let filled = group.disk_figures().await?;
    let held: u64 = plans
        .iter()
        .filter_map(|plan| plan.data_dir.as_deref())
        .map(bytes_below)
        .sum::<io::Result<u64>>()?;
    println!(
        "\n{sessions} sessions of 200 bytes take {:.0} bytes each on disk",
        held as f64 / (2 * sessions) as f64
    );
    let before = written_by(&group)?;
    let plan = Plan {
        servers: group.addresses(),
        path: "/hit",
        checks: Checks::Count,
        routing: Routing::RoundRobin,
        connections: AT_ONCE,
    };
    let load = Load::start(plan, visitors, Pace::PerSecond(RATE)).await?;
    group.until_written(filled + CHANGED_BYTES).await?;
    let visitors = load.stop().await?;
    group.until_all_saved().await?;
    let changed = group.disk_figures().await? - filled;
    let written = written_by(&group)? - before;
    println!(
        "{changed} bytes of changed sessions were {written} bytes of writes: {:.2} times",
        written as f64 / changed as f64
    );
    drop(visitors);
    let mut took = Vec::new();
    let mut running = group;
    for _ in 0..setup.rounds.get() {
        running.kill_all().await?;
        let mut nodes = Vec::new();
        // At once, as after a power cut.
        let starting = plans.iter().map(start_node);
        for node in futures_util::future::join_all(starting).await {
            nodes.push(node?);
        }
        let mut longest: f64 = 0.0;
        for node in &nodes {
            let ready = ask_json(node.http, "/ready").await?;
            let after = ready["ready_after_s"].as_f64();
            longest = longest.max(after.ok_or("a node that does not say when it was ready")?);
        }
        took.push(longest);
        running = Group::of_nodes(nodes).await?;
        running.until_all_hold(sessions).await?;
    }
    if let Some(took) = Spread::of(took) {
        println!("{sessions} sessions are there again {took:.2} s after a start of both nodes");
    }
    Ok(())
}

/// The bytes that all servers have had written to disks.
fn written_by(group: &Group) -> Result<u64, BoxError> {
    let mut written = 0;
    for server in group.servers() {
        let text = fs::read_to_string(format!("/proc/{}/io", process_id(server)?))?;
        let field = text
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let bytes: Option<u64> = field.and_then(|bytes| bytes.parse().ok());
        written += bytes.ok_or("a process that does not say what it has written")?;
    }
    Ok(written)
}

fn bytes_below(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}

const MEMORY: &str = "memory alone";
const EVERY: &str = "Sync::Every(100 ms)";
const AT_ONCE: usize = 64;
const RATE: f64 = 8000.0;
/// Of changed sessions, on both nodes: more than what a million sessions take, so that bases are made.
const CHANGED_BYTES: u64 = 1 << 30;
