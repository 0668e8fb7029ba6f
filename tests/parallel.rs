//! Many requests at once on one session of two linked nodes.

#[path = "support/in_process.rs"]
mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use tokio::{runtime::Handle, task::JoinSet};
use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer, Session, SessionError};

use crate::support::{
    http::{cookie, start, visit},
    pair::{Pair, counter, destroy, increment, is_alive, set, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_twenty_tasks_on_one_node_are_all_counted() {
    let pair = Pair::start().await;
    let (cookie, _) = start(&pair.one, "hits", 0).await;
    let (node, client) = (pair.one.clone(), cookie.clone());
    parallel(TASKS, async move |_| {
        for _ in 0..500 {
            let hit = async |session: Session| {
                session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)
            };
            let hit = visit(&node, &client, hit).await.into_body();
            hit.expect("the session lives");
        }
    })
    .await;
    pair.until_both_have(&cookie, "hits", Some(10_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_written_on_different_nodes_are_all_there() {
    const WRITES: u64 = 50;
    let pair = Pair::start().await;
    let (cookie, _) = start(&pair.one, "first", 0).await;
    let (nodes, client) = (nodes(&pair), cookie.clone());
    parallel(TASKS, async move |task| {
        for value in 1..=WRITES {
            set(&nodes[task % 2], &client, &name(task), value).await;
        }
    })
    .await;
    for task in 0..TASKS {
        let name = name(task);
        pair.until_both_have(&cookie, &name, Some(WRITES)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_from_all_nodes_at_once_add_up() {
    const INCREMENTS: usize = 200;
    let pair = Pair::start().await;
    let (cookie, _) = start(&pair.one, "first", 0).await;
    let (nodes, client) = (nodes(&pair), cookie.clone());
    let both = nodes.clone();
    parallel(TASKS, async move |task| {
        for turn in 0..INCREMENTS {
            increment(&nodes[(task + turn) % 2], &client, "sum").await;
        }
    })
    .await;
    for node in &both {
        wait_until("all are counted", async || {
            counter(node, &cookie, "sum").await == (TASKS * INCREMENTS) as i64
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_destroyed_among_parallel_writers_never_comes_back() {
    for round in 0..10 {
        let pair = Pair::start().await;
        let (cookie, _) = start(&pair.one, "first", 0).await;
        let written = Arc::new(AtomicUsize::new(0));
        let writers = {
            let (nodes, client) = (nodes(&pair), cookie.clone());
            let written = Arc::clone(&written);
            let write = async move |task: usize| {
                while try_write(&nodes[task % 2], &client, &name(task)).await {
                    written.fetch_add(1, Ordering::Relaxed);
                }
            };
            tokio::spawn(parallel(TASKS, write))
        };
        wait_until("all have begun", async || {
            written.load(Ordering::Relaxed) > 4 * TASKS
        })
        .await;
        destroy(&nodes(&pair)[round % 2], &cookie).await;
        writers.await.expect("no writer panics");

        for node in nodes(&pair) {
            let stats = node.cluster().stats();
            assert_eq!((stats.sessions, stats.tombstones), (0, 1), "{stats:?}");
            assert!(!is_alive(&node, &cookie).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_follows_its_cookies_never_loses_the_session_to_cycle_id() {
    const CYCLES: usize = 50;
    let pair = Pair::start().await;
    let (first, id) = start(&pair.one, "first", 7).await;
    let jar = Arc::new(Mutex::new(first));
    let cycling = Arc::new(AtomicUsize::new(CYCLES));
    let counted = Arc::new(AtomicI64::new(0));
    let work = {
        let (nodes, jar, counted) = (nodes(&pair), Arc::clone(&jar), Arc::clone(&counted));
        async move |task: usize| {
            let mut turn = task;
            while cycling.load(Ordering::Relaxed) > 0 {
                turn += 1;
                let node = &nodes[turn % 2];
                if task == 0 {
                    cycle(node, &jar).await;
                    cycling.fetch_sub(1, Ordering::Relaxed);
                } else if count(node, &jar).await {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    parallel(8, work).await;

    let cookie = jar.lock().expect("nobody panicked").clone();
    for node in nodes(&pair) {
        let shown = visit(&node, &cookie, async |session| session.id()).await;
        assert_eq!(shown.into_body(), Some(id.clone()));
        assert_eq!(
            node.cluster().session_count(),
            1,
            "a straggler started a session"
        );
        let sum = counter(&node, &cookie, "sum").await;
        assert_eq!(sum, counted.load(Ordering::Relaxed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_new_sessions_at_once_fills_no_more_than_max_sessions() {
    const ROOM: usize = 100;
    let node = ClusterSessionLayer::new(ClusterConfig::standalone().max_sessions(ROOM));
    let let_in = Arc::new(AtomicUsize::new(0));
    let (flooded, counted) = (node.clone(), Arc::clone(&let_in));
    parallel(TASKS, async move |_| {
        for _ in 0..ROOM {
            let response = visit(&flooded, (), async |session| session.insert("a", 1)).await;
            assert_eq!(cookie(&response).is_some(), response.body().is_ok());
            match response.into_body() {
                Ok(()) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                Err(SessionError::Full) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(let_in.load(Ordering::Relaxed), ROOM);
    assert_eq!(node.cluster().session_count(), ROOM);
}

/// One write in a request of its own. Whether the session was there to be written.
async fn try_write(node: &ClusterSessionLayer, client: &str, name: &str) -> bool {
    let response = visit(node, client, async |session| {
        // On a handle without a session it would start a new one.
        match session.id() {
            Some(_) => session.insert(name, 1).map(|()| true),
            None => Ok(false),
        }
    })
    .await;
    match response.into_body() {
        Ok(written) => written,
        Err(SessionError::Destroyed) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn cycle(node: &ClusterSessionLayer, jar: &Mutex<String>) {
    let before = jar.lock().expect("nobody panicked").clone();
    let response = visit(node, &before, async |session| session.cycle_id()).await;
    let after = cookie(&response).expect("a new secret");
    assert_ne!(after, before);
    *jar.lock().expect("nobody panicked") = after;
    response.into_body().expect("the session lives");
}

/// Counts one up, which a request that was overtaken by `cycle_id` may not. Whether it did.
async fn count(node: &ClusterSessionLayer, jar: &Mutex<String>) -> bool {
    let sent = jar.lock().expect("nobody panicked").clone();
    let response = visit(node, &sent, async |session| session.increment("sum", 1)).await;
    assert_eq!(
        cookie(&response),
        None,
        "only `cycle_id` changes the cookie"
    );
    match response.into_body() {
        Ok(_) => true,
        Err(SessionError::Superseded) => false,
        Err(error) => panic!("{error}"),
    }
}

fn nodes(pair: &Pair) -> [ClusterSessionLayer; 2] {
    [pair.one.clone(), pair.two.clone()]
}

fn name(task: usize) -> String {
    format!("attribute {task}")
}

/// Does the work so many times at once, on threads of their own.
async fn parallel(tasks: usize, work: impl AsyncFn(usize) + Clone + Send + 'static) {
    let mut threads = JoinSet::new();
    for task in 0..tasks {
        let work = work.clone();
        threads.spawn_blocking(move || Handle::current().block_on(work(task)));
    }
    threads.join_all().await;
}

const TASKS: usize = 20;
