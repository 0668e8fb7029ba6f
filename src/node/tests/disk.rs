//! Nodes that keep their sessions on disk. A disk takes real time, so nothing here pauses it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    config::{StartError, Sync},
    node::{
        Env,
        disk::{Fault, MemoryDisk},
    },
    session::SessionError,
};

/// A path where nothing is, and nothing will be afterwards.
struct Place(PathBuf, AtomicUsize);

impl Place {
    fn new() -> Self {
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).expect("randomness");
        let name = format!("sessions-of-node-{:x}", u64::from_ne_bytes(unique));
        Self(env::temp_dir().join(name), AtomicUsize::new(0))
    }

    /// A node without peers that has its sessions here.
    fn node(&self) -> ClusterConfig {
        ClusterConfig::standalone().data_dir(&self.0)
    }

    /// One for a disk in memory, which needs a directory all the same, of its own.
    fn another(&self) -> ClusterConfig {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        ClusterConfig::standalone().data_dir(self.0.join(number.to_string()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn start_on(disk: &MemoryDisk, config: &ClusterConfig) -> Cluster {
    let env = Env {
        storage: Arc::new(disk.clone()),
        ..Env::default()
    };
    Cluster::start_in(config, env).expect("a disk that works")
}

fn start_at(config: &ClusterConfig) -> Cluster {
    Cluster::start_in(config, Env::default()).expect("a directory that works")
}

fn refused(config: &ClusterConfig, words: &[&str]) -> StartError {
    let error = Cluster::start_in(config, Env::default()).expect_err(words[0]);
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    error
}

async fn until_saved(cluster: &Cluster) {
    wait_until("all is on disk", || {
        let disk = cluster.stats().disk.expect("a data directory");
        disk.unsaved == 0 && !disk.failing
    })
    .await;
}

fn number(of: u64) -> serde_json::Value {
    of.into()
}

#[tokio::test]
async fn sessions_outlive_a_stop_of_all_nodes() {
    let place = Place::new();
    let one = start_at(&place.node());
    let (kept, changed, destroyed) = (create(one.node()), create(one.node()), create(one.node()));
    one.leave().await;
    drop(one);

    let one = start_at(&place.node());
    assert_eq!(one.session_count(), 3);
    set(one.node(), &changed, "hits", &number(7));
    assert!(one.node().destroy(&destroyed).is_ok());
    one.node().commit(&destroyed);
    one.leave().await;
    drop(one);

    let one = start_at(&place.node());
    assert_eq!(one.session_count(), 2);
    assert!(holds(&one, &kept) && !holds(&one, &destroyed));
    assert_eq!(get(one.node(), &changed, "hits"), Some(number(7)));
    one.leave().await;
}

#[tokio::test]
async fn leave_writes_what_is_not_on_disk_yet() {
    let disk = MemoryDisk::default();
    let place = Place::new();
    let rarely = place.another().sync(Sync::Every(Duration::from_secs(60)));
    let one = start_on(&disk, &rarely);
    let key = create(one.node());
    assert!(!holds(&start_on(&disk.copy(), &place.another()), &key));
    one.leave().await;
    let copy = start_on(&disk.copy(), &place.another());
    assert!(holds(&copy, &key));
}

#[tokio::test]
async fn directory_is_free_once_the_last_handle_is_gone() {
    let place = Place::new();
    let one = start_at(&place.node());
    let key = create(one.node());
    let error = refused(&place.node(), &["in use", "`data_dir`"]);
    assert!(matches!(error, StartError::DataDir { .. }), "{error}");
    drop(one);
    wait_until("the directory is free", || {
        Cluster::start_in(&place.node(), Env::default()).is_ok_and(|again| holds(&again, &key))
    })
    .await;
}

#[tokio::test]
async fn start_that_fails_frees_the_directory() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it listens");
    let config = ClusterConfig::new("n1").listen(address).data_dir(&place.0);
    let error = Cluster::start_in(&config, Env::default()).expect_err("the port is taken");
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    start_at(&place.node()).leave().await;
}

#[tokio::test]
async fn response_waits_until_its_change_is_on_disk() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let config = place.another().sync(Sync::BeforeResponse);
    let one = start_on(&disk, &config.ack_timeout(PATIENCE));
    let key = create(one.node());
    until_saved(&one).await;
    for ack in [Ack::None, Ack::All] {
        disk.set_fault(Fault::Stalls);
        let count = number(disk.syncs());
        let position = set(one.node(), &key, "hits", &count);
        let mut wait = std::pin::pin!(one.node().acknowledged(position, ack));
        let early = timeout(Duration::from_millis(50), &mut wait).await;
        assert!(early.is_err(), "it is not on disk");
        disk.set_fault(Fault::None);
        wait.await;
        let copy = start_on(&disk.copy(), &place.another());
        assert_eq!(get(copy.node(), &key, "hits"), Some(count));
    }
}

#[tokio::test]
async fn responses_that_come_at_once_share_a_write() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let one = start_on(&disk, &place.another().sync(Sync::BeforeResponse));
    let keys: Vec<_> = (0..100).map(|_| create(one.node())).collect();
    until_saved(&one).await;
    let before = disk.syncs();
    disk.set_fault(Fault::Stalls);
    let waits: Vec<_> = keys
        .iter()
        .map(|key| {
            let position = set(one.node(), key, "hits", &number(1));
            one.node().acknowledged(position, Ack::None)
        })
        .collect();
    disk.set_fault(Fault::None);
    futures_util::future::join_all(waits).await;
    let syncs = disk.syncs() - before;
    assert!(syncs <= 3, "{syncs} writes for 100 responses");
}

#[tokio::test]
async fn nobody_waits_for_a_disk_that_does_not_answer_longer_than_for_a_peer() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let config = place.another().sync(Sync::BeforeResponse);
    let one = start_on(&disk, &config.ack_timeout(Duration::from_millis(200)));
    let key = create(one.node());
    until_saved(&one).await;
    disk.set_fault(Fault::Stalls);
    for count in 0..3 {
        let position = set(one.node(), &key, "hits", &number(count));
        let wait = one.node().acknowledged(position, Ack::All);
        timeout(PATIENCE, wait).await.expect("it is bounded");
    }
    disk.set_fault(Fault::None);
    until_saved(&one).await;
}

#[tokio::test]
async fn full_disk_is_told_and_costs_nothing_but_that_nothing_is_saved() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let config = place.another().sync(Sync::BeforeResponse);
    let one = start_on(&disk, &config.ack_timeout(PATIENCE));
    one.ready().await;
    let key = create(one.node());
    until_saved(&one).await;
    for fault in [Fault::Full, Fault::SyncFails, Fault::Gone] {
        disk.set_fault(fault);
        let before = one.stats().disk.expect("a data directory").failures;
        for count in 0..20 {
            let position = set(one.node(), &key, "hits", &number(count));
            one.node().acknowledged(position, Ack::All).await;
        }
        wait_until("it has failed", || {
            one.stats().disk.is_some_and(|disk| disk.failures > before)
        })
        .await;
        let stats = one.stats().disk.expect("a data directory");
        assert!(stats.failing && stats.unsaved > 0, "{fault:?}: {stats:?}");
        assert!(one.is_ready(), "{fault:?}");
        let text = one.prometheus();
        let figure = "cluster_sessions_disk_failing{cluster=\"sessions\",node=\"standalone\"} 1";
        assert!(text.contains(figure), "{fault:?}: {text}");

        disk.set_fault(Fault::None);
        until_saved(&one).await;
        let copy = start_on(&disk.copy(), &place.another());
        assert_eq!(
            get(copy.node(), &key, "hits"),
            Some(number(19)),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn node_starts_with_its_sessions_on_a_disk_that_is_full() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let one = start_on(&disk, &place.another());
    let key = create(one.node());
    until_saved(&one).await;
    let copied = disk.copy();
    copied.set_fault(Fault::Full);
    let again = start_on(&copied, &place.another());
    assert!(holds(&again, &key));
    assert!(again.stats().disk.is_some_and(|disk| disk.failing));
    copied.set_fault(Fault::None);
    until_saved(&again).await;
}

#[tokio::test]
async fn power_cut_loses_what_was_not_synced_and_nothing_else() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let one = start_on(&disk, &place.another());
    let (changed, logged_out) = (create(one.node()), create(one.node()));
    set(one.node(), &changed, "hits", &number(1));
    assert!(one.node().destroy(&logged_out).is_ok());
    one.node().commit(&logged_out);
    until_saved(&one).await;
    let synced = disk.copy();
    set(one.node(), &changed, "hits", &number(2));
    let late = create(one.node());
    drop(one);

    let again = start_on(&synced, &place.another());
    assert_eq!(get(again.node(), &changed, "hits"), Some(number(1)));
    assert!(!holds(&again, &logged_out), "a session that was logged out");
    assert!(!holds(&again, &late));
}

#[tokio::test]
async fn copy_of_the_directory_is_the_state_at_that_time() {
    let (place, copied) = (Place::new(), Place::new());
    let one = start_at(&place.node());
    let key = create(one.node());
    set(one.node(), &key, "hits", &number(1));
    until_saved(&one).await;
    copy(&place.0, &copied.0);
    set(one.node(), &key, "hits", &number(2));
    until_saved(&one).await;
    drop(one);
    let again = start_at(&copied.node());
    assert_eq!(get(again.node(), &key, "hits"), Some(number(1)));
    again.leave().await;
}

#[tokio::test]
async fn values_are_on_disk_in_plain_text_only_without_a_key() {
    const VALUE: &str = "nobody reads this";
    for (key, is_plain) in [(None, true), (Some(KEYS[0]), false)] {
        let place = Place::new();
        let config = key.into_iter().fold(place.node(), ClusterConfig::data_key);
        let one = start_at(&config);
        create_in(one.node(), "", &VALUE.into());
        one.leave().await;
        assert_eq!(is_in(VALUE, &place.0), is_plain);
        // The directory is free when the node has left.
        start_at(&config).leave().await;
    }
}

#[tokio::test]
async fn key_can_be_changed_and_all_is_encrypted_with_the_new_one() {
    let place = Place::new();
    let [old, new] = KEYS;
    let one = start_at(&place.node().data_key(old));
    let key = create(one.node());
    one.leave().await;
    refused(&place.node().data_key(new), &["does not have", "behind"]);
    refused(&place.node(), &["no key", "`data_key`"]);

    let both = start_at(&place.node().data_key(new).data_key(old));
    wait_until("all is encrypted anew", || {
        both.stats().disk.is_some_and(|disk| disk.old_records == 0)
    })
    .await;
    both.leave().await;
    let one = start_at(&place.node().data_key(new));
    assert!(holds(&one, &key));
    one.leave().await;
    refused(&place.node().data_key(old), &["does not have"]);
}

#[tokio::test]
async fn what_is_not_encrypted_is_refused_where_there_is_a_key() {
    let place = Place::new();
    start_at(&place.node()).leave().await;
    let path = place.0.display().to_string();
    refused(
        &place.node().data_key(KEYS[0]),
        &[&path, "not encrypted", "move the directory away"],
    );
}

#[tokio::test]
async fn damaged_directory_is_an_error_that_names_path_and_fix() {
    let place = Place::new();
    let one = start_at(&place.node());
    for _ in 0..100 {
        create(one.node());
    }
    one.leave().await;
    let logs = files(&place.0.join("engine"));
    let mut bytes = fs::read(&logs[0]).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&logs[0], &bytes).expect("ours");
    let path = place.0.display().to_string();
    refused(&place.node(), &[&path, "damaged", ".log", "copy", "peers"]);
    let after = fs::read(&logs[0]).expect("it is there");
    assert_eq!(after, bytes, "nothing was changed");
}

#[tokio::test]
async fn sessions_that_ended_while_nobody_ran_are_not_loaded() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let one = start_on(&disk, &place.another());
    let meta = Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry: Expiry::idle(Duration::from_millis(300)),
    });
    let cookie = one.node().fresh_id();
    one.node().create(&meta, &cookie, 0).expect("there is room");
    one.node().release(&cookie.key, Replicate::Now);
    until_saved(&one).await;
    drop(one);
    wait_until("the session is over", || {
        let again = start_on(&disk.copy(), &place.another());
        let read = again.node().read(&cookie.key, |_| ());
        matches!(read, Err(SessionError::Destroyed))
    })
    .await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable directory");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("room")),
        }
    }
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("it is there").path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn is_in(text: &str, directory: &Path) -> bool {
    files(directory).iter().any(|file| {
        let bytes = fs::read(file).expect("it is there");
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

const KEYS: [&str; 2] = [
    "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3",
    "ac2fe5559fd3b7ff9703f9d8fe1270930156038453e20f3f10b465cc85833c9a",
];
