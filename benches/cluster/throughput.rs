//! The table: what a request costs as fast as answers come, in rounds that take the rows by turns.

use std::process;

use crate::{
    BoxError,
    cpu::CpuTime,
    figures::Spread,
    held,
    load::Pace,
    options::Setup,
    peers::Peers,
    rows::{Row, Servers},
    sample::{Sample, sample},
    table::Table,
    transfer,
    visitor::Visitor,
};

/// A row at one number of connections.
#[derive(Debug)]
struct Cell<'a> {
    row: &'a Row<'a>,
    connections: usize,
    visitors: Vec<Visitor>,
    samples: Vec<Sample>,
}

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let peers = Peers::start_if(setup.peers).await?;
    measure(setup, peers.as_ref()).await?;
    if setup.only.is_some() {
        return Ok(());
    }
    held::memory(setup, peers.as_ref()).await?;
    transfer::quick(setup).await
}

async fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<(), BoxError> {
    let servers = Servers::start(setup.links()).await?;
    let mut rows = servers.rows(peers);
    if let Some(text) = &setup.only {
        keep(&mut rows, text)?;
    }
    for row in &rows {
        row.compare_answers(baseline(&rows, row)?).await?;
    }
    let mut cells = cells(&rows, setup).await?;
    let mut requests = 0;
    let generator = CpuTime::of(process::id())?;
    for _ in 0..setup.rounds.get() {
        for cell in &mut cells {
            let (name, plan) = (cell.row.name, cell.row.plan(cell.connections));
            let pace = Pace::AsFastAsAnswered;
            let taken = sample(
                cell.row.group,
                plan,
                &mut cell.visitors,
                pace,
                setup.seconds,
            )
            .await;
            let taken = taken.map_err(|error| format!("{name}: {error}"))?;
            requests += taken.requests;
            cell.samples.push(taken);
        }
    }
    let generator = CpuTime::of(process::id())?.since(&generator);
    print(&cells);
    let own_us = generator.as_secs_f64() * 1e6 / requests as f64;
    println!("\nThe load generator itself: {own_us:.1} us of CPU for each request.\n");
    let strict = cells.iter().filter(|cell| !cell.row.may_be_behind());
    for (cell, sample) in strict.flat_map(|cell| cell.samples.iter().map(move |s| (cell, s))) {
        sample.check(cell.row.name)?;
    }
    Ok(())
}

/// Leaves the rows that are asked for, and what they are compared with.
fn keep(rows: &mut Vec<Row<'_>>, text: &str) -> Result<(), BoxError> {
    let wanted = |row: &&Row<'_>| row.name.contains(text);
    let baselines: Vec<_> = rows.iter().filter(wanted).map(|row| row.baseline).collect();
    if baselines.is_empty() {
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        return Err(format!("no row is called {text}, but {}", names.join("; ")).into());
    }
    rows.retain(|row| wanted(&row) || baselines.contains(&row.name));
    Ok(())
}

async fn cells<'a>(rows: &'a [Row<'a>], setup: &Setup) -> Result<Vec<Cell<'a>>, BoxError> {
    let mut cells = Vec::new();
    for connections in setup.connections.iter().map(|number| number.get()) {
        for row in rows {
            cells.push(Cell {
                row,
                connections,
                visitors: row.visitors(connections).await?,
                samples: Vec::new(),
            });
        }
    }
    Ok(cells)
}

fn baseline<'a>(rows: &'a [Row<'a>], row: &Row<'_>) -> Result<&'a Row<'a>, BoxError> {
    let found = rows.iter().find(|other| other.name == row.baseline);
    found.ok_or_else(|| format!("there is no row {}", row.baseline).into())
}

fn print(cells: &[Cell<'_>]) {
    let mut table = Table::new(&[
        "request",
        "at once",
        "requests/s",
        "p50 us",
        "p99 us",
        "CPU us each",
        "CPU us",
        "times bare",
        "wire bytes",
        "wrong",
    ]);
    for cell in cells {
        let bare = cells.iter().find(|other| {
            other.row.name == cell.row.baseline && other.connections == cell.connections
        });
        let median = |figure: &dyn Fn(&Sample) -> f64| {
            Spread::of(cell.samples.iter().map(figure)).map_or(f64::NAN, |spread| spread.median)
        };
        let processes = cell.samples.first().map_or(0, |sample| sample.cpu_us.len());
        let each = (0..processes).map(|at| format!("{:.1}", median(&|s| s.cpu_us[at])));
        let each: Vec<String> = each.collect();
        let in_all = cell.samples.iter().map(Sample::cpu_us_in_all);
        let bytes = cell.samples.iter().filter_map(Sample::wire_bytes_in_all);
        let wrong = cell
            .samples
            .iter()
            .map(|s| s.faults.counts + s.faults.sessions);
        table.row(vec![
            cell.row.name.to_owned(),
            cell.connections.to_string(),
            format!("{:.0}", median(&|s| s.per_second)),
            format!("{:.0}", median(&|s| s.p50_us)),
            format!("{:.0}", median(&|s| s.p99_us)),
            each.join(" + "),
            text(Spread::of(in_all), 1),
            text(bare.and_then(|bare| ratio(cell, bare)), 2),
            Spread::of(bytes).map_or_else(String::new, |bytes| format!("{:.0}", bytes.median)),
            wrong.sum::<u64>().to_string(),
        ]);
    }
    table.print();
}

/// What is compared was measured in the same round.
fn ratio(cell: &Cell<'_>, bare: &Cell<'_>) -> Option<Spread> {
    let rounds = cell.samples.iter().zip(&bare.samples);
    Spread::of(rounds.map(|(one, bare)| one.cpu_us_in_all() / bare.cpu_us_in_all()))
}

fn text(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(String::new, |spread| format!("{spread:.digits$}"))
}
