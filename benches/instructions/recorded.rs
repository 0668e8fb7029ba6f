//! The instructions that were counted last, in a file beside this one.

use std::{collections::HashMap, fmt::Write as _, fs, io};

#[derive(Debug)]
pub(crate) struct Recorded(HashMap<String, u64>);

impl Recorded {
    pub(crate) fn read() -> io::Result<Self> {
        let text = fs::read_to_string(FILE)?;
        let counts = text.lines().filter_map(|line| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        });
        Ok(Self(counts.collect()))
    }

    pub(crate) fn of(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

pub(crate) fn write(counts: &[(&str, u64)]) -> io::Result<()> {
    let mut text = String::new();
    for (name, count) in counts {
        writeln!(text, "{name:<24}{count:>10}").map_err(io::Error::other)?;
    }
    fs::write(FILE, text)
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions/recorded.txt");
