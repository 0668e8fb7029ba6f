//! The documents that name tests name ones that exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_test_that_a_document_names_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = ["src", "tests"]
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
fn names_are_found_across_lines() {
    let text = "It holds (tests `one_thing`,\n`another`) `here` (test `third`).";
    assert_eq!(named_tests(text), ["one_thing", "another", "third"]);
}

/// What stands in backticks in brackets that begin with "test" or "tests".
fn named_tests(text: &str) -> Vec<String> {
    text.split("(test")
        .skip(1)
        .filter_map(|after| after.split_once(')'))
        .flat_map(|(inside, _)| inside.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
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
