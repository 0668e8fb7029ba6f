use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    entries::{Entries, Entry, ValueHash, looked},
    surplus::STEP,
    *,
};
use crate::{
    config::{Expiry, Limits, Shape},
    replica::{Observer, Replica, Replicate},
    session::{
        Search, SessionInfo, Stamp,
        fixtures::{NOW, after, boot, meta, secret},
    },
};

/// Returns keys that are spread as random ones.
fn key(number: u32) -> SessionKey {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    SessionKey::from_bytes(bytes)
}

/// Returns a replica that finds sessions by these names.
fn replica(names: &[&str]) -> Replica {
    let paths: Vec<ValuePath> = names.iter().map(|name| ValuePath::parse(name)).collect();
    let replica = Replica::new(boot(1), Limits::default(), &Shape::default(), NOW);
    replica.index_by(&paths)
}

fn create(replica: &Replica, number: u32, values: &[(&str, &str)]) {
    let (meta, key) = (meta(Expiry::default()), key(number));
    let created = replica.create(meta, key, secret(1).hash(), 0, NOW);
    created.expect("there is room");
    set(replica, number, values);
    replica.release(&key, Replicate::Now, NOW);
}

fn set(replica: &Replica, number: u32, values: &[(&str, &str)]) {
    let observer = &mut Observer::new(false);
    let written = replica.write(&key(number), Replicate::Now, observer, NOW, |writer| {
        let mut values = values.iter();
        values.try_for_each(|(name, json)| writer.set(name, json.as_bytes().into()))
    });
    written.expect("it is there");
}

fn find(replica: &Replica, name: &str, json: &str) -> BTreeSet<SessionKey> {
    let search = Search {
        context: "".into(),
        name: name.into(),
        json: json.as_bytes().into(),
        keep: None,
        upto: Stamp::MAX,
    };
    replica.find(&search, Stamp::MAX).into_iter().collect()
}

fn keys(numbers: &[u32]) -> BTreeSet<SessionKey> {
    numbers.iter().map(|number| key(*number)).collect()
}

#[test]
fn sessions_are_found_by_their_values_now_whether_they_are_hot_or_cold() {
    let names = ["user", "login#/id"];
    for replica in [replica(&names), replica(&[])] {
        create(&replica, 1, &[("user", "7")]);
        create(
            &replica,
            2,
            &[("user", "\"7\""), ("login", r#"{"id":7,"at":1}"#)],
        );
        create(&replica, 3, &[("user", " 7 "), ("login", r#"{"id":8}"#)]);
        for _ in 0..2 {
            assert_eq!(find(&replica, "user", "7"), keys(&[1, 3]));
            assert_eq!(find(&replica, "user", "\"7\""), keys(&[2]));
            assert_eq!(find(&replica, "login#/id", "7"), keys(&[2]));
            assert_eq!(find(&replica, "login#/other", "7"), keys(&[]));
            assert_eq!(find(&replica, "other", "7"), keys(&[]));
            assert!(replica.index_is_in_step());
            replica.sweep(after(2_000), &mut Observer::new(false));
            assert_eq!(replica.store.hot_count(), 0);
        }
        set(&replica, 1, &[("user", "8"), ("login", r#"{"id":7}"#)]);
        set(&replica, 3, &[("login", "\"none\"")]);
        assert_eq!(find(&replica, "user", "7"), keys(&[3]));
        assert_eq!(find(&replica, "user", "8"), keys(&[1]));
        assert_eq!(find(&replica, "login#/id", "7"), keys(&[1, 2]));
        assert_eq!(find(&replica, "login#/id", "8"), keys(&[]));
        assert!(replica.index_is_in_step());
        replica.destroy(&key(1), NOW);
        replica.sweep(after(4_000), &mut Observer::new(false));
        replica.destroy(&key(2), NOW);
        assert_eq!(find(&replica, "login#/id", "7"), keys(&[]));
        assert!(replica.index_is_in_step());
        assert_eq!(replica.sessions(), 1);
    }
}

#[test]
fn counter_has_no_value_to_be_found_by() {
    let replica = replica(&["hits"]);
    create(&replica, 1, &[]);
    let observer = &mut Observer::new(false);
    let added = replica.write(&key(1), Replicate::Now, observer, NOW, |writer| {
        writer.add("hits", 7)
    });
    added.expect("it is there");
    assert_eq!(find(&replica, "hits", "7"), keys(&[]));
    assert!(replica.index_is_in_step());
}

#[test]
fn ten_sessions_among_many_are_found_by_looking_at_ten() {
    const SESSIONS: u32 = 10_000;
    let replica = replica(&["user"]);
    for number in 0..SESSIONS {
        create(&replica, number, &[("user", &(number / 10).to_string())]);
    }
    for user in [0, 17, 999] {
        let before = looked::count();
        let found = find(&replica, "user", &user.to_string());
        assert_eq!(found.len(), 10);
        let looked = looked::count() - before;
        assert!(looked <= 11, "{looked} entries");
    }
}

#[test]
fn session_whose_value_has_the_same_hash_is_not_found() {
    let replica = replica(&["user"]);
    create(&replica, 1, &[("user", "1")]);
    create(&replica, 2, &[("user", "2")]);
    let index = replica.store.index.as_ref().expect("there is one");
    let one = replica.store.copy(&key(1)).expect("it is there");
    let hash = index.place(0, &one.state).hash.expect("it has a value");
    index.insert(&key(2), "", 0, hash);
    assert_eq!(find(&replica, "user", "1"), keys(&[1]));
    let wanted = crate::replica::Wanted::new("", "user", b"1").expect("JSON");
    let candidates = replica.candidates(&wanted).expect("it is indexed");
    assert_eq!(candidates.len(), 2);
    let infos = candidates
        .iter()
        .filter_map(|key| replica.info_where(&wanted, key, NOW));
    let ids: Vec<String> = infos.map(|SessionInfo { id, .. }| id).collect();
    assert_eq!(ids, [key(1).public_id(None)]);
}

#[test]
fn memory_of_the_index_is_counted_and_given_back() {
    let [with, without] = [replica(&["user"]), replica(&[])].map(|replica| {
        for number in 0..100 {
            create(&replica, number, &[("user", &number.to_string())]);
        }
        replica.sweep(after(2_000), &mut Observer::new(false));
        let held = replica.session_bytes();
        for number in 0..100 {
            replica.destroy(&key(number), NOW);
        }
        replica.sweep(after(10 * 60_000), &mut Observer::new(false));
        (held, replica.session_bytes())
    });
    assert_eq!(with.0, without.0 + 100 * ENTRY_BYTES);
    assert_eq!(with.1, without.1);
}

/// What `docs/operations.md` says, for one of the parts of an index of a million sessions. Whether
/// each has a value of its own or all have the same makes no difference.
#[test]
fn entry_takes_24_bytes_of_memory() {
    const SESSIONS: u32 = 4_000;
    for values in [1, 40, u64::MAX] {
        let hash = |number: u32| {
            let number = u64::from(number) % values;
            ValueHash(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8)
        };
        let entry = |number| Entry::new(hash(number), &key(number));
        let mut entries = Entries::default();
        for number in 0..SESSIONS {
            entries.insert(entry(number));
        }
        let each = entries.memory() as f64 / f64::from(SESSIONS);
        println!("{each} bytes for an entry of {values} values");
        assert!(each <= ENTRY_BYTES as f64, "{each}");
        for number in (0..SESSIONS).filter(|number| number % 10 > 0) {
            entries.remove(&entry(number));
        }
        let each = entries.memory() as f64 / f64::from(SESSIONS / 10);
        assert!(
            each <= 2.0 * ENTRY_BYTES as f64,
            "{each} after most have gone"
        );
        for number in (0..SESSIONS).step_by(10) {
            entries.remove(&entry(number));
        }
        assert_eq!(entries.memory(), 0);
    }
}

proptest! {
    #[test]
    fn entries_are_those_of_a_set(
        steps in prop::collection::vec((0..6_u64, 0..90_u32, 0..4_u8), 0..2_000),
    ) {
        let (mut entries, mut set) = (Entries::default(), BTreeSet::new());
        let hash = |number: u64| ValueHash(number << 16);
        for (number, session, stays) in steps {
            let entry = Entry::new(hash(number), &key(session));
            entries.insert(entry);
            set.insert((number, key(session)));
            if stays == 0 {
                entries.remove(&entry);
                set.remove(&(number, key(session)));
            }
        }
        for number in 0..6 {
            let of = |most| entries.of(hash(number), most);
            let expected = set.iter().filter(|entry| entry.0 == number);
            let expected: Vec<_> = expected.map(|entry| entry.1).collect();
            prop_assert_eq!(of(usize::MAX), &*expected);
            prop_assert_eq!(of(3), &expected[..expected.len().min(3)]);
        }
        prop_assert_eq!(entries.iter().count(), set.len());
        prop_assert!(entries.iter().is_sorted());
    }
}

/// Returns a replica where one session may have each value, with so many for each of these values.
fn crowded(values: u32, of_each: u32) -> Replica {
    let replica = replica(&["user"]);
    let claim = replica.limit(&"".into(), "user", 1, AtLimit::EndOldest);
    assert_eq!(claim, LimitClaim::New);
    for number in 0..values * of_each {
        let user = (number % values).to_string();
        create(&replica, number, &[("user", &user)]);
    }
    replica
}

/// Ends what is beyond the limits. Returns the number of sessions that each step ended.
fn steps(replica: &Replica) -> Vec<usize> {
    let mut steps = Vec::new();
    while replica.is_crowded() {
        let surplus = replica.surplus(NOW);
        for key in &surplus {
            replica.destroy(key, NOW);
            replica.commit(key, NOW);
        }
        steps.push(surplus.len());
    }
    steps
}

#[test]
fn sessions_beyond_limits_end_in_steps_however_many_they_are() {
    for (values, of_each) in [(100, 3), (1, 300)] {
        let replica = crowded(values, of_each);
        let surplus = (values * (of_each - 1)) as usize;
        let steps = steps(&replica);
        assert!(steps.iter().all(|ended| *ended <= STEP), "{steps:?}");
        assert!(steps.len() >= surplus / STEP, "{} steps", steps.len());
        assert_eq!(steps.iter().sum::<usize>(), surplus);
        assert_eq!(replica.sessions(), values as usize);
        for value in 0..values {
            assert_eq!(find(&replica, "user", &value.to_string()).len(), 1);
        }
    }
}

#[test]
fn session_gets_its_value_to_itself_though_others_are_still_to_be_looked_at() {
    let replica = crowded(100, 3);
    let late = 1_000;
    create(&replica, late, &[("user", "70")]);
    let surplus = replica.surplus_beside(&key(late), NOW);
    assert_eq!(surplus.len(), 3);
    for key in &surplus {
        replica.destroy(key, NOW);
    }
    assert_eq!(find(&replica, "user", "70").len(), 1);
    assert_eq!(find(&replica, "user", "71").len(), 3, "not yet");
    assert_eq!(steps(&replica).iter().sum::<usize>(), 99 * 2);
}
