//! Latency at half of the highest rate, and from a write on one node to a read on another one.

use crate::{
    BoxError,
    echo::round_trip_us,
    figures::Spread,
    group::Group,
    load::{Pace, Plan, Routing},
    options::Setup,
    peers::Peers,
    sample::{Sample, sample},
    table::Table,
    visible::Visible,
    visitor::{Checks, Visitor},
};

#[derive(Debug)]
struct Row<'a> {
    name: &'static str,
    group: &'a Group,
    path: &'static str,
    checks: Checks,
    visitors: Vec<Visitor>,
    samples: Vec<Sample>,
}

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let peers = Peers::start_if(setup.peers).await?;
    let bare = Group::bare(2).await?;
    let alone = Group::standalone().await?;
    let pair = Group::cluster(2, setup.links(), &[]).await?;
    let mut rows = vec![
        Row::new("two bare axum", &bare, "/hit", Checks::Success),
        Row::new("one node", &alone, "/hit", Checks::Count),
        Row::new("two nodes, Ack::None", &pair, "/hit-none", Checks::Count),
        Row::new("two nodes, Ack::All", &pair, "/hit", Checks::Count),
    ];
    let slowest = rows.last_mut().ok_or("no rows")?;
    slowest.run(setup, Pace::AsFastAsAnswered).await?;
    let most = slowest
        .samples
        .pop()
        .map_or(0.0, |sample| sample.per_second);
    let rate = most / 2.0;
    for _ in 0..setup.rounds.get() {
        for row in &mut rows {
            row.run(setup, Pace::PerSecond(rate)).await?;
        }
    }
    println!("two nodes with Ack::All answer {most:.0} hits/s; at {rate:.0} hits/s:\n");
    print(&rows);
    for row in rows.iter().filter(|row| row.path != "/hit-none") {
        for sample in &row.samples {
            sample.check(row.name)?;
        }
    }
    println!(
        "\none byte through loopback and back: {:.0} us\n",
        round_trip_us()?
    );

    let addresses = pair.addresses();
    for (name, path) in [("Ack::None", "/hit-none"), ("Ack::All", "/hit")] {
        Visible::measure(&addresses, path).await?.print(name);
    }
    if let Some(redis) = peers.as_ref().and_then(|peers| peers.redis.as_ref()) {
        let visible = Visible::measure(&redis.addresses(), "/hit").await?;
        visible.print("tower-sessions with Redis");
    }
    Ok(())
}

impl<'a> Row<'a> {
    fn new(name: &'static str, group: &'a Group, path: &'static str, checks: Checks) -> Self {
        let servers = group.addresses().len();
        Self {
            name,
            group,
            path,
            checks,
            visitors: (0..VISITORS)
                .map(|at| Visitor::new("", 0, at % servers))
                .collect(),
            samples: Vec::new(),
        }
    }

    async fn run(&mut self, setup: &Setup, pace: Pace) -> Result<(), BoxError> {
        let plan = Plan {
            servers: self.group.addresses(),
            path: self.path,
            checks: self.checks,
            routing: Routing::RoundRobin,
            connections: VISITORS,
        };
        let sample = sample(self.group, plan, &mut self.visitors, pace, setup.seconds).await?;
        self.samples.push(sample);
        Ok(())
    }
}

fn print(rows: &[Row<'_>]) {
    let mut table = Table::new(&["request", "hits/s", "p50 us", "p99 us", "CPU us", "wrong"]);
    for row in rows {
        let text = |digits: usize, figure: &dyn Fn(&Sample) -> f64| {
            let spread = Spread::of(row.samples.iter().map(figure));
            spread.map_or_else(String::new, |spread| format!("{spread:.digits$}"))
        };
        let wrong = row
            .samples
            .iter()
            .map(|s| s.faults.counts + s.faults.sessions);
        table.row(vec![
            row.name.to_owned(),
            text(0, &|sample| sample.per_second),
            text(0, &|sample| sample.p50_us),
            text(0, &|sample| sample.p99_us),
            text(1, &Sample::cpu_us_in_all),
            wrong.sum::<u64>().to_string(),
        ]);
    }
    table.print();
}

const VISITORS: usize = 64;
