//! What it costs to turn messages into frames and back.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tower_cluster_sessions::internals::{Codec, Frames, SessionCopy};

criterion_group!(benches, codec);
criterion_main!(benches);

fn codec(criterion: &mut Criterion) {
    let session = SessionCopy::new(20, 200);
    let cases = [
        ("100_hits", Codec::hits(100)),
        ("full_state_20", Codec::full_state(session)),
    ];
    for (name, mut codec) in cases {
        let mut frames = Frames::default();
        let bytes = codec.encode(&mut frames) as u64;
        assert_eq!(codec.decode(frames.clone()), 1);

        let mut group = criterion.benchmark_group(format!("codec/{name}"));
        group.throughput(Throughput::Bytes(bytes));
        let mut out = frames.clone();
        group.bench_function("encode", |bencher| {
            bencher.iter(|| codec.encode(&mut out));
        });
        group.bench_function("decode", |bencher| {
            bencher.iter_batched(
                || frames.clone(),
                |frames| codec.decode(frames),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}
