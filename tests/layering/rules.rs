//! The rules, for one file at a time.

use std::fmt;

use crate::tokens::{Token, after_separator, is_path_start, tokens};

/// A line that breaks a rule.
#[derive(Debug)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// What is wrong with one file. `path` is relative to `src`, with slashes.
pub(crate) fn violations(path: &str, text: &str) -> Vec<Violation> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut tell = |line, rule| {
        let path = path.to_owned();
        found.push(Violation { path, line, rule });
    };
    if let Some((folder, own)) = ranked(path) {
        for Reference { line, first } in references(path, &tokens) {
            match rank(&first) {
                Some(other) if other < own || first == folder => {}
                // The words need each other: what is configured ends up in sessions.
                Some(0) if own == 0 => {}
                Some(other) => tell(
                    line,
                    format!("`{folder}` has rank {own} and may not use `{first}` of rank {other}"),
                ),
                // Tests of a folder may use the crate as its users do.
                None if is_test_file(path) => {}
                None => tell(
                    line,
                    format!("`{folder}` uses `crate::{first}`: name the folder it comes from"),
                ),
            }
        }
        if !TOKIO_IN.contains(&folder) && !is_test_file(path) {
            for line in runtime_uses(&tokens) {
                tell(
                    line,
                    format!("`{folder}` may not use tokio, which lives in `node`"),
                );
            }
        }
    }
    if path != LOG_IN && !is_test_file(path) {
        for line in log_uses(&tokens) {
            tell(
                line,
                format!("lines are logged by `crate::log`, which src/{LOG_IN} guards"),
            );
        }
    }
    if path != CLOCK_IN && !path.starts_with(OWN_CLOCK_IN) {
        for line in clock_reads(&tokens) {
            tell(line, format!("clocks are read in src/{CLOCK_IN} alone"));
        }
    }
    found
}

/// A path that starts at the crate's root, by its first segment.
struct Reference {
    line: usize,
    first: String,
}

fn references(path: &str, tokens: &[Token]) -> Vec<Reference> {
    let file_depth = module_depth(path);
    let mut inline = InlineModules::default();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        inline.follow(tokens, at);
        let after = match tokens[at].text.as_str() {
            "crate" if is_path_start(tokens, at) => after_separator(tokens, at),
            "super" if is_path_start(tokens, at) => {
                let mut rest = after_separator(tokens, at);
                let mut levels = 1;
                while let Some(next) = rest.filter(|next| tokens[*next].text == "super") {
                    levels += 1;
                    rest = after_separator(tokens, next);
                }
                rest.filter(|_| levels >= file_depth + inline.depth())
            }
            _ => None,
        };
        at += 1;
        if let Some(after) = after {
            found.extend(first_segments(tokens, after));
        }
    }
    found
}

/// The segment at `at`, or the first ones of each path of a group.
fn first_segments(tokens: &[Token], at: usize) -> Vec<Reference> {
    let reference = |token: &Token| Reference {
        line: token.line,
        first: token.text.clone(),
    };
    if tokens[at].text != "{" {
        return vec![reference(&tokens[at])];
    }
    let (mut depth, mut is_first, mut found) = (0, false, Vec::new());
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                is_first |= depth == 1;
            }
            "}" => depth -= 1,
            "," if depth == 1 => is_first = true,
            _ if is_first => {
                found.push(reference(token));
                is_first = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn runtime_uses(tokens: &[Token]) -> Vec<usize> {
    let mut inline = InlineModules::default();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        inline.follow(tokens, at);
        let next = after_separator(tokens, at).map(|next| tokens[next].text.as_str());
        let is_runtime = match token.text.as_str() {
            "tokio" => next.is_some(),
            // Frames are a codec, which is no I/O.
            "tokio_util" => next.is_some_and(|next| next != "codec"),
            _ => false,
        };
        if is_runtime && is_path_start(tokens, at) && !inline.is_test() {
            found.push(token.line);
        }
    }
    found
}

fn log_uses(tokens: &[Token]) -> Vec<usize> {
    let mut inline = InlineModules::default();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        inline.follow(tokens, at);
        if token.text == "tracing" && !inline.is_test() {
            found.push(token.line);
        }
    }
    found
}

fn clock_reads(tokens: &[Token]) -> Vec<usize> {
    let reads = |at: &usize| {
        let token = tokens[*at].text.as_str();
        let before = at.checked_sub(1).map(|at| tokens[at].text.as_str());
        match token {
            "Instant" | "SystemTime" => {
                after_separator(tokens, *at).is_some_and(|next| tokens[next].text == "now")
            }
            "elapsed" => before == Some("."),
            _ => false,
        }
    };
    (0..tokens.len())
        .filter(reads)
        .map(|at| tokens[at].line)
        .collect()
}

/// The modules written out in a file that enclose a token.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    /// At which brace each began, and whether it holds tests.
    open: Vec<(usize, bool)>,
}

impl InlineModules {
    fn follow(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].text.as_str() {
            "{" => {
                self.braces += 1;
                let is_module = at >= 2 && tokens[at - 2].text == "mod";
                if is_module {
                    self.open
                        .push((self.braces, tokens[at - 1].text == "tests"));
                }
            }
            "}" => {
                if self
                    .open
                    .last()
                    .is_some_and(|(brace, _)| *brace == self.braces)
                {
                    self.open.pop();
                }
                self.braces = self.braces.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.open.len()
    }

    fn is_test(&self) -> bool {
        self.open.iter().any(|(_, is_test)| *is_test)
    }
}

/// How many modules enclose the code of a file, its own included.
fn module_depth(path: &str) -> usize {
    let parts = path.split('/').count();
    if path.ends_with("/mod.rs") {
        parts - 1
    } else {
        parts
    }
}

pub(crate) fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| TESTS_ARE_IN.contains(&part))
}

/// Files and folders that hold nothing but tests.
const TESTS_ARE_IN: [&str; 7] = [
    "tests.rs",
    "tests",
    "simulated",
    "simulation",
    "laws.rs",
    "adversary.rs",
    "fixtures.rs",
];

/// Finds the folder and rank of a file, `None` for `lib.rs`.
pub(crate) fn ranked(path: &str) -> Option<(&str, u8)> {
    let folder = path.split('/').next()?.trim_end_matches(".rs");
    Some((folder, rank(folder)?))
}

pub(crate) fn rank(folder: &str) -> Option<u8> {
    RANKS
        .iter()
        .find(|(name, _)| *name == folder)
        .map(|(_, rank)| *rank)
}

/// Folders of `src` by rank. `lib.rs` is above all of them.
const RANKS: [(&str, u8); 14] = [
    ("log", 0),
    ("session", 0),
    ("config", 0),
    ("wire", 1),
    ("replica", 2),
    ("cluster", 3),
    ("node", 4),
    ("middleware", 5),
    ("probes", 6),
    ("sources", 6),
    ("status", 7),
    ("test_util", 6),
    ("internals", 6),
    ("simulated", 6),
];

/// Where the runtime may be used.
const TOKIO_IN: [&str; 3] = ["node", "test_util", "internals"];

/// The one file that uses `tracing`.
const LOG_IN: &str = "log.rs";

/// The one file that reads clocks; what simulates a network reads the network's.
const CLOCK_IN: &str = "node/clock.rs";
const OWN_CLOCK_IN: &str = "simulated";
