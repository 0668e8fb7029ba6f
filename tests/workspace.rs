//! Cargo finds the tests beside this file by itself. Those of `tests/system` are in a list, and so are
//! the packages.

use std::{fs, path::Path};

#[test]
fn every_test_of_the_system_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = root.join("examples/hit_counter/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the package can be read");
    let mut found = 0;
    for entry in fs::read_dir(root.join("tests/system")).expect("the package can be read") {
        let path = entry.expect("the package can be read").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("test files have plain names");
        let file = if path.is_file() {
            name.to_owned()
        } else if path.join("main.rs").is_file() {
            format!("{name}/main.rs")
        } else {
            continue;
        };
        let line = format!("path = \"../../tests/system/{file}\"\n");
        assert!(manifest.contains(&line), "{file} is missing in its list");
        found += 1;
    }
    assert!(found > 5, "only {found} tests found");
}

#[test]
fn every_package_is_tested_and_what_others_depend_on_is_checked_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).expect("the workspace can be read");
    let (workspace, ci) = (read("Cargo.toml"), read(".ci/run"));
    let list = |text: &str, begin: &str, end| {
        let (_, behind) = text.split_once(begin).expect("a list");
        let (list, _) = behind.split_once(end).expect("its end");
        let words = list.split([' ', ',', '"']);
        let words = words.filter(|word| !word.is_empty()).map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    let members = list(&workspace, "\nmembers = [", ']');
    let mut tested = list(&workspace, "\ndefault-members = [", ']');
    tested.retain(|member| member != ".");
    // Those that take long to build are tested by CI alone.
    for package in list(&ci, "\nreadonly TESTED_APART=(", ')') {
        tested.push(format!("examples/{package}"));
    }
    tested.sort();
    assert_eq!(tested, members);
    let is_published =
        |member: &String| !read(&format!("{member}/Cargo.toml")).contains("publish = false");
    let mut published = list(&ci, "\nreadonly PUBLISHED=(", ')');
    assert_eq!(published.remove(0), env!("CARGO_PKG_NAME"));
    assert!(
        members
            .iter()
            .filter(|member| is_published(member))
            .eq(&published)
    );
}
