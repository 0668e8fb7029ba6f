//! What two links tell each other of a change.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Link, LinkOptions};
use crate::{
    config::{Expiry, Limits, Shape},
    replica::{Replica, Shipping, Writer},
    session::{Birth, BootId, Item, Locator, Now, Secret, SessionError},
    wire::Message,
};

const NOW: Now = Now {
    wall_ms: 1_700_000_000_000,
    mono_ms: 1 << 41,
};
const KEY: Locator = Locator::from_random([7; 16]);

struct Pair {
    replicas: [Replica; 2],
    links: [Link; 2],
}

impl Pair {
    fn new() -> Self {
        let boots = [1, 2].map(|byte| BootId::from_random([byte; 8]));
        let shape = Shape {
            lock_shards: 4,
            digests_per_lock: 4,
            log_records: 64,
        };
        let replicas = boots.map(|boot| Replica::new(boot, Limits::default(), &shape, NOW));
        let options = || LinkOptions {
            ack_timeout_ms: 1000,
            heartbeat_ms: 500,
            collect: false,
        };
        let links = [
            Link::new(&replicas[0], boots[1], options(), NOW),
            Link::new(&replicas[1], boots[0], options(), NOW),
        ];
        Self { replicas, links }
    }

    fn write(&self, write: impl FnOnce(&mut Writer<'_>) -> Result<(), SessionError>) {
        let store = self.replicas[0].store();
        let written = store.write(&KEY, Shipping::Now, false, NOW, write);
        written.expect("within the limits");
        self.replicas[0].commit(&KEY, NOW);
    }

    /// Lets both say all they have to say. Returns what the first one said.
    fn talk(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        loop {
            let [one, other] = &mut self.links;
            let [ours, theirs] = &self.replicas;
            if let Some(message) = one.poll(ours, NOW) {
                said.push(message.clone());
                other.handle(theirs, message, 0, NOW).expect("honest");
            } else if let Some(message) = other.poll(theirs, NOW) {
                one.handle(ours, message, 0, NOW).expect("honest");
            } else {
                return said;
            }
        }
    }

    fn bytes_of_attribute(&self, node: usize, name: &str) -> Arc<[u8]> {
        let read = self.replicas[node].store().read(&KEY, |state| {
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
    let mut bytes = BytesMut::new();
    message.encode(NOW.mono_ms, &mut bytes);
    bytes.len()
}

#[test]
fn change_of_one_attribute_in_a_hundred_sends_and_merges_that_one() {
    let mut pair = Pair::new();
    let birth = Arc::new(Birth {
        context: "".into(),
        route: None,
        expiry: Expiry::default(),
    });
    let secret = Secret::from_random([9; 16]).hash();
    let created = pair.replicas[0].store().create(birth, KEY, secret, NOW);
    created.expect("room for a session");
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
    let names: Vec<&str> = delta.slots.iter().map(|(name, _)| &**name).collect();
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
