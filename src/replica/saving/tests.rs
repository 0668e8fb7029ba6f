//! What is taken is what has changed, and what is loaded is what was taken.

use std::collections::BTreeMap;

use super::*;
use crate::{
    config::{Expiry, Limits, Shape},
    replica::{Observer, Replica, Replicate},
    session::{
        Access, Item, Now, Order, OrderContent, OrderId, Proof, SavedKey, Search, SessionKey,
        SessionState, Stamp, Tombstone,
        fixtures::{NOW, after, boot, key, meta, secret},
    },
    wire::Position,
};

const SHAPE: Shape = Shape {
    lock_shards: 4,
    digests_per_lock: 2,
    log_records: 64,
};
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A directory, by the bytes of its keys.
type Directory = BTreeMap<[u8; 17], Vec<u8>>;

fn replica(number: u8, now: Now) -> Replica {
    let replica = Replica::new(boot(number), Limits::default(), &SHAPE, now);
    replica.record_changes();
    replica
}

fn create(replica: &Replica, number: u8, now: Now) -> Option<Position> {
    create_for(replica, number, 2 * DAY_MS, now)
}

fn create_for(replica: &Replica, number: u8, idle_ms: u64, now: Now) -> Option<Position> {
    let expiry = Expiry::from_millis(Some(idle_ms), None);
    let created = replica.create(meta(expiry), key(number), secret(number).hash(), 0, now);
    created.expect("there is room");
    replica.release(&key(number), Replicate::Now, now)
}

fn set(replica: &Replica, number: u8, value: &[u8], now: Now) {
    let observer = &mut Observer::new(false);
    let written = replica.write(&key(number), Replicate::Now, observer, now, |writer| {
        writer.set("a", value.into())
    });
    written.expect("it is there");
}

fn write(batch: Batch, directory: &mut Directory) {
    for (key, record) in batch.entries {
        match record {
            Some(record) => directory.insert(key.to_bytes(), record),
            None => directory.remove(&key.to_bytes()),
        };
    }
}

/// Saves all there is. Returns the position of the last batch.
fn save(replica: &Replica, directory: &mut Directory, now: Now) -> Option<Position> {
    loop {
        let batch = replica.take_unsaved(now, 1);
        let (is_last, position) = (batch.is_last, batch.position);
        write(batch, directory);
        if is_last {
            return position;
        }
        assert_eq!(position, None, "before the end of the pass");
    }
}

fn load(number: u8, directory: &Directory, now: Now) -> (Replica, Vec<Loaded>) {
    let replica = replica(number, now);
    let mut loaded = Vec::new();
    for (key, record) in directory {
        match SavedKey::from_bytes(key).expect("a key") {
            SavedKey::Facts => replica.load_facts(record, now).expect("own bytes"),
            key => loaded.push(replica.load(key, record, now).expect("own bytes")),
        }
    }
    (replica, loaded)
}

fn state(replica: &Replica, key: &SessionKey) -> SessionState {
    replica.read(key, SessionState::clone).expect("it is there")
}

/// The keys of the sessions in a batch.
fn keys(batch: &Batch) -> Vec<SessionKey> {
    let entries = batch.entries.iter();
    let mut keys: Vec<_> = entries
        .filter_map(|(key, _)| match key {
            SavedKey::Session(key) => Some(*key),
            SavedKey::Facts | SavedKey::Order(_) => None,
        })
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn node_that_has_loaded_holds_what_was_saved_hot_or_cold() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    for number in 1..=9 {
        create(&one, number, NOW);
        set(&one, number, &[b'0' + number], after(10));
    }
    one.sweep(after(2_000), &mut Observer::new(false));
    set(&one, 3, b"[]", after(2_010));
    one.destroy(&key(9), after(2_020));
    let position = save(&one, &mut directory, after(2_030));
    assert_eq!(position, one.head());
    assert_eq!(one.unsaved(), 0);
    let started = after(2_030);
    let (two, loaded) = load(2, &directory, started);
    assert_eq!(loaded, [Loaded::Taken; 9]);
    assert_eq!(two.unsaved(), 0, "it is on disk as it is here");
    assert_eq!(two.store.hot_count(), 0, "nobody has used it");
    assert_eq!(two.digests(), one.digests());
    for number in 1..=8 {
        assert_eq!(state(&two, &key(number)), state(&one, &key(number)));
    }
    assert!(two.is_destroyed(&key(9)));
}

#[test]
fn what_has_changed_is_saved_once_and_nothing_else() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    for number in 1..=9 {
        create(&one, number, NOW);
    }
    save(&one, &mut directory, NOW);
    set(&one, 4, b"1", after(1));
    set(&one, 4, b"2", after(2));
    one.destroy(&key(5), after(3));
    // It comes and goes.
    create(&one, 20, after(4));
    one.store.shard(&key(20)).drop_session(&key(20));
    one.store.shard(&key(6)).drop_session(&key(6));
    assert_eq!(one.unsaved(), 3);
    let batch = one.take_unsaved(after(5), usize::MAX);
    assert!(batch.is_last);
    assert_eq!(keys(&batch), [key(4), key(5), key(6)]);
    write(batch, &mut directory);
    // To read and to pack it changes nothing.
    one.read(&key(1), |_| ()).expect("it is there");
    one.sweep(after(9_000), &mut Observer::new(false));
    let batch = one.take_unsaved(after(9_000), usize::MAX);
    assert!(batch.entries.is_empty() && batch.is_last);
    assert_eq!(batch.position, one.head(), "it moves all the same");
    let (two, _) = load(2, &directory, after(9_000));
    assert_eq!(two.digests(), one.digests());
}

/// What a batch covers was written before its pass began, or else may be behind what was read.
#[test]
fn position_of_a_pass_is_that_of_its_beginning() {
    let one = replica(1, NOW);
    let before = (1..=9).filter_map(|number| create(&one, number, NOW)).max();
    let first = one.take_unsaved(NOW, 1);
    assert!(!first.is_last);
    let later = create(&one, 30, after(1));
    let mut last = one.take_unsaved(after(1), usize::MAX);
    assert!(last.is_last && before < later);
    assert_eq!(last.position, before);
    last = one.take_unsaved(after(1), usize::MAX);
    assert_eq!(last.position, later);
}

#[test]
fn batch_that_was_given_back_is_taken_again_and_covers_nothing_before() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    let head = (1..=9).filter_map(|number| create(&one, number, NOW)).max();
    let first = one.take_unsaved(NOW, 1);
    one.give_back(first);
    assert_eq!(one.unsaved(), 9);
    let batch = one.take_unsaved(NOW, usize::MAX);
    assert_eq!(keys(&batch).len(), 9);
    assert_eq!(batch.position, head);
    one.give_back(batch);
    one.store.shard(&key(3)).drop_session(&key(3));
    assert_eq!(save(&one, &mut directory, NOW), head);
    let (two, _) = load(2, &directory, NOW);
    assert_eq!(two.digests(), one.digests());
}

#[test]
fn records_can_be_written_again() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    save(&one, &mut directory, NOW);
    let all: Vec<_> = directory
        .keys()
        .filter_map(|key| SavedKey::from_bytes(key))
        .collect();
    one.mark_unsaved(&all);
    let batch = one.take_unsaved(NOW, usize::MAX);
    let again: Vec<_> = batch.entries.iter().map(|(key, _)| *key).collect();
    assert_eq!(again, [SavedKey::Session(key(1)), SavedKey::Facts]);
}

/// Its machine may be lost before the first pass is over.
#[test]
fn new_directory_can_be_loaded_from_the_first_batch_on() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    for number in 1..=9 {
        create(&one, number, after(HOUR_MS));
    }
    let batch = one.take_unsaved(after(HOUR_MS), 1);
    assert!(!batch.is_last);
    write(batch, &mut directory);
    let (two, loaded) = load(2, &directory, after(HOUR_MS));
    assert_eq!(loaded, [Loaded::Taken; 2]);
    // It may lack what others knew by then.
    assert_eq!(two.past(after(HOUR_MS)).memory.apart_ms, HOUR_MS);
}

#[test]
fn new_directory_whose_first_batch_was_not_written_begins_with_the_next() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    for number in 1..=9 {
        create(&one, number, after(HOUR_MS));
    }
    let first = one.take_unsaved(after(HOUR_MS), 1);
    one.give_back(first);
    let next = one.take_unsaved(after(HOUR_MS), 1);
    assert!(!next.is_last);
    write(next, &mut directory);
    let (two, loaded) = load(2, &directory, after(HOUR_MS));
    assert_eq!(loaded, [Loaded::Taken; 2]);
    assert_eq!(two.past(after(HOUR_MS)).memory.apart_ms, HOUR_MS);
}

/// An idle node has something to tell of itself now and then.
#[test]
fn facts_are_saved_with_changes_and_every_ten_seconds() {
    let one = replica(1, NOW);
    create(&one, 1, NOW);
    let saves_facts = |ms| {
        let batch = one.take_unsaved(after(ms), usize::MAX);
        batch.entries.iter().any(|(key, _)| *key == SavedKey::Facts)
    };
    assert_eq!(
        [0, 100, 9_900, 10_000, 10_100].map(saves_facts),
        [true, false, false, true, false]
    );
    set(&one, 1, b"1", after(10_200));
    assert!(saves_facts(10_200));
}

#[test]
fn session_past_its_end_is_not_loaded_and_goes_from_the_disk() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    create(&one, 2, after(DAY_MS));
    save(&one, &mut directory, after(DAY_MS));
    let started = after(2 * DAY_MS + 70_000);
    let (two, loaded) = load(2, &directory, started);
    assert_eq!(loaded, [Loaded::Ended, Loaded::Taken]);
    save(&two, &mut directory, started);
    assert_eq!(directory.len(), 2, "the facts and the other one");
}

#[test]
fn clock_that_has_gone_back_lets_no_time_pass() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    save(&one, &mut directory, after(1_000));
    let started = Now {
        wall_ms: NOW.wall_ms - DAY_MS,
        ..after(5 * DAY_MS)
    };
    let (two, _) = load(2, &directory, started);
    let created_ms = state(&two, &key(1)).created_ms();
    assert_eq!(started.mono_ms - created_ms, 1_000);
    assert!(
        two.is_away(started),
        "nobody knows for how long it was down"
    );
}

#[test]
fn what_is_remembered_of_destroyed_sessions_grows_no_older_while_nobody_runs() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create_for(&one, 1, HOUR_MS, NOW);
    one.destroy(&key(1), NOW);
    save(&one, &mut directory, after(HOUR_MS));
    let started = after(9 * DAY_MS);
    let (two, loaded) = load(2, &directory, started);
    assert_eq!(loaded, [Loaded::Taken]);
    let past = two.past(started);
    assert!(past.memory.remembered_ms >= 9 * DAY_MS, "all since then");
    assert!(past.memory.apart_ms >= 9 * DAY_MS - HOUR_MS);
    two.sweep(after(9 * DAY_MS + 22 * HOUR_MS), &mut Observer::new(false));
    assert_eq!(two.tombstones(), 1);
    two.sweep(after(10 * DAY_MS), &mut Observer::new(false));
    assert_eq!(two.tombstones(), 0, "it was a day old");
    let past = two.past(after(10 * DAY_MS));
    assert_eq!(past.memory.remembered_ms, DAY_MS);
}

/// Another node has run meanwhile, and knows how old it is.
#[test]
fn tombstone_that_is_older_elsewhere_goes_when_it_goes_there() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create_for(&one, 1, HOUR_MS, NOW);
    one.destroy(&key(1), NOW);
    save(&one, &mut directory, after(HOUR_MS));
    let started = after(20 * HOUR_MS);
    let (two, _) = load(2, &directory, started);
    let told = Item::Destroyed(Tombstone {
        destroyed_ms: NOW.mono_ms,
        keep_ms: DAY_MS,
    });
    let observer = &mut Observer::new(false);
    two.store
        .apply(&key(1), told, started, observer)
        .expect("within the limits");
    two.sweep(after(23 * HOUR_MS), observer);
    assert_eq!(two.tombstones(), 1);
    two.sweep(after(25 * HOUR_MS), observer);
    assert_eq!(two.tombstones(), 0);
}

/// Its directory may have been copied before.
#[test]
fn node_with_a_directory_leaves_tombstones_though_it_met_nobody() {
    let one = replica(1, NOW);
    create(&one, 1, NOW);
    one.destroy(&key(1), NOW);
    assert_eq!(one.tombstones(), 1);
}

/// A client has logged out of a session that only another node knows, and both are killed.
#[test]
fn orders_outlive_their_node_for_a_day_that_it_runs() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    let order = Order {
        id: OrderId::from_bytes([7; 16]),
        issued_ms: NOW.mono_ms,
        hops: 0,
        content: OrderContent::Session {
            key: key(1),
            proof: Some(Proof {
                context: "".into(),
                secret: secret(1).hash(),
            }),
        },
    };
    let position = one.give(order, NOW);
    assert_eq!(save(&one, &mut directory, NOW), Some(position));
    let other = replica(9, NOW);
    create_for(&other, 1, 30 * DAY_MS, NOW);
    save(&other, &mut directory, NOW);
    // The order was saved before it was carried out, or after: either way it is.
    let (two, _) = load(2, &directory, after(HOUR_MS));
    assert!(two.is_destroyed(&key(1)));
    let started = after(9 * DAY_MS);
    let (two, _) = load(3, &directory, started);
    assert!(two.is_destroyed(&key(1)));
    save(&two, &mut directory, started);
    two.note_tick(after(10 * DAY_MS));
    save(&two, &mut directory, after(10 * DAY_MS));
    let is_order = |key: &&[u8; 17]| matches!(SavedKey::from_bytes(*key), Some(SavedKey::Order(_)));
    assert_eq!(directory.keys().filter(is_order).count(), 0);
}

/// A node is killed while it looks for what another one has ordered to destroy.
#[test]
fn search_that_was_not_carried_out_is_carried_out_after_the_start() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    let order = |number, content| Order {
        id: OrderId::from_bytes([number; 16]),
        issued_ms: NOW.mono_ms,
        hops: 0,
        content,
    };
    let search = |number| {
        let search = Search {
            context: "".into(),
            name: "user".into(),
            json: b"1".as_slice().into(),
            keep: None,
            upto: Stamp::MAX,
        };
        order(number, OrderContent::Search(search))
    };
    for number in [1, 2] {
        one.orders.add(search(number), Some(boot(9)), NOW);
    }
    one.give(search(3), NOW);
    let report = OrderContent::Report {
        search: OrderId::from_bytes([1; 16]),
        node: "node1".into(),
        destroyed: 0,
    };
    one.give(order(4, report), NOW);
    save(&one, &mut directory, NOW);
    let (two, loaded) = load(2, &directory, NOW);
    assert_eq!(loaded, [Loaded::Taken; 3], "reports are not kept");
    let left = std::iter::from_fn(|| two.orders().next_search());
    let left: Vec<_> = left.map(|order| order.id).collect();
    assert_eq!(left, [OrderId::from_bytes([2; 16])]);
}

#[test]
fn session_beyond_the_limits_stays_on_disk() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    set(&one, 1, &[b'1'; 100], NOW);
    save(&one, &mut directory, NOW);
    let limits = Limits {
        max_session_bytes: 10,
        ..Limits::default()
    };
    let two = Replica::new(boot(2), limits, &SHAPE, NOW);
    two.record_changes();
    let facts = &directory[&SavedKey::Facts.to_bytes()];
    two.load_facts(facts, NOW).expect("own bytes");
    let saved = SavedKey::Session(key(1));
    let loaded = two.load(saved, &directory[&saved.to_bytes()], NOW);
    assert_eq!(loaded.ok(), Some(Loaded::OverLimit("bytes of a session")));
    assert_eq!((two.sessions(), two.unsaved()), (0, 0));
}

#[test]
fn records_that_cannot_be_there_are_malformed() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    save(&one, &mut directory, NOW);
    let record = &directory[&SavedKey::Session(key(1)).to_bytes()];
    let facts = &directory[&SavedKey::Facts.to_bytes()];
    let two = replica(2, NOW);
    let load = |key| two.load(key, record, NOW);
    load(SavedKey::Session(key(1))).expect_err("no facts");
    two.load_facts(record, NOW).expect_err("a session");
    two.load_facts(facts, NOW).expect("own bytes");
    two.load_facts(facts, NOW).expect_err("twice");
    load(SavedKey::Order(OrderId::from_bytes([1; 16]))).expect_err("no order");
    load(SavedKey::Facts).expect_err("no facts");
    load(SavedKey::Session(key(1))).expect("own bytes");
    load(SavedKey::Session(key(1))).expect_err("twice");
}

/// What is loaded is another writer's, so deltas claim nothing of it.
#[test]
fn loaded_session_was_written_by_others() {
    let (one, mut directory) = (replica(1, NOW), Directory::new());
    create(&one, 1, NOW);
    save(&one, &mut directory, NOW);
    let (two, _) = load(2, &directory, after(1_000));
    assert_eq!(two.last_logged(&key(1)), None);
    let access = two.open(
        "",
        &key(1),
        &secret(1),
        Replicate::Now,
        after(1_000),
        |_| (),
    );
    assert_eq!(access, Access::Alive);
    set(&two, 1, b"1", after(1_000));
    let state = state(&two, &key(1));
    let writers: Vec<_> = state
        .vector()
        .entries()
        .iter()
        .map(|entry| entry.0.boot)
        .collect();
    assert_eq!(writers, [boot(1), boot(2)]);
}
