//! What a peer that is malicious sends: memory stays bounded, and what this node holds it can
//! still send to honest peers.

use std::{hash::BuildHasher as _, sync::Arc};

use crate::replica::{
    Link, LinkEvent, LinkOptions, Observer, Replica, Violation,
    key_hasher::SessionKeyHash,
    store::{apply::ApplyOutcome, offer::LeavesOut, place::Place, quota::OverLimit, shard::Shard},
};
use crate::{
    config::{Expiry, Limits, Shape},
    session::{
        BootId, Content, CreatedMs, Delta, Item, Now, Origin, Register, SecretSet, SecretState,
        SessionKey, SessionMeta, SessionParts, SessionSecret, SessionState, Stamp, Tag, Tombstone,
        Vector,
        fixtures::{NOW, key, meta},
    },
    wire::{DecodeLimits, Message, Position, message::Lineage},
};

const KEY: SessionKey = key(5);
const SHAPE: Shape = Shape {
    lock_shards: 4,
    digests_per_lock: 4,
    log_records: 64,
};

fn limits() -> Limits {
    Limits {
        max_sessions: 1000,
        max_session_bytes: 1 << 20,
        max_attributes: 16,
        max_bytes: usize::MAX,
        max_tombstone_bytes: 8000 * Limits::TOMBSTONE_BYTES,
        unconfirmed_ms: u64::MAX,
    }
}

fn decode_limits() -> DecodeLimits {
    DecodeLimits::new(&limits(), &SHAPE)
}

fn replica() -> Replica {
    Replica::new(BootId::from_bytes([1; 8]), limits(), &SHAPE, NOW)
}

fn tag(number: u32) -> Tag {
    Tag {
        stamp: Stamp::ZERO.next(NOW).expect("far from the end"),
        origin: Origin {
            boot: BootId::from_bytes([9; 8]),
            epoch: number,
        },
    }
}

/// A session with so many attributes of so many bytes, writers and secrets, whose names begin with
/// `prefix`.
fn session(prefix: u8, names: u32, bytes: usize, writers: u32, secrets: u32) -> SessionState {
    let first = u32::from(prefix) << 24;
    let name = |at| format!("{prefix}-{at:05}").as_str().into();
    let content = Content::Json(vec![b'1'; bytes].into());
    let register = |at| Register {
        tag: tag(first + at % writers),
        content: content.clone(),
    };
    let origins = (0..writers).map(|at| tag(first + at));
    let mut ids: Vec<SecretState> = (0..secrets)
        .map(|at| {
            let mut bytes = [prefix; 16];
            bytes[..4].copy_from_slice(&at.to_le_bytes());
            SecretState {
                hash: SessionSecret::from_bytes(bytes).hash(),
                tag: tag(first),
                dead_at_ms: None,
            }
        })
        .collect();
    ids.sort_by_key(|id| id.hash);
    SessionState::from_parts(SessionParts {
        meta: meta(Expiry::default()),
        created: CreatedMs(NOW.mono_ms),
        vector: Vector::from_sorted(origins.map(|tag| (tag.origin, tag.stamp)).collect())
            .expect("sorted"),
        access: tag(0).stamp,
        accessed_ms: NOW.mono_ms,
        registers: (0..names).map(|at| (name(at), register(at))).collect(),
        secrets: SecretSet::from_sorted(ids).expect("sorted"),
        life: None,
    })
}

fn take(replica: &Replica, key: SessionKey, item: Item) -> Result<ApplyOutcome, OverLimit> {
    replica
        .store
        .apply(&key, item, NOW, &mut Observer::new(false))
}

fn full(state: SessionState) -> Item {
    Item::Full(Box::new(state))
}

fn tombstone(keep_ms: u64) -> Item {
    Item::Destroyed(Tombstone {
        destroyed_ms: NOW.mono_ms,
        keep_ms,
    })
}

/// Whether an honest peer takes in what is held of the session.
fn can_be_sent(replica: &Replica) -> bool {
    let items = vec![(KEY, replica.full(&KEY, NOW))];
    let mut bytes = Vec::new();
    Message::Supply { items }.encode(NOW.mono_ms, &mut bytes);
    bytes.len() <= Message::max_length(&decode_limits())
        && Message::decode(&bytes, NOW.mono_ms, &decode_limits()).is_ok()
}

#[test]
fn session_that_grows_by_every_merge_stays_one_that_can_be_sent() {
    let parts: [fn(u8) -> SessionState; 4] = [
        |prefix| session(prefix, 30, 1, 1, 1),
        |prefix| session(prefix, 10, 100_000, 1, 1),
        |prefix| session(prefix, 1, 1, 1500, 1),
        |prefix| session(prefix, 1, 1, 1, 100),
    ];
    for part in parts {
        let replica = replica();
        take(&replica, KEY, full(part(1))).expect("the first fits");
        let held = replica.full(&KEY, NOW);
        assert_eq!(take(&replica, KEY, full(part(1))), Ok(ApplyOutcome::Done));
        let over = (2..=20).filter(|at| take(&replica, KEY, full(part(*at))).is_err());
        assert!(over.count() >= 17, "{held:?}");
        assert!(can_be_sent(&replica));
    }
}

#[test]
fn packed_session_beyond_the_limits_is_not_applied() {
    let limits = DecodeLimits {
        max_names: 1000,
        ..decode_limits()
    };
    let parts = [
        (session(1, 129, 1, 1, 1), "attributes of a session"),
        (session(1, 30, 100_000, 1, 1), "bytes of a session"),
        (session(1, 1, 1, 2049, 1), "writers of a session"),
        (session(1, 1, 1, 1, 129), "secrets of a session"),
    ];
    let supplied = |state| {
        let items = vec![(KEY, full(state))];
        let mut bytes = Vec::new();
        Message::Supply { items }.encode(NOW.mono_ms, &mut bytes);
        match Message::decode(&bytes, NOW.mono_ms, &limits) {
            Ok(Message::Supply { mut items }) => items.remove(0).1,
            other => panic!("{other:?}"),
        }
    };
    let replica = replica();
    for (state, what) in parts {
        let item = supplied(state);
        assert!(matches!(item, Item::Packed(_)), "{item:?}");
        let taken = take(&replica, KEY, item).map_err(|over| over.what);
        assert_eq!(taken, Err(what));
    }
    assert!(replica.store.is_empty());
    let small = supplied(session(1, 1, 1, 1, 1));
    assert_eq!(take(&replica, KEY, small), Ok(ApplyOutcome::Done));
}

#[test]
fn session_that_grows_by_every_delta_stays_one_that_can_be_sent() {
    let replica = replica();
    take(&replica, KEY, full(session(1, 1, 1, 1, 1))).expect("room");
    let delta = |at: u8| {
        let whole = session(at, 10, 100_000, 1, 0).into_parts();
        let (origin, upto) = whole.vector.entries()[0];
        Item::Delta(Box::new(Delta {
            origin,
            since: Stamp::ZERO,
            upto,
            meta: None,
            access: None,
            registers: whole.registers,
            secrets: whole.secrets,
            life: None,
        }))
    };
    let taken = (2..=20).filter(|at| take(&replica, KEY, delta(*at)).is_ok());
    assert_eq!(taken.count(), 2, "twice the limit");
    assert!(can_be_sent(&replica));
}

/// Otherwise a listing would be too long, which ends the link to an honest peer.
#[test]
fn ids_that_are_all_alike_are_taken_as_long_as_they_can_be_listed() {
    let replica = Replica::new(
        BootId::from_bytes([1; 8]),
        Limits::default(),
        &Shape::default(),
        NOW,
    );
    let limits = DecodeLimits::new(&Limits::default(), &Shape::default());
    let mut taken = 0;
    for at in 0..70_000u32 {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&at.to_le_bytes());
        let key = SessionKey::from_bytes(bytes);
        taken += usize::from(take(&replica, key, tombstone(Tombstone::MIN_KEEP_MS)).is_ok());
    }
    let entries = replica.store.listing(0, LeavesOut::Nothing, NOW);
    assert_eq!(entries.len(), taken);
    assert!(taken < 70_000, "{taken}");
    let mut bytes = Vec::new();
    let listing = Message::Listing {
        round: u32::MAX,
        shard: 0,
        complete: true,
        entries,
    };
    listing.encode(NOW.mono_ms, &mut bytes);
    assert!(bytes.len() <= Message::max_length(&limits));
    let elsewhere = SessionKey::from_bytes([9; 16]);
    assert!(take(&replica, elsewhere, tombstone(Tombstone::MIN_KEEP_MS)).is_ok());
}

#[test]
fn ids_chosen_by_a_peer_do_not_share_a_hash() {
    let hash = |first: u64, last: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        bytes[8..].copy_from_slice(&last.to_be_bytes());
        SessionKeyHash.hash_one(SessionKey::from_bytes(bytes))
    };
    let mut hashes: Vec<u64> = (0..1000)
        .flat_map(|at| [hash(at, 7), hash(7, at + 1000)])
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 2000);
}

#[test]
fn keys_to_be_looked_at_do_not_pile_up() {
    let mut shard = Shard::new(BootId::from_bytes([1; 8]), u64::MAX, Arc::default(), 1, 0);
    let far = 1 << 45;
    shard.insert(KEY, session(1, 1, 1, 1, 1), NOW);
    for at in 0..1000 {
        shard.schedule(&KEY, NOW.mono_ms + far - at * 1000);
    }
    let last = NOW.mono_ms + far - 999 * 1000;
    let due = |shard: &mut Shard, mono_ms| {
        let now = Now { mono_ms, ..NOW };
        shard.due_from(&mut Place::default(), now).keys
    };
    assert_eq!(due(&mut shard, last - 1000), []);
    assert_eq!(due(&mut shard, NOW.mono_ms + far), [KEY], "once");
}

#[test]
fn contexts_of_sessions_that_are_gone_make_room() {
    let replica = replica();
    let meta = |at: u32| SessionMeta {
        context: at.to_string().as_str().into(),
        ..(*meta(Expiry::default())).clone()
    };
    for at in 0..10_000 {
        drop(replica.store.shared_meta(Arc::new(meta(at))));
    }
    let first = replica.store.shared_meta(Arc::new(meta(1_000_000)));
    let second = replica.store.shared_meta(Arc::new(meta(1_000_000)));
    assert!(Arc::ptr_eq(&first, &second));
}

/// A link on which the peer has said its first words.
fn link(replica: &Replica) -> Link {
    let options = LinkOptions {
        ack_timeout_ms: 1000,
        heartbeat_ms: 500,
        notify_listeners_on_replication: false,
    };
    let mut link = Link::new(replica, BootId::from_bytes([9; 8]), options, NOW);
    link.set_ready();
    let lineage = Lineage {
        holds: false,
        away: false,
        lineage_ms: 0,
    };
    let live = Message::Resume {
        applied: None,
        head: None,
        lineage,
    };
    hear(&mut link, replica, live).expect("the first word");
    let memory = Message::Memory(replica.past(NOW).memory);
    hear(&mut link, replica, memory).expect("the second");
    link
}

fn hear(link: &mut Link, replica: &Replica, message: Message) -> Result<Vec<LinkEvent>, Violation> {
    link.handle(replica, message, 0, NOW)
}

/// Until the link is closed, as long as the peer reads nothing.
fn until_closed(replica: &Replica, mut next: impl FnMut(u32) -> Message) -> u32 {
    let mut link = link(replica);
    let heard = |at: &u32| hear(&mut link, replica, next(*at)).is_ok();
    u32::try_from((0..200).take_while(heard).count()).expect("few")
}

fn key_of(at: u32) -> SessionKey {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&at.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[12..].copy_from_slice(&at.to_be_bytes());
    SessionKey::from_bytes(bytes)
}

#[test]
fn one_destroyed_session_sent_for_ever_is_answered_once() {
    let replica = replica();
    take(&replica, KEY, tombstone(Tombstone::MIN_KEEP_MS)).expect("room");
    let mut link = link(&replica);
    for at in 0..1000 {
        let batch = Message::Batch {
            from: Position::new(at),
            to: Position::following(at),
            items: vec![(KEY, full(session(1, 1, 1, 1, 1)))],
        };
        hear(&mut link, &replica, batch).expect("in order");
    }
    let mut deleted = 0;
    while let Some(message) = link.poll(&replica, NOW) {
        deleted += message.keys().count();
    }
    assert_eq!(deleted, 1);
}

#[test]
fn peer_that_does_not_read_that_sessions_are_destroyed_is_cut_off() {
    let replica = Replica::new(BootId::from_bytes([1; 8]), Limits::default(), &SHAPE, NOW);
    let mut deleted = Vec::new();
    for at in 0..300_000 {
        take(&replica, key_of(at), tombstone(Tombstone::MIN_KEEP_MS)).expect("room");
        deleted.push((key_of(at), full(session(1, 1, 1, 1, 1))));
    }
    let mut link = link(&replica);
    let mut closed = None;
    for (position, chunk) in (0..).zip(deleted.chunks(1000)) {
        let heard = hear(&mut link, &replica, batch(position, chunk.to_vec()));
        closed = closed.or_else(|| heard.err());
    }
    let why = Violation::Protocol("too many changes of destroyed sessions");
    assert_eq!(closed, Some(why));
}

fn batch(from: u64, items: Vec<(SessionKey, Item)>) -> Message {
    Message::Batch {
        from: Position::new(from),
        to: Position::following(from),
        items,
    }
}

#[test]
fn empty_batches_behind_an_unanswered_question_take_no_room() {
    let replica = replica();
    let mut link = link(&replica);
    let unknown = Delta {
        origin: tag(1).origin,
        since: Stamp::ZERO,
        upto: tag(1).stamp,
        meta: None,
        access: None,
        registers: Vec::new(),
        secrets: SecretSet::default(),
        life: None,
    };
    let first = batch(0, vec![(KEY, Item::Delta(Box::new(unknown)))]);
    hear(&mut link, &replica, first).expect("in order");
    for at in 1..10_000 {
        hear(&mut link, &replica, batch(at, Vec::new())).expect("in order");
    }
    assert_eq!(link.batches_waiting(), 1);
    let said =
        |link: &mut Link| std::iter::from_fn(|| link.poll(&replica, NOW)).collect::<Vec<_>>();
    assert!(said(&mut link).contains(&Message::Want { keys: vec![KEY] }));
    let answer = Message::Answer {
        items: vec![(KEY, Item::Absent)],
    };
    hear(&mut link, &replica, answer).expect("asked for");
    assert!(said(&mut link).contains(&Message::Ack {
        to: Position::following(9_999)
    }));
}

#[test]
fn listings_beyond_those_of_an_honest_peer_end_the_link() {
    let replica = replica();
    let listing = |shard, keys: u32| Message::Listing {
        round: 1,
        shard,
        complete: true,
        entries: (0..keys).map(|at| (key_of(at), 1)).collect(),
    };
    let twice = until_closed(&replica, |_| listing(3, 1));
    assert_eq!(twice, 1, "a shard is listed once");
    let large = until_closed(&replica, |at| listing(at, 60_000));
    assert!((2..8).contains(&large), "{large}");
    let small = until_closed(&replica, |at| listing(at, 1));
    assert_eq!(small, 128);
}

#[test]
fn nothing_is_wanted_that_was_not_listed() {
    let replica = replica();
    for at in 0..3 {
        take(&replica, key_of(at), full(session(1, 1, 1, 1, 1))).expect("room");
    }
    let mut link = link(&replica);
    link.begin_round();
    let digests = Message::Digests {
        shards: vec![1; 16],
    };
    while link.poll(&replica, NOW).is_some() {}
    hear(&mut link, &replica, digests).expect("asked for");
    let mut listed = None;
    while let Some(message) = link.poll(&replica, NOW) {
        match message {
            Message::Listing {
                round,
                shard,
                entries,
                ..
            } if !entries.is_empty() => listed = Some((round, shard, entries)),
            _ => {}
        }
    }
    let (round, shard, entries) = listed.expect("three sessions are listed");
    let wants: Vec<SessionKey> = entries.iter().map(|entry| entry.0).collect();
    let answer = |wants| Message::Differences {
        round,
        shard,
        last: false,
        items: Vec::new(),
        wants,
    };
    hear(&mut link, &replica, answer(wants.clone())).expect("it was listed");
    let again = hear(&mut link, &replica, answer(wants));
    assert_eq!(
        again,
        Err(Violation::Protocol("more wanted than was listed"))
    );
}

#[test]
fn digests_that_were_not_asked_for_end_the_link() {
    let replica = replica();
    take(&replica, KEY, full(session(1, 1, 1, 1, 1))).expect("room");
    let answer = |digests| Message::SumsDiffer {
        differing: 1,
        digests,
    };
    let mut link = link(&replica);
    hear(&mut link, &replica, answer(vec![1; 9])).expect("an answer to no question says nothing");
    let root = Message::Heartbeat {
        root: 1,
        ready: true,
    };
    hear(&mut link, &replica, root).expect("a heartbeat");
    let said = std::iter::from_fn(|| link.poll(&replica, NOW));
    let is_comparison = |said: &Message| matches!(said, Message::CompareSums { below: 0, .. });
    assert_eq!(said.filter(is_comparison).count(), 1);
    assert!(hear(&mut link, &replica, answer(vec![1])).is_err());
}
