//! What the users of other sessions notice while many end at the same instant.

use std::time::Duration;

use crate::{
    BoxError,
    clock::now,
    group::Group,
    load::{Load, Pace, Plan, Routing},
    options::Setup,
    sample::watch,
    table::Table,
    visitor::{Checks, Visitor},
};

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let sessions = setup.many_sessions();
    let group = Group::cluster(2, setup.links(), &[]).await?;
    let time_to_fill = Duration::from_secs(15) + PER_SESSION * u32::try_from(sessions)?;
    let end = now() + time_to_fill;
    group.fill_ending(sessions, end).await?;
    group.until_all_hold(sessions).await?;
    let plan = Plan {
        servers: group.addresses(),
        path: "/hit",
        checks: Checks::Count,
        routing: Routing::RoundRobin,
        connections: 64,
    };
    let visitors = (0..64).map(|_| Visitor::new("", 0, 0)).collect();
    let load = Load::start(plan, visitors, Pace::PerSecond(RATE)).await?;
    let left = end.saturating_duration_since(now()).saturating_sub(MOMENT);
    tokio::time::sleep(left).await;
    if now() + MOMENT > end + MOMENT / 2 {
        return Err("the sessions took too long to make".into());
    }
    let mut table = Table::new(&["hits", "p50 us", "p99 us", "slowest us"]);
    for (when, length) in [
        ("before", MOMENT - MOMENT / 4),
        ("while they end", MOMENT / 4 + ENDING),
        ("after", MOMENT),
    ] {
        let sample = watch(&group, 2, &load, tokio::time::sleep(length)).await?;
        sample.check(when)?;
        let figures = [sample.p50_us, sample.p99_us, sample.slowest_us];
        let mut row = vec![when.to_owned()];
        row.extend(figures.map(|figure| format!("{figure:.0}")));
        table.row(row);
    }
    drop(load.stop().await?);
    println!("{sessions} sessions end at once on two nodes, others have {RATE} hits/s\n");
    table.print();
    Ok(())
}

const RATE: f64 = 500.0;
/// A loaded machine makes a session in that time.
const PER_SESSION: Duration = Duration::from_micros(60);
const MOMENT: Duration = Duration::from_secs(3);
/// All are gone then.
const ENDING: Duration = Duration::from_secs(6);
