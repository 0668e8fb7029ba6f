//! The laws of merging, on copies that random writers made.

use proptest::prelude::*;

use super::{
    Access, Content, Count, Counter, KEPT_ORIGINS, Now, Origin, Register, SessionSecret,
    SessionState, Stamp, Tag, Tombstone,
    fixtures::{self, next_tag, secret, session},
};
use crate::config::Expiry;

/// A thing that a writer does to its copy.
#[derive(Clone, Debug)]
enum Op {
    Set(usize, u8),
    Remove(usize),
    Add(usize, i8),
    Cycle(u8),
    Expiry(u16),
    Persistent(bool),
    Touch,
    /// Merge another copy.
    Meet(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3_usize, any::<u8>()).prop_map(|(name, value)| Op::Set(name, value)),
        (0..3_usize).prop_map(Op::Remove),
        (0..2_usize, any::<i8>()).prop_map(|(name, by)| Op::Add(name, by)),
        any::<u8>().prop_map(Op::Cycle),
        any::<u16>().prop_map(Op::Expiry),
        any::<bool>().prop_map(Op::Persistent),
        Just(Op::Touch),
        (0..3_usize).prop_map(Op::Meet),
    ]
}

fn history() -> impl Strategy<Value = Vec<(usize, Op)>> {
    prop::collection::vec((0..3_usize, op()), 0..40)
}

const REGISTERS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const COUNTERS: [&str; 2] = ["m", "n"];

fn at(step: usize) -> Now {
    Now {
        wall_ms: 1_000 + step as u64 / 3,
        mono_ms: (1 << 41) + step as u64,
    }
}

fn origin(writer: usize) -> Origin {
    fixtures::origin(writer as u8 + 1)
}

/// Returns three copies of one session after a history of writes and meetings.
fn copies(history: &[(usize, Op)]) -> [SessionState; 3] {
    let first = session(origin(0), at(0));
    let mut copies = [first.clone(), first.clone(), first];
    for (step, (writer, op)) in history.iter().enumerate() {
        let now = at(step);
        let own = origin(*writer);
        if let Op::Meet(other) = op {
            let other = copies[*other].clone();
            copies[*writer].merge(other, own);
            continue;
        }
        let copy = &mut copies[*writer];
        let tag = next_tag(copy, own, now);
        match op {
            Op::Set(name, value) => copy.set(REGISTERS[*name], [*value].as_slice().into(), tag),
            Op::Remove(name) => copy.remove(REGISTERS[*name], tag),
            Op::Add(name, by) => copy.add(COUNTERS[*name], i64::from(*by), own, tag.stamp),
            Op::Cycle(byte) => {
                let mut secret = [*byte; 16];
                secret[0] = *writer as u8;
                secret[1] = step as u8;
                copy.cycle(SessionSecret::from_bytes(secret).hash(), tag, now);
            }
            Op::Expiry(ms) => {
                copy.set_expiry(Expiry::from_millis(Some(u64::from(*ms)), None), tag);
            }
            Op::Persistent(persistent) => copy.set_persistent(*persistent, tag),
            Op::Touch => copy.touch(now),
            Op::Meet(_) => {}
        }
        copy.collect_garbage_alone(own);
    }
    copies
}

/// Returns a state without what is local: instants that depend on the order of meetings.
fn shared(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    state.accessed_ms = 0;
    state.created_ms = 0;
    state
}

fn merged(left: &SessionState, right: &SessionState) -> SessionState {
    let mut result = left.clone();
    result.merge(right.clone(), origin(9));
    shared(&result)
}

proptest! {
    #[test]
    fn merging_is_idempotent(history in history()) {
        for copy in copies(&history) {
            prop_assert_eq!(merged(&copy, &copy), shared(&copy));
        }
    }

    #[test]
    fn merging_is_commutative(history in history()) {
        let [left, right, _] = copies(&history);
        prop_assert_eq!(merged(&left, &right), merged(&right, &left));
    }

    #[test]
    fn merging_is_associative(history in history()) {
        let [one, two, three] = copies(&history);
        let first = merged(&merged(&one, &two), &three);
        let last = merged(&one, &merged(&two, &three));
        prop_assert_eq!(first, last);
    }

    #[test]
    fn equal_vectors_mean_equal_sessions(history in history()) {
        let [left, right, _] = copies(&history);
        if left.vector == right.vector && left.access == right.access {
            prop_assert_eq!(shared(&left), shared(&right));
        }
    }

    /// A delta onto a copy that holds everything up to `since` is as good as the full state, as
    /// far as its origin's writes go.
    #[test]
    fn delta_brings_exactly_what_its_origin_wrote(history in history(), later in history()) {
        let [mut writer, mut reader, _] = copies(&history);
        reader.merge(writer.clone(), origin(1));
        writer.merge(reader.clone(), origin(0));
        let since = writer.vector.of(origin(0));
        for (step, (_, op)) in later.iter().enumerate() {
            let now = at(100 + step);
            let tag = next_tag(&writer, origin(0), now);
            match op {
                Op::Set(name, value) => writer.set(REGISTERS[*name], [*value].as_slice().into(), tag),
                Op::Remove(name) => writer.remove(REGISTERS[*name], tag),
                Op::Add(name, by) => writer.add(COUNTERS[*name], i64::from(*by), tag.origin, tag.stamp),
                _ => writer.touch(now),
            }
        }
        let delta = writer.delta(origin(0), since, true);
        let taken = reader.apply(delta, origin(1));
        prop_assert!(taken.is_some(), "nothing is missing");
        prop_assert_eq!(shared(&reader), shared(&writer));
    }
}

fn register(stamp: u64, writer: usize, content: Content) -> Register {
    Register {
        tag: Tag {
            stamp: Stamp::new(stamp).expect("small"),
            origin: origin(writer),
        },
        content,
    }
}

#[test]
fn later_write_of_one_attribute_wins_everywhere() {
    let older = register(5, 2, Content::Json(b"1".as_slice().into()));
    let newer = register(6, 1, Content::Json(b"2".as_slice().into()));
    let mut left = older.clone();
    assert!(left.merge(newer.clone()));
    let mut right = newer.clone();
    assert!(!right.merge(older));
    assert_eq!(left, right);
    assert_eq!(left, newer);
}

#[test]
fn increments_of_two_nodes_add_up_and_saturate() {
    let count = |writer, stamp, sum| Count {
        origin: origin(writer),
        stamp: Stamp::new(stamp).expect("small"),
        sum,
    };
    let counter = |counts| Register {
        tag: Tag::BOTTOM,
        content: Content::Counter(Counter::new(counts)),
    };
    let mut left = counter(vec![count(0, 1, 3)]);
    assert!(left.merge(counter(vec![count(0, 2, 5), count(1, 1, -1)])));
    assert_eq!(left.count(), Ok(4));
    assert!(left.merge(counter(vec![count(2, 1, i64::MAX)])));
    assert_eq!(left.count(), Ok(i64::MAX));
}

#[test]
fn increment_that_did_not_see_a_removal_does_not_undo_it() {
    let removal = register(9, 0, Content::Removed);
    let mut stale = Register {
        tag: Tag::BOTTOM,
        content: Content::Counter(Counter::new(vec![Count {
            origin: origin(1),
            stamp: Stamp::new(12).expect("small"),
            sum: 7,
        }])),
    };
    assert!(stale.merge(removal));
    assert_eq!(stale.count(), Ok(0));
}

#[test]
fn late_delta_that_lacks_its_past_is_refused_whole() {
    let history = vec![(0, Op::Set(0, 1))];
    let [writer, mut reader, _] = copies(&history);
    let before = writer.vector.of(origin(0));
    let mut later = writer.clone();
    let tag = next_tag(&later, origin(0), at(5));
    later.set("b", b"2".as_slice().into(), tag);
    // The reader has the creation but not the first write.
    let delta = later.delta(origin(0), before, false);
    let untouched = reader.clone();
    assert_eq!(reader.apply(delta, origin(1)), None);
    assert_eq!(reader, untouched);
}

#[test]
fn old_secret_is_a_straggler_for_a_minute_and_then_replaced() {
    let [mut session, ..] = copies(&[]);
    let old = secret(0).hash();
    let new = secret(1).hash();
    let now = at(0);
    let tag = next_tag(&session, origin(0), now);
    assert_eq!(session.secrets().presented(&old, now), Access::Alive);
    session.cycle(new, tag, now);
    let later = |ms| Now {
        mono_ms: now.mono_ms + ms,
        ..now
    };
    assert_eq!(session.secrets().presented(&new, now), Access::Alive);
    assert_eq!(
        session.secrets().presented(&old, later(59_999)),
        Access::Superseded
    );
    assert_eq!(
        session.secrets().presented(&old, later(60_000)),
        Access::Replaced
    );
}

/// Writes `name` so much later that what was before is forgotten.
fn write_days_later(session: &mut SessionState, days: u64) {
    let now = Now {
        wall_ms: at(0).wall_ms + days * 24 * 60 * 60 * 1000,
        ..at(0)
    };
    let tag = next_tag(session, origin(0), now);
    session.set("late", b"1".as_slice().into(), tag);
    session.collect_garbage_alone(origin(0));
}

/// Removes so many other names that the removals before are forgotten.
fn remove_many(session: &mut SessionState, own: Origin) {
    for number in 0..4 {
        let name = format!("{number}");
        for _ in 0..2 {
            let tag = next_tag(session, own, at(20));
            session.set(&name, b"1".as_slice().into(), tag);
        }
        session.remove(&name, next_tag(session, own, at(20)));
    }
    session.collect_garbage_alone(own);
}

fn has(session: &SessionState, name: &str) -> bool {
    session.register(name).is_some_and(Register::is_present)
}

#[test]
fn forgotten_removal_is_not_undone_by_a_copy_that_never_heard_of_it() {
    let [mut session, mut stale, _] = copies(&[(0, Op::Set(0, 1)), (1, Op::Meet(0))]);
    let tag = next_tag(&session, origin(0), at(5));
    session.remove("a", tag);
    remove_many(&mut session, origin(0));
    assert_eq!(session.register("a"), None, "the removal is forgotten");
    session.merge(stale.clone(), origin(0));
    assert!(!has(&session, "a"), "not back here");
    stale.merge(session, origin(1));
    assert!(!has(&stale, "a"), "gone there");
}

#[test]
fn removals_do_not_count_like_values_and_the_newest_are_remembered() {
    let [mut session, ..] = copies(&[]);
    for number in 0..1024 {
        let name = format!("{number:04}");
        let tag = next_tag(&session, origin(0), at(number));
        session.set(&name, b"1".as_slice().into(), tag);
        session.remove(&name, next_tag(&session, origin(0), at(number)));
        session.collect_garbage_alone(origin(0));
        assert_eq!(session.weight(), 0);
        assert!(session.registers().len() <= 3);
        assert!(session.register(&name).is_some(), "the newest");
    }
}

#[test]
fn removal_is_remembered_whatever_a_clock_says() {
    let [mut session, mut other, _] = copies(&[(0, Op::Set(0, 1))]);
    let tag = |copy: &SessionState, step, writer| next_tag(copy, origin(writer), at(step));
    other.set("a", b"2".as_slice().into(), tag(&session, 5, 1));
    session.remove("a", tag(&session, 9, 0));
    let mut late = session.clone();
    write_days_later(&mut late, 2);
    let delta = late.delta(origin(0), session.vector.of(origin(0)), false);
    // Here the clock jumps first, there the older write comes first.
    let mut here = session.clone();
    here.apply(delta.clone(), origin(0)).expect("complete");
    here.merge(other.clone(), origin(0));
    let mut there = session;
    there.merge(other, origin(3));
    there.apply(delta, origin(3)).expect("complete");
    assert_eq!(shared(&here), shared(&there));
    assert!(!has(&here, "a"), "the removal is later");
}

#[test]
fn secret_whose_death_is_forgotten_does_not_open_the_session_again() {
    let [mut session, mut stale, _] = copies(&[]);
    let old = secret(0).hash();
    let tag = next_tag(&session, origin(0), at(5));
    session.cycle(secret(1).hash(), tag, at(5));
    write_days_later(&mut session, 2);
    assert_eq!(
        session.secrets().states().len(),
        1,
        "the death is forgotten"
    );
    session.merge(stale.clone(), origin(0));
    let presented = session.secrets().presented(&old, at(6));
    assert_eq!(presented, Access::Forged, "not back here");
    stale.merge(session, origin(1));
    let presented = stale.secrets().presented(&old, at(6));
    assert_eq!(presented, Access::Forged, "gone there");
}

/// Whether a removal is still remembered when an older write comes depends on the order. Then the
/// versions differ, and the copies become equal when they meet.
#[test]
fn copies_that_forgot_in_another_order_tell_each_other_apart_and_become_equal() {
    let [mut session, mut other, _] = copies(&[(0, Op::Set(0, 1)), (1, Op::Meet(0))]);
    let tag = |copy: &SessionState, step, writer| next_tag(copy, origin(writer), at(step));
    other.set("a", b"2".as_slice().into(), tag(&other, 5, 1));
    session.remove("a", tag(&session, 9, 0));
    let mut here = session.clone();
    remove_many(&mut here, origin(0));
    let mut there = session;
    there.merge(other.clone(), origin(3));
    here.merge(other, origin(0));
    assert!(has(&here, "a"), "who removed it, nobody knows");
    let full = here.clone();
    there.merge(full, origin(3));
    assert_eq!(here.vector, there.vector);
    let key = fixtures::key(1);
    assert_ne!(here.version(&key), there.version(&key));
    let before = here.clone();
    here.merge(there.clone(), origin(0));
    there.merge(before, origin(3));
    assert_eq!(shared(&here), shared(&there));
    assert!(!has(&here, "a"), "somebody knows");
}

#[test]
fn increments_that_a_forgotten_removal_had_seen_stay_gone() {
    let [mut session, mut other, _] = copies(&[(0, Op::Add(0, 5)), (1, Op::Meet(0))]);
    let tag = next_tag(&other, origin(1), at(5));
    other.add("m", 1, tag.origin, tag.stamp);
    session.remove("m", next_tag(&session, origin(0), at(9)));
    remove_many(&mut session, origin(0));
    session.merge(other, origin(0));
    assert_eq!(
        session.count("m"),
        Ok(1),
        "5 was seen by the removal, 1 was not"
    );
}

proptest! {
    /// Many names are removed, so that copies forget. Whatever the order, copies that have told
    /// each other all they hold are equal, and equal versions mean equal sessions.
    #[test]
    fn copies_become_equal_whatever_they_have_forgotten(
        history in prop::collection::vec((0..3_usize, many_names_op()), 0..80),
    ) {
        let mut copies = copies(&history);
        for _ in 0..3 {
            for (one, other) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let full = copies[other].clone();
                copies[one].merge(full, origin(one));
            }
        }
        let [one, two, three] = &copies;
        prop_assert_eq!(shared(one), shared(two));
        prop_assert_eq!(shared(one), shared(three));
        let key = fixtures::key(1);
        prop_assert_eq!(one.version(&key), two.version(&key));
    }
}

fn many_names_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..12_usize).prop_map(|name| Op::Set(name, 1)),
        (0..12_usize).prop_map(Op::Remove),
        (0..12_usize).prop_map(Op::Remove),
        (0..2_usize, any::<i8>()).prop_map(|(name, by)| Op::Add(name, by)),
        (0..3_usize).prop_map(Op::Meet),
    ]
}

#[test]
fn write_older_than_many_later_writers_is_taken_for_known() {
    let [mut session, mut stale, _] = copies(&[]);
    let tag = next_tag(&stale, origin(1), at(5));
    stale.set("b", b"1".as_slice().into(), tag);
    for writers in 1..=KEPT_ORIGINS {
        let mut merged = session.clone();
        merged.merge(stale.clone(), origin(0));
        assert_eq!(merged.json("b").map(|b| b.is_some()), Ok(true), "{writers}");
        let later = Now {
            wall_ms: at(0).wall_ms + 2 * 24 * 60 * 60 * 1000,
            ..at(0)
        };
        let tag = next_tag(&session, origin(10 + writers), later);
        session.set("c", b"1".as_slice().into(), tag);
    }
    session.merge(stale, origin(0));
    assert_eq!(session.json("b"), Ok(None));
}

#[test]
fn of_two_reports_of_destruction_the_earlier_instant_and_the_longer_memory_stay() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let idle = |ms| Expiry::from_millis(Some(ms), None);
    let short = Tombstone::new(idle(60_000), 5);
    assert_eq!(short.keep_ms, DAY_MS);
    let long = Tombstone::new(idle(3 * DAY_MS), 9);
    assert_eq!(long.keep_ms, 6 * DAY_MS);
    let expected = Tombstone {
        destroyed_ms: 5,
        ..long
    };
    for (mut one, other) in [(short, long), (long, short)] {
        one.merge(other);
        assert_eq!(one, expected);
    }
}

#[test]
fn clock_days_ahead_does_not_hide_what_others_write_at_the_same_time() {
    let [mut ahead, mut other, _] = copies(&[]);
    write_days_later(&mut ahead, 9);
    let tag = next_tag(&other, origin(1), at(5));
    other.set("b", b"1".as_slice().into(), tag);
    let mut here = ahead.clone();
    here.merge(other.clone(), origin(0));
    other.merge(ahead, origin(1));
    assert_eq!(shared(&here), shared(&other));
    assert_eq!(here.names().count(), 2, "both writes are there");
}

#[test]
fn session_remembers_at_most_64_dead_secrets() {
    let [mut session, ..] = copies(&[]);
    for step in 0..100_u8 {
        let now = at(usize::from(step) * 3);
        let tag = next_tag(&session, origin(0), now);
        session.cycle(secret(step + 1).hash(), tag, now);
        session.collect_garbage_alone(origin(0));
    }
    assert_eq!(session.secrets().states().len(), 65);
    let newest = secret(100).hash();
    assert_eq!(session.secrets().presented(&newest, at(300)), Access::Alive);
}

#[test]
fn key_in_log_lines_is_eight_hex_digits() {
    assert_eq!(fixtures::key(0xAB).to_string(), "abababab");
}
