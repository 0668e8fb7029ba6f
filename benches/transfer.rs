//! What a node's sessions take in memory, and what it costs to hand all of them to a node that
//! joins. The number of sessions is an argument, 100 000 by default.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark of one long run reads the clock itself"
)]

use std::{env, fs, time::Instant};

use tower_cluster_sessions::internals::{FullStore, transfer::Transfer};

fn main() {
    let argument = env::args().skip(1).find_map(|text| text.parse().ok());
    let sessions: u64 = argument.unwrap_or(100_000);

    let before = resident();
    let donor = FullStore::new(sessions, VALUE_BYTES);
    let held = resident().saturating_sub(before);
    println!("{sessions} sessions, each with {VALUE_BYTES} bytes and a counter");
    println!("a node that made them: {} bytes each", held / sessions);

    let mut transfer = Transfer::from(donor);
    let before = resident();
    let start = Instant::now();
    let (received, bytes) = transfer.run();
    let nanos = start.elapsed().as_nanos() / u128::from(sessions);
    let held = resident().saturating_sub(before);
    assert_eq!(received as u64, sessions);
    println!("a node that got them: {} bytes each", held / sessions);
    println!("transfer on one core: {nanos} ns each, {bytes} bytes");
}

/// Bytes of this process in memory, zero where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

const VALUE_BYTES: usize = 200;
