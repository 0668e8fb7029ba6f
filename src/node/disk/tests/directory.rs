//! Whose the directory is, and what is refused.

use std::{fs, path::Path};

use super::TempDir;
use crate::node::disk::{directory::Directory, error::DirectoryError};

const CLUSTER: &str = "shop";

/// Opens a directory, and begins it if it is new.
fn open(path: &Path) -> Result<Directory, DirectoryError> {
    let mut directory = Directory::open(path, CLUSTER)?;
    directory.begin()?;
    Ok(directory)
}

/// Opens a directory that cannot be used, and returns why.
fn refused(path: &Path, words: &[&str]) -> DirectoryError {
    let error = open(path).expect_err(words[0]);
    let shown = error.to_string();
    for word in words {
        assert!(shown.contains(word), "{word} is not in: {shown}");
    }
    error
}

fn begun() -> TempDir {
    let temp = TempDir::new();
    open(&temp.at("data")).expect("new");
    temp
}

#[test]
fn new_directory_is_made_with_those_above_it_for_one_user_alone() {
    let temp = TempDir::new();
    let path = temp.at("some/where");
    let directory = Directory::open(&path, CLUSTER).expect("new");
    assert!(directory.is_new());
    #[cfg(unix)]
    for made in [path.clone(), directory.engine()] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(made).expect("just made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn directory_belongs_to_one_process_at_a_time() {
    let temp = begun();
    let path = temp.at("data");
    let held = open(&path).expect("free");
    let error = refused(&path, &["in use", "stop"]);
    assert!(matches!(error, DirectoryError::InUse));
    drop(held);
    open(&path).expect("free again");
}

#[test]
fn directory_of_another_cluster_is_refused() {
    let temp = begun();
    let error = Directory::open(&temp.at("data"), "blog").expect_err("not of the blog");
    let shown = error.to_string();
    for word in ["`shop`", "`blog`", "`data_dir`"] {
        assert!(shown.contains(word), "{word} is not in: {shown}");
    }
}

#[test]
fn directory_of_a_later_release_is_refused() {
    let temp = begun();
    let about = temp.at("data/about");
    let text = fs::read_to_string(&about).expect("text");
    // What a later release says besides is not for this one to understand.
    fs::write(&about, text.replace("format 1", "format 2\nmore 7")).expect("ours");
    refused(&temp.at("data"), &["format 2", "later release"]);
}

#[test]
fn directory_with_other_files_is_refused_and_left_alone() {
    let temp = TempDir::new();
    fs::write(temp.at("thesis.tex"), "years of work").expect("ours");
    refused(temp.path(), &["`thesis.tex`", "empty"]);
    let names: Vec<_> = fs::read_dir(temp.path())
        .expect("it is there")
        .map(|entry| entry.expect("it is there").file_name())
        .collect();
    assert_eq!(names, ["thesis.tex"]);
}

#[test]
fn root_of_a_file_system_counts_as_empty() {
    let temp = TempDir::new();
    fs::create_dir(temp.at("lost+found")).expect("ours");
    open(temp.path()).expect("as good as empty");
}

#[test]
fn file_in_the_place_of_the_directory_is_refused() {
    let temp = TempDir::new();
    fs::write(temp.at("data"), "").expect("ours");
    refused(&temp.at("data"), &["not a directory"]);
    refused(&temp.at("data/below"), &["cannot be used", "check"]);
}

#[test]
fn engine_that_is_missing_is_told_and_not_made_anew() {
    let temp = begun();
    fs::remove_dir_all(temp.at("data/engine")).expect("ours");
    refused(
        &temp.at("data"),
        &["damaged", "`engine` is missing", "copy"],
    );
    assert!(!temp.at("data/engine").exists());
}

#[test]
fn description_that_cannot_be_read_is_told() {
    let temp = begun();
    let about = temp.at("data/about");
    let text = fs::read_to_string(&about).expect("text");
    for damaged in [
        String::new(),
        text[..text.len() / 2].to_owned(),
        text.replace("format", "formal"),
        text.replace("begun", "new "),
        format!("{text}more\n"),
    ] {
        fs::write(&about, &damaged).expect("ours");
        refused(&temp.at("data"), &["damaged", "`about`"]);
    }
    fs::write(&about, [0xff]).expect("ours");
    refused(&temp.at("data"), &["damaged", "`about`"]);
    fs::remove_file(&about).expect("ours");
    refused(&temp.at("data"), &["`engine`", "not written by this crate"]);
}

#[test]
fn directory_that_was_never_finished_is_begun_anew() {
    let temp = TempDir::new();
    let path = temp.at("data");
    let directory = Directory::open(&path, CLUSTER).expect("new");
    let left = directory.engine().join("half of a file");
    fs::write(&left, "").expect("ours");
    // The process dies before it has written a session.
    drop(directory);
    let directory = Directory::open(&path, CLUSTER).expect("unfinished");
    assert!(directory.is_new() && !left.exists());
}

#[test]
fn number_of_the_last_batch_is_read_back_or_unknown() {
    let temp = begun();
    let mut directory = open(&temp.at("data")).expect("free");
    assert_eq!(directory.written().expect("readable"), 1, "it was begun");
    for number in [1, 300, u64::MAX] {
        directory.note_written(number).expect("writable");
        assert_eq!(directory.written().expect("readable"), number);
    }
    for damaged in [&b""[..], &[1; 16], &[1; 3]] {
        fs::write(temp.at("data/written"), damaged).expect("ours");
        assert_eq!(directory.written().expect("readable"), 1);
    }
}
