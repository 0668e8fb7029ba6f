//! Nodes with directories: what is written, what a crash leaves of it, and nodes that are down.

use std::collections::BTreeMap;

use super::{Commit, World, cable::Crash, node::SimNode};
use crate::{
    config::Ack,
    replica::{Batch, Loaded, Replica},
    session::{Mutant, Now, PackedHead, SavedClock, SavedKey, SessionParts, SessionState},
    wire::{
        Position,
        packed_session::write_body,
        saved::{Record, read_record, session_record},
    },
};

/// Whether nodes have directories, and what responses wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disks {
    None,
    /// Changes are written some time after the response.
    Late,
    /// A response waits until they are.
    BeforeResponse,
}

/// The directory of a node.
#[derive(Debug, Default)]
pub(super) struct SimDisk {
    /// What cannot be lost.
    synced: BTreeMap<[u8; 17], Vec<u8>>,
    /// Batches that the machine may lose, the first one first.
    tail: Vec<Batch>,
}

impl SimDisk {
    fn write(&mut self, batch: Batch) {
        self.tail.push(batch);
    }

    /// Makes sure of all that was written. Returns the position that it covers, if any.
    fn sync(&mut self) -> Option<Position> {
        let mut covered = None;
        for batch in self.tail.drain(..) {
            covered = covered.max(batch.position);
            for (key, record) in batch.entries {
                match record {
                    Some(record) => self.synced.insert(key.to_bytes(), record),
                    None => self.synced.remove(&key.to_bytes()),
                };
            }
        }
        covered
    }

    /// Loses all but so many of the batches that were not synced.
    fn lose_tail(&mut self, kept: usize) {
        let lost = self.tail.split_off(kept.min(self.tail.len()));
        self.sync();
        if Mutant::SaveVectorApart.is_on() {
            let entries = lost.into_iter().flat_map(|batch| batch.entries);
            for (key, record) in entries {
                let held = self.synced.get_mut(&key.to_bytes());
                if let (Some(held), Some(record)) = (held, record)
                    && let Some(torn) = torn(held, &record)
                {
                    *held = torn;
                }
            }
        }
    }

    /// Returns a copy of what cannot be lost.
    pub(super) fn copy(&self) -> Self {
        Self {
            synced: self.synced.clone(),
            tail: Vec::new(),
        }
    }

    /// Returns whether this node has ever written here.
    fn is_new(&self) -> bool {
        self.synced.is_empty()
    }
}

/// Returns the record of a session with the values of one record and the vector of a later one.
fn torn(values: &[u8], vector: &[u8]) -> Option<Vec<u8>> {
    let late = Now {
        wall_ms: 0,
        mono_ms: 1 << 50,
    };
    let read = |bytes| match read_record(bytes, SavedClock::NEW, None, late) {
        Ok(Record::Session { state, .. }) => Some(state.unpack().into_parts()),
        _ => None,
    };
    let torn = SessionState::from_parts(SessionParts {
        vector: read(vector)?.vector,
        ..read(values)?
    });
    let head = PackedHead {
        meta: torn.meta().clone(),
        created_ms: torn.created_ms(),
        accessed_ms: torn.accessed_ms(),
    };
    Some(session_record(&head, SavedClock::NEW, |to| {
        write_body(&torn, to);
    }))
}

impl World {
    /// Does something that concerns directories.
    pub(super) fn step_of_disks(&mut self, node: usize) {
        match self.random.below(60) {
            0 => self.crash_all(),
            1..3 => self.stop(node),
            3..6 => {
                let down = self.random.below(self.nodes.len());
                self.start(down);
            }
            // Days apart, nodes in doubt would take each other for what the rest has.
            6..9 if self.plan.doubts_sessions() => self.flush_some(node),
            6 => self.keep_image(node),
            7 => {
                let image = self.images[node].copy();
                self.restart_with(node, image);
            }
            8 => {
                let other = self.random.below(self.nodes.len());
                let copy = self.disks[other].copy();
                self.restart_with(node, copy);
            }
            9..12 => self.fail_to_write(node),
            _ => self.flush_some(node),
        }
    }

    /// Writes some of what is not saved, and makes sure of it or not.
    fn flush_some(&mut self, node: usize) {
        let max_bytes = 1 + self.random.below(600);
        let batch = self.nodes[node]
            .replica
            .take_unsaved(self.now(node), max_bytes);
        self.disks[node].write(batch);
        if self.random.below(3) > 0 {
            self.sync(node);
        }
    }

    /// Writes one batch, and makes sure of it.
    pub(super) fn flush_once(&mut self, node: usize, max_bytes: usize) {
        let batch = self.nodes[node]
            .replica
            .take_unsaved(self.now(node), max_bytes);
        self.disks[node].write(batch);
        self.sync(node);
    }

    /// Writes all that is not saved but for the last batch, in which the facts are, and makes sure of
    /// it. The node must not write again.
    pub(super) fn save_without_facts(&mut self, node: usize) {
        loop {
            let batch = self.nodes[node].replica.take_unsaved(self.now(node), 1);
            if batch.is_last {
                break;
            }
            self.disks[node].write(batch);
        }
        self.sync(node);
    }

    /// Writes all that is not saved, and makes sure of it.
    pub(super) fn save(&mut self, node: usize) {
        if self.plan.disks == Disks::None || self.is_down(node) {
            return;
        }
        loop {
            let batch = self.nodes[node].replica.take_unsaved(self.now(node), 300);
            let is_last = batch.is_last;
            self.disks[node].write(batch);
            if is_last {
                break;
            }
        }
        self.sync(node);
    }

    pub(super) fn save_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.save(node));
    }

    fn fail_to_write(&mut self, node: usize) {
        let batch = self.nodes[node].replica.take_unsaved(self.now(node), 300);
        self.nodes[node].replica.give_back(batch);
        self.nodes[node].acks.disk_fails().wake();
        self.check_waits(node);
    }

    /// Makes sure of what a node has written, and tells whoever waits for that.
    fn sync(&mut self, node: usize) {
        let covered = self.disks[node].sync();
        let own = &mut self.nodes[node];
        own.saved = own.saved.max(covered);
        let (boot, saved) = (own.replica.boot(), own.saved);
        own.acks.saved(covered).wake();
        let is_saved = |commit: &&Commit| {
            commit.node == node && commit.boot == boot && commit.position <= saved
        };
        let known = self.saved.len();
        let commits = self.commits.iter().filter(is_saved);
        let new = commits.filter(|commit| {
            let mut before = self.saved[..known].iter();
            !before.any(|other| (other.boot, other.position) == (commit.boot, commit.position))
        });
        let new: Vec<Commit> = new.cloned().collect();
        self.saved.extend(new);
        self.check_waits(node);
    }

    /// Lets a node that starts load what its directory holds.
    pub(super) fn load(&mut self, node: usize, replica: &Replica, now: Now) {
        replica.record_changes();
        let disk = &self.disks[node];
        if disk.is_new() {
            return;
        }
        let mut broken = Vec::new();
        for (key, record) in &disk.synced {
            let loaded = match SavedKey::from_bytes(key) {
                Some(SavedKey::Facts) => replica.load_facts(record, now).map(|()| Loaded::Taken),
                Some(key) => replica.load(key, record, now),
                None => continue,
            };
            if let Err(error) = loaded {
                broken.push(error.to_string());
            }
        }
        self.check(broken.is_empty(), || format!("own records: {broken:?}"));
    }

    pub(super) fn is_down(&self, node: usize) -> bool {
        self.down[node]
    }

    /// Lets a node that dies lose what its machine had not made sure of.
    pub(super) fn lose_tail(&mut self, node: usize, how: Crash) {
        if self.plan.disks == Disks::None {
            return;
        }
        let kept = match how {
            // The system still writes what its processes have left.
            Crash::Told => usize::MAX,
            Crash::Untold => self.random.below(4),
        };
        self.disks[node].lose_tail(kept);
    }

    /// Kills a node, which stays down.
    pub(super) fn stop(&mut self, node: usize) {
        if !self.is_down(node) {
            self.down[node] = true;
            self.crash(node, Crash::Untold);
        }
    }

    /// Starts a node that is down.
    pub(super) fn start(&mut self, node: usize) {
        if self.is_down(node) {
            self.down[node] = false;
            self.nodes[node] = self.boot(node);
            self.advance_join(node);
        }
    }

    pub(super) fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    pub(super) fn stop_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.stop(node));
    }

    /// Cuts the power of all nodes, and starts them again.
    pub(super) fn crash_all(&mut self) {
        self.stop_all();
        self.mono_ms += self.random.below(5_000) as u64;
        self.start_all();
    }

    /// Lets a night pass, during which nodes with directories are down, or some of them.
    pub(super) fn let_night_fall(&mut self) {
        if self.plan.disks != Disks::None {
            for node in 0..self.nodes.len() {
                if self.random.below(2) == 0 {
                    self.stop(node);
                }
            }
        }
        self.pass(self.plan.night_ms);
    }

    /// Copies the directory of a node as it is now.
    pub(super) fn keep_image(&mut self, node: usize) {
        self.images[node] = self.disks[node].copy();
    }

    pub(super) fn image(&self, node: usize) -> SimDisk {
        self.images[node].copy()
    }

    /// Kills a node, and starts it with another directory. What it has made sure of is lost.
    pub(super) fn restart_with(&mut self, node: usize, disk: SimDisk) {
        self.stop(node);
        self.saved.retain(|commit| commit.node != node);
        self.disks[node] = disk;
        self.start(node);
    }

    /// Returns the first of what nodes have made sure of that is not held any more.
    pub(super) fn lost_commit(&self) -> Option<String> {
        let lost = self.saved.iter().find(|commit| {
            let key = &self.sessions[commit.session].key;
            let lives = |node: &SimNode| node.replica.read(key, |_| ()).is_ok();
            (commit.destroyed && self.nodes.iter().any(lives)) || !self.holds(0, commit)
        });
        lost.map(|commit| {
            let Commit {
                node, destroyed, ..
            } = commit;
            format!("what node {node} had saved is lost (destroyed: {destroyed})")
        })
    }

    /// Checks that a response that waited for the disk is on it.
    pub(super) fn check_saved(&mut self, commit: &Commit, ack: Ack) {
        let own = &self.nodes[commit.node];
        let is_counted = own.acks.is_disk_counted();
        let is_saved = own.saved >= commit.position;
        self.check(!is_counted || is_saved, || {
            format!("a response with {ack:?} did not wait for the disk")
        });
    }
}
