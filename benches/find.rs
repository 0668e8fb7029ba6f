//! What it costs to find the sessions of a user among few and among many, and to look for those to
//! be ended.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::{runtime::Runtime, time::sleep};
use tower_cluster_sessions::{Changes, Cluster, ClusterConfig, Sessions};

criterion_group!(benches, find);
criterion_main!(benches);

fn find(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be had");
    for count in [1_000, 1_000_000] {
        let sessions = runtime.block_on(full(count));
        let users = count / SESSIONS_OF_ONE;
        let mut user = 0;
        let mut next = || {
            // Far from the one before in memory, and not in the order of creation.
            user = (user + 7_919) % users;
            user
        };
        let mut group = criterion.benchmark_group(format!("find/{count}"));
        group.bench_function("ten", |bencher| {
            bencher.iter(|| {
                let found = runtime.block_on(sessions.find(INDEXED, &next()));
                assert_eq!(found.expect("it is indexed").len() as u64, SESSIONS_OF_ONE);
            });
        });
        group.bench_function("none", |bencher| {
            bencher.iter(|| {
                let found = runtime.block_on(sessions.find(INDEXED, &"nobody"));
                assert!(found.expect("it is indexed").is_empty());
            });
        });
        group.bench_function("page_of_fifty", |bencher| {
            bencher.iter(|| {
                let page = runtime.block_on(sessions.page(None, 50));
                assert_eq!(page.sessions.len(), 50);
            });
        });
        group.sample_size(10);
        for (case, name) in [
            ("destroy_none", INDEXED),
            ("destroy_none_by_a_scan", "user"),
        ] {
            group.bench_function(case, |bencher| {
                bencher.iter(|| {
                    let ended = runtime.block_on(sessions.destroy_where(name, &"nobody"));
                    assert_eq!(ended.expect("a text").sessions, 0);
                });
            });
        }
        group.finish();
    }
}

/// Returns the sessions of a node that has so many, nearly all of which nobody has used for a while.
async fn full(count: u64) -> Sessions {
    let config = ClusterConfig::standalone()
        .index(INDEXED)
        .unconfirmed_timeout(Duration::MAX);
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let sessions = cluster.sessions("");
    for number in 0..count {
        let mut changes = Changes::new();
        let user = number % (count / SESSIONS_OF_ONE);
        let written = changes
            .insert(INDEXED, user)
            .and_then(|()| changes.insert("user", user))
            .and_then(|()| changes.insert("cart", "x".repeat(200)));
        written.expect("numbers and a text");
        sessions.create(&changes).expect("there is room");
    }
    sleep(Duration::from_secs(3)).await;
    sessions
}

const INDEXED: &str = "user_id";
const SESSIONS_OF_ONE: u64 = 10;
