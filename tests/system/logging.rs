//! Logs that nobody can write to any more, as real processes: lines are lost, and nothing else.
#![cfg(unix)]

mod support;

use std::{
    fs::{self, File},
    io::{self, Write as _, pipe},
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use http::StatusCode;

use crate::support::{
    browser::Browser,
    processes::{Node, plans},
    quick_start::QuickStart,
    visitor::Visitor,
};

#[tokio::test]
async fn node_whose_log_nobody_reads_loses_lines_and_nothing_else() {
    let (reader, writer) = pipe().expect("there are pipes");
    works_without_a_log(writer.into(), || drop(reader)).await;
}

/// The subscriber of the quick start tells of lines that it could not write, which panics.
#[tokio::test]
async fn quick_start_whose_log_nobody_reads_loses_lines_and_nothing_else() {
    let [mut one, two] = QuickStart::pair().await;
    let mut visitor = QuickStart::visitor();
    assert_eq!(visitor.hit(&two).await, 1);
    one.close_output();
    let two = two.restarted().await;
    assert_eq!(visitor.hit(&one).await, 2);
    assert_eq!(visitor.hit(&two).await, 3);
    let two = two.restarted().await;
    assert_eq!(visitor.hit(&two).await, 4);
}

#[tokio::test]
async fn probe_of_a_node_that_is_not_ready_is_no_failure_to_log() {
    let mut plan = plans(&["node1", "node2"]).remove(0);
    plan.flags.extend(["--min-peers", "1"].map(str::to_owned));
    let node = Node::start(plan).await;
    let page = Browser::new().get(node.http(), "/ready").await;
    let page = page.expect("it answers");
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text.contains("needs one peer"), "{}", page.text);
    // The dial of the other one, which is not there.
    node.until_logged(&["no link to"]).await;
    let log = node.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
#[ignore = "mounts a file system, which takes root"]
async fn node_whose_log_is_on_a_full_disk_loses_lines_and_nothing_else() {
    let disk = Disk::new();
    let log = disk.log().expect("there is room");
    works_without_a_log(log.into(), || disk.fill()).await;
}

/// Has one of two nodes log where it cannot, and kills the other one, which does not dial.
async fn works_without_a_log(log: Stdio, lose: impl FnOnce()) {
    let [one, mut other] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    other.peers.clear();
    let other = Node::start(other).await;
    let one = Node::start_logging_to(one, log).await;
    one.until_ready().await;
    other.until_sees(&one, &["up"]).await;
    lose();

    let mut visitor = Visitor::new();
    visitor.hit(one.http()).await;
    visitor.hit(other.http()).await;
    let plan = other.kill().await;
    visitor.hit(one.http()).await;
    one.until("without its peer", |status| {
        status["members"][0]["state"] == "down"
    })
    .await;
    visitor.hit(one.http()).await;

    let other = Node::start(plan).await;
    one.until_sees(&other, &["up"]).await;
    visitor.hit(other.http()).await;
    assert_eq!(one.status().await["task_panics"], 0);
    let (_, status, _) = one.terminate().await;
    assert!(status.success(), "{status}");
    // What it had to give away has arrived.
    other
        .until("left", |status| status["members"][0]["state"] == "left")
        .await;
    visitor.hit(other.http()).await;
}

/// A file system of 64 KiB.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        let folder = format!("disk-{}", process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir(&folder).expect("files can be written for a while");
        let mounted = process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&folder)
            .status();
        assert!(mounted.expect("there is `mount`").success());
        Self(folder)
    }

    fn fill(&self) {
        let mut rest = File::create(self.0.join("rest")).expect("there is a name left");
        let error = io::copy(&mut io::repeat(0), &mut rest).expect_err("it is small");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        // The last page of the log has room for some lines.
        let mut log = self.log().expect("it is there");
        while log.write(b"\n").is_ok() {}
    }

    fn log(&self) -> io::Result<File> {
        let path = self.0.join("log");
        File::options().create(true).append(true).open(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        let removed = fs::remove_dir(&self.0);
        if !unmounted.is_ok_and(|status| status.success()) || removed.is_err() {
            eprintln!("{} stays", self.0.display());
        }
    }
}
