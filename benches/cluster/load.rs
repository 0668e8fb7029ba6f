//! The load generator: visitors who send one request after the other, as fast as the answers come
//! or at a fixed rate, and check each answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    BoxError,
    client::Connection,
    clock::now,
    queue::{Queue, Turn},
    visitor::{Checks, Faults, Visitor},
};

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) path: &'static str,
    pub(crate) checks: Checks,
    pub(crate) routing: Routing,
    /// In all; each server has at least one.
    pub(crate) connections: usize,
}

/// Which server has a visitor's next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Always the next one.
    RoundRobin,
    /// Always the same.
    Sticky,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    AsFastAsAnswered,
    PerSecond(f64),
}

/// Visitors at work, until [`Load::stop`].
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<(), BoxError>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    /// One for each server.
    queues: Vec<Queue>,
    /// Who waits for the clock, if there is a rate.
    resting: Option<Queue>,
    tally: Mutex<Tally>,
}

/// What has happened since the load began, or since the last look.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How long each request took, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
    pub(crate) faults: Faults,
}

impl Load {
    /// Opens the connections and begins.
    pub(crate) async fn start(
        plan: Plan,
        visitors: Vec<Visitor>,
        pace: Pace,
    ) -> Result<Self, BoxError> {
        let each = plan.connections.div_ceil(plan.servers.len());
        let shared = Arc::new(Shared {
            queues: plan.servers.iter().map(|_| Queue::default()).collect(),
            resting: matches!(pace, Pace::PerSecond(_)).then(Queue::default),
            tally: Mutex::default(),
            plan,
        });
        let mut connections = Vec::new();
        for (server, address) in shared.plan.servers.iter().enumerate() {
            for _ in 0..each {
                connections.push((server, Connection::open(*address).await?));
            }
        }
        for visitor in visitors {
            shared.proceed(visitor);
        }
        let mut tasks = JoinSet::new();
        for (server, connection) in connections {
            tasks.spawn(Arc::clone(&shared).serve(server, connection));
        }
        if let Pace::PerSecond(rate) = pace {
            tasks.spawn(Arc::clone(&shared).dispatch(due_times(rate)));
        }
        Ok(Self { shared, tasks })
    }

    /// What has happened since this was asked last.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.shared.tally())
    }

    /// Lets every request end.
    pub(crate) async fn stop(mut self) -> Result<Vec<Visitor>, BoxError> {
        for queue in self.shared.all_queues() {
            queue.close();
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let turns = self.shared.all_queues().flat_map(Queue::drain);
        Ok(turns.map(|turn| turn.visitor).collect())
    }
}

impl Shared {
    /// One connection's work.
    async fn serve(
        self: Arc<Self>,
        server: usize,
        mut connection: Connection,
    ) -> Result<(), BoxError> {
        let plan = &self.plan;
        while let Some(Turn { mut visitor, due }) = self.queues[server].pop().await {
            let began = due.unwrap_or_else(now);
            let answer = connection.get(plan.path, visitor.cookie()).await?;
            let took = now() - began;
            let faults = visitor.read(&answer, plan.checks)?;
            self.tally().add(took, faults);
            if plan.routing == Routing::RoundRobin {
                visitor.server = (server + 1) % plan.servers.len();
            }
            self.proceed(visitor);
        }
        Ok(())
    }

    /// Sends visitors off at their times.
    async fn dispatch(self: Arc<Self>, mut times: mpsc::Receiver<Instant>) -> Result<(), BoxError> {
        let Some(resting) = &self.resting else {
            return Ok(());
        };
        while let Some(time) = times.recv().await {
            let (turn, due) = match resting.try_pop() {
                Some(turn) => (turn, now()),
                // All wait for answers, so this request is late, and counts from when it was due.
                None => match resting.pop().await {
                    Some(turn) => (turn, time),
                    None => return Ok(()),
                },
            };
            if resting.is_closed() {
                resting.push(turn);
                return Ok(());
            }
            let due = Some(due);
            self.queues[turn.visitor.server].push(Turn { due, ..turn });
        }
        Ok(())
    }

    fn proceed(&self, visitor: Visitor) {
        let next = &self.queues[visitor.server % self.queues.len()];
        let queue = self.resting.as_ref().unwrap_or(next);
        queue.push(Turn { visitor, due: None });
    }

    fn all_queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().chain(&self.resting)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, took: Duration, faults: Faults) {
        // 500 years fit.
        let nanoseconds = took.as_nanos() as u64;
        self.latencies.push(nanoseconds);
        self.faults.counts += faults.counts;
        self.faults.sessions += faults.sessions;
    }
}

/// A thread that tells each time as it comes: tokio's timers come once in a millisecond, and many
/// requests would be sent at once.
fn due_times(rate: f64) -> mpsc::Receiver<Instant> {
    // A full channel stops the thread, which goes on with times that are past: these count.
    let (sender, receiver) = mpsc::channel(1024);
    let interval = Duration::from_secs_f64(1.0 / rate);
    let mut due = now();
    thread::spawn(move || {
        while sender.blocking_send(due).is_ok() {
            due += interval;
            thread::sleep(due.saturating_duration_since(now()));
        }
    });
    receiver
}
