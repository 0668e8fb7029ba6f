//! Circles of imports between files: whoever wants to understand one file of a circle has to read
//! all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tokens::{Token, tokens};

/// A module's path below the crate, without `crate` itself.
type Module = Vec<String>;

/// Returns a shortest circle for each file that is part of one, written `a.rs -> b.rs -> a.rs`.
/// Test code does not count, and neither does a folder's file that only hands on what is below it.
///
/// `files` are paths below `src`, with slashes, and their texts.
pub(crate) fn circles(files: &[(String, String)]) -> BTreeSet<String> {
    let sources: BTreeMap<Module, Source> = files
        .iter()
        .map(|(path, text)| (module_of(path), Source::read(path, text)))
        .collect();
    let names: BTreeMap<&Module, &str> = sources
        .iter()
        .map(|(module, source)| (module, source.path.as_str()))
        .collect();
    let uses: BTreeMap<&Module, BTreeSet<&Module>> = sources
        .keys()
        .map(|module| (module, used_by(module, &sources)))
        .collect();
    let circle_of = |start: &Module| {
        let steps = way(start, &uses)?;
        let least = (0..steps.len()).min_by_key(|at| names[steps[*at]])?;
        let mut shown: Vec<&str> = steps.iter().map(|step| names[*step]).collect();
        shown.rotate_left(least);
        shown.push(shown[0]);
        Some(shown.join(" -> "))
    };
    sources.keys().filter_map(circle_of).collect()
}

/// A file as far as imports are concerned.
struct Source {
    path: String,
    /// What it declares itself, and the modules it declares.
    items: BTreeSet<String>,
    uses: Vec<Use>,
}

/// One path that a file names.
struct Use {
    /// Below the crate.
    path: Vec<String>,
    /// The name under which others find it here, if it is handed on.
    exported_as: Option<String>,
}

/// One path of a use tree.
struct Leaf {
    path: Vec<String>,
    /// The name after `as`.
    alias: Option<String>,
}

impl Source {
    fn read(path: &str, text: &str) -> Self {
        let module = module_of(path);
        let tokens = without_tests(tokens(text));
        let items = tokens
            .windows(2)
            .filter(|pair| DECLARING.contains(&pair[0].text.as_str()))
            .map(|pair| pair[1].text.clone())
            .collect();
        let mut uses = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let is_use = tokens[at].text == "use";
            let starts_path = ROOTS.contains(&tokens[at].text.as_str())
                && (at == 0 || tokens[at - 1].text != "::")
                && tokens.get(at + 1).is_some_and(|next| next.text == "::");
            if is_use {
                let is_export = is_visible(&tokens, at);
                let (leaves, end) = leaves(&tokens, at + 1);
                uses.extend(leaves.into_iter().filter_map(|Leaf { path, alias }| {
                    let name = alias.or_else(|| path.last().cloned());
                    Some(Use {
                        path: below_crate(&path, &module)?,
                        exported_as: name.filter(|_| is_export),
                    })
                }));
                at = end;
            } else if starts_path && !is_visibility(&tokens, at) {
                let (leaves, end) = leaves(&tokens, at);
                let paths = leaves
                    .into_iter()
                    .filter_map(|leaf| below_crate(&leaf.path, &module));
                uses.extend(paths.map(|path| Use {
                    path,
                    exported_as: None,
                }));
                at = end;
            } else {
                at += 1;
            }
        }
        Self {
            path: path.to_owned(),
            items,
            uses,
        }
    }
}

fn used_by<'a>(module: &Module, sources: &'a BTreeMap<Module, Source>) -> BTreeSet<&'a Module> {
    let source = &sources[module];
    let handed_on = |used: &&Use| used.exported_as.is_some() && used.path.starts_with(module);
    source
        .uses
        .iter()
        .filter(|used| !handed_on(used))
        .filter_map(|used| file_of(&used.path, sources, 0))
        .filter(|used| *used != module)
        .collect()
}

/// The file that declares what a path names, through any number of re-exports.
fn file_of<'a>(
    path: &[String],
    sources: &'a BTreeMap<Module, Source>,
    depth: usize,
) -> Option<&'a Module> {
    let length = (0..=path.len())
        .rev()
        .find(|length| sources.contains_key(&path[..*length]))?;
    let (module, source) = sources.get_key_value(&path[..length])?;
    let Some(name) = path.get(length) else {
        return Some(module);
    };
    let export = source
        .uses
        .iter()
        .find(|used| used.exported_as.as_ref() == Some(name));
    match export {
        Some(export) if !source.items.contains(name) && depth < MOST_RE_EXPORTS => {
            let rest = &path[length + 1..];
            file_of(&[&export.path, rest].concat(), sources, depth + 1)
        }
        _ => Some(module),
    }
}

/// The shortest way from a file back to itself, the file first.
fn way<'a>(
    start: &'a Module,
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> Option<Vec<&'a Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in &uses[at] {
            if *next == start {
                let mut steps = vec![at];
                while steps[steps.len() - 1] != start {
                    steps.push(came_from[steps[steps.len() - 1]]);
                }
                steps.reverse();
                return Some(steps);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The paths of a use tree or of a path that begins at `at`, each with its alias, and where it ends.
fn leaves(tokens: &[Token], at: usize) -> (Vec<Leaf>, usize) {
    let mut at = at;
    let mut path = Vec::new();
    loop {
        match tokens.get(at).map(|token| token.text.as_str()) {
            Some("::") => at += 1,
            Some("{") if path.is_empty() || tokens[at - 1].text == "::" => {
                let mut found = Vec::new();
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    if tokens[at].text == "," {
                        at += 1;
                        continue;
                    }
                    let (below, end) = leaves(tokens, at);
                    found.extend(below.into_iter().map(|leaf| Leaf {
                        path: [&path[..], &leaf.path].concat(),
                        ..leaf
                    }));
                    at = end;
                }
                return (found, at + 1);
            }
            Some(word) if path.is_empty() || tokens[at - 1].text == "::" => {
                // `self` at the end of a group is the module itself.
                if word != "*" && (word != "self" || path.is_empty()) {
                    path.push(word.to_owned());
                }
                at += 1;
            }
            Some("as") => {
                let alias = tokens.get(at + 1).map(|token| token.text.clone());
                return (vec![Leaf { path, alias }], at + 2);
            }
            _ => return (vec![Leaf { path, alias: None }], at),
        }
    }
}

/// Resolves `crate`, `self` and `super`. `None` for other crates' paths. A `self` in a group was
/// dropped, so an empty path is the crate.
fn below_crate(path: &[String], module: &Module) -> Option<Vec<String>> {
    let rest = &path[1.min(path.len())..];
    match path.first()?.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let levels = path.iter().take_while(|part| *part == "super").count();
            let base = &module[..module.len().checked_sub(levels)?];
            Some([base, &path[levels..]].concat())
        }
        _ => None,
    }
}

/// Drops items behind a `#[cfg(..)]` that asks for tests.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut dropped = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        if !(is(at, "#") && is(at + 1, "[") && is(at + 2, "cfg")) {
            at += 1;
            continue;
        }
        let attribute_end = end_of_group(&tokens, at + 1, "[", "]");
        let asked = &tokens[at..attribute_end];
        let for_tests = asked.iter().any(|token| token.text == "test")
            && asked.iter().all(|token| token.text != "not");
        let mut end = attribute_end;
        if for_tests {
            while end < tokens.len() && !is(end, ";") && !is(end, "{") {
                end += 1;
            }
            // A group of imports is not the item's end.
            while is(end, "{") {
                end = end_of_group(&tokens, end, "{", "}");
                if !is(end, ";") {
                    break;
                }
            }
            dropped[at..end].fill(true);
        }
        at = end;
    }
    let kept = tokens.into_iter().zip(dropped);
    kept.filter(|(_, dropped)| !dropped)
        .map(|(token, _)| token)
        .collect()
}

/// The place behind the group that opens at `at`.
fn end_of_group(tokens: &[Token], at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
            if depth == 0 {
                return place + 1;
            }
        }
    }
    tokens.len()
}

/// Whether a `use` at `at` hands on what it names.
fn is_visible(tokens: &[Token], at: usize) -> bool {
    at > 0 && (tokens[at - 1].text == "pub" || tokens[at - 1].text == ")")
}

/// Whether a path at `at` only says who may see something.
fn is_visibility(tokens: &[Token], at: usize) -> bool {
    at > 1 && tokens[at - 1].text == "in" && tokens[at - 2].text == "("
}

fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Module = path.split('/').map(str::to_owned).collect();
    if ["mod", "lib"].contains(&parts[parts.len() - 1].as_str()) {
        parts.pop();
    }
    parts
}

const DECLARING: [&str; 8] = [
    "struct", "enum", "trait", "type", "fn", "const", "static", "mod",
];
const ROOTS: [&str; 3] = ["crate", "self", "super"];
/// More than any chain of them has.
const MOST_RE_EXPORTS: usize = 8;
