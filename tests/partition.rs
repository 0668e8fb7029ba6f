//! A cut between two live nodes with writes on both sides, and what is left of it after the heal.

#[path = "support/in_process.rs"]
mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tower_cluster_sessions::{ClusterSessionLayer, MemberState};

use crate::support::{
    http::start,
    pair::{Pair, counter, destroy, get, hasty, increment, is_alive, set, wait_until},
    proxy::Wire,
    stopwatch::Stopwatch,
};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_within_a_second_of_a_cut() {
    let pair = Pair::start().await;
    let cut = Split::make(&pair, 200, Wire::Cut).await;
    cut.heal(&pair, "200 sessions, reset links", WITHIN_RING)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_within_a_second_of_a_silent_cut() {
    let pair = Pair::start().await;
    let cut = Split::make(&pair, 200, Wire::Jammed).await;
    cut.heal(&pair, "200 sessions, silent links", WITHIN_RING)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_overran_each_others_logs_agree() {
    let pair = Pair::start_with(|config| config.log_records(16)).await;
    let cut = Split::make(&pair, 200, Wire::Cut).await;
    cut.heal(&pair, "200 sessions, logs overrun", OVERRUN).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a release build"]
async fn ten_thousand_differing_sessions_agree_within_five_seconds() {
    let pair = Pair::start_with(|config| config.log_records(4096)).await;
    let cut = Split::make(&pair, 10_000, Wire::Cut).await;
    cut.heal(&pair, "10 000 sessions, logs overrun", OVERRUN)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a release build"]
async fn ten_thousand_differing_sessions_agree_while_every_shard_is_written() {
    let pair = Pair::start_with(|config| config.log_records(4096)).await;
    let writers = Writers::start(&pair).await;
    let cut = Split::make(&pair, 10_000, Wire::Cut).await;
    cut.heal(&pair, "10 000 sessions under writes", OVERRUN)
        .await;
    writers.stop(&pair).await;
}

/// Sessions that were used on both sides of a cut.
struct Split {
    sessions: Vec<(Fate, String)>,
}

/// What happened to a session during the cut.
#[derive(Clone, Copy)]
enum Fate {
    /// Each side wrote an attribute of its own and counted.
    Shared,
    /// The first node destroyed it, the second wrote it.
    DestroyedOnOne,
    DestroyedOnTwo,
    CreatedOnOne,
    CreatedOnTwo,
}

impl Split {
    /// Cuts the wire, and uses sessions on both sides.
    async fn make(pair: &Pair, count: usize, wire: Wire) -> Self {
        const FATES: [Fate; 5] = [
            Fate::Shared,
            Fate::DestroyedOnOne,
            Fate::DestroyedOnTwo,
            Fate::CreatedOnOne,
            Fate::CreatedOnTwo,
        ];
        let (one, two) = (hasty(&pair.one), hasty(&pair.two));
        let before = pair.one.cluster().session_count();
        let mut sessions = Vec::new();
        for at in 0..count {
            let fate = FATES[at % FATES.len()];
            let cookie = match fate {
                Fate::Shared | Fate::DestroyedOnOne | Fate::DestroyedOnTwo => {
                    start(&one, "first", 1).await.0
                }
                Fate::CreatedOnOne | Fate::CreatedOnTwo => String::new(),
            };
            sessions.push((fate, cookie));
        }
        let there = sessions.iter().filter(|(_, cookie)| !cookie.is_empty());
        let all = before + there.count();
        wait_until("the second node has all sessions", async || {
            two.cluster().session_count() == all
        })
        .await;

        pair.cut(wire).await;
        for (fate, cookie) in &mut sessions {
            fate.befall(&one, &two, cookie).await;
        }
        for (fate, cookie) in &sessions {
            assert!(!fate.is_settled(&one, &two, cookie).await, "they are cut");
        }
        Self { sessions }
    }

    /// Heals the wire. Both nodes must come to hold the same.
    async fn heal(self, pair: &Pair, what: &str, bound: Duration) {
        let healed = Stopwatch::start();
        pair.heal().await;
        let linked = Stopwatch::start();
        let (one, two) = (hasty(&pair.one), hasty(&pair.two));
        for (fate, cookie) in &self.sessions {
            wait_until("both nodes agree", async || {
                fate.is_settled(&one, &two, cookie).await
            })
            .await;
        }
        let agreed = linked.elapsed();
        println!(
            "{what}: linked {:?} after the heal, agreed {agreed:?} after that",
            healed.elapsed() - agreed
        );
        // The bound is for a machine of its own; this one has other work.
        assert!(agreed < 5 * bound, "{agreed:?}");

        pair.settle(&[MemberState::Up]).await;
        for (fate, cookie) in &self.sessions {
            assert!(fate.is_settled(&one, &two, cookie).await, "they part again");
        }
    }
}

impl Fate {
    async fn befall(
        self,
        one: &ClusterSessionLayer,
        two: &ClusterSessionLayer,
        cookie: &mut String,
    ) {
        match self {
            Self::Shared => {
                set(one, cookie, "from one", 11).await;
                set(two, cookie, "from two", 22).await;
                for _ in 0..3 {
                    increment(one, cookie, "sum").await;
                    increment(two, cookie, "sum").await;
                }
            }
            Self::DestroyedOnOne => {
                destroy(one, cookie).await;
                set(two, cookie, "late", 1).await;
            }
            Self::DestroyedOnTwo => {
                destroy(two, cookie).await;
                set(one, cookie, "late", 1).await;
            }
            Self::CreatedOnOne => *cookie = start(one, "first", 1).await.0,
            Self::CreatedOnTwo => *cookie = start(two, "first", 1).await.0,
        }
    }

    /// Whether both nodes hold what must come of it.
    async fn is_settled(
        self,
        one: &ClusterSessionLayer,
        two: &ClusterSessionLayer,
        cookie: &str,
    ) -> bool {
        for node in [one, two] {
            let settled = match self {
                Self::Shared => {
                    get(node, cookie, "from one").await == Some(11)
                        && get(node, cookie, "from two").await == Some(22)
                        && counter(node, cookie, "sum").await == 6
                }
                Self::DestroyedOnOne | Self::DestroyedOnTwo => !is_alive(node, cookie).await,
                Self::CreatedOnOne | Self::CreatedOnTwo => {
                    get(node, cookie, "first").await == Some(1)
                }
            };
            if !settled {
                return false;
            }
        }
        true
    }
}

/// Both nodes write sessions in every digest shard ten times a second.
struct Writers {
    cookies: Vec<Arc<[String]>>,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    began: Stopwatch,
    tasks: Vec<JoinHandle<u64>>,
}

impl Writers {
    async fn start(pair: &Pair) -> Self {
        let cookies = Self::session_in_every_shard(&pair.one).await;
        let all = pair.one.cluster().session_count();
        wait_until("the second node has all sessions", async || {
            pair.two.cluster().session_count() == all
        })
        .await;
        let halves: Vec<Arc<[String]>> = cookies.chunks(2048).map(Into::into).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let nodes = [hasty(&pair.one), hasty(&pair.two)];
        let tasks = nodes.into_iter().zip(&halves).map(|(node, half)| {
            let (half, stop, rounds) = (Arc::clone(half), Arc::clone(&stop), Arc::clone(&rounds));
            let write = async move {
                let mut last = 0;
                let mut tenths = tokio::time::interval(Duration::from_millis(100));
                tenths.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !stop.load(Ordering::Relaxed) {
                    tenths.tick().await;
                    last += 1;
                    for cookie in half.iter() {
                        set(&node, cookie, "last", last).await;
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                last
            };
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(write))
        });
        let tasks = tasks.collect();
        Self {
            cookies: halves,
            stop,
            rounds,
            began: Stopwatch::start(),
            tasks,
        }
    }

    /// Ends the writes. Both nodes must hold the last ones.
    async fn stop(self, pair: &Pair) {
        let rounds = self.rounds.load(Ordering::Relaxed) as f64 / self.tasks.len() as f64;
        let rate = rounds / self.began.elapsed().as_secs_f64();
        println!("every shard was written {rate:.1} times a second");
        assert!(rate > 5.0, "the machine is too slow for this");
        self.stop.store(true, Ordering::Relaxed);
        for (task, half) in self.tasks.into_iter().zip(self.cookies) {
            let last = task.await.expect("no writer panics");
            for cookie in half.iter() {
                pair.until_both_have(cookie, "last", Some(last)).await;
            }
        }
    }

    /// A session's id begins with the twelve bits that choose its shard, as two characters.
    async fn session_in_every_shard(node: &ClusterSessionLayer) -> Vec<String> {
        let node = hasty(node);
        let mut sessions = HashMap::new();
        while sessions.len() < 4096 {
            let (cookie, id) = start(&node, "last", 0).await;
            sessions.insert(id[..2].to_owned(), cookie);
        }
        sessions.into_values().collect()
    }
}

/// How long after the link is up nodes may differ.
const WITHIN_RING: Duration = Duration::from_secs(1);
const OVERRUN: Duration = Duration::from_secs(5);
