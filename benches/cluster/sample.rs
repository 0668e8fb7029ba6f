//! One measurement: a group of servers under a load for a moment.

use std::time::Duration;

use crate::{
    BoxError,
    clock::now,
    figures::percentile_us,
    group::Group,
    load::{Load, Pace, Plan},
    visitor::{Faults, Visitor},
};

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) slowest_us: f64,
    /// CPU time for each request, of each process.
    pub(crate) cpu_us: Vec<f64>,
    /// Bytes that each node has sent to others, for each request.
    pub(crate) wire_bytes: Option<Vec<f64>>,
    pub(crate) faults: Faults,
}

impl Sample {
    pub(crate) fn cpu_us_in_all(&self) -> f64 {
        self.cpu_us.iter().sum()
    }

    pub(crate) fn wire_bytes_in_all(&self) -> Option<f64> {
        Some(self.wire_bytes.as_ref()?.iter().sum())
    }

    /// An error when a count is wrong or another session answered.
    pub(crate) fn check(&self, what: &str) -> Result<(), BoxError> {
        if self.faults == Faults::default() {
            return Ok(());
        }
        Err(format!("{what}: {:?} in {} answers", self.faults, self.requests).into())
    }
}

/// Runs a load on the group, and measures when it is well under way.
pub(crate) async fn sample(
    group: &Group,
    plan: Plan,
    visitors: &mut Vec<Visitor>,
    pace: Pace,
    length: Duration,
) -> Result<Sample, BoxError> {
    let servers = plan.servers.len();
    let load = Load::start(plan, std::mem::take(visitors), pace).await?;
    tokio::time::sleep(WARM_UP).await;
    let sample = watch(group, servers, &load, tokio::time::sleep(length)).await;
    *visitors = load.stop().await?;
    sample
}

/// Measures a load that runs until something has happened.
pub(crate) async fn watch(
    group: &Group,
    servers: usize,
    load: &Load,
    until: impl Future,
) -> Result<Sample, BoxError> {
    let asked = now();
    let sent = group.sent_bytes().await?;
    drop(load.take_tally());
    let (began, cpu) = (now(), group.cpu_times(servers)?);
    until.await;
    let (took, cpu_after) = (now() - began, group.cpu_times(servers)?);
    let mut tally = load.take_tally();
    let sent_after = group.sent_bytes().await?;
    let asked_for = now() - asked;

    tally.latencies.sort_unstable();
    let requests = tally.latencies.len();
    let each = |cost: f64| cost / requests as f64;
    let times = cpu.iter().zip(&cpu_after);
    let cpu = times.map(|(before, after)| after.since(before).as_secs_f64());
    let per_second = requests as f64 / took.as_secs_f64();
    Ok(Sample {
        requests,
        per_second,
        p50_us: percentile_us(&tally.latencies, 0.5),
        p99_us: percentile_us(&tally.latencies, 0.99),
        slowest_us: percentile_us(&tally.latencies, 1.0),
        cpu_us: cpu.map(|seconds| each(seconds * 1e6)).collect(),
        // Asking takes time as well, in which the load goes on.
        wire_bytes: sent.zip(sent_after).map(|(before, after)| {
            let meanwhile = per_second * asked_for.as_secs_f64();
            let pairs = before.iter().zip(&after);
            pairs.map(|(b, a)| (a - b) as f64 / meanwhile).collect()
        }),
        faults: tally.faults,
    })
}

/// Long enough for new visitors to get their sessions.
const WARM_UP: Duration = Duration::from_millis(150);
