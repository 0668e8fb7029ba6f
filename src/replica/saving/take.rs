//! Passes over all that is not saved.

use super::{batch::Batch, progress::Pass};
use crate::{
    replica::{
        Replica,
        lineage::SavedLineage,
        store::{lock, residency::Residency, shard::Shard},
    },
    session::{Mutant, Now, PackedHead, SavedClock, SavedKey, SessionKey},
    wire::{
        packed_session::write_body,
        saved::{Facts, facts_record, order_record, session_record, tombstone_record},
    },
};

impl Replica {
    /// Notes from now on what changes, to be saved. Call it first.
    ///
    /// The node leaves tombstones from then on also if it never meets a peer: another one may be
    /// given a copy of its directory.
    pub(crate) fn record_changes(&self) {
        for (number, shard) in self.store.shards.iter().enumerate() {
            lock(shard).unsaved.record(number, &self.saving.changed);
        }
        self.orders.record_changes();
        self.saving.progress().lineage = Some(self.lineage.to_save());
        if !Mutant::LoadAlone.is_on() {
            self.store.meet_peer();
        }
    }

    /// Returns how many sessions, tombstones and orders are not saved as they are here.
    pub(crate) fn unsaved(&self) -> usize {
        let taken = self.saving.progress().pass.as_ref().map_or(0, Pass::len);
        let shards = self.store.shards.iter();
        let noted: usize = shards.map(|shard| lock(shard).unsaved.len()).sum();
        taken + noted + self.orders.unsaved()
    }

    /// Has these records written again.
    pub(crate) fn mark_unsaved(&self, keys: &[SavedKey]) {
        for key in keys {
            match key {
                SavedKey::Facts => self.saving.progress().facts_ms = 0,
                SavedKey::Session(key) => self.store.shard(key).unsaved.note_unknown(key),
                SavedKey::Order(id) => self.orders.mark_unsaved(std::iter::once(*id)),
            }
        }
    }

    /// Takes some of what is not saved, about so many bytes. It counts as saved from then on: write
    /// it, or [give it back](Self::give_back).
    ///
    /// A shard is locked while a few of its sessions are read, cold ones as they are.
    pub(crate) fn take_unsaved(&self, now: Now, max_bytes: usize) -> Batch {
        let mut progress = self.saving.progress();
        let clock = *self.saving.clock.get_or_init(|| SavedClock::NEW);
        let mut pass = match progress.pass.take() {
            Some(pass) => pass,
            None => self.begin_pass(clock, now),
        };
        let mut batch = Batch::default();
        if let Some(lineage) = progress.lineage.take() {
            // Without facts nothing of a directory can be read.
            let facts = self.facts(&lineage, clock, now);
            let record = facts_record(&facts);
            batch.entries.push((SavedKey::Facts, Some(record)));
            batch.lineage = Some(lineage);
        }
        let mut bytes = 0;
        while bytes < max_bytes {
            if !pass.keys.is_empty() {
                bytes += self.read_some(&mut pass, &mut batch, clock);
            } else if let Some(shard) = pass.shards.pop() {
                pass.shard = shard;
                pass.keys = lock(&self.store.shards[shard]).unsaved.take();
            } else if let Some((id, saved)) = pass.orders.pop() {
                let record = saved.map(|saved| order_record(&saved, clock));
                bytes += record.as_ref().map_or(0, Vec::len) + BESIDE;
                batch.entries.push((SavedKey::Order(id), record));
            } else {
                break;
            }
        }
        if !pass.has_taken && Mutant::SaveContactFirst.is_on() {
            let record = facts_record(&pass.facts);
            batch.entries.push((SavedKey::Facts, Some(record)));
        }
        pass.has_taken |= !batch.entries.is_empty();
        if !(pass.keys.is_empty() && pass.shards.is_empty() && pass.orders.is_empty()) {
            progress.pass = Some(pass);
            return batch;
        }
        if pass.has_taken || now.mono_ms.saturating_sub(progress.facts_ms) >= FACTS_MS {
            progress.facts_ms = now.mono_ms;
            let record = facts_record(&pass.facts);
            batch.entries.push((SavedKey::Facts, Some(record)));
        }
        batch.position = match Mutant::CoverLaterChanges.is_on() {
            true => self.head(),
            false => pass.position,
        };
        batch.is_last = true;
        batch
    }

    /// Takes a batch back that could not be written. What is left of its pass is read anew.
    pub(crate) fn give_back(&self, batch: Batch) {
        let mut progress = self.saving.progress();
        if let Some(pass) = progress.pass.take() {
            let mut shard = lock(&self.store.shards[pass.shard]);
            pass.keys
                .iter()
                .for_each(|key| shard.unsaved.note_unknown(key));
            drop(shard);
            pass.shards
                .into_iter()
                .for_each(|shard| self.saving.changed.note(shard));
            let ids = pass.orders.into_iter().map(|(id, _)| id);
            self.orders.mark_unsaved(ids);
        }
        progress.facts_ms = 0;
        if batch.lineage.is_some() {
            progress.lineage = batch.lineage;
        }
        drop(progress);
        let keys: Vec<SavedKey> = batch.entries.into_iter().map(|(key, _)| key).collect();
        self.mark_unsaved(&keys);
    }

    fn begin_pass(&self, clock: SavedClock, now: Now) -> Pass {
        // First of all: what comes behind it may or may not be in the pass.
        let position = self.head();
        Pass {
            position,
            facts: self.facts(&self.lineage.to_save(), clock, now),
            orders: match Mutant::SaveNoOrders.is_on() {
                true => Vec::new(),
                false => self.orders.take_unsaved(),
            },
            shards: self.saving.changed.take(),
            shard: 0,
            keys: Vec::new(),
            has_taken: false,
        }
    }

    /// Returns what is known of this node.
    fn facts(&self, lineage: &SavedLineage, clock: SavedClock, now: Now) -> Facts {
        Facts {
            wall_ms: now.wall_ms,
            lived_ms: clock.lived_ms(now.mono_ms),
            down_ms: clock.down_ms(),
            contact_ms: clock.lived_ms(lineage.contact_ms),
            is_lost_in_time: lineage.is_lost_in_time && !Mutant::ForgetLostTime.is_on(),
            since_ms: clock.lived_ms(lineage.since_ms),
            forgotten_ms: clock.lived_ms(lineage.forgotten_ms),
            retention: self.retention.own(),
            stops: lineage
                .stops
                .iter()
                .map(|stop| (clock.lived_ms(stop.from_ms), clock.lived_ms(stop.until_ms)))
                .collect(),
        }
    }

    /// Reads some sessions of one shard. Returns how many bytes they take.
    fn read_some(&self, pass: &mut Pass, batch: &mut Batch, clock: SavedClock) -> usize {
        let shard = lock(&self.store.shards[pass.shard]);
        let mut bytes = 0;
        for _ in 0..SLICE {
            if bytes >= SLICE_BYTES {
                break;
            }
            let Some(key) = pass.keys.pop() else {
                break;
            };
            let record = shard.record(&key, clock);
            bytes += record.as_ref().map_or(0, Vec::len) + BESIDE;
            batch.entries.push((SavedKey::Session(key), record));
        }
        bytes
    }
}

impl Shard {
    /// Returns the record of a session or of what is left of one, `None` where there is neither.
    fn record(&self, key: &SessionKey, clock: SavedClock) -> Option<Vec<u8>> {
        if let Some(held) = self.tombstone(key) {
            return match Mutant::SaveNoTombstones.is_on() {
                true => None,
                false => Some(tombstone_record(&held.tombstone, clock)),
            };
        }
        Some(match self.residency(key)? {
            Residency::Cold(cold) => {
                let (head, body) = cold.parts();
                session_record(&head, clock, |to| to.array(body))
            }
            Residency::Hot(hot) => {
                let state = &hot.state;
                let head = PackedHead {
                    meta: state.meta().clone(),
                    created_ms: state.created_ms(),
                    accessed_ms: state.accessed_ms(),
                };
                session_record(&head, clock, |to| write_body(state, to))
            }
        })
    }
}

/// Sessions that are read at most while a shard is locked. Tests want many slices.
const SLICE: usize = if cfg!(test) { 2 } else { 16 };
/// Bytes of sessions after which no further one is read.
const SLICE_BYTES: usize = 256 * 1024;
/// Bytes that a record takes beside itself, about.
const BESIDE: usize = 64;
/// How old facts get at most while nothing else is to be saved.
const FACTS_MS: u64 = 10_000;
