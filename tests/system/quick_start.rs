//! The quick start of the README, as real processes.
#![cfg(unix)]

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use crate::support::{process::free_addr, quick_start::QuickStart};

#[test]
fn quick_start_of_the_readme_is_the_one_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path| fs::read_to_string(root.join(path)).expect("the package can be read");
    let code = read("examples/quick_start/main.rs");
    let (_title, code) = code.split_once("\n\n").expect("a title");
    let block = format!("\n```rust,no_run\n{code}```\n");
    assert!(
        read("README.md").contains(&block),
        "the README has:\n{code}"
    );
}

#[tokio::test]
async fn quick_start_counts_on_two_nodes_and_says_what_it_does() {
    let [one, two] = QuickStart::pair().await;
    let mut visitor = QuickStart::visitor();
    for expected in 1..=4 {
        let node = if expected % 2 == 0 { &two } else { &one };
        assert_eq!(visitor.hit(node).await, expected);
    }
    let (log, _) = one.killed().await;
    for words in [
        "Cluster is about to start",
        "Receiver bound to",
        "Replication member added",
        "ready",
    ] {
        assert!(log.contains(words), "{words} is not in:\n{log}");
    }
    assert_eq!(visitor.hit(&two).await, 5);
}

#[tokio::test]
async fn quick_start_says_which_port_is_in_use_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let taken = taken.local_addr().expect("it is bound");
    let free = || free_addr().expect("there are free ports");
    for (http, links, words) in [
        (free(), taken, ["cannot listen on", "`auto_bind`"]),
        (taken, free(), ["cannot serve on", "in use"]),
    ] {
        let error = refused(http, links).await;
        let address = taken.to_string();
        for words in words.into_iter().chain([&*address]) {
            assert!(error.contains(words), "{words} is not in:\n{error}");
        }
        assert!(!error.contains('{'), "a debug output:\n{error}");
    }
}

/// Returns what is said by a quick start that must end by itself.
async fn refused(http: SocketAddr, links: SocketAddr) -> String {
    let peer = free_addr().expect("there are free ports");
    let (_, error) = QuickStart::start("node1", http, links, peer).ended().await;
    error
}
