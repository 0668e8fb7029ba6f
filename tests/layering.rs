//! The ranks of the source: a file may use only lower ranks or its own folder, so that decisions
//! can be tested without sockets and every clock read is in one place.

#[path = "layering/circles.rs"]
mod circles;
#[path = "layering/rules.rs"]
mod rules;
#[path = "layering/tokens.rs"]
mod tokens;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    circles::circles,
    rules::{is_test_file, rank, violations},
};

#[test]
fn every_file_keeps_to_its_rank() {
    let files = sources(&root()).expect("the sources can be read");
    assert!(files.len() > 40, "only {} files found", files.len());
    let violations: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| violations(path, text))
        .map(|violation| violation.to_string())
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut files = sources(&root()).expect("the sources can be read");
    files.retain(|(path, _)| !is_test_file(path));
    let found: Vec<String> = circles(&files).into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn circle_is_found_through_re_exports() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let ring = [
        file(
            "a/mod.rs",
            "mod one; mod two; pub(crate) use self::one::One;",
        ),
        file("a/one.rs", "use super::two::Two; pub(crate) struct One;"),
        file("a/two.rs", "fn f() -> super::One {} pub(crate) struct Two;"),
        file("b.rs", "use crate::a::One;"),
    ];
    let found: Vec<String> = circles(&ring).into_iter().collect();
    assert_eq!(found, ["a/one.rs -> a/two.rs -> a/one.rs"]);
}

#[test]
fn tests_and_what_a_folder_hands_on_are_no_circle() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let files = [
        file(
            "a/mod.rs",
            "mod one; pub(crate) use self::one::One; pub(crate) struct A;",
        ),
        file("a/one.rs", "use super::A; pub(in crate::a) struct One;"),
        file(
            "b.rs",
            "use crate::c::C; #[cfg(test)] mod tests { use super::B; }",
        ),
        file(
            "c.rs",
            "#[cfg(test)]\nuse crate::{b::{B}, a::A};\n#[cfg(test)]\nfn f() { crate::b::f() }",
        ),
    ];
    assert_eq!(circles(&files).len(), 0);
}

#[test]
fn every_folder_has_a_rank() {
    let (files, folders): (Vec<_>, Vec<_>) = fs::read_dir(root())
        .expect("the sources can be read")
        .map(|entry| entry.expect("the sources can be read").path())
        .partition(|path| path.is_file());
    for folder in folders {
        let name = folder.file_name().and_then(|name| name.to_str());
        assert!(name.and_then(rank).is_some(), "{folder:?} has no rank");
    }
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str());
        let known = name.is_some_and(|name| name == "lib" || rank(name).is_some());
        assert!(known, "{file:?} has no rank");
    }
}

#[test]
fn higher_rank_is_found_in_every_spelling() {
    for text in [
        "use crate::node::Cluster;",
        "use crate::{session::Now, node::{Cluster, Event}};",
        "use crate::{\n    session::Now,\n    node,\n};",
        "fn f() { crate::node::now() }",
        "pub(in crate::node) fn f() {}",
        "use super::super::node::Cluster;",
        "mod tests { use super::super::super::node::Cluster; }",
        "fn f<'a>(quote: &'a char) { *quote == '\"' || *quote == '\\''; crate::node::now() }",
    ] {
        let found = violations("replica/log.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    let shown = violations("replica/log.rs", "\n\nuse crate::node::Cluster;")[0].to_string();
    assert!(shown.starts_with("src/replica/log.rs:3: "), "{shown}");
    assert!(
        shown.contains("rank 2") && shown.contains("rank 4"),
        "{shown}"
    );
}

#[test]
fn decisions_about_the_cluster_know_no_sockets() {
    let up = "use crate::node::Node;";
    assert_eq!(violations("cluster/table/mod.rs", up).len(), 1);
    let down = "use crate::cluster::Join;";
    assert_eq!(violations("replica/link/mod.rs", down).len(), 1);
    assert!(violations("node/peers/transfer.rs", down).is_empty());
}

#[test]
fn root_is_no_way_around_the_ranks() {
    assert_eq!(violations("wire/item.rs", "use crate::Cluster;").len(), 1);
    assert_eq!(violations("wire/item.rs", "use crate::*;").len(), 1);
}

#[test]
fn lower_ranks_and_the_own_folder_are_free() {
    for (path, text) in [
        (
            "node/leave.rs",
            "use crate::{replica::Link, wire::Message};",
        ),
        (
            "replica/link/mod.rs",
            "use super::Replica; use crate::replica::log::Log;",
        ),
        ("replica/link/round.rs", "use super::super::store::Store;"),
        ("config/settings.rs", "use crate::session::InvalidRoute;"),
        ("lib.rs", "pub use crate::node::Cluster;"),
        (
            "session/id.rs",
            "/// See [`Session`](crate::Session).\nstruct Id;",
        ),
        (
            "session/id.rs",
            "// crate::node\nconst A: &str = \"crate::node\";",
        ),
        (
            "session/id.rs",
            "/* crate::node /* nested */ crate::node */",
        ),
        ("session/id.rs", "const A: &str = r#\"\" crate::node\"#;"),
        ("session/id.rs", "fn f<'a>(a: &'a str) -> char { '\"' }"),
    ] {
        let found = violations(path, text);
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

#[test]
fn runtime_outside_its_rank_is_found() {
    let uses = "async fn f() { tokio::time::sleep(PAUSE).await }";
    assert_eq!(violations("replica/log.rs", uses).len(), 1);
    assert_eq!(violations("cluster/join.rs", uses).len(), 1);
    assert_eq!(
        violations("middleware/visit.rs", "use tokio_util::task::TaskTracker;").len(),
        1
    );
    assert!(violations("node/dial.rs", uses).is_empty());
    assert!(violations("wire/frame.rs", "use tokio_util::codec::Decoder;").is_empty());
    let tested = "#[cfg(test)]\nmod tests { #[tokio::test] async fn f() {} }";
    assert!(violations("middleware/visit.rs", tested).is_empty());
    assert!(violations("middleware/tests.rs", "#[tokio::test] async fn f() {}").is_empty());
}

#[test]
fn log_line_that_could_end_its_task_is_found() {
    for text in [
        "use tracing::warn;",
        "fn f() { tracing::warn!(\"no\") }",
        "fn f() { ::tracing::warn!(\"no\") }",
    ] {
        assert_eq!(violations("node/leave.rs", text).len(), 1, "{text}");
        assert!(violations("log.rs", text).is_empty(), "{text}");
    }
    assert!(violations("node/leave.rs", "use crate::log::warn;").is_empty());
}

#[test]
fn clock_read_outside_the_clock_file_is_found() {
    for text in [
        "let now = Instant::now();",
        "let now = std::time::SystemTime::now();",
        "let age = start.elapsed();",
    ] {
        assert_eq!(violations("node/leave.rs", text).len(), 1, "{text}");
        assert!(violations("node/clock.rs", text).is_empty(), "{text}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files with their paths below `src`.
fn sources(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).map_err(io::Error::other)?;
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                files.push((parts.join("/"), fs::read_to_string(&path)?));
            }
        }
    }
    Ok(files)
}
