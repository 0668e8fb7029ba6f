//! The store's own promises: limits, lives, and what sweeping costs.

use super::{
    Change, Observer, Replica, Replicate, SessionWriter,
    store::{apply::ApplyOutcome, offer::LeavesOut, quota::OverLimit},
};
use crate::{
    config::{Expiry, Limits, Shape},
    session::{
        Access, Item, Now, SessionError, SessionKey, SessionState, Stamp, Tag, Tombstone,
        fixtures::{self, NOW, after, meta, next_tag, origin, secret},
    },
    wire::{DecodeLimits, Message, Position},
};

const MINUTE: u64 = 60_000;

fn replica(boot: u8, limits: Limits) -> Replica {
    let shape = Shape {
        lock_shards: 4,
        digests_per_lock: 4,
        log_records: 64,
    };
    let replica = Replica::new(fixtures::boot(boot), limits, &shape, NOW);
    replica.store.meet_peer();
    replica
}

fn key(number: u8) -> SessionKey {
    let mut bytes = [number; 16];
    bytes[0] = number.wrapping_mul(37);
    SessionKey::from_bytes(bytes)
}

fn create(replica: &Replica, number: u8, expiry: Expiry) -> Result<(), SessionError> {
    replica.create(meta(expiry), key(number), secret(9).hash(), 0, NOW)?;
    replica.unpin(&key(number), Replicate::Now, NOW);
    Ok(())
}

/// Writes to a session at the start.
fn write<R>(
    replica: &Replica,
    number: u8,
    write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
) -> Result<R, SessionError> {
    let observer = &mut Observer::new(false);
    replica.write(&key(number), Replicate::Now, observer, NOW, write)
}

fn set(replica: &Replica, number: u8, name: &str, value: &[u8]) -> Result<(), SessionError> {
    write(replica, number, |writer| writer.set(name, value.into()))
}

/// Merges what a peer sent.
fn apply(replica: &Replica, number: u8, item: Item, now: Now) -> Result<ApplyOutcome, OverLimit> {
    let observer = &mut Observer::new(false);
    replica.store.apply(&key(number), item, now, observer)
}

/// Returns the sessions that expired.
fn sweep(replica: &Replica, now: Now) -> Vec<Change> {
    let mut observer = Observer::new(true);
    replica.sweep(now, &mut observer);
    observer.into_changes()
}

/// Returns whether a request finds the session, which it releases at once.
fn finds(replica: &Replica, number: u8, now: Now) -> bool {
    let opened = replica.open("", &key(number), &secret(9), Replicate::Now, now, |_| ());
    if opened == Access::Alive {
        replica.unpin(&key(number), Replicate::Now, now);
    }
    opened == Access::Alive
}

fn idle(ms: u64) -> Expiry {
    Expiry::from_millis(Some(ms), None)
}

#[test]
fn session_lives_until_its_idle_limit_and_not_much_longer() {
    let replica = replica(1, Limits::default());
    create(&replica, 1, idle(10 * MINUTE)).expect("room");
    assert!(finds(&replica, 1, after(10 * MINUTE - 1)), "used again");
    let last = 10 * MINUTE - 1;
    assert!(finds(&replica, 1, after(last + 10 * MINUTE)));
    let last = last + 10 * MINUTE;
    let slack = 30_000 + 2_000;
    sweep(&replica, after(last + 10 * MINUTE + slack + 300));
    assert!(!finds(&replica, 1, after(last + 10 * MINUTE + slack)));
    assert_eq!(replica.sessions(), 0, "swept");
}

#[test]
fn session_that_nobody_uses_gets_cold_and_is_found_again_as_it_was() {
    let replica = replica(1, Limits::default());
    create(&replica, 1, idle(10 * MINUTE)).expect("room");
    set(&replica, 1, "cart", b"[7]").expect("room");
    sweep(&replica, after(5_000));
    assert_eq!(replica.store.hot_count(), 1, "not committed yet");
    let position = replica.commit(&key(1), NOW);
    sweep(&replica, after(10_000));
    assert_eq!(replica.store.hot_count(), 0);

    let full = replica.full(&key(1), after(10_000));
    let cart = match &full {
        Item::Full(state) => state
            .json("cart")
            .map(|value| value.map(|json| json.to_vec())),
        other => panic!("{other:?}"),
    };
    assert_eq!(cart, Ok(Some(b"[7]".to_vec())));
    assert_eq!(
        replica.store.hot_count(),
        0,
        "giving it away leaves it cold"
    );

    assert!(finds(&replica, 1, after(10_000)));
    assert_eq!(replica.store.hot_count(), 1);
    assert_eq!(
        replica.commit(&key(1), after(10_000)),
        position,
        "nothing new"
    );
    sweep(&replica, after(20_000));
    assert_eq!(replica.store.hot_count(), 0);
    assert_eq!(
        sweep(&replica, after(21 * MINUTE)).len(),
        1,
        "expired while cold"
    );
}

#[test]
fn sessions_of_a_transfer_are_cold_when_they_come() {
    let limits = Limits::default;
    let (donor, joiner) = (replica(1, limits()), replica(2, limits()));
    for number in 0..50 {
        create(&donor, number, idle(10 * MINUTE)).expect("room");
        donor.commit(&key(number), NOW);
    }
    let now = after(5_000);
    sweep(&donor, now);
    let supplied = |item| {
        let items = vec![(key(0), item)];
        let mut bytes = Vec::new();
        Message::Supply { items }.encode(now.mono_ms, &mut bytes);
        let limits = DecodeLimits::new(&limits(), &Shape::default());
        match Message::decode(&bytes, now.mono_ms, &limits) {
            Ok(Message::Supply { mut items }) => items.remove(0).1,
            other => panic!("{other:?}"),
        }
    };
    for number in 0..50 {
        let full = supplied(donor.store.full_state(&key(number), now));
        let taken = apply(&joiner, number, full, now);
        assert!(taken.is_ok(), "{taken:?}");
    }
    assert_eq!((joiner.sessions(), joiner.store.hot_count()), (50, 0));
    assert_eq!(joiner.store.digests(), donor.store.digests());
    assert!(finds(&joiner, 7, now));
}

#[test]
fn sweep_drops_what_expired_and_nothing_else() {
    let replica = replica(1, Limits::default());
    for number in 0..50 {
        let minutes = if number % 2 == 0 { 1 } else { 60 };
        create(&replica, number, idle(minutes * MINUTE)).expect("room");
    }
    let expired = sweep(&replica, after(5 * MINUTE));
    assert_eq!(expired.len(), 25, "each is told once");
    assert_eq!(replica.sessions(), 25);
    assert!(sweep(&replica, after(6 * MINUTE)).is_empty());
}

#[test]
fn absolute_limit_ends_a_session_that_is_in_steady_use() {
    let replica = replica(1, Limits::default());
    let expiry = Expiry::from_millis(Some(10 * MINUTE), Some(30 * MINUTE));
    create(&replica, 1, expiry).expect("room");
    for minute in (0..30).step_by(5) {
        assert!(finds(&replica, 1, after(minute * MINUTE)));
        sweep(&replica, after(minute * MINUTE));
    }
    assert!(!finds(&replica, 1, after(30 * MINUTE)));
    sweep(&replica, after(30 * MINUTE + 300));
    assert_eq!(replica.sessions(), 0);
}

#[test]
fn session_that_a_request_still_uses_is_not_expired() {
    let replica = replica(1, Limits::default());
    create(&replica, 1, idle(MINUTE)).expect("room");
    let opened = replica.open("", &key(1), &secret(9), Replicate::Now, NOW, |_| ());
    assert_eq!(opened, Access::Alive);
    let mut told = replica.head();
    for minute in 1..10 {
        sweep(&replica, after(minute * MINUTE + 500));
        assert_eq!(replica.sessions(), 1);
        assert!(replica.head() > told, "peers hear of the use");
        told = replica.head();
    }
    replica.unpin(&key(1), Replicate::Now, after(10 * MINUTE));
    assert!(
        finds(&replica, 1, after(11 * MINUTE - 1)),
        "released is used"
    );
    sweep(&replica, after(20 * MINUTE));
    assert_eq!(replica.sessions(), 0);
}

#[test]
fn touches_are_told_at_most_every_twentieth_of_the_limit() {
    let replica = replica(1, Limits::default());
    create(&replica, 1, idle(10 * MINUTE)).expect("room");
    assert!(
        finds(&replica, 1, NOW),
        "that its client is back is told at once"
    );
    replica.commit(&key(1), NOW);
    let before = replica.head();
    for second in 0..60 {
        let now = after(second * 1000);
        assert!(finds(&replica, 1, now));
        replica.commit(&key(1), now);
    }
    let told = Position::number(replica.head()) - Position::number(before);
    assert_eq!(told, 1, "once in 30 s");
}

/// Returns limits with room for so many sessions, of which those are kept for two minutes whose
/// clients do not come back.
fn with_visitors(max_sessions: usize) -> Limits {
    Limits {
        max_sessions,
        unconfirmed_ms: 2 * MINUTE,
        ..Limits::default()
    }
}

/// Creates a session, as a request does.
fn begin(replica: &Replica, number: u8, now: Now) -> Result<(), SessionError> {
    let observer = &mut Observer::new(false);
    replica.make_room(0, now, observer);
    replica.create(
        meta(Expiry::default()),
        key(number),
        secret(9).hash(),
        0,
        now,
    )
}

fn is_here(replica: &Replica, number: u8) -> bool {
    replica.read(&key(number), |_| ()).is_ok()
}

#[test]
fn session_whose_client_does_not_come_back_ends_after_two_minutes() {
    let replica = replica(1, with_visitors(10));
    for number in 1..=5 {
        begin(&replica, number, NOW).expect("room");
    }
    for number in 1..=4 {
        replica.release(&key(number), Replicate::Now, NOW);
    }
    // One comes back, one with a request that is filtered, one logs in, one stays for long.
    assert!(finds(&replica, 1, after(2 * MINUTE - 1)));
    let opened = |replicate| {
        let secret = secret(9);
        replica.open("", &key(2), &secret, replicate, after(MINUTE), |_| ())
    };
    assert_eq!(opened(Replicate::Deferred), Access::Alive);
    replica.release(&key(2), Replicate::Deferred, after(MINUTE));
    write(&replica, 3, |writer| writer.cycle(secret(8).hash())).expect("there");
    sweep(&replica, after(2 * MINUTE + 500));
    replica.release(&key(5), Replicate::Now, after(3 * MINUTE));
    assert!(is_here(&replica, 4), "as long as use may be told of");
    sweep(&replica, after(2 * MINUTE + 8_500));
    let held: Vec<u8> = (1..=5)
        .filter(|number| is_here(&replica, *number))
        .collect();
    assert_eq!(held, [1, 2, 3, 5]);
    sweep(&replica, after(29 * MINUTE));
    assert_eq!(replica.sessions(), 4, "they have their own limits");
}

#[test]
fn oldest_session_whose_client_has_not_come_back_makes_room() {
    let replica = replica(1, with_visitors(4));
    for number in 1..=4 {
        let now = after(u64::from(number) * 1_000);
        begin(&replica, number, now).expect("room");
        if number != 1 {
            replica.release(&key(number), Replicate::Now, now);
        }
    }
    assert!(finds(&replica, 2, after(4_500)), "it comes back");
    let full = begin(&replica, 5, after(7_900));
    assert!(
        matches!(full, Err(SessionError::Full)),
        "all are young or used"
    );
    begin(&replica, 5, after(8_100)).expect("the third is five seconds old");
    assert_eq!(replica.evicted(), 1);
    let held: Vec<u8> = (1..=5)
        .filter(|number| is_here(&replica, *number))
        .collect();
    assert_eq!(
        held,
        [1, 2, 4, 5],
        "the first is in use, the second has come back"
    );
}

#[test]
fn evicted_session_does_not_come_back_from_a_peer_unless_its_client_did() {
    let (full, peer) = (replica(1, with_visitors(1)), replica(2, with_visitors(9)));
    begin(&peer, 1, NOW).expect("room");
    peer.release(&key(1), Replicate::Now, NOW);
    let now = after(6_000);
    apply(&full, 1, peer.full(&key(1), now), now).expect("room");
    begin(&full, 2, now).expect("the other makes room");
    assert_eq!(full.sessions(), 1);
    apply(&full, 1, peer.full(&key(1), now), now).expect("no limit");
    assert!(!is_here(&full, 1));
    assert!(finds(&peer, 1, now));
    apply(&full, 1, peer.full(&key(1), now), now).expect("no limit");
    assert!(
        is_here(&full, 1),
        "who came back is beyond the limit, as from any peer"
    );
}

#[test]
fn shorter_limit_set_later_is_kept() {
    let replica = replica(1, Limits::default());
    create(&replica, 1, idle(60 * MINUTE)).expect("room");
    write(&replica, 1, |writer| writer.set_expiry(idle(MINUTE))).expect("there");
    sweep(&replica, after(2 * MINUTE));
    assert_eq!(replica.sessions(), 0);
}

#[test]
fn full_store_creates_nothing_and_keeps_what_it_has() {
    let limits = Limits {
        max_sessions: 2,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    create(&replica, 1, Expiry::default()).expect("room");
    create(&replica, 2, Expiry::default()).expect("room");
    let refused = create(&replica, 3, Expiry::default());
    assert!(matches!(refused, Err(SessionError::Full)));
    set(&replica, 1, "a", b"1").expect("existing sessions work on");
    replica.destroy(&key(2), NOW).expect("there");
    create(&replica, 3, Expiry::default()).expect("room again");
}

/// Returns limits with room for this many bytes.
fn bytes(max_bytes: usize) -> Limits {
    Limits {
        max_bytes,
        ..Limits::default()
    }
}

#[test]
fn store_without_free_bytes_takes_what_does_not_grow_and_nothing_else() {
    // A sixteenth of it is kept for clients that have come back.
    let replica = replica(1, bytes(21_334));
    create(&replica, 1, Expiry::default()).expect("room");
    create(&replica, 2, Expiry::default()).expect("room");
    set(&replica, 1, "a", &[b'1'; 18_000]).expect("room");
    write(&replica, 2, |writer| writer.add("hits", 1)).expect("room");
    let before = replica.session_bytes();
    for result in [
        set(&replica, 2, "a", &[b'1'; 2_000]),
        set(&replica, 1, "a", &[b'1'; 20_000]),
        replica.create(meta(idle(MINUTE)), key(3), secret(9).hash(), 2_000, NOW),
    ] {
        assert!(matches!(result, Err(SessionError::Full)), "{result:?}");
    }
    assert_eq!((replica.sessions(), replica.session_bytes()), (2, before));

    set(&replica, 1, "a", &[b'2'; 18_000]).expect("no larger");
    write(&replica, 2, |writer| writer.add("hits", 1)).expect("counting");
    write(&replica, 2, |writer| writer.cycle(secret(8).hash())).expect("a login");
    replica.destroy(&key(1), NOW).expect("there");
    set(&replica, 2, "a", &[b'1'; 2_000]).expect("room again");
    create(&replica, 3, Expiry::default()).expect("room again");
    for number in [2, 3] {
        replica.destroy(&key(number), NOW).expect("there");
    }
    assert_eq!(replica.session_bytes(), 0, "each byte is counted once");
}

#[test]
fn peers_fill_half_as_many_bytes_again_and_no_more() {
    let (peer, full) = (replica(1, Limits::default()), replica(2, bytes(20_000)));
    let supply = |number: u8, size: usize| {
        create(&peer, number, Expiry::default()).expect("room");
        set(&peer, number, "a", &vec![b'1'; size]).expect("room");
        apply(&full, number, peer.full(&key(number), NOW), NOW)
    };
    for number in 0..3 {
        supply(number, 8_000).expect("within the hard limit");
    }
    assert!(full.session_bytes() > 20_000, "more than its own may have");
    let over = Err("bytes of all sessions");
    assert_eq!(supply(3, 8_000).map_err(|over| over.what), over);
    assert!(full.session_bytes() <= 30_000);

    let change = |size: usize| {
        let since = peer
            .last_logged(&key(1))
            .map_or(Stamp::ZERO, |tag| tag.stamp);
        peer.commit(&key(1), NOW);
        set(&peer, 1, "a", &vec![b'2'; size]).expect("room");
        let observer = &mut Observer::new(false);
        let read =
            |writer: &mut SessionWriter<'_>| Ok(writer.state().delta(origin(1), since, true));
        let delta = peer.write(&key(1), Replicate::Now, observer, NOW, read);
        apply(&full, 1, Item::Delta(Box::new(delta.expect("there"))), NOW)
    };
    assert_eq!(change(16_000).map_err(|over| over.what), over);
    assert_eq!(
        change(7_000),
        Ok(ApplyOutcome::Done),
        "what shrinks is taken"
    );
    let destroyed = Item::Destroyed(Tombstone::new(Expiry::default(), NOW.mono_ms));
    apply(&full, 0, destroyed, NOW).expect("always");
    supply(4, 6_000).expect("room again");
}

#[test]
fn creating_is_never_refused_for_what_is_remembered() {
    let limits = Limits {
        max_sessions: 1,
        max_tombstone_bytes: 64 * Limits::TOMBSTONE_BYTES,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    for number in 0..=u8::MAX {
        create(&replica, number, idle(30 * 24 * 60 * MINUTE)).expect("nobody has a session");
        replica.destroy(&key(number), NOW).expect("there");
        assert!(replica.tombstones() <= 64);
        assert!(replica.is_destroyed(&key(number)), "the newest stay");
    }
    assert_eq!(replica.store.counts.lost_tombstones(), 256 - 64);
}

/// As 46 pairs a second with the default room, by a 46th of both.
#[test]
fn flood_of_logins_and_logouts_for_a_day_refuses_nobody() {
    let limits = Limits {
        max_sessions: 2,
        max_tombstone_bytes: Limits::default().max_tombstone_bytes / 46,
        ..Limits::default()
    };
    let room = limits.max_tombstones();
    let replica = replica(1, limits);
    let key_of = |second: u64| {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&second.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        SessionKey::from_bytes(bytes)
    };
    let mut most = 0;
    for second in 0..24 * 60 * 60 {
        let (key, now) = (key_of(second), after(second * 1000));
        let created = replica.create(meta(idle(30 * MINUTE)), key, secret(9).hash(), 0, now);
        created.expect("nobody has a session");
        replica.release(&key, Replicate::Now, now);
        replica.destroy(&key, now).expect("there");
        if second % 10 == 0 {
            sweep(&replica, now);
        }
        most = most.max(replica.tombstones());
    }
    assert!((room / 8 * 7..room).contains(&most), "{most} of {room}");
    let tombstones = replica.tombstone_use();
    assert_eq!(
        (tombstones.retention_ms, tombstones.lost),
        (Some(128 * MINUTE), 0)
    );
    for hours in [3, 4, 9, 18, 36, 61] {
        sweep(&replica, after((24 + hours) * 60 * MINUTE));
    }
    let tombstones = replica.tombstone_use();
    assert_eq!(
        (tombstones.bytes, tombstones.retention_ms),
        (0, None),
        "all is as it was"
    );
}

#[test]
fn node_that_never_met_a_peer_remembers_nothing() {
    let replica = Replica::new(fixtures::boot(1), Limits::default(), &Shape::default(), NOW);
    create(&replica, 1, Expiry::default()).expect("room");
    set(&replica, 1, "a", b"1").expect("there");
    replica.destroy(&key(1), NOW).expect("there");
    assert_eq!((replica.sessions(), replica.tombstones()), (0, 0));
    assert!(matches!(
        set(&replica, 1, "a", b"2"),
        Err(SessionError::Destroyed)
    ));
    assert_eq!(replica.release(&key(1), Replicate::Now, NOW), None);
}

#[test]
fn destroyed_session_that_is_still_here_ends_however_little_is_remembered() {
    let limits = Limits {
        max_tombstone_bytes: 0,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    create(&replica, 1, Expiry::default()).expect("room");
    let aged = Tombstone {
        destroyed_ms: NOW.mono_ms - Tombstone::MIN_KEEP_MS,
        keep_ms: Tombstone::MIN_KEEP_MS,
    };
    apply(&replica, 1, Item::Destroyed(aged), NOW).expect("it ends one");
    assert_eq!(replica.sessions(), 0);
    apply(&replica, 2, Item::Destroyed(aged), NOW).expect("it is past its time");
    let fresh = Tombstone {
        destroyed_ms: NOW.mono_ms,
        ..aged
    };
    assert!(
        apply(&replica, 2, Item::Destroyed(fresh), NOW).is_err(),
        "no room"
    );
}

#[test]
fn write_over_a_limit_changes_nothing() {
    let limits = Limits {
        max_session_bytes: 300,
        max_attributes: 2,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    create(&replica, 1, Expiry::default()).expect("room");
    set(&replica, 1, "a", &[b'1'; 100]).expect("fits");
    let error = set(&replica, 1, "a", &[b'2'; 300]).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "session too large: bytes would be 365, the limit is 300"
    );
    let held = replica.read(&key(1), |state| {
        state.json("a").expect("a register").cloned()
    });
    assert_eq!(
        held.expect("there").as_deref(),
        Some([b'1'; 100].as_slice())
    );
    set(&replica, 1, "b", b"1").expect("fits");
    let error = set(&replica, 1, "c", b"1").expect_err("too many");
    assert!(matches!(
        error,
        SessionError::TooLarge {
            what: "attributes",
            ..
        }
    ));
}

#[test]
fn names_used_once_and_removed_never_fill_a_session() {
    let limits = Limits {
        max_attributes: 2,
        max_session_bytes: 200,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    create(&replica, 1, Expiry::default()).expect("room");
    for number in 0..1024 {
        let name = format!("name{number}");
        set(&replica, 1, &name, b"1").expect("removed names take no room");
        let removed = write(&replica, 1, |writer| writer.remove(&name));
        assert!(removed.expect("there"));
    }
    let remembered = replica.read(&key(1), |state| state.registers().len());
    assert!(remembered.expect("there") <= 3);
}

/// Copies that were joined may be over the limits.
#[test]
fn write_that_does_not_make_a_session_larger_is_always_allowed() {
    let limits = Limits {
        max_session_bytes: 400,
        ..Limits::default()
    };
    let replica = replica(1, limits);
    create(&replica, 1, Expiry::default()).expect("room");
    set(&replica, 1, "here", &[b'1'; 200]).expect("within the limits");
    write(&replica, 1, |writer| writer.add("hits", 1)).expect("within the limits");
    let mut other = replica.read(&key(1), SessionState::clone).expect("there");
    let tag = |state: &SessionState| next_tag(state, origin(2), NOW);
    other.set("there", [b'1'; 200].as_slice().into(), tag(&other));
    apply(&replica, 1, Item::Full(Box::new(other)), NOW).expect("within twice the limits");
    let error = set(&replica, 1, "new", b"1").expect_err("it would grow");
    assert!(matches!(
        error,
        SessionError::TooLarge { what: "bytes", .. }
    ));
    set(&replica, 1, "here", &[b'2'; 200]).expect("as large as before");
    set(&replica, 1, "here", &[b'2'; 150]).expect("smaller");
    let hits = write(&replica, 1, |writer| writer.add("hits", 1));
    assert_eq!(hits.expect("one more share"), 2);
}

/// Each side of a cut fills the session within its limit.
#[test]
fn copies_that_are_too_large_together_lose_the_same_attributes_on_all_nodes() {
    let limits = || Limits {
        max_session_bytes: 400,
        ..Limits::default()
    };
    let replicas = [1, 2, 3].map(|number| replica(number, limits()));
    create(&replicas[0], 1, Expiry::default()).expect("room");
    let first = replicas[0].full(&key(1), NOW);
    for (at, replica) in replicas.iter().enumerate() {
        apply(replica, 1, first.clone(), NOW).expect("small");
        let later = after(at as u64);
        let written = replica.write(
            &key(1),
            Replicate::Now,
            &mut Observer::new(false),
            later,
            |writer| writer.set(&format!("part{at}"), [b'1'; 300].as_slice().into()),
        );
        written.expect("within the limit");
    }
    let mut over = 0;
    for (from, to) in [(0, 1), (1, 2), (2, 0), (2, 1), (0, 1), (1, 2)] {
        let item = replicas[from].full(&key(1), NOW);
        over += usize::from(apply(&replicas[to], 1, item, NOW).is_err());
    }
    assert!(over > 0, "it is told");
    let held = replicas.each_ref().map(|replica| {
        let names = |state: &SessionState| state.names().cloned().collect::<Vec<_>>();
        replica.read(&key(1), names).expect("there")
    });
    for names in held {
        assert_eq!(names, ["part1".into(), "part2".into()], "the newest");
    }
    let digests = replicas.each_ref().map(Replica::digests);
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn stamps_that_are_used_up_are_an_error_and_not_a_wrap() {
    let replica = replica(1, Limits::default());
    let other = Tag {
        stamp: Stamp::MAX,
        origin: origin(2),
    };
    let state = SessionState::new(meta(Expiry::default()), secret(9).hash(), other, NOW);
    let item = Item::Full(Box::new(state));
    apply(&replica, 1, item, NOW).expect("within limits");
    let error = set(&replica, 1, "a", b"1").expect_err("nothing is later");
    assert!(matches!(error, SessionError::Exhausted));
}

#[test]
fn replicated_sessions_are_merged_up_to_twice_the_limit() {
    let limits = Limits {
        max_sessions: 2,
        ..Limits::default()
    };
    let source = replica(1, Limits::default());
    let target = replica(2, limits);
    for number in 0..5 {
        create(&source, number, Expiry::default()).expect("room");
        let item = source.store.full(&key(number), NOW);
        let taken = apply(&target, number, item, NOW);
        assert_eq!(taken.is_ok(), number < 4, "session {number}");
    }
    assert_eq!(target.sessions(), 4);
}

#[test]
fn node_that_dropped_a_session_and_got_it_back_writes_as_another_origin() {
    let first = replica(1, Limits::default());
    create(&first, 1, idle(MINUTE)).expect("room");
    set(&first, 1, "a", b"1").expect("there");
    let copy = first.store.full(&key(1), NOW);
    sweep(&first, after(2 * MINUTE));
    assert_eq!(first.sessions(), 0);
    apply(&first, 1, copy, NOW).expect("within limits");
    set(&first, 1, "a", b"2").expect("there");
    let origins = first.read(&key(1), |state| state.vector().entries().len());
    assert_eq!(origins.expect("there"), 2);
}

#[test]
fn expired_copy_is_neither_offered_nor_taken() {
    let first = replica(1, Limits::default());
    let second = replica(2, Limits::default());
    create(&first, 1, idle(MINUTE)).expect("room");
    let fresh = first.store.full(&key(1), NOW);
    let late = after(MINUTE);
    assert_eq!(first.store.full(&key(1), late), Item::Absent);
    let all = |now| {
        (0..16)
            .flat_map(move |shard| first.store.listing(shard, LeavesOut::Nothing, now))
            .count()
    };
    assert_eq!(all(late), 0);
    apply(&second, 1, fresh, late).expect("within limits");
    assert_eq!(second.sessions(), 0);
}

#[test]
fn tombstone_past_its_time_is_not_taken_as_new() {
    let stranger = replica(2, Limits::default());
    let aged = |ms| {
        Item::Destroyed(Tombstone {
            destroyed_ms: NOW.mono_ms - ms,
            keep_ms: Tombstone::MIN_KEEP_MS,
        })
    };
    let take = |item| apply(&stranger, 1, item, NOW);
    take(aged(Tombstone::MIN_KEEP_MS)).expect("within limits");
    assert_eq!(stranger.tombstones(), 0);
    take(aged(Tombstone::MIN_KEEP_MS - 1)).expect("within limits");
    assert_eq!(stranger.tombstones(), 1);
}

/// Keys must spread over all digest shards, each in exactly one.
#[test]
fn every_digest_shard_is_listed_on_its_own() {
    let replica = replica(1, Limits::default());
    let mut keys = Vec::new();
    for number in 0..=u8::MAX {
        let mut bytes = [number; 16];
        bytes[1] = number.wrapping_mul(91);
        let key = SessionKey::from_bytes(bytes);
        let hash = secret(9).hash();
        let meta = meta(Expiry::default());
        replica.create(meta, key, hash, 0, NOW).expect("room");
        keys.push(key);
    }
    let mut listed = Vec::new();
    for shard in 0..16 {
        let entries = replica.store.listing(shard, LeavesOut::Nothing, NOW);
        assert!(!entries.is_empty(), "shard {shard}");
        listed.extend(entries.into_iter().map(|(key, _)| key));
    }
    listed.sort_unstable();
    keys.sort_unstable();
    assert_eq!(listed, keys);
}

#[test]
fn store_is_in_use_from_a_request_until_the_sweep_after_the_next() {
    let replica = replica(1, Limits::default());
    let is_in_use_after_a_sweep = || {
        sweep(&replica, NOW);
        replica.is_in_use()
    };
    assert!(!is_in_use_after_a_sweep());
    create(&replica, 1, idle(10 * MINUTE)).expect("room");
    assert!(is_in_use_after_a_sweep(), "a session was created");
    assert!(!is_in_use_after_a_sweep());
    assert!(finds(&replica, 1, NOW));
    assert!(is_in_use_after_a_sweep(), "a session was asked for");
    assert!(!finds(&replica, 2, NOW));
    assert!(
        is_in_use_after_a_sweep(),
        "one that is not here was asked for"
    );
    assert!(!is_in_use_after_a_sweep());
}
