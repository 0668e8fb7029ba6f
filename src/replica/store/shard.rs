//! One locked part of the store.

use std::{borrow::Cow, sync::Arc};

use super::{
    cold::ColdSession,
    expiry::{end_ms, stale_ms},
    hot::{HotSession, TombstoneEntry},
    residency::{HotEntry, IdleQueue, Residency, StoredSession, bucket},
    sorted_map::SortedMap,
};
use crate::session::{
    BootId, Mutant, Now, Origin, PackedHead, PackedSession, PackedSummary, SessionKey, SessionMeta,
    SessionState, Stamp, Tombstone, destroyed_version, live_version,
};

/// Sessions and tombstones of one range of keys. Guarded by one lock.
#[derive(Debug)]
pub(in crate::replica) struct Shard {
    boot: BootId,
    live: Box<[SortedMap<StoredSession>]>,
    tombstones: Box<[SortedMap<TombstoneEntry>]>,
    /// Per digest shard the xor of its sessions' versions.
    pub(in crate::replica) digests: Box<[u64]>,
    /// Sessions and tombstones dropped here: the epoch of what is taken in next.
    drops: u32,
    /// Per digest shard the first tick at which something of it is due, or an earlier one.
    next_due: Box<[u64]>,
    idle_queue: IdleQueue,
    /// Whether a request has asked for a session here, or created one, since the last sweep.
    pub(in crate::replica) in_use: bool,
    digest_shift: u32,
}

impl Shard {
    pub(in crate::replica) fn new(boot: BootId, digests: usize, digest_shift: u32) -> Self {
        let shared_bits = u32::BITS - digest_shift;
        Self {
            boot,
            live: (0..digests).map(|_| SortedMap::new(shared_bits)).collect(),
            tombstones: (0..digests).map(|_| SortedMap::new(shared_bits)).collect(),
            digests: vec![0; digests].into(),
            drops: 0,
            next_due: vec![u64::MAX; digests].into(),
            idle_queue: IdleQueue::default(),
            in_use: false,
            digest_shift,
        }
    }

    /// Who this node is in a session that it takes in now.
    pub(in crate::replica) fn next_origin(&self) -> Origin {
        let epoch = if Mutant::KeepOrigin.is_on() {
            0
        } else {
            self.drops
        };
        let boot = self.boot;
        Origin { boot, epoch }
    }

    pub(in crate::replica) fn holds(&self, key: &SessionKey) -> bool {
        self.live[self.digest_of(key)].contains(key)
    }

    /// The session as it is, without waking it.
    pub(in crate::replica) fn view(&self, key: &SessionKey) -> Option<Cow<'_, HotSession>> {
        let place = self.live[self.digest_of(key)].get(key)?;
        Some(place.held.view(self.boot))
    }

    /// All sessions as they are.
    pub(in crate::replica) fn views(
        &self,
    ) -> impl Iterator<Item = (&SessionKey, Cow<'_, HotSession>)> {
        let places = self.live.iter().flat_map(SortedMap::iter);
        places.map(|(key, place)| (key, place.held.view(self.boot)))
    }

    /// Returns the session, hot from now on, to be changed.
    pub(in crate::replica) fn entry(&mut self, key: &SessionKey) -> Option<HotEntry<'_>> {
        let digest = self.digest_of(key);
        let StoredSession { due, version, held } = self.live[digest].get_mut(key)?;
        Some(HotEntry {
            live: held.make_hot(key, self.boot, &mut self.idle_queue)?,
            due,
            version,
            digest: &mut self.digests[digest],
            next_due: &mut self.next_due[digest],
            drops: &mut self.drops,
        })
    }

    /// Returns the session, hot from now on.
    pub(in crate::replica) fn live(&mut self, key: &SessionKey) -> Option<&mut HotSession> {
        self.entry(key).map(|entry| entry.live)
    }

    /// Sessions and tombstones beside which `key` would be listed.
    pub(in crate::replica) fn entries_beside(&self, key: &SessionKey) -> usize {
        let digest = self.digest_of(key);
        self.live[digest].len() + self.tombstones[digest].len()
    }

    pub(in crate::replica) fn grave(&self, key: &SessionKey) -> Option<&TombstoneEntry> {
        self.tombstones[self.digest_of(key)].get(key)
    }

    pub(in crate::replica) fn tombstone_mut(
        &mut self,
        key: &SessionKey,
    ) -> Option<&mut TombstoneEntry> {
        self.tombstones[self.digest_of(key)].get_mut(key)
    }

    /// Takes in a session that is about to be used.
    pub(in crate::replica) fn insert(&mut self, key: SessionKey, state: SessionState, now: Now) {
        let live = HotSession::new(state, self.next_origin(), now.mono_ms);
        let (version, check_ms) = (live.version(&key), live.next_check());
        self.idle_queue.push(key);
        self.insert_stored(key, version, check_ms, Residency::Hot(Box::new(live)));
    }

    /// Takes in a session that nobody here has asked for. It stays packed.
    pub(in crate::replica) fn insert_packed(
        &mut self,
        key: SessionKey,
        state: &PackedSession,
        summary: &PackedSummary,
        now: Now,
    ) {
        let own = self.next_origin();
        if summary.vector.of(own) != Stamp::ZERO {
            // What this node is said to have written must not look as if its log had it.
            return self.insert(key, state.unpack(), now);
        }
        let PackedHead {
            created_ms,
            accessed_ms,
            ..
        } = state.head;
        let end_ms = end_ms(summary.expiry, created_ms, accessed_ms);
        let held = Residency::Cold(ColdSession::taken_in(state, end_ms, own));
        let version = live_version(&key, &summary.vector, summary.access);
        self.insert_stored(key, version, end_ms, held);
    }

    /// Returns what peers may have of a session, if it is cold.
    pub(in crate::replica) fn packed(&self, key: &SessionKey, now: Now) -> Option<PackedSession> {
        match &self.live[self.digest_of(key)].get(key)?.held {
            Residency::Cold(cold) if now.mono_ms < cold.stale_ms() => Some(cold.packed()),
            Residency::Cold(_) | Residency::Hot(_) => None,
        }
    }

    /// Turns a live session into a tombstone, or adds what is known of one. Returns the birth of
    /// the session.
    pub(in crate::replica) fn delete(
        &mut self,
        key: SessionKey,
        tombstone: Tombstone,
    ) -> Option<Arc<SessionMeta>> {
        let digest = self.digest_of(&key);
        let gone = self.remove_live(&key);
        if let Some(grave) = self.tombstone_mut(&key) {
            grave.tombstone.merge(tombstone);
            return gone;
        }
        self.digests[digest] ^= destroyed_version(&key);
        let due = bucket(tombstone.ends_ms());
        let grave = TombstoneEntry {
            tombstone,
            position: 0,
            dirty: false,
            due,
        };
        self.tombstones[digest].insert(key, grave);
        self.next_due[digest] = self.next_due[digest].min(due);
        gone
    }

    /// Drops an expired session without a trace. Returns its birth.
    pub(in crate::replica) fn drop_live(&mut self, key: &SessionKey) -> Option<Arc<SessionMeta>> {
        let meta = self.remove_live(key)?;
        self.drops = self.drops.wrapping_add(1);
        Some(meta)
    }

    pub(in crate::replica) fn drop_tombstone(&mut self, key: &SessionKey) {
        let digest = self.digest_of(key);
        if self.tombstones[digest].remove(key).is_some() {
            self.digests[digest] ^= destroyed_version(key);
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// Drops all. Returns how many sessions and tombstones there were.
    pub(in crate::replica) fn clear(&mut self) -> (usize, usize) {
        let live = self.live.iter().map(SortedMap::len).sum();
        let tombstones = self.tombstones.iter().map(SortedMap::len).sum();
        self.live.iter_mut().for_each(SortedMap::clear);
        self.tombstones.iter_mut().for_each(SortedMap::clear);
        self.digests.fill(0);
        self.next_due.fill(u64::MAX);
        self.idle_queue = IdleQueue::default();
        self.drops = self.drops.wrapping_add(1);
        (live, tombstones)
    }

    /// Looks at a session or tombstone again then.
    pub(in crate::replica) fn schedule(&mut self, key: &SessionKey, at_ms: u64) {
        let (digest, due) = (self.digest_of(key), bucket(at_ms));
        if let Some(place) = self.live[digest].get_mut(key) {
            place.due = due;
        } else if let Some(grave) = self.tombstones[digest].get_mut(key) {
            grave.due = due;
        }
        self.next_due[digest] = self.next_due[digest].min(due);
    }

    /// The keys whose time has come.
    pub(in crate::replica) fn due(&mut self, now: Now) -> Vec<SessionKey> {
        let tick = bucket(now.mono_ms);
        let mut keys = Vec::new();
        let shelves = self.live.iter().zip(&self.tombstones);
        for (next_due, (live, tombstones)) in self.next_due.iter_mut().zip(shelves) {
            if *next_due > tick {
                continue;
            }
            *next_due = u64::MAX;
            let live = live.iter().map(|(key, place)| (key, place.due));
            let tombstones = tombstones.iter().map(|(key, grave)| (key, grave.due));
            for (key, due) in live.chain(tombstones) {
                if due <= tick {
                    keys.push(*key);
                } else {
                    *next_due = (*next_due).min(due);
                }
            }
        }
        keys
    }

    /// Sessions that are not at rest.
    #[cfg(test)]
    pub(in crate::replica) fn hot_count(&self) -> usize {
        let places = self.live.iter().flat_map(SortedMap::iter);
        let idle_queue = places.filter(|(_, place)| matches!(place.held, Residency::Hot(_)));
        idle_queue.count()
    }

    /// Puts sessions that nobody has used for a moment to rest.
    pub(in crate::replica) fn cool_idle(&mut self, now: Now) {
        let mut idle_queue = std::mem::take(&mut self.idle_queue);
        idle_queue.start(now);
        while let Some(key) = idle_queue.pop_due() {
            if !self.cool(&key, now) {
                idle_queue.push(key);
            }
        }
        idle_queue.shrink();
        self.idle_queue = idle_queue;
    }

    /// Calls `each` with key, version, instant of the last change, and the instant from which on
    /// it is not offered to peers any more.
    pub(in crate::replica) fn list(
        &self,
        digest: usize,
        mut each: impl FnMut(&SessionKey, u64, u64, u64),
    ) {
        for (key, place) in self.live[digest].iter() {
            let (changed_ms, stale_ms) = match &place.held {
                Residency::Hot(live) => (live.changed_ms, stale_ms(&live.state)),
                Residency::Cold(cold) => (0, cold.stale_ms()),
            };
            each(key, place.version, changed_ms, stale_ms);
        }
        for (key, grave) in self.tombstones[digest].iter() {
            let Tombstone { destroyed_ms, .. } = grave.tombstone;
            let ends_ms = grave.tombstone.ends_ms();
            each(key, destroyed_version(key), destroyed_ms, ends_ms);
        }
    }

    /// The digest of this shard that `key` belongs to.
    pub(in crate::replica) fn digest_of(&self, key: &SessionKey) -> usize {
        digest_number(key, self.digest_shift) & (self.digests.len() - 1)
    }

    fn insert_stored(&mut self, key: SessionKey, version: u64, check_ms: u64, held: Residency) {
        let (digest, due) = (self.digest_of(&key), bucket(check_ms));
        self.digests[digest] ^= version;
        self.next_due[digest] = self.next_due[digest].min(due);
        self.live[digest].insert(key, StoredSession { due, version, held });
    }

    fn remove_live(&mut self, key: &SessionKey) -> Option<Arc<SessionMeta>> {
        let digest = self.digest_of(key);
        let place = self.live[digest].remove(key)?;
        self.digests[digest] ^= place.version;
        Some(Arc::clone(match &place.held {
            Residency::Hot(live) => live.state.meta(),
            Residency::Cold(cold) => cold.meta(),
        }))
    }

    /// Whether the session is not awake, or is put to rest now.
    fn cool(&mut self, key: &SessionKey, now: Now) -> bool {
        let digest = self.digest_of(key);
        let Some(place) = self.live[digest].get_mut(key) else {
            return true;
        };
        let Residency::Hot(live) = &place.held else {
            return true;
        };
        if !live.is_idle(now) {
            return false;
        }
        let Some(cold) = ColdSession::of(live) else {
            return false;
        };
        place.held = Residency::Cold(cold);
        true
    }
}

/// The digest shard of a key, among all of the store's before masking.
fn digest_number(key: &SessionKey, shift: u32) -> usize {
    key.prefix().checked_shr(shift).unwrap_or(0) as usize
}
