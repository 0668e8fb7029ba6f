//! Messages survive the way there, keep their bytes for ever, and no bytes bring a decoder down.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    DecodeLimits, MAX_TOLD_PEERS, Message, PeerList, Position,
    message::{Lineage, Memory},
    packed_session::{Writer, write_body, write_since},
};
use crate::{
    config::{Expiry, Limits, PeerAddress, Shape},
    session::{
        AttributesHash, BootId, Content, Count, Counter, Delta, Item, MAX_HOPS, MAX_SEARCH_BYTES,
        Now, Order, OrderContent, OrderId, Origin, PackedHead, PackedSession, Proof, Register,
        Retention, Search, SecretSet, SessionKey, SessionMeta, SessionSecret, SessionSize,
        SessionState, Stamp, Tag, Tombstone,
    },
};

const NOW_MS: u64 = 1 << 41;

const LIMITS: DecodeLimits = DecodeLimits::new(
    &Limits {
        max_sessions: 1000,
        max_session_bytes: 1024,
        max_attributes: 2,
        max_bytes: usize::MAX,
        max_tombstone_bytes: 4000 * Limits::TOMBSTONE_BYTES,
        unconfirmed_ms: u64::MAX,
    },
    &Shape {
        lock_shards: 2,
        digests_per_lock: 4,
        log_records: 0,
    },
);

fn origin(byte: u8) -> Origin {
    Origin {
        boot: BootId::from_bytes([byte; 8]),
        epoch: u32::from(byte),
    }
}

fn stamp(raw: u64) -> Stamp {
    Stamp::new(raw).expect("small")
}

fn tag(raw: u64, byte: u8) -> Tag {
    Tag {
        stamp: stamp(raw),
        origin: origin(byte),
    }
}

fn peer(text: &str) -> PeerAddress {
    text.parse().expect("valid")
}

/// A session that two nodes wrote.
fn sample_state() -> SessionState {
    let at = |age_ms| Now {
        wall_ms: 1,
        mono_ms: NOW_MS - age_ms,
    };
    let meta = Arc::new(SessionMeta {
        context: "shop".into(),
        route: Some("node1".parse().expect("valid")),
        expiry: Expiry::from_millis(Some(60_000), Some(600_000)),
    });
    let secret = SessionSecret::from_bytes([3; 16]).hash();
    let mut state = SessionState::new(meta, secret, tag(100, 1), at(6_000));
    state.set("cart", b"[1,2]".as_slice().into(), tag(101, 1));
    state.add("hits", 4, origin(1), stamp(102));
    state.add("hits", -1, origin(2), stamp(103));
    state.remove("gone", tag(104, 2));
    let next = SessionSecret::from_bytes([4; 16]).hash();
    state.cycle(next, tag(105, 2), at(5_500));
    state.set_expiry(Expiry::from_millis(None, Some(7)), tag(106, 1));
    state.touch(at(5_000));
    let mut parts = state.into_parts();
    // The frozen bytes are of an access without the mark of a use.
    parts.access = stamp(1 << 16);
    SessionState::from_parts(parts)
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(NOW_MS, &mut bytes);
    bytes
}

fn key(byte: u8) -> SessionKey {
    SessionKey::from_bytes([byte; 16])
}

fn samples() -> Vec<Message> {
    let state = sample_state();
    let mut own = state.clone();
    own.set("cart", b"[]".as_slice().into(), tag(200, 1));
    vec![
        Message::Resume {
            applied: Position::new(3),
            head: Position::new(300),
            lineage: Lineage {
                holds: true,
                away: false,
                lineage_ms: 1_000,
            },
        },
        Message::Batch {
            from: Position::new(7),
            to: Position::following(8),
            items: vec![
                (
                    key(1),
                    Item::Delta(Box::new(own.delta(origin(1), stamp(106), true))),
                ),
                (key(2), Item::Full(Box::new(state.clone()))),
                (
                    key(3),
                    Item::Destroyed(Tombstone {
                        destroyed_ms: NOW_MS - 9,
                        keep_ms: 86_400_000,
                    }),
                ),
            ],
        },
        Message::Skip {
            to: Position::following(11),
        },
        Message::Ack {
            to: Position::following(10),
        },
        Message::Want { keys: vec![key(1)] },
        Message::Answer {
            items: vec![(key(4), Item::Absent)],
        },
        Message::Heartbeat {
            root: 0x0102_0304_0506_0708,
            ready: true,
        },
        Message::AskDigests,
        Message::Digests {
            shards: (0..8).collect(),
        },
        Message::Listing {
            round: 1,
            shard: 2,
            complete: true,
            entries: vec![(key(5), u64::MAX)],
        },
        Message::Differences {
            round: 1,
            shard: 2,
            last: true,
            items: Vec::new(),
            wants: vec![key(6)],
        },
        Message::Supply { items: Vec::new() },
        Message::Credit { bytes: 130 },
        Message::RoundDone,
        Message::Leave,
        Message::Batch {
            from: Position::new(8),
            to: Position::following(9),
            items: vec![
                (key(7), Item::Full(Box::new(persistent(true)))),
                (
                    key(8),
                    Item::Delta(Box::new(persistent(false).delta(
                        origin(1),
                        stamp(106),
                        false,
                    ))),
                ),
            ],
        },
        Message::CompareSums {
            sums: (1..9).collect(),
            below: 0b1001,
        },
        Message::SumsDiffer {
            differing: 0b1000_1001,
            digests: vec![1, u64::MAX],
        },
        Message::ExpectAcks { at_once: false },
        Message::Orders { orders: orders() },
        Message::Settled { hops: 3 },
        Message::Peers(PeerList {
            port: Some(4100),
            linked: vec![
                (BootId::from_bytes([7; 8]), peer("10.0.0.2:4100")),
                (BootId::from_bytes([8; 8]), peer("[fd00::3]:4100")),
                (BootId::from_bytes([9; 8]), peer("node4.internal:4100")),
            ],
        }),
        Message::Memory(Memory {
            retentions: [28, 9, 5, 0].map(|at| Retention::from_doublings(at).expect("there is")),
            remembered_ms: 86_400_000,
            apart_ms: 400,
        }),
    ]
}

/// The sample whose cookie is said to outlive the browser, or not to.
fn persistent(persistent: bool) -> SessionState {
    let mut state = sample_state();
    state.set_persistent(persistent, tag(107, 1));
    state
}

fn orders() -> Vec<Order> {
    let order = |number: u8, content| Order {
        id: OrderId::from_bytes([number; 16]),
        issued_ms: NOW_MS - 300,
        hops: number,
        content,
    };
    vec![
        order(
            1,
            OrderContent::Session {
                key: key(7),
                proof: Some(Proof {
                    context: "shop".into(),
                    secret: SessionSecret::from_bytes([3; 16]).hash(),
                }),
            },
        ),
        order(
            2,
            OrderContent::Session {
                key: key(8),
                proof: None,
            },
        ),
        order(
            3,
            OrderContent::Search(Search {
                context: "shop".into(),
                name: "user".into(),
                json: br#""ann""#.as_slice().into(),
                keep: Some(key(9)),
                upto: stamp(1000),
            }),
        ),
        order(
            4,
            OrderContent::Report {
                search: OrderId::from_bytes([3; 16]),
                node: "node2".into(),
                destroyed: 5,
            },
        ),
    ]
}

#[test]
fn orders_that_no_honest_node_passes_on_are_malformed() {
    let decode = |order: Order| {
        let bytes = encode(&Message::Orders {
            orders: vec![order],
        });
        Message::decode(&bytes, NOW_MS, &LIMITS)
    };
    let [first, _, search, _] = <[Order; 4]>::try_from(orders()).expect("four");
    assert!(decode(first.clone()).is_ok());
    assert!(
        decode(Order {
            hops: MAX_HOPS + 1,
            ..first
        })
        .is_err()
    );
    let OrderContent::Search(found) = &search.content else {
        panic!("the third searches");
    };
    let mut long = found.clone();
    long.json = vec![b'1'; MAX_SEARCH_BYTES].into();
    assert!(
        decode(Order {
            content: OrderContent::Search(long),
            ..search.clone()
        })
        .is_err()
    );
    let mut abroad = found.clone();
    abroad.context = "x".repeat(65).into();
    assert!(
        decode(Order {
            content: OrderContent::Search(abroad),
            ..search
        })
        .is_err()
    );
}

#[test]
fn lists_of_members_that_no_honest_node_tells_are_malformed() {
    let list = |count: usize, address: &[u8]| {
        let mut bytes = vec![22, 0];
        bytes.extend([0x80 | (count & 0x7f) as u8, (count >> 7) as u8]);
        for _ in 0..count {
            bytes.extend([7; 8]);
            bytes.push(u8::try_from(address.len()).expect("short"));
            bytes.extend(address);
        }
        bytes
    };
    let decode = |bytes: &[u8]| Message::decode(bytes, NOW_MS, &LIMITS);
    assert!(decode(&list(MAX_TOLD_PEERS, b"10.0.0.2:4100")).is_ok());
    assert!(decode(&list(MAX_TOLD_PEERS + 1, b"10.0.0.2:4100")).is_err());
    for address in [
        "",
        "10.0.0.2",
        "10.0.0.2:0",
        "Node:4100",
        "[0::1]:4100",
        "a b:1",
        "http://a:1",
    ] {
        assert!(decode(&list(128, address.as_bytes())).is_err(), "{address}");
    }
}

#[test]
fn every_message_survives_the_way_there() {
    for message in samples() {
        let decoded = Message::decode(&encode(&message), NOW_MS, &LIMITS);
        assert_eq!(decoded.expect("own bytes"), message);
    }
}

#[test]
fn ages_survive_a_receiver_with_another_uptime() {
    let message = Message::Supply {
        items: vec![(key(1), Item::Full(Box::new(sample_state())))],
    };
    let later = NOW_MS + 1_000_000;
    let Ok(Message::Supply { items }) = Message::decode(&encode(&message), later, &LIMITS) else {
        panic!("own bytes");
    };
    let Item::Packed(state) = &items[0].1 else {
        panic!("a packed session");
    };
    assert_eq!(later - state.head.accessed_ms, 5_000);
    let state = state.unpack();
    assert_eq!(later - state.accessed_ms(), 5_000);
    assert_eq!(later - state.created_ms(), 6_000);
    let deaths: Vec<_> = state
        .secrets()
        .states()
        .iter()
        .filter_map(|state| state.dead_at_ms)
        .collect();
    assert_eq!(deaths, [later - 5_500]);
}

/// What is received packed is what was sent, whoever looks at it: who unpacks it or who gets it
/// next.
#[test]
fn packed_session_is_the_session() {
    let state = sample_state();
    let full = |item| Message::Supply {
        items: vec![(key(1), item)],
    };
    let sent = full(Item::Full(Box::new(state.clone())));
    let received = Message::decode(&encode(&sent), NOW_MS, &LIMITS).expect("own bytes");
    assert_eq!(encode(&received), encode(&sent));
    let Message::Supply { items } = &received else {
        panic!("{received:?}");
    };
    let Item::Packed(packed) = &items[0].1 else {
        panic!("{items:?}");
    };
    assert_eq!(packed.unpack(), state);
    let summary = packed.summary.as_ref().expect("of a peer");
    assert_eq!(&summary.vector, state.vector());
    assert_eq!(summary.access, state.access());
    assert_eq!(summary.attributes, AttributesHash::of(state.registers()));
    assert_eq!(summary.size, SessionSize::of_state(&state));
    assert_eq!(summary.expiry, state.expiry());
    let mut bytes = Vec::new();
    write_body(&state, &mut Writer(&mut bytes));
    assert_eq!(*packed.body, bytes);
}

/// Nodes of two releases must agree on every byte. A changed message is a new variant.
#[test]
fn bytes_of_every_message_are_what_they_always_were() {
    let hex = |message: &Message| {
        let bytes = encode(message);
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let shown: Vec<String> = samples().iter().map(hex).collect();
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(shown, golden);
}

#[test]
fn bytes_behind_a_message_are_malformed() {
    let mut bytes = encode(&Message::RoundDone);
    bytes.push(0);
    assert!(Message::decode(&bytes, NOW_MS, &LIMITS).is_err());
}

/// Positions start at 1. Nothing was applied or skipped up to none, and no batch ends there.
#[test]
fn acknowledgement_skip_and_batch_up_to_no_position_are_malformed() {
    let first = Position::following(0);
    let messages = [
        Message::Skip { to: first },
        Message::Ack { to: first },
        Message::Batch {
            from: None,
            to: first,
            items: Vec::new(),
        },
    ];
    for message in messages {
        let mut bytes = encode(&message);
        let decoded = Message::decode(&bytes, NOW_MS, &LIMITS).expect("position 1");
        assert_eq!(decoded, message);
        let number = bytes
            .iter()
            .rposition(|byte| *byte == 1)
            .expect("position 1");
        bytes[number] = 0;
        Message::decode(&bytes, NOW_MS, &LIMITS).expect_err("no position");
    }
}

/// What an honest node never sends: each is the sample state with one defect.
#[test]
fn dishonest_states_are_malformed() {
    let uncovered = {
        let mut state = sample_state();
        state.set("late", b"1".as_slice().into(), tag(500, 1));
        let mut parts = state.into_parts();
        let mut entries = parts.vector.entries().to_vec();
        entries[0].1 = stamp(106);
        parts.vector = crate::session::Vector::from_sorted(entries).expect("sorted");
        SessionState::from_parts(parts)
    };
    let unordered = {
        let mut parts = sample_state().into_parts();
        parts.registers.reverse();
        SessionState::from_parts(parts)
    };
    let long_name = {
        let mut state = sample_state();
        state.set(&"n".repeat(256), b"1".as_slice().into(), tag(107, 1));
        state
    };
    let too_many = {
        let mut state = sample_state();
        for number in 0..20 {
            state.set(
                &format!("name{number}"),
                b"1".as_slice().into(),
                tag(110 + number, 1),
            );
        }
        state
    };
    for (defect, state) in [
        ("uncovered", uncovered),
        ("unordered", unordered),
        ("long name", long_name),
        ("too many", too_many),
    ] {
        let items = vec![(key(1), Item::Full(Box::new(state)))];
        let answer = Message::Answer {
            items: items.clone(),
        };
        for message in [answer, Message::Supply { items }] {
            let decoded = Message::decode(&encode(&message), NOW_MS, &LIMITS);
            assert!(decoded.is_err(), "{defect}: {decoded:?}");
        }
    }
}

#[test]
fn stamp_beyond_the_last_one_is_malformed() {
    let mut state = sample_state();
    let last = Tag {
        stamp: Stamp::MAX,
        origin: origin(1),
    };
    state.set("x", b"1".as_slice().into(), last);
    let message = Message::Supply {
        items: vec![(key(1), Item::Full(Box::new(state)))],
    };
    let bytes = encode(&message);
    assert!(
        Message::decode(&bytes, NOW_MS, &LIMITS).is_ok(),
        "the last one itself"
    );
    // The vector has it first, as the stamps beyond the one before the oldest.
    let number = |beyond| {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u64(beyond);
        bytes
    };
    let last = Stamp::MAX.get() - sample_state().oldest_stamp().before().get();
    let (before, after) = split_around(&bytes, &number(last));
    let beyond = [before, &number(last + 1), after].concat();
    assert!(Message::decode(&beyond, NOW_MS, &LIMITS).is_err());
}

/// What is before and behind the first place of `part`.
fn split_around<'a>(bytes: &'a [u8], part: &[u8]) -> (&'a [u8], &'a [u8]) {
    let mut windows = bytes.windows(part.len());
    let at = windows
        .position(|window| window == part)
        .expect("it is there");
    (&bytes[..at], &bytes[at + part.len()..])
}

/// Each is the sample state with one number changed that an honest node cannot say.
#[test]
fn packed_sessions_that_nobody_packs_are_malformed() {
    let state = sample_state();
    let mut body = Vec::new();
    write_body(&state, &mut Writer(&mut body));
    let decoded = |body: Vec<u8>, form: fn(Vec<(SessionKey, Item)>) -> Message| {
        let packed = PackedSession {
            head: PackedHead {
                meta: Arc::clone(state.meta()),
                created_ms: state.created_ms(),
                accessed_ms: state.accessed_ms(),
            },
            body: body.into(),
            summary: None,
        };
        let message = form(vec![(key(1), Item::Packed(Box::new(packed)))]);
        Message::decode(&encode(&message), NOW_MS, &LIMITS)
    };
    // Creation was 6000 ms ago, the death 500 ms after that: 1000 in zigzag.
    let (before_death, after_death) = split_around(&body, b"\xe8\x07");
    let death = |later_ms: i64| {
        let mut number = Vec::new();
        Writer(&mut number).i64(later_ms);
        [before_death, &number, after_death].concat()
    };
    let counted_from = |since| {
        let mut body = Vec::new();
        write_since(&state, stamp(since), &mut Writer(&mut body));
        body
    };
    let forms: [fn(_) -> Message; 2] = [
        |items| Message::Answer { items },
        |items| Message::Supply { items },
    ];
    for form in forms {
        decoded(body.clone(), form).expect("an honest one");
        decoded(death(500), form).expect("the same");
        decoded(death(-1), form).expect("before the creation, through another delay");
        decoded(death(6_000), form).expect("just now");
        decoded(death(6_000 + 60_001), form).expect_err("in the future");
        decoded(death(i64::MAX), form).expect_err("in the future");
        assert_eq!(counted_from(100), body);
        decoded(counted_from(99), form).expect_err("not from the oldest");
        decoded(counted_from(101), form).expect_err("not from the oldest");
        decoded(body[..body.len() - 1].to_vec(), form).expect_err("cut");
        decoded([&body[..], &[0]].concat(), form).expect_err("longer");
    }
}

#[test]
fn counter_with_the_reset_of_another_origin_survives() {
    let register = Register {
        tag: tag(50, 9),
        content: Content::Counter(Counter::new(vec![Count {
            origin: origin(1),
            stamp: stamp(201),
            sum: 3,
        }])),
    };
    let mut delta = sample_state().delta(origin(1), stamp(200), false);
    delta.upto = stamp(201);
    delta.registers = vec![("hits".into(), register)];
    let message = Message::Batch {
        from: Position::new(1),
        to: Position::following(1),
        items: vec![(key(1), Item::Delta(Box::new(delta)))],
    };
    let decoded = Message::decode(&encode(&message), NOW_MS, &LIMITS);
    assert_eq!(decoded.expect("honest"), message);
}

proptest! {
    #[test]
    fn decoder_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let decoded = Message::decode(&bytes, NOW_MS, &LIMITS);
        if let Ok(message) = decoded {
            prop_assert!(encode(&message).len() <= bytes.len() + 64);
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        which in 0..15_usize,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&samples()[which]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let decoded = Message::decode(&bytes, NOW_MS, &LIMITS);
        if let Ok(message) = decoded {
            // Whatever is accepted can be sent on.
            prop_assert!(!encode(&message).is_empty());
        }
    }
}

/// An item of few bytes that would take many: names of one letter, values of none.
#[test]
fn items_that_grow_too_much_when_decoded_are_malformed() {
    let limits = DecodeLimits {
        max_session_bytes: 1 << 20,
        max_names: 1 << 20,
        ..LIMITS
    };
    let message = |names: u32| {
        let mut parts = sample_state().into_parts();
        let register = Register {
            tag: tag(100, 1),
            content: Content::Removed,
        };
        let name = |number: u32| format!("{number:05}").as_str().into();
        parts.registers = (0..names)
            .map(|number| (name(number), register.clone()))
            .collect();
        let state = SessionState::from_parts(parts);
        Message::Answer {
            items: vec![(key(1), Item::Full(Box::new(state)))],
        }
    };
    for (names, accepted) in [(1_000, true), (90_000, false)] {
        let bytes = encode(&message(names));
        let decoded = Message::decode(&bytes, NOW_MS, &limits);
        assert_eq!(
            decoded.is_ok(),
            accepted,
            "{names} names, {} bytes",
            bytes.len()
        );
        if let Ok(Message::Answer { items }) = decoded {
            let memory: usize = items.iter().map(|(_, item)| item.memory()).sum();
            assert!(memory <= 8 * bytes.len() + 1024 * 1024);
        }
    }
}

/// What is taken in as a new session must be one that others take from here.
#[test]
fn whole_sessions_that_others_wrote_or_nobody_are_malformed() {
    let whole = |change: fn(&mut Delta)| {
        let now = Now {
            wall_ms: 1,
            mono_ms: NOW_MS,
        };
        let secret = SessionSecret::from_bytes([3; 16]).hash();
        let meta = Arc::clone(sample_state().meta());
        let mut state = SessionState::new(meta, secret, tag(100, 1), now);
        state.add("hits", 4, origin(1), stamp(102));
        let mut delta = state.delta(origin(1), Stamp::ZERO, true);
        change(&mut delta);
        let items = vec![(key(1), Item::Delta(Box::new(delta)))];
        let message = Message::Answer { items };
        Message::decode(&encode(&message), NOW_MS, &LIMITS)
    };
    whole(|_| ()).expect("an honest one");
    let reset_elsewhere = whole(|delta| delta.registers[0].1.tag = tag(7, 9));
    reset_elsewhere.expect_err("the reset of another");
    let unwritten = whole(|delta| {
        delta.upto = Stamp::ZERO;
        delta.registers.clear();
        delta.secrets = SecretSet::default();
    });
    unwritten.expect_err("written by nobody");
}

#[test]
fn times_that_no_node_can_add_up_are_malformed() {
    let decoded = |item| {
        let items = vec![(key(1), item)];
        Message::decode(&encode(&Message::Answer { items }), NOW_MS, &LIMITS)
    };
    for too_long in [u64::MAX, Expiry::MAX_MS + 1] {
        let mut state = sample_state();
        state.set_expiry(Expiry::from_millis(Some(too_long), None), tag(300, 1));
        decoded(Item::Full(Box::new(state))).expect_err("an endless limit");
    }
    let kept = |keep_ms| {
        let destroyed_ms = NOW_MS;
        decoded(Item::Destroyed(Tombstone {
            destroyed_ms,
            keep_ms,
        }))
    };
    kept(Tombstone::MAX_KEEP_MS).expect("the longest there is");
    kept(u64::MAX).expect_err("an endless tombstone");
}
