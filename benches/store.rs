//! What it costs to find, change and log a session among few and among many.

use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tower_cluster_sessions::internals::{FullStore, json};

criterion_group!(benches, store);
criterion_main!(benches);

fn store(criterion: &mut Criterion) {
    for sessions in [1_000, 1_000_000] {
        let store = FullStore::new(sessions, VALUE_BYTES);
        let value = json(VALUE_BYTES);
        let mut at = 0;
        let mut next = || {
            at += 1;
            at
        };
        assert!(store.get(next()).is_some() && store.increment(next()));

        let mut group = criterion.benchmark_group(format!("store/{sessions}"));
        group.bench_function("get", |bencher| {
            bencher.iter(|| store.get(next()));
        });
        group.bench_function("set", |bencher| {
            bencher.iter_batched(
                || Arc::from(&*value),
                |value| store.set(next(), value),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("increment", |bencher| {
            bencher.iter(|| store.increment(next()));
        });
        group.bench_function("increment_and_commit", |bencher| {
            bencher.iter(|| {
                let at = next();
                store.increment(at);
                store.commit(at)
            });
        });
        group.finish();
    }
}

const VALUE_BYTES: usize = 200;
