//! Real processes under random faults, and clients who remember what they were told.
//!
//! ```sh
//! cargo test --test storms -- --ignored --nocapture
//! STORMS=200 STORM_SEED=17 cargo test --test storms -- --ignored --nocapture
//! ```
//!
//! `STORMS` says how many storms there are, one after another, on the same three nodes. What
//! happens in a storm is decided by its seed, which is that of the first one and its number; when a
//! process gets its turn is not. `STORM_STRICT` lets a promise that a starved machine may break
//! end the test, too.
#![cfg(unix)]

mod clients;
mod faults;
mod story;
#[path = "../support/mod.rs"]
mod support;

use std::env;

use crate::faults::{Random, Stage};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute or two"]
async fn storms_of_kills_stalls_and_cuts_break_no_promise() {
    let first = number("STORM_SEED").unwrap_or_else(faults::any_seed);
    let storms = number("STORMS").unwrap_or(4);
    println!("STORM_SEED={first}");
    let mut stage = Stage::start().await;
    let (mut stories, mut doubts, mut requests) = (Vec::new(), Vec::new(), 0);
    for seed in first..first + storms {
        let storm = stage.storm(Random::new(seed), &mut stories).await;
        println!("STORM_SEED={seed}: {storm}");
        requests += storm.requests;
        doubts.extend(storm.doubts);
        assert!(
            storm.violations.is_empty(),
            "STORM_SEED={seed}\n{}\n{}",
            storm.violations.join("\n"),
            stage.logs()
        );
    }
    println!("{requests} requests, {} doubts", doubts.len());
    assert!(
        doubts.is_empty() || number("STORM_STRICT").is_none(),
        "{}",
        doubts.join("\n")
    );
}

/// The number in an environment variable.
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}
