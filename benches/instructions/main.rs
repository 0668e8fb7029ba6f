//! A guard against lost speed that cannot flake: how many instructions the processor runs for each
//! operation, counted by valgrind's callgrind and compared with what is recorded.
//!
//! Each operation runs in a process of its own, once a few times and once many times; the difference
//! is the price of the runs in between, without start and end. Nothing in it waits for real time or
//! for the network, so the same binary counts the same, but for the seeds of hash maps.
//!
//! ```sh
//! cargo bench --bench instructions              # compare
//! cargo bench --bench instructions -- --record  # write down anew
//! ```
//!
//! To see where the instructions of an operation go, run what `-- --command NAME` prints.

mod cases;
mod recorded;
mod server;

use std::{
    collections::HashMap,
    env,
    error::Error,
    process::{Command, ExitCode},
};

use self::{
    cases::{CASES, Case},
    recorded::Recorded,
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--record"] => record(),
        [RUN, name, times] => {
            (found(name)?.run)(times.parse()?);
            Ok(ExitCode::SUCCESS)
        }
        ["--command", name] => {
            let command = callgrind(found(name)?, MANY, "callgrind.out")?;
            println!("{command:?}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("no arguments, `--record`, or `--command NAME`".into()),
    }
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    let recorded = Recorded::read()?;
    let mut failures = Vec::new();
    let mut counts = HashMap::new();
    println!("operation                 instructions    recorded");
    for case in CASES {
        let counted = instructions(case)?;
        let name = case.name;
        counts.insert(name, counted);
        match recorded.of(name) {
            None => failures.push(format!("`{name}` takes {counted}, and nothing is recorded")),
            Some(before) => {
                println!("{name:<24}{counted:>14}{before:>12}");
                if counted > before + before / ROOM {
                    failures.push(format!(
                        "`{name}` takes {counted} instructions, and took {before}"
                    ));
                }
            }
        }
    }
    let (part, whole) = (counts[FIGURES], counts[HIT]);
    if part * 100 > whole {
        failures.push(format!(
            "`{FIGURES}` takes {part} instructions, which is over a hundredth of `{HIT}`, {whole}"
        ));
    }
    let (indexed, plain) = (counts[INDEXED_HIT], counts[USER_HIT]);
    if indexed * 100 > plain * (100 + INDEX_ROOM) {
        failures.push(format!(
            "`{INDEXED_HIT}` takes {indexed} instructions, which is over {INDEX_ROOM} hundredths more \
             than `{USER_HIT}`, {plain}"
        ));
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for failure in failures {
        eprintln!("{failure}");
    }
    eprintln!("If that is worth it, record it with:\n{RENEW}");
    Ok(ExitCode::FAILURE)
}

fn record() -> Result<ExitCode, Box<dyn Error>> {
    let mut counts = Vec::new();
    for case in CASES {
        let counted = instructions(case)?;
        println!("{:<24}{counted:>14}", case.name);
        counts.push((case.name, counted));
    }
    recorded::write(&counts)?;
    Ok(ExitCode::SUCCESS)
}

/// Instructions of one operation.
fn instructions(case: &Case) -> Result<u64, Box<dyn Error>> {
    let few = total(case, FEW)?;
    let many = total(case, MANY)?;
    let runs = (MANY - FEW) * case.operations;
    Ok(many.saturating_sub(few) / runs)
}

/// Instructions of a process that runs the case so many times.
fn total(case: &Case, times: u64) -> Result<u64, Box<dyn Error>> {
    let output = callgrind(case, times, "/dev/null")?
        .output()
        .map_err(|error| format!("cannot run valgrind, a package of most systems: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok());
    match counted {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("`{}` could not be counted:\n{text}", case.name).into()),
    }
}

fn callgrind(case: &Case, times: u64, out: &str) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--separate-threads=no"])
        .arg(format!("--callgrind-out-file={out}"))
        .arg(env::current_exe()?)
        .args([RUN, case.name])
        .arg(times.to_string());
    Ok(command)
}

fn found(name: &str) -> Result<&'static Case, Box<dyn Error>> {
    let found = CASES.iter().find(|case| case.name == name);
    found.ok_or_else(|| format!("there is no operation `{name}`").into())
}

/// What a hit takes for the figures of monitoring systems, which is to be next to nothing.
const FIGURES: &str = "figures_of_hit";
const HIT: &str = "request_hit";
/// What a hit takes where the session's user is indexed, which is to be hardly more than where not.
const INDEXED_HIT: &str = "request_indexed_hit";
const USER_HIT: &str = "request_user_hit";
/// Hundredths that an index may add.
const INDEX_ROOM: u64 = 5;
/// Says to run one operation, for valgrind to count.
const RUN: &str = "--run";
const RENEW: &str = "cargo bench --bench instructions -- --record";
/// A tenth more than what is recorded passes.
const ROOM: u64 = 10;
/// Enough for caches and tables to be in their usual state.
const FEW: u64 = 50;
const MANY: u64 = 250;
