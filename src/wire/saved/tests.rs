//! Records keep their bytes for ever, and no bytes bring their reader down.

use proptest::prelude::*;

use super::*;
use crate::{
    config::Expiry,
    session::{
        MAX_HOPS, OrderContent, OrderId, Proof, SavedKey, Search, SessionKey, SessionSecret,
        SessionState, Stamp, Tag,
        fixtures::{NOW, after, key, next_tag, origin, secret},
    },
    wire::packed_session::write_body,
};

/// A directory that is older than the process, and was not used for some time.
const CLOCK: SavedClock = SavedClock::resume(NOW.mono_ms + 5_000, 2_000, 3_000, NOW);

/// A session that two nodes wrote, an hour ago and now.
fn state() -> SessionState {
    let meta = Arc::new(SessionMeta {
        context: "shop".into(),
        route: Some("node1".parse().expect("valid")),
        expiry: Expiry::from_millis(Some(60_000), Some(600_000)),
    });
    let stamp = Stamp::ZERO.next(NOW).expect("stamps are not used up");
    let tag = Tag {
        stamp,
        origin: origin(1),
    };
    let mut state = SessionState::new(meta, secret(0).hash(), tag, NOW);
    state.set(
        "cart",
        b"[1,2]".as_slice().into(),
        next_tag(&state, origin(1), NOW),
    );
    let tag = next_tag(&state, origin(2), NOW);
    state.add("hits", -4, origin(2), tag.stamp);
    state.remove("gone", next_tag(&state, origin(1), NOW));
    let secret = SessionSecret::from_bytes([4; 16]).hash();
    state.cycle(secret, next_tag(&state, origin(2), after(500)), after(500));
    state.set_persistent(true, next_tag(&state, origin(2), after(500)));
    state.touch(after(700));
    state
}

fn record_of(state: &SessionState) -> Vec<u8> {
    let head = PackedHead {
        meta: Arc::clone(state.meta()),
        created_ms: state.created_ms(),
        accessed_ms: state.accessed_ms(),
    };
    session_record(&head, CLOCK, |to| write_body(state, to))
}

fn orders() -> Vec<SavedOrder> {
    let saved = |number, is_pending, content| SavedOrder {
        order: Arc::new(Order {
            id: OrderId::from_bytes([number; 16]),
            issued_ms: NOW.mono_ms - 300,
            hops: number,
            content,
        }),
        is_pending,
    };
    let proof = Proof {
        context: "shop".into(),
        secret: secret(3).hash(),
    };
    let named = OrderContent::Session {
        key: key(7),
        proof: Some(proof),
    };
    let search = OrderContent::Search(Search {
        context: "shop".into(),
        name: "user".into(),
        json: br#""ann""#.as_slice().into(),
        keep: Some(key(9)),
        upto: Stamp::new(1000).expect("small"),
    });
    vec![saved(1, false, named), saved(2, true, search)]
}

fn facts() -> Facts {
    Facts {
        wall_ms: NOW.wall_ms,
        lived_ms: 1 << 41,
        down_ms: 77,
        contact_ms: (1 << 41) - 5,
        is_lost_in_time: true,
        since_ms: 1 << 40,
        forgotten_ms: 0,
        retention: Retention::SHORTEST,
        stops: vec![(1, 2), (300, 400)],
    }
}

const TOMBSTONE: Tombstone = Tombstone {
    destroyed_ms: NOW.mono_ms - 9,
    keep_ms: 86_400_000,
};

/// Of each kind one, facts apart.
fn records() -> Vec<Vec<u8>> {
    let orders = orders();
    let orders = orders.iter().map(|saved| order_record(saved, CLOCK));
    let first = [record_of(&state()), tombstone_record(&TOMBSTONE, CLOCK)];
    first.into_iter().chain(orders).collect()
}

fn read(bytes: &[u8], now: Now) -> Result<Record, Malformed> {
    read_record(bytes, CLOCK, None, now)
}

#[test]
fn bytes_of_records_stay_as_they_are() {
    let all = records().into_iter().chain([facts_record(&facts())]);
    let shown: Vec<String> = all
        .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(shown, golden);
}

#[test]
fn record_is_read_as_it_was_written() {
    let state = state();
    let later = after(10_000);
    let Ok(Record::Session {
        state: read_back, ..
    }) = read(&record_of(&state), later)
    else {
        panic!("own bytes");
    };
    assert_eq!(read_back.unpack(), state);
    let destroyed = read(&tombstone_record(&TOMBSTONE, CLOCK), later);
    assert_eq!(destroyed.ok(), Some(Record::Destroyed(TOMBSTONE)));
    for saved in orders() {
        let read_back = read(&order_record(&saved, CLOCK), later);
        assert_eq!(read_back.ok(), Some(Record::Order(saved)));
    }
    assert_eq!(read_facts(&facts_record(&facts())).ok(), Some(facts()));
}

/// A process that stops, and another one that starts an hour later.
#[test]
fn sessions_grow_older_while_nobody_runs_and_tombstones_do_not() {
    const HOUR_MS: u64 = 3_600_000;
    let stopped = after(1_000);
    let lived_ms = CLOCK.lived_ms(stopped.mono_ms);
    // Of a machine that was started anew.
    let started = Now {
        wall_ms: NOW.wall_ms,
        mono_ms: 1 << 42,
    };
    let clock = SavedClock::resume(lived_ms, CLOCK.down_ms(), HOUR_MS, started);
    let read = |bytes: &[u8]| read_record(bytes, clock, None, started);
    let Ok(Record::Session { state, .. }) = read(&record_of(&state())) else {
        panic!("own bytes");
    };
    assert_eq!(started.mono_ms - state.head.created_ms, HOUR_MS + 1_000);
    assert_eq!(started.mono_ms - state.head.accessed_ms, HOUR_MS + 300);
    let Ok(Record::Destroyed(tombstone)) = read(&tombstone_record(&TOMBSTONE, CLOCK)) else {
        panic!("own bytes");
    };
    assert_eq!(started.mono_ms - tombstone.destroyed_ms, 1_009);
    let Ok(Record::Order(saved)) = read(&order_record(&orders()[0], CLOCK)) else {
        panic!("own bytes");
    };
    assert_eq!(started.mono_ms - saved.order.issued_ms, 1_300);
}

/// The clock of a process that wrote a record is ahead of that of the next one.
#[test]
fn what_is_to_come_by_its_instants_is_now() {
    let Ok(Record::Session { state, .. }) = read(&record_of(&state()), NOW) else {
        panic!("own bytes");
    };
    assert_eq!(state.head.accessed_ms, NOW.mono_ms);
    let state = state.unpack();
    let secrets = state.secrets().states().iter();
    let deaths: Vec<u64> = secrets.filter_map(|secret| secret.dead_at_ms).collect();
    assert_eq!(deaths, [NOW.mono_ms]);
}

#[test]
fn records_that_nobody_writes_are_malformed() {
    for bytes in records() {
        read(&bytes[..bytes.len() - 1], NOW).expect_err("cut");
        read(&[&bytes[..], &[0]].concat(), NOW).expect_err("longer");
        read(&[&[2], &bytes[1..]].concat(), NOW).expect_err("of another version");
        read(&[&[1, 9], &bytes[2..]].concat(), NOW).expect_err("of another kind");
        read_facts(&bytes).expect_err("no facts");
    }
    read(&[], NOW).expect_err("nothing");
    read(&facts_record(&facts()), NOW).expect_err("facts");
    let endless = Tombstone {
        keep_ms: u64::MAX,
        ..TOMBSTONE
    };
    read(&tombstone_record(&endless, CLOCK), NOW).expect_err("an endless tombstone");
    let far = Order {
        hops: MAX_HOPS + 1,
        ..(*orders()[0].order).clone()
    };
    let far = SavedOrder {
        order: Arc::new(far),
        is_pending: false,
    };
    read(&order_record(&far, CLOCK), NOW).expect_err("passed on too often");
    let late = Facts {
        lived_ms: u64::MAX,
        ..facts()
    };
    read_facts(&facts_record(&late)).expect_err("a time that never comes");
}

#[test]
fn keys_of_records_are_told_apart() {
    let keys = [
        SavedKey::Facts,
        SavedKey::Session(key(0)),
        SavedKey::Order(OrderId::from_bytes([0; 16])),
        SavedKey::Session(SessionKey::from_bytes([255; 16])),
    ];
    for saved in keys {
        assert_eq!(SavedKey::from_bytes(&saved.to_bytes()), Some(saved));
        assert!(saved.to_bytes() >= SavedKey::Facts.to_bytes());
    }
    let different: std::collections::BTreeSet<_> = keys.map(SavedKey::to_bytes).into();
    assert_eq!(different.len(), keys.len());
    for foreign in [&[][..], &[b's'; 16], &[b's'; 18], &[b'a'; 17], &[0xff; 17]] {
        assert_eq!(SavedKey::from_bytes(foreign), None);
    }
}

proptest! {
    #[test]
    fn reader_of_records_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for kind in 0..4 {
            let bytes = [&[1, kind][..], &bytes].concat();
            let _ = read(&bytes, NOW);
            let _ = read_facts(&bytes);
        }
    }

    /// Whatever a flipped bit leaves is malformed, or a session that can be used and sent.
    #[test]
    fn damaged_records_never_panic(
        which in 0..4_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut bytes = records()[which].clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(Record::Session { state, .. }) = read(&bytes, NOW) {
            prop_assert!(!record_of(&state.unpack()).is_empty());
        }
    }
}
