//! What it costs to take in what another node wrote.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use tower_cluster_sessions::internals::SessionCopy;

criterion_group!(benches, merge);
criterion_main!(benches);

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for attributes in [1, 10, 100] {
        let held = SessionCopy::new(attributes, VALUE_BYTES);
        let mut ahead = held.clone();
        let change = ahead.change(VALUE_BYTES);
        assert!(held.clone().apply(change.clone()));

        group.bench_function(BenchmarkId::new("delta", attributes), |bencher| {
            bencher.iter_batched(
                || (held.clone(), change.clone()),
                |(mut held, change)| {
                    held.apply(change);
                    held
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("full_state", attributes), |bencher| {
            bencher.iter_batched(
                || (held.clone(), ahead.clone()),
                |(mut held, ahead)| {
                    held.merge(ahead);
                    held
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

const VALUE_BYTES: usize = 200;
