//! Tests of what two links tell each other of a change.

use std::{cell::Cell, sync::Arc};

use super::{Link, LinkOptions, outbound};
use crate::{
    config::{Expiry, Limits, Shape},
    replica::{Observer, Replica, Replicate, SessionWriter},
    session::{
        Item, Now, SessionError, SessionKey,
        fixtures::{NOW, after, boot, key, meta, secret},
    },
    wire::{Message, Position},
};

const KEY: SessionKey = key(7);
const SHAPE: Shape = Shape {
    lock_shards: 4,
    digests_per_lock: 4,
    log_records: 64,
};

struct Pair {
    replicas: [Replica; 2],
    links: [Link; 2],
}

impl Pair {
    fn new() -> Self {
        Self::of_shape(&SHAPE)
    }

    fn of_shape(shape: &Shape) -> Self {
        Self::of(&[Limits::default(), Limits::default()], shape)
    }

    fn of(limits: &[Limits; 2], shape: &Shape) -> Self {
        let boots = [1, 2].map(boot);
        let replicas = [0, 1].map(|at| Replica::new(boots[at], limits[at].clone(), shape, NOW));
        let options = || LinkOptions {
            ack_timeout_ms: 1000,
            heartbeat_ms: 500,
            notify_listeners_on_replication: false,
        };
        let links = [
            Link::new(&replicas[0], boots[1], options(), NOW),
            Link::new(&replicas[1], boots[0], options(), NOW),
        ];
        Self { replicas, links }
    }

    fn create(&self) {
        let meta = meta(Expiry::default());
        let created = self.replicas[0].create(meta, KEY, secret(9).hash(), 0, NOW);
        created.expect("room for a session");
    }

    fn write(&self, write: impl FnOnce(&mut SessionWriter<'_>) -> Result<(), SessionError>) {
        let replica = &self.replicas[0];
        let written = replica.write(&KEY, Replicate::Now, &mut Observer::new(false), NOW, write);
        written.expect("within the limits");
        self.replicas[0].commit(&KEY, NOW);
    }

    fn write_deferred(
        &self,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<(), SessionError>,
    ) {
        let replica = &self.replicas[0];
        let written = replica.write(
            &KEY,
            Replicate::Deferred,
            &mut Observer::new(false),
            NOW,
            write,
        );
        written.expect("within the limits");
    }

    /// Lets both talk until the second one has said something of which `wanted` holds.
    fn talk_until(&mut self, wanted: impl Fn(&Message) -> bool) {
        let [one, other] = &mut self.links;
        let [ours, theirs] = &self.replicas;
        loop {
            if let Some(message) = other.poll(theirs, NOW) {
                let is_wanted = wanted(&message);
                one.handle(ours, message, 0, NOW).expect("honest");
                if is_wanted {
                    return;
                }
            } else {
                let message = one.poll(ours, NOW).expect("something is left to be said");
                other.handle(theirs, message, 0, NOW).expect("honest");
            }
        }
    }

    /// Returns two that hold the session, with a difference that the second one has just listed.
    fn in_a_complete_round(
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<(), SessionError>,
    ) -> Self {
        let mut pair = Self::new();
        pair.create();
        pair.write(write);
        pair.talk();
        pair.write_deferred(|writer| writer.set(&name(2), b"2".as_slice().into()));
        pair.links[1].begin_round();
        pair.talk_until(|message| matches!(message, Message::Listing { complete: true, .. }));
        pair
    }

    /// Returns what the first one says next, which is a change of the session.
    fn next_change(&mut self) -> Item {
        self.write(|writer| writer.set(&name(1), b"1".as_slice().into()));
        match self.links[0].poll(&self.replicas[0], NOW) {
            Some(Message::Batch { mut items, .. }) => items.remove(0).1,
            said => panic!("a batch, not {said:?}"),
        }
    }

    /// Returns what the first one says of a change of the session.
    fn item_of_change(&mut self) -> Item {
        self.write(|writer| writer.set(&name(1), b"1".as_slice().into()));
        let said = self.talk();
        let items = said.into_iter().find_map(|message| match message {
            Message::Batch { items, .. } => Some(items),
            _ => None,
        });
        let (KEY, item) = items.expect("a batch").remove(0) else {
            panic!("there is one session only");
        };
        item
    }

    /// Lets both say all they have to say. Returns what the first one said.
    fn talk(&mut self) -> Vec<Message> {
        self.talk_at(NOW)
    }

    fn talk_at(&mut self, now: Now) -> Vec<Message> {
        let said = self.talk_all_at(now).into_iter();
        said.filter_map(|(by, message)| (by == 0).then_some(message))
            .collect()
    }

    /// Lets both say all they have to say. Returns what they said, and which of them.
    fn talk_all_at(&mut self, now: Now) -> Vec<(usize, Message)> {
        let mut said = Vec::new();
        loop {
            let [one, other] = &mut self.links;
            let [ours, theirs] = &self.replicas;
            if let Some(message) = one.poll(ours, now) {
                said.push((0, message.clone()));
                other.handle(theirs, message, 0, now).expect("honest");
            } else if let Some(message) = other.poll(theirs, now) {
                said.push((1, message.clone()));
                one.handle(ours, message, 0, now).expect("honest");
            } else {
                return said;
            }
        }
    }

    fn bytes_of_attribute(&self, node: usize, name: &str) -> Arc<[u8]> {
        let read = self.replicas[node].read(&KEY, |state| {
            let bytes = state.json(name).expect("no counter");
            Arc::clone(bytes.expect("an attribute"))
        });
        read.expect("a session")
    }
}

fn name(number: usize) -> String {
    format!("attribute{number:03}")
}

fn length(message: &Message) -> usize {
    let mut bytes = Vec::new();
    message.encode(NOW.mono_ms, &mut bytes);
    bytes.len()
}

#[test]
fn change_of_one_attribute_in_a_hundred_sends_and_merges_that_one() {
    let mut pair = Pair::new();
    pair.create();
    pair.write(|writer| {
        (0..100).try_for_each(|at| writer.set(&name(at), [b'1'; 200].as_slice().into()))
    });
    let whole: usize = pair.talk().iter().map(length).sum();
    assert!(whole > 100 * 200, "the new session went out: {whole} bytes");
    let before: Vec<Arc<[u8]>> = (0..100)
        .map(|at| pair.bytes_of_attribute(1, &name(at)))
        .collect();

    pair.write(|writer| writer.set(&name(42), [b'2'; 200].as_slice().into()));
    let said = pair.talk();
    let [message @ Message::Batch { items, .. }] = said.as_slice() else {
        panic!("one batch and nothing else: {said:?}");
    };
    let [(KEY, Item::Delta(delta))] = items.as_slice() else {
        panic!("one delta: {items:?}");
    };
    let names: Vec<&str> = delta.registers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [name(42)]);
    assert!(length(message) < 200 + 100, "{} bytes", length(message));
    for (at, before) in before.iter().enumerate() {
        let after = pair.bytes_of_attribute(1, &name(at));
        if at == 42 {
            assert_eq!(*after, [b'2'; 200]);
        } else {
            assert!(Arc::ptr_eq(before, &after), "{} was not touched", name(at));
        }
    }
}

#[test]
fn change_of_a_session_goes_out_whole_while_the_peer_is_given_what_it_lacks() {
    let mut pair = Pair::new();
    pair.create();
    pair.talk();
    assert!(matches!(pair.item_of_change(), Item::Delta(_)));

    let mut pair = Pair::in_a_complete_round(|writer| writer.set(&name(0), b"0".as_slice().into()));
    assert!(matches!(pair.item_of_change(), Item::Full(_)));
    assert!(
        matches!(pair.item_of_change(), Item::Delta(_)),
        "the round is over"
    );
    assert!(*pair.bytes_of_attribute(1, &name(2)) == *b"2");
}

#[test]
fn states_have_their_turn_however_many_changes_come() {
    let pair =
        &mut Pair::in_a_complete_round(|writer| writer.set(&name(0), b"0".as_slice().into()));
    let urgent = (0..100).take_while(|at| {
        pair.write(|writer| writer.set(&name(1), at.to_string().into_bytes().into()));
        let said = pair.links[0].poll(&pair.replicas[0], NOW);
        !matches!(said, Some(Message::Differences { .. }))
    });
    assert!((1..50).contains(&urgent.count()));
}

#[test]
fn change_of_a_large_session_goes_out_as_a_delta_all_the_same() {
    let large =
        |writer: &mut SessionWriter<'_>| writer.set(&name(0), [b'1'; 5000].as_slice().into());
    let mut pair = Pair::in_a_complete_round(large);
    assert!(matches!(pair.next_change(), Item::Delta(_)));
}

#[test]
fn peer_that_lags_is_told_of_changes_by_deltas_all_the_same() {
    let mut pair = Pair::in_a_complete_round(|writer| writer.set(&name(0), b"0".as_slice().into()));
    assert!(matches!(pair.next_change(), Item::Full(_)));
    let later = Now {
        mono_ms: NOW.mono_ms + 1000,
        ..NOW
    };
    pair.links[0].tick(&pair.replicas[0], true, later);
    assert!(pair.links[0].is_lagging());
    assert!(matches!(pair.next_change(), Item::Delta(_)));
}

/// Returns the acknowledgements that the second one gives when the first one changes the session.
fn acknowledgements(pair: &mut Pair, now: Now) -> usize {
    pair.write(|writer| writer.set(&name(1), b"1".as_slice().into()));
    let Pair { replicas, links } = pair;
    let [one, other] = links;
    while let Some(message) = one.poll(&replicas[0], now) {
        other.handle(&replicas[1], message, 0, now).expect("honest");
    }
    let said = std::iter::from_fn(|| other.poll(&replicas[1], now));
    let said: Vec<Message> = said.collect();
    let acknowledgements = said
        .iter()
        .filter(|said| matches!(said, Message::Ack { .. }))
        .count();
    for message in said {
        one.handle(&replicas[0], message, 0, now).expect("honest");
    }
    acknowledgements
}

#[test]
fn change_that_nobody_waits_for_is_acknowledged_by_the_next_tick() {
    let mut pair = Pair::new();
    pair.create();
    pair.talk();
    assert_eq!(acknowledgements(&mut pair, NOW), 1, "at the beginning");
    pair.links[0].tick(&pair.replicas[0], false, NOW);
    for _ in 0..10 {
        assert_eq!(acknowledgements(&mut pair, NOW), 0);
        assert!(!pair.links[1].owes_answer());
    }
    pair.links[1].tick(&pair.replicas[1], false, NOW);
    assert!(pair.links[1].is_due(NOW));
    pair.talk();
    assert!(pair.links.iter().all(Link::is_idle), "one for all");

    pair.links[0].expect_acks(true);
    assert!(pair.links[0].is_due(NOW));
    assert_eq!(acknowledgements(&mut pair, NOW), 1, "a request waits");
}

#[test]
fn acknowledgement_waits_for_no_tick_when_the_window_fills_or_the_timeout_is_short() {
    let mut pair = Pair::new();
    pair.create();
    pair.talk();
    pair.links[0].tick(&pair.replicas[0], false, NOW);
    pair.talk();
    let from = pair.replicas[0].head();
    let to = Position::following(outbound::MAX_IN_FLIGHT);
    let items = Vec::new();
    let much = Message::Batch { from, to, items };
    pair.links[1]
        .handle(&pair.replicas[1], much, 0, NOW)
        .expect("in order");
    assert!(pair.links[1].owes_answer());
}

#[test]
fn link_has_nothing_to_say_before_the_next_heartbeat() {
    let mut pair = Pair::new();
    pair.create();
    pair.talk();
    let [one, _] = &mut pair.links;
    for (ms, is_due) in [(100, false), (400, false), (500, true)] {
        one.tick(&pair.replicas[0], true, after(ms));
        assert_eq!(one.is_due(after(ms)), is_due, "after {ms} ms");
    }
}

/// What nodes exchange to compare what they hold grows with the changes that are under way when
/// they compare. The bounds are those of docs/architecture.md.
#[test]
fn comparing_takes_a_kibibyte_for_each_heartbeat_while_few_changes_are_under_way() {
    for (under_way, mean, most) in [
        (4, 1024, 1024),
        (10, 1024, 2 * 1024),
        (100, 33 * 1024 + 512, 33 * 1024 + 512),
        (2048, 33 * 1024 + 512, 33 * 1024 + 512),
    ] {
        let bytes = bytes_of_comparisons(under_way);
        let (all, largest) = (bytes.iter().sum::<usize>(), bytes.iter().max().copied());
        let measured = all / bytes.len();
        let largest = largest.expect("there were heartbeats");
        println!("{under_way} under way: {measured} bytes, {largest} at most");
        assert!(measured <= mean, "{under_way}: {measured} bytes");
        assert!(largest <= most, "{under_way}: {largest} bytes");
    }
}

/// Returns what both nodes said to compare, in bytes for each heartbeat, while so many changes are
/// always under way, of other sessions at each heartbeat.
fn bytes_of_comparisons(under_way: usize) -> Vec<usize> {
    const SESSIONS: usize = 2048;
    const HEARTBEATS: u64 = 40;
    let mut pair = Pair::of_shape(&Shape::default());
    // Every other digest has a session.
    let key = |number: usize| {
        let mut bytes = [7; 16];
        let digest = u16::try_from(number << 5).expect("there are 2048");
        bytes[..2].copy_from_slice(&digest.to_be_bytes());
        SessionKey::from_bytes(bytes)
    };
    for number in 0..SESSIONS {
        let (replica, key) = (&pair.replicas[0], key(number));
        let created = replica.create(meta(Expiry::default()), key, secret(9).hash(), 0, NOW);
        created.expect("room for a session");
        replica.release(&key, Replicate::Now, NOW);
    }
    pair.links.iter_mut().for_each(Link::set_ready);
    pair.talk();
    let mut bytes = Vec::new();
    for beat in 1..=HEARTBEATS {
        let now = after(beat * 500);
        let changed = |change: usize| {
            // Odd, so that a power of two has each number once.
            let beat = usize::try_from(beat).expect("there are few");
            key((beat.wrapping_mul(1_664_525) + change * 1_013_904_223) % SESSIONS)
        };
        let write = |pair: &Pair, replicate| {
            for change in 0..under_way {
                let value = beat.to_string().into_bytes();
                let (replica, key) = (&pair.replicas[0], changed(change));
                let observer = &mut Observer::new(false);
                let written = replica.write(&key, replicate, observer, now, |writer| {
                    writer.set("a", value.into())
                });
                written.expect("within the limits");
                replica.commit(&key, now);
            }
        };
        write(&pair, Replicate::Deferred);
        let said = pair.talk_all_at(now);
        write(&pair, Replicate::Now);
        pair.talk_at(now);
        let said = said.iter().map(|(_, message)| message);
        let compared = said.filter(|said| {
            matches!(
                said,
                Message::CompareSums { .. } | Message::SumsDiffer { .. }
            )
        });
        let lengths: Vec<usize> = compared.map(length).collect();
        assert_eq!(lengths.len(), 2, "heartbeat {beat}");
        bytes.push(lengths.iter().sum());
    }
    bytes
}

/// One node holds more than the other one may.
#[test]
fn copies_that_one_node_cannot_take_are_offered_once_until_there_is_room() {
    const MANY: u8 = 12;
    let few = Limits {
        max_sessions: 2,
        ..Limits::default()
    };
    for full in [0, 1] {
        let mut limits = [Limits::default(), Limits::default()];
        limits[full] = few.clone();
        let mut pair = Pair::of(&limits, &SHAPE);
        let key = |number: u8| {
            let mut bytes = [7; 16];
            // Each in a digest shard of its own.
            bytes[0] = number << 4;
            SessionKey::from_bytes(bytes)
        };
        let holder = 1 - full;
        for number in 0..MANY {
            let replica = &pair.replicas[holder];
            let meta = meta(Expiry::default());
            let created = replica.create(meta, key(number), secret(9).hash(), 0, NOW);
            created.expect("room for a session");
            replica.release(&key(number), Replicate::Now, NOW);
        }
        pair.links.iter_mut().for_each(Link::set_ready);
        let ms = Cell::new(0);
        let beat = |pair: &mut Pair| {
            ms.set(ms.get() + 500);
            let said = pair.talk_all_at(after(ms.get())).into_iter();
            said.map(|(_, message)| message).collect::<Vec<_>>()
        };
        let states = |said: &[Message]| {
            let items = said.iter().map(|message| match message {
                Message::Differences { items, .. } | Message::Supply { items } => items.len(),
                _ => 0,
            });
            items.sum::<usize>()
        };
        (0..20).for_each(|_| {
            beat(&mut pair);
        });
        assert_eq!(pair.replicas[full].sessions(), 4);
        let said: Vec<_> = (0..20).flat_map(|_| beat(&mut pair)).collect();
        let all_heartbeats = said
            .iter()
            .all(|said| matches!(said, Message::Heartbeat { .. }));
        assert!(all_heartbeats, "{said:?}");
        let bytes: usize = said.iter().map(length).sum();
        assert!(bytes <= 40 * 16, "{bytes} bytes for 40 heartbeats");

        // Room for one is room for one.
        let held = (0..MANY)
            .map(key)
            .find(|key| pair.replicas[full].read(key, |_| ()).is_ok());
        pair.replicas[full].destroy(&held.expect("four are held"), after(ms.get()));
        pair.replicas[full].commit(&held.expect("four are held"), after(ms.get()));
        let sent: usize = (0..20).map(|_| states(&beat(&mut pair))).sum();
        assert_eq!(pair.replicas[full].sessions(), 4);
        assert!((1..=4).contains(&sent), "{sent} states for one place");

        // What changes is offered again, once.
        let refused = (0..MANY).map(key).find(|key| {
            let is_held = |node: usize| pair.replicas[node].read(key, |_| ()).is_ok();
            is_held(holder) && !is_held(full)
        });
        let refused = refused.expect("twelve are not four");
        let set = |writer: &mut SessionWriter<'_>| writer.set("a", b"1".as_slice().into());
        let observer = &mut Observer::new(false);
        let replica = &pair.replicas[holder];
        let written = replica.write(&refused, Replicate::Now, observer, after(ms.get()), set);
        written.expect("there is room");
        replica.commit(&refused, after(ms.get()));
        let sent: usize = (0..20).map(|_| states(&beat(&mut pair))).sum();
        assert_eq!(sent, 1, "the changed one");
    }
}

/// A change leaves before its session comes into doubt, and its receiver lacks what comes before it.
#[test]
fn session_in_doubt_is_not_denied_to_a_peer_that_refused_a_change_of_it() {
    assert_eq!(denied_in_doubt(), None);
}

/// Returns what goes wrong then.
pub(crate) fn denied_in_doubt() -> Option<String> {
    let mut pair = Pair::new();
    pair.create();
    pair.write(|writer| writer.set(&name(0), b"0".as_slice().into()));
    pair.talk();
    pair.replicas[1].store.shard(&KEY).drop_session(&KEY);
    pair.write(|writer| writer.set(&name(1), b"1".as_slice().into()));
    let change = pair.links[0].poll(&pair.replicas[0], NOW);
    let change = change.expect("there is a change to tell");
    let comparison = pair.replicas[0].store.doubt_older_than(u64::MAX, NOW);
    let handled = pair.links[1].handle(&pair.replicas[1], change, 0, NOW);
    handled.expect("honest");
    pair.talk();
    let head = pair.replicas[0].head();
    if pair.links[0].acks().acked >= head {
        return Some("a change is acknowledged by who lacks its session".to_owned());
    }
    pair.replicas[0].store.confirm(&KEY, comparison.place());
    pair.replicas[0].store.end_doubts(&comparison);
    pair.talk();
    let is_there =
        pair.links[0].acks().acked >= head && pair.replicas[1].read(&KEY, |_| ()).is_ok();
    (!is_there).then(|| "a session that was in doubt does not arrive".to_owned())
}
