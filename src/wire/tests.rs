//! Messages survive the way there, keep their bytes for ever, and no bytes bring a decoder down.

use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;

use super::{
    DecodeLimits, Message, Position,
    message::Lineage,
    packed_session::{Writer, write_resting},
};
use crate::{
    config::Expiry,
    session::{
        BootId, Content, Count, Counter, Delta, Item, Now, Origin, Register, SecretSet, SessionKey,
        SessionMeta, SessionSecret, SessionSize, SessionState, Stamp, Tag, Tombstone,
    },
};

const NOW_MS: u64 = 1 << 41;

const LIMITS: DecodeLimits = DecodeLimits {
    max_session_bytes: 1024,
    max_names: 16,
    max_entries: 8192,
    digest_shards: 8,
};

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

/// A session that two nodes wrote.
fn sample_state() -> SessionState {
    let now = Now {
        wall_ms: 1,
        mono_ms: NOW_MS - 5_000,
    };
    let meta = Arc::new(SessionMeta {
        context: "shop".into(),
        route: Some("node1".parse().expect("valid")),
        expiry: Expiry::from_millis(Some(60_000), Some(600_000)),
    });
    let secret = SessionSecret::from_bytes([3; 16]).hash();
    let mut state = SessionState::new(meta, secret, tag(100, 1), now);
    state.set("cart", b"[1,2]".as_slice().into(), tag(101, 1));
    state.add("hits", 4, origin(1), stamp(102));
    state.add("hits", -1, origin(2), stamp(103));
    state.remove("gone", tag(104, 2));
    state.cycle(SessionSecret::from_bytes([4; 16]).hash(), tag(105, 2), now);
    state.set_expiry(Expiry::from_millis(None, Some(7)), tag(106, 1));
    state
}

fn encode(message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
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
            past: Lineage {
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
    ]
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
    let Item::PackedSession(state) = &items[0].1 else {
        panic!("a state at rest");
    };
    assert_eq!(later - state.accessed_ms, 5_000);
    assert_eq!(later - state.unpack().accessed_ms(), 5_000);
}

/// What is received at rest is what was sent, whoever looks at it: who wakes it or who gets it next.
#[test]
fn state_at_rest_is_the_state() {
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
    let Item::PackedSession(at_rest) = &items[0].1 else {
        panic!("{items:?}");
    };
    assert_eq!(at_rest.unpack(), state);
    assert_eq!(&at_rest.vector, state.vector());
    let extent = SessionSize {
        names: state.remembered_names(),
        writers: state.vector().entries().len(),
        secrets: state.secrets().states().len(),
        weight: state.weight(),
    };
    assert_eq!(at_rest.extent, extent);
    assert_eq!(at_rest.expiry, state.expiry());
    let mut bytes = Vec::new();
    write_resting(&state, &mut Writer(&mut bytes));
    assert_eq!(*at_rest.bytes, bytes);
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
    bytes.extend_from_slice(&[0]);
    assert!(Message::decode(&bytes, NOW_MS, &LIMITS).is_err());
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
    // The varint of 2^63-1 is eight bytes 0xff and 0x7f; 0x80 0x01 makes it 2^63.
    let text: Vec<u8> = bytes.to_vec();
    let at = text
        .windows(9)
        .position(|window| window == [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])
        .expect("the stamp is there");
    let mut beyond = text[..at].to_vec();
    beyond.extend([0x80; 9]);
    beyond.push(1);
    beyond.extend(&text[at + 9..]);
    assert!(Message::decode(&beyond, NOW_MS, &LIMITS).is_err());
}

#[test]
fn counter_in_an_era_of_another_origin_survives() {
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
