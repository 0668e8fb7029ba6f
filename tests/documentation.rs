//! The documents that name tests name ones that exist, and their footnotes lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_test_that_a_document_names_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "src",
        "tests",
        "tower-sessions-cluster/tests",
        "examples/login",
    ];
    let code: String = folders
        .iter()
        .flat_map(|folder| files(&package.join(folder), "rs"))
        .map(|file| read(&file))
        .collect();
    let mut named = 0;
    for document in files(&package.join("docs"), "md") {
        for test in named_tests(&read(&document)) {
            let is_there = code.contains(&format!("fn {test}("));
            assert!(is_there, "{} names {test}", document.display());
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests found in the documents");
}

#[test]
fn every_footnote_is_written_once_and_referred_to() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in files(&package.join("docs"), "md") {
        let (written, referred) = footnotes(&read(&document));
        let once: BTreeSet<_> = written.iter().cloned().collect();
        assert_eq!(once.len(), written.len(), "{}", document.display());
        assert_eq!(once, referred, "{}", document.display());
    }
}

#[test]
fn every_method_that_people_call_has_an_example() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "src/config/cluster.rs",
        "src/config/data_dir.rs",
        "src/config/expiry.rs",
        "src/middleware/attributes.rs",
        "src/middleware/layer.rs",
        "src/middleware/replicated_map.rs",
        "src/middleware/session.rs",
        "src/middleware/sessions/mod.rs",
        "src/middleware/sessions/search.rs",
        "src/middleware/single_sign_on.rs",
        "src/middleware/slot.rs",
        "src/middleware/transport.rs",
        "src/middleware/typed.rs",
        "src/node/cluster.rs",
        "src/node/events.rs",
        "src/test_util.rs",
        "src/session/changes.rs",
        "src/status/mod.rs",
        "tower-sessions-cluster/src/doors/layer.rs",
        "tower-sessions-cluster/src/doors/store.rs",
    ] {
        let text = read(&package.join(file));
        let without: Vec<_> = methods_without_example(&text);
        assert!(without.is_empty(), "{file}: {without:?}");
    }
}

/// The last column of the table of instructions, and the counts that the guard compares with.
#[test]
fn table_of_instructions_has_the_counts_that_are_recorded() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = read(&package.join("docs/performance.md"));
    let (_, chapter) = page.split_once("## Instructions").expect("a chapter");
    let recorded = read(&package.join("benches/instructions/recorded.txt"));
    let mut counts = 0;
    for case in recorded.lines() {
        let (name, count) = case.split_once(' ').expect("a name and a count");
        let shown = shown_count(chapter, name);
        assert_eq!(shown.as_deref(), Some(count.trim()), "{name}");
        counts += 1;
    }
    assert!(counts > 10, "only {counts}");
}

/// Returns what the last column of a table shows for a name of its first column, without spaces.
fn shown_count(chapter: &str, name: &str) -> Option<String> {
    let quoted = format!("`{name}`");
    chapter.lines().find_map(|line| {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|');
        let names = cells.next()?.trim();
        let place = names.split(", ").position(|one| one == quoted)?;
        let count = cells.next_back()?.trim().split(", ").nth(place)?;
        Some(count.replace(' ', ""))
    })
}

#[test]
fn method_without_example_is_found() {
    let text = "    /// Does it.\n    ///\n    /// ```\n    /// it();\n    /// ```\n    #[must_use]\n    \
                pub fn with(self) {\n    }\n\n    /// Does not.\n    pub async fn without(&self) {";
    assert_eq!(methods_without_example(text), ["without"]);
}

#[test]
fn names_are_found_in_footnotes_and_brackets_and_across_lines() {
    let text = "It holds.[^a] `here` (tests `one`,\n`two`) `here`\n\n[^a]: Tests: `three`,\n    \
                `four`. `here`\n[^b]: Test: `five`.";
    let mut named = named_tests(text);
    named.sort();
    assert_eq!(named, ["five", "four", "one", "three", "two"]);
}

#[test]
fn footnotes_are_told_from_references() {
    let text = "It holds.[^a] | so[^b] |\n[^;]*\n[^a]: Test: `one`.\n[^c]: Test: `two`.";
    let (written, referred) = footnotes(text);
    assert_eq!(written, ["a", "c"]);
    assert_eq!(referred, BTreeSet::from(["a".into(), "b".into()]));
}

#[test]
fn nothing_that_people_copy_logs_out_through_an_option() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut looked_at = 0;
    let folders = ["docs", "examples", "src", "tower-sessions-cluster"].map(|at| package.join(at));
    let found = folders
        .iter()
        .flat_map(|folder| [files(folder, "md"), files(folder, "rs")]);
    for file in found.flatten().chain([package.join("README.md")]) {
        let text = read(&file);
        let found = logouts_of_options(&text);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
        looked_at += usize::from(text.contains(".destroy()"));
    }
    assert!(looked_at > 8, "only {looked_at} files log out");
}

#[test]
fn logout_of_an_option_is_found() {
    let text = "/// async fn out(session: Option<Session>) {\n///     if let Some(session) = session {\n\
                /// session.destroy();\n/// }\n/// }\nfn peek(session: Option<Session>) {\n}\n\
                fn end(session: Session) {\n    session.destroy();\n}\n\
                post(async |of: Option<Session>| of.map(|of| of.destroy()))";
    assert_eq!(logouts_of_options(text), ["session", "of"]);
}

/// Returns what stands in backticks in brackets that begin with "test" or "tests", and behind
/// "Test:" or "Tests:" up to the full stop.
fn named_tests(text: &str) -> Vec<String> {
    [("(test", ')'), ("Test:", '.'), ("Tests:", '.')]
        .into_iter()
        .flat_map(|(begin, end)| {
            text.split(begin)
                .skip(1)
                .map(move |after| after.split_once(end).map_or(after, |(inside, _)| inside))
        })
        .flat_map(|inside| inside.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Returns the labels of the footnotes that are written, and of those that are referred to.
fn footnotes(text: &str) -> (Vec<String>, BTreeSet<String>) {
    let mut written = Vec::new();
    let mut referred = BTreeSet::new();
    for after in text.split("[^").skip(1) {
        let Some((label, rest)) = after.split_once(']') else {
            continue;
        };
        // A regular expression in an example may begin likewise.
        if !label.bytes().all(is_of_a_label) {
            continue;
        }
        if rest.starts_with(':') {
            written.push(label.to_owned());
        } else {
            referred.insert(label.to_owned());
        }
    }
    (written, referred)
}

/// Returns the parameters that are sessions at the nodes alone that know them, and are destroyed.
///
/// Such a logout does nothing where the session is not known, though others know it.
fn logouts_of_options(text: &str) -> Vec<&str> {
    let mut parts = text.split(": Option<Session>").peekable();
    let mut found = Vec::new();
    while let Some(before) = parts.next() {
        let name = before.rsplit(|byte: char| !byte.is_alphanumeric() && byte != '_');
        let Some(rest) = parts.peek() else { break };
        // A function ends with its brace, a closure with the parenthesis of what it is given to.
        let body = rest.get(..end_of_block(rest)).unwrap_or(rest);
        if body.contains(".destroy()") {
            found.extend(name.take(1));
        }
    }
    found
}

/// Returns where the first block of a text ends, or what stands around the text.
fn end_of_block(text: &str) -> usize {
    let mut depth = 0_usize;
    let is_of_a_function = text.starts_with([')', ',']);
    let begin = text.find('{').filter(|_| is_of_a_function).unwrap_or(0);
    for (at, byte) in text.bytes().enumerate().skip(begin) {
        match byte {
            b'{' | b'(' => depth += 1,
            b'}' | b')' if depth <= 1 => return at,
            b'}' | b')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the public methods whose documentation holds no code.
fn methods_without_example(text: &str) -> Vec<String> {
    let (mut has_code, mut without) = (false, Vec::new());
    for line in text.lines().map(str::trim_start) {
        if let Some(comment) = line.strip_prefix("///") {
            has_code |= comment.trim_start().starts_with("```");
            continue;
        }
        let words: Vec<&str> = line.split([' ', '(', '<']).collect();
        let at = words.iter().position(|word| *word == "fn");
        if line.starts_with("pub ")
            && let Some(name) = at.and_then(|at| words.get(at + 1))
            && !has_code
        {
            without.push((*name).to_owned());
        }
        // Attributes stand between a comment and its method.
        has_code &= !line.ends_with(['{', '}', ';']);
    }
    without
}

const fn is_of_a_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("the package can be read")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the package can be read") {
        let path = entry.expect("the package can be read").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}
