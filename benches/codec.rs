//! What it costs to turn messages into bytes and back.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tower_cluster_sessions::internals::{SessionCopy, Words};

criterion_group!(benches, codec);
criterion_main!(benches);

fn codec(criterion: &mut Criterion) {
    let session = SessionCopy::new(20, 200);
    let cases = [
        ("100_hits", Words::hits(100)),
        ("full_state_20", Words::full_state(session)),
    ];
    for (name, words) in cases {
        let mut bytes = Vec::new();
        words.encode(&mut bytes);
        assert!(Words::decode(&bytes).is_some());

        let mut group = criterion.benchmark_group(format!("codec/{name}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        // In a buffer that is kept, as a link's writer does.
        let mut out = bytes.clone();
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                out.clear();
                words.encode(&mut out);
            });
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| Words::decode(&bytes));
        });
        group.finish();
    }
}
