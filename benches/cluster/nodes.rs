//! What one node more costs, at rates of hits that all nodes share, and how long a restart takes.

use crate::{
    BoxError,
    figures::Spread,
    group::{Group, plans, start_node},
    load::{Pace, Plan, Routing},
    options::Setup,
    sample::{Sample, sample},
    table::Table,
    visitor::{Checks, Visitor},
};

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let heads = [
        "nodes",
        "hits/s",
        "request",
        "requests/s",
        "p50 us",
        "p99 us",
        "CPU us of all",
        "wire bytes",
    ];
    let mut table = Table::new(&heads);
    for nodes in setup.nodes.iter().map(|nodes| nodes.get()) {
        let bare = Group::bare(nodes).await?;
        let cluster = Group::cluster(nodes, setup.links(), &[]).await?;
        let mut visitors = cluster.fill(VISITORS).await?;
        cluster.until_all_hold(VISITORS).await?;
        for rate in &setup.rates {
            let mut strangers = (0..VISITORS).map(|_| Visitor::new("", 0, 0)).collect();
            let rows = [
                ("bare axum", &bare, "/plain", Checks::Success),
                ("Ack::None", &cluster, "/hit-none", Checks::Success),
                ("Ack::All", &cluster, "/hit", Checks::Count),
            ];
            for (name, group, path, checks) in rows {
                let plan = Plan {
                    servers: group.addresses(),
                    path,
                    checks,
                    routing: Routing::RoundRobin,
                    connections: CONNECTIONS,
                };
                let visitors = match name {
                    "bare axum" => &mut strangers,
                    _ => &mut visitors,
                };
                let length = setup.seconds * u32::try_from(setup.rounds.get())?;
                let pace = Pace::PerSecond((*rate).into());
                let sample = sample(group, plan, visitors, pace, length).await?;
                let mut row = vec![nodes.to_string(), rate.to_string(), name.to_owned()];
                row.extend(figures(&sample));
                table.row(row);
            }
        }
    }
    table.print();
    println!();
    for nodes in setup.nodes.iter().map(|nodes| nodes.get()) {
        restart(setup, nodes).await?;
    }
    Ok(())
}

fn figures(sample: &Sample) -> [String; 5] {
    let bytes = sample.wire_bytes_in_all();
    [
        format!("{:.0}", sample.per_second),
        format!("{:.0}", sample.p50_us),
        format!("{:.0}", sample.p99_us),
        format!("{:.1}", sample.cpu_us_in_all()),
        bytes.map_or_else(String::new, |bytes| format!("{bytes:.0}")),
    ]
}

async fn restart(setup: &Setup, nodes: usize) -> Result<(), BoxError> {
    // All nodes have a long log then.
    let each = setup.some_sessions() / nodes;
    let sessions = each * nodes;
    let plans = plans(nodes, setup.links(), &[])?;
    let mut started = Vec::new();
    for plan in &plans {
        started.push(start_node(plan).await?);
    }
    let mut group = Group::of_nodes(started).await?;
    group.fill_each(each).await?;
    group.until_all_hold(sessions).await?;
    let last = plans.last().ok_or("no plan for a node")?;
    let mut took = Vec::new();
    for _ in 0..RESTARTS {
        took.push(group.restart_last(last).await?);
        group.until_all_hold(sessions).await?;
    }
    if let Some(took) = Spread::of(took) {
        println!(
            "{nodes} nodes: a restarted one is ready with {sessions} sessions after {took:.2} s"
        );
    }
    Ok(())
}

const VISITORS: usize = 1000;
const CONNECTIONS: usize = 64;
const RESTARTS: usize = 3;
