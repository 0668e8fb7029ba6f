//! What requests and fate do to the nodes.

use std::sync::Arc;

use super::{Commit, Known, World, cable::Crash, disk::Disks};
use crate::{
    replica::{Observer, Replica, Replicate, SessionWriter},
    session::{
        Access, Content, CookieValue, Item, Register, SessionError, SessionKey, SessionSecret,
        Stamp, Tag,
    },
};

/// Three of them in most plans.
const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const COUNTERS: [&str; 2] = ["m", "n"];
pub(super) const SEARCHED: &str = NAMES[2];

impl World {
    pub(super) fn step(&mut self) {
        let mut node = self.random.below(self.nodes.len());
        if self.plan.disks != Disks::None {
            if self.is_down(node) {
                node = (0..self.nodes.len())
                    .find(|node| !self.is_down(*node))
                    .unwrap_or(node);
                self.start(node);
            }
            if self.random.below(3) == 0 {
                return self.step_of_disks(node);
            }
        }
        match self.random.below(100) {
            0..8 => self.create(node),
            8..30 => self.write(node),
            36..44 if self.plan.forgets_destroyed() => self.destroy(node),
            30..40 => self.add(node),
            40..44 => self.remove(node),
            44..48 if self.plan.forgets_removals() => self.remove(node),
            // What was written before the watermark on both sides of a night counts as seen by both.
            44..46 if self.plan.doubts_sessions() => self.touch(node),
            44..46 => self.cycle(node),
            46..47 => self.destroy(node),
            47..48 => self.log_out(node),
            48..51 => self.touch(node),
            51..54 => self.ask(node),
            54..56 => {
                let pair = self.any_pair();
                self.cut(pair);
            }
            56..58 => {
                let pair = self.any_pair();
                self.swallow(pair);
            }
            58..64 => {
                let pair = self.any_pair();
                self.connect(pair);
            }
            64..65 => {
                let how = match self.random.below(4) {
                    0 => Crash::Untold,
                    _ => Crash::Told,
                };
                self.crash(node, how);
            }
            65..66 => self.destroy_where(node),
            66..67 => self.begin_to_leave(node),
            67..75 => {
                let passed = self.random.below(400) as u64;
                self.advance(passed);
            }
            _ => self.deliver_some(),
        }
    }

    pub(super) fn create(&mut self, node: usize) {
        if self.sessions.len() >= self.plan.maps + self.plan.sessions {
            return self.create_again(node);
        }
        let mut key = [0; 16];
        key.fill_with(|| self.random.byte());
        let key = SessionKey::from_bytes(key);
        let secret = SessionSecret::from_bytes([self.sessions.len() as u8; 16]);
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        replica.make_room(0, now, &mut Observer::new(false));
        let created = replica.create(Arc::clone(&self.meta), key, secret.hash(), 0, now);
        if created.is_err() {
            let full = replica.sessions() >= self.plan.max_sessions;
            self.check(full, || {
                "a store that is not full refused a session".to_owned()
            });
            return;
        }
        replica.unpin(&key, Replicate::Now, now);
        let cookie = CookieValue { key, secret };
        self.sessions
            .push(Known::new(Arc::clone(&self.meta), cookie));
        self.maybe_commit(node, self.sessions.len() - 1);
    }

    /// Creates a session under an id that the node knows another one to have, or to have had.
    fn create_again(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let Known { key, secret, .. } = &self.sessions[session];
        let replica = &self.nodes[node].replica;
        if replica.read(key, |_| ()).is_err() && !replica.is_destroyed(key) {
            return;
        }
        let (meta, now) = (Arc::clone(&self.meta), self.now(node));
        let created = replica.create(meta, *key, secret.hash(), 0, now);
        self.check(created.is_err(), || {
            "a session was created under an id that is taken".to_owned()
        });
    }

    /// Creates a session that is committed at once.
    pub(super) fn create_and_commit(&mut self, node: usize) {
        let (sessions, commits) = (self.sessions.len(), self.commits.len());
        self.create(node);
        while self.commits.len() == commits {
            self.maybe_commit(node, sessions);
        }
    }

    /// Lets visitors come and log out, so many one after the other.
    pub(super) fn come_and_go(&mut self, node: usize, visitors: usize) {
        for _ in 0..visitors {
            let mut key = [0; 16];
            key.fill_with(|| self.random.byte());
            let key = SessionKey::from_bytes(key);
            let secret = SessionSecret::from_bytes([1; 16]).hash();
            let now = self.now(node);
            let replica = &self.nodes[node].replica;
            let created = replica.create(Arc::clone(&self.meta), key, secret, 0, now);
            replica.release(&key, Replicate::Now, now);
            replica.destroy(&key, now);
            replica.commit(&key, now);
            self.check(created.is_ok(), || "a visitor was refused".to_owned());
        }
    }

    pub(super) fn any_session(&mut self) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| self.random.below(self.sessions.len()))
    }

    /// Begins a map, as any node does that has it not.
    fn begin_map(
        &self,
        node: usize,
        Known {
            meta, key, secret, ..
        }: &Known,
    ) {
        let replica = &self.nodes[node].replica;
        let now = self.now(node);
        let created = replica.create(Arc::clone(meta), *key, secret.hash(), 0, now);
        if created.is_ok() {
            replica.unpin(key, Replicate::Now, now);
        }
    }

    fn write_to<R>(
        &self,
        node: usize,
        session: usize,
        replicate: Replicate,
        write: impl FnOnce(&mut SessionWriter<'_>) -> Result<R, SessionError>,
    ) -> Option<R> {
        let known = &self.sessions[session];
        let key = known.key;
        if known.is_map() {
            self.begin_map(node, known);
        }
        let replica = &self.nodes[node].replica;
        let written = replica.write(
            &key,
            replicate,
            &mut Observer::new(true),
            self.now(node),
            write,
        );
        written.ok()
    }

    fn write(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let name = NAMES[self.random.below(self.plan.names)];
        // So that searches find something.
        let value = match name {
            SEARCHED => self.random.below(2) as u64,
            _ => self.random.next(),
        };
        let value: Arc<[u8]> = value.to_string().into_bytes().into();
        let replicate = match self.random.below(4) {
            0 => Replicate::Deferred,
            _ => Replicate::Now,
        };
        let Ok(last) = self.admit_value(node, session, name, &value) else {
            return;
        };
        let written = self.write_to(node, session, replicate, |writer| {
            writer.come_after(last);
            writer.set(name, value)?;
            Ok(writer.tag(name))
        });
        if let Some(Some(tag)) = written {
            self.spare(node, tag);
            self.sessions[session].writes.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    /// Writes and commits, and waits for nobody.
    pub(super) fn write_quietly(&mut self, node: usize, session: usize) {
        let value: Arc<[u8]> = self.random.next().to_string().into_bytes().into();
        self.write_to(node, session, Replicate::Now, |writer| {
            writer.set("a", value)
        });
        let key = &self.sessions[session].key;
        let now = self.now(node);
        self.nodes[node].replica.commit(key, now);
    }

    pub(super) fn add(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let name = COUNTERS[self.random.below(COUNTERS.len())];
        let by = self.random.below(9) as i64 - 3;
        let written = self.write_to(node, session, Replicate::Now, |writer| {
            writer.add(name, by)?;
            Ok(writer.state().register(name).and_then(latest_count))
        });
        if let Some(Some(tag)) = written {
            self.sessions[session].adds.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    fn remove(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let name = match self.plan.forgets_removals() {
            true => NAMES[self.random.below(self.plan.names)],
            false => [NAMES[0], COUNTERS[0]][self.random.below(2)],
        };
        let written = self.write_to(node, session, Replicate::Now, |writer| {
            let there = writer.remove(name)?;
            Ok(writer.tag(name).filter(|_| there))
        });
        if let Some(Some(tag)) = written {
            self.sessions[session].writes.push((name, tag));
            self.maybe_commit(node, session);
        }
    }

    fn admit_value(
        &self,
        node: usize,
        session: usize,
        name: &str,
        json: &[u8],
    ) -> Result<Stamp, SessionError> {
        let replica = &self.nodes[node].replica;
        let key = || Some(self.sessions[session].key);
        let now = || self.now(node);
        replica.admit_value(&self.meta.context, key, name, json, now)
    }

    /// Writes or removes an attribute, and tells the peers.
    pub(super) fn change(&self, node: usize, session: usize, name: &str, value: Option<&[u8]>) {
        let last = value.map_or(Ok(Stamp::ZERO), |value| {
            self.admit_value(node, session, name, value)
        });
        self.write_to(node, session, Replicate::Now, |writer| {
            writer.come_after(last?);
            match value {
                Some(value) => writer.set(name, value.into()),
                None => writer.remove(name).map(|_| ()),
            }
        });
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        replica.commit(&self.sessions[session].key, now);
    }

    /// Writes an attribute in a filtered request, of which peers hear by repair alone.
    pub(super) fn change_quietly(&self, node: usize, session: usize, name: &str) {
        self.write_to(node, session, Replicate::Deferred, |writer| {
            writer.set(name, b"1".as_slice().into())
        });
    }

    /// Adds to a counter, and tells the peers.
    pub(super) fn count(&self, node: usize, session: usize, name: &str, by: i64) {
        self.write_to(node, session, Replicate::Now, |writer| writer.add(name, by));
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        replica.commit(&self.sessions[session].key, now);
    }

    /// Returns the last write of a node in the first session.
    pub(super) fn own_write(&self, node: usize) -> Option<Tag> {
        own_stamp(&self.nodes[node].replica, &self.sessions[0].key)
    }

    pub(super) fn cycle(&mut self, node: usize) {
        let session = self.any_session();
        let Some(session) = session.filter(|session| !self.sessions[*session].is_map()) else {
            return;
        };
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&self.random.next().to_le_bytes());
        let secret = SessionSecret::from_bytes(bytes);
        let hash = secret.hash();
        let cycled = self.write_to(node, session, Replicate::Now, |writer| writer.cycle(hash));
        if cycled.is_some() {
            self.sessions[session].secret = secret;
            self.maybe_commit(node, session);
        }
    }

    fn touch(&mut self, node: usize) {
        if let Some(session) = self.any_session() {
            self.touch_session(node, session);
        }
    }

    /// Begins a request that does not end. Returns whether it found its session.
    pub(super) fn open_session(&self, node: usize, session: usize) -> bool {
        let known = &self.sessions[session];
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        let (key, secret) = (&known.key, &known.secret);
        replica.open("", key, secret, Replicate::Now, now, |_| ()) == Access::Alive
    }

    pub(super) fn touch_session(&self, node: usize, session: usize) {
        let known = &self.sessions[session];
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        if replica.open("", &known.key, &known.secret, Replicate::Now, now, |_| ()) == Access::Alive
        {
            replica.release(&known.key, Replicate::Now, now);
        }
    }

    /// Commits a session, but not always: writes of other requests are under way.
    pub(super) fn maybe_commit(&mut self, node: usize, session: usize) {
        if self.random.below(5) == 0 {
            return;
        }
        let key = self.sessions[session].key;
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        let before = replica.head();
        replica.commit(&key, now);
        let position = replica.head();
        if position == before {
            return;
        }
        let upto = own_stamp(replica, &key);
        let destroyed = matches!(replica.full(&key, now), Item::Destroyed(_));
        let commit = Commit {
            node,
            boot: replica.boot(),
            position,
            session,
            destroyed,
            logged_out: None,
            upto,
        };
        self.commits.push(commit.clone());
        self.wait_for(commit);
    }
}

/// Returns the latest share of a counter, which is the one just written.
fn latest_count(register: &Register) -> Option<Tag> {
    let Content::Counter(counter) = &register.content else {
        return None;
    };
    let counts = counter.counts.iter();
    counts
        .map(|count| Tag {
            stamp: count.stamp,
            origin: count.origin,
        })
        .max()
}

fn own_stamp(replica: &Replica, key: &SessionKey) -> Option<Tag> {
    let boot = replica.boot();
    let read = replica.read(key, |state| {
        let entries = state.vector().entries().iter();
        let own = entries.filter(|(origin, _)| origin.boot == boot);
        own.map(|(origin, stamp)| Tag {
            stamp: *stamp,
            origin: *origin,
        })
        .max()
    });
    read.ok().flatten()
}
