//! Cargo finds the tests beside this file by itself. Those of `tests/system` are in a list.

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
