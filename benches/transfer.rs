//! What a node's sessions take in memory, and what it costs to hand all of them to a node that
//! joins. The number of sessions is an argument, 100 000 by default.

use std::{env, fs};

use tower_cluster_sessions::internals::{FullStore, Peer};

fn main() {
    let argument = env::args().skip(1).find_map(|text| text.parse().ok());
    let sessions: u64 = argument.unwrap_or(100_000);

    let before = resident();
    let donor = FullStore::new(sessions, VALUE_BYTES);
    let held = resident().saturating_sub(before);
    println!("{sessions} sessions, each with {VALUE_BYTES} bytes and a counter");
    println!("a node that made them: {} bytes each", held / sessions);

    let [mut donor, mut joiner] = Peer::pair(donor);
    let before = resident();
    let start = processor_nanos();
    let bytes = transfer(&mut donor, &mut joiner);
    let nanos = (processor_nanos() - start) / sessions;
    let held = resident().saturating_sub(before);
    assert_eq!(joiner.entries() as u64, sessions);
    println!("a node that got them: {} bytes each", held / sessions);
    let full = resident();
    let start = processor_nanos();
    (0..100).for_each(|_| joiner.wait(100));
    let idle = (processor_nanos() - start) / 10;
    for node in [&mut donor, &mut joiner] {
        node.wait(24 * 60 * 60 * 1000);
        assert_eq!(node.entries(), 0);
    }
    let given_back = full.saturating_sub(resident());
    println!("transfer: {nanos} ns of one processor each, for both nodes; {bytes} bytes");
    println!("a node that idles: {idle} ns of a processor each second");
    println!("when all have expired: {given_back} of {full} bytes are given back");
}

/// Brings all sessions over. Returns how many bytes the donor said.
fn transfer(donor: &mut Peer, joiner: &mut Peer) -> usize {
    let mut said = 0;
    while joiner.entries() < donor.entries() {
        for there in donor.say() {
            said += there.len();
            assert!(joiner.hear(&there), "the donor is honest");
        }
        for back in joiner.say() {
            assert!(donor.hear(&back), "the joiner is honest");
        }
        // A donor whose sessions have just been used sends at a pace.
        donor.wait(1);
        joiner.wait(1);
    }
    said
}

/// Bytes of this process in memory, zero where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// How long this thread has run, whatever else the machine does. Zero where the system does not
/// tell.
fn processor_nanos() -> u64 {
    let spent = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = spent.split_whitespace().next();
    first.and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

const VALUE_BYTES: usize = 200;
