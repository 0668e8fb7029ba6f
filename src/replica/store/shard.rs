//! One locked part of the store.

use std::{borrow::Cow, sync::Arc};

use super::{
    cold::ColdSession,
    counts::{Counted, Counts},
    expiry::{end_ms, limits_at, slack_ms},
    hot::{HotSession, TombstoneEntry},
    index::Index,
    place::{Part, Place},
    residency::{HotEntry, IdleQueue, Own, Residency, StoredSession, bucket},
    sorted_map::SortedMap,
    unconfirmed::{Candidate, Standing, Unconfirmed},
    unsaved::Unsaved,
};
use crate::session::{
    BootId, Mutant, Now, Origin, PackedHead, PackedSession, PackedSummary, Retention, SessionKey,
    SessionMeta, SessionState, Stamp, Tombstone, destroyed_version, session_version,
};

/// Sessions and tombstones of one range of keys. Guarded by one lock.
#[derive(Debug)]
pub(crate) struct Shard {
    own: Own,
    /// Of all shards together.
    counts: Arc<Counts>,
    /// Of all shards together. Only shards change it, where they change sessions.
    index: Option<Arc<Index>>,
    sessions: Box<[SortedMap<StoredSession>]>,
    tombstones: Box<[SortedMap<TombstoneEntry>]>,
    /// Per digest shard the xor of its sessions' versions.
    pub(crate) digests: Box<[u64]>,
    /// How many sessions and tombstones were dropped here: the epoch of what is taken in next.
    drops: u32,
    /// Per digest shard the first bucket in which something of it is due, or an earlier one.
    next_due: Box<[u64]>,
    idle_queue: IdleQueue,
    unconfirmed: Unconfirmed,
    pub(crate) unsaved: Unsaved,
    digest_shift: u32,
}

/// A session or tombstone, and when a listing has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) key: &'a SessionKey,
    pub(crate) version: u64,
    /// The instant of the last change.
    pub(crate) changed_ms: u64,
    /// From then on it is not offered to peers any more.
    pub(crate) stale_ms: u64,
}

impl Shard {
    pub(crate) fn new(
        boot: BootId,
        unconfirmed_ms: u64,
        counts: Arc<Counts>,
        digests: usize,
        digest_shift: u32,
    ) -> Self {
        let shared_bits = u32::BITS - digest_shift;
        Self {
            own: Own {
                boot,
                unconfirmed_ms,
            },
            counts,
            index: None,
            sessions: (0..digests).map(|_| SortedMap::new(shared_bits)).collect(),
            tombstones: (0..digests).map(|_| SortedMap::new(shared_bits)).collect(),
            digests: vec![0; digests].into(),
            drops: 0,
            next_due: vec![u64::MAX; digests].into(),
            idle_queue: IdleQueue::default(),
            unconfirmed: Unconfirmed::default(),
            unsaved: Unsaved::default(),
            digest_shift,
        }
    }

    pub(crate) fn index_by(&mut self, index: Arc<Index>) {
        self.index = Some(index);
    }

    /// Returns the origin of this node in a session that it takes in now.
    pub(crate) fn next_origin(&self) -> Origin {
        let epoch = if Mutant::KeepOrigin.is_on() {
            0
        } else {
            self.drops
        };
        let boot = self.own.boot;
        Origin { boot, epoch }
    }

    /// Returns how long tombstones are remembered at most.
    pub(crate) fn retention(&self) -> Retention {
        self.counts.retention()
    }

    pub(crate) fn holds(&self, key: &SessionKey) -> bool {
        self.sessions[self.digest_of(key)].contains(key)
    }

    /// Returns the version of a session, or of what is left of a destroyed one.
    pub(crate) fn version(&self, key: &SessionKey) -> Option<u64> {
        let session = self.sessions[self.digest_of(key)].get(key);
        let version = session.map(|session| session.version);
        version.or_else(|| self.tombstone(key).map(|_| destroyed_version(key)))
    }

    /// Returns the session as it is, which stays cold when it is.
    pub(crate) fn view(&self, key: &SessionKey) -> Option<Cow<'_, HotSession>> {
        let session = self.sessions[self.digest_of(key)].get(key)?;
        Some(session.residency.view(self.own))
    }

    /// Returns the sessions of one digest shard whose keys are behind `after`, all without it.
    pub(crate) fn sessions_after(
        &self,
        digest: usize,
        after: Option<&SessionKey>,
    ) -> impl Iterator<Item = (&SessionKey, &StoredSession)> {
        self.sessions[digest].iter_after(after)
    }

    /// Returns the session, hot from now on, to be changed.
    pub(crate) fn entry(&mut self, key: &SessionKey) -> Option<HotEntry<'_>> {
        let digest = self.digest_of(key);
        let StoredSession {
            due,
            version,
            residency,
        } = self.sessions[digest].get_mut(key)?;
        let before = residency.memory();
        let index = self.index.as_deref();
        let hot = residency.make_hot(key, self.own, index, &mut self.idle_queue)?;
        self.counts.resize(before, hot.memory);
        Some(HotEntry {
            hot,
            counts: &self.counts,
            index,
            due,
            version,
            digest: &mut self.digests[digest],
            next_due: &mut self.next_due[digest],
            drops: &mut self.drops,
            unsaved: &mut self.unsaved,
        })
    }

    /// Returns the session, hot from now on.
    pub(crate) fn hot(&mut self, key: &SessionKey) -> Option<&mut HotSession> {
        self.entry(key).map(|entry| entry.hot)
    }

    /// Returns how many sessions and tombstones would be listed beside `key`.
    pub(crate) fn entries_beside(&self, key: &SessionKey) -> usize {
        let digest = self.digest_of(key);
        self.sessions[digest].len() + self.tombstones[digest].len()
    }

    pub(crate) fn tombstone(&self, key: &SessionKey) -> Option<&TombstoneEntry> {
        self.tombstones[self.digest_of(key)].get(key)
    }

    pub(crate) fn tombstone_mut(&mut self, key: &SessionKey) -> Option<&mut TombstoneEntry> {
        self.tombstones[self.digest_of(key)].get_mut(key)
    }

    /// Takes in a session that is about to be used.
    pub(crate) fn insert(&mut self, key: SessionKey, state: SessionState, now: Now) {
        let counted = self.counts.add_session();
        self.insert_counted(counted, key, state, now);
    }

    /// [Takes in](Self::insert) a session that was counted before the shard was locked.
    pub(crate) fn insert_counted(
        &mut self,
        counted: Counted,
        key: SessionKey,
        state: SessionState,
        now: Now,
    ) {
        self.note_unconfirmed(&key, state.access(), state.accessed_ms());
        let (own, unconfirmed_ms) = (self.next_origin(), self.own.unconfirmed_ms);
        let mut hot = HotSession::new(state, own, unconfirmed_ms, now.mono_ms);
        if let Some(index) = &self.index {
            hot.set_places(index.enter(&key, &hot.state));
        }
        let (version, check_ms) = (hot.version(&key), hot.next_check());
        self.idle_queue.push(key);
        let held = Residency::Hot(Box::new(hot));
        self.insert_stored(counted, key, StoredSession::new(version, check_ms, held));
    }

    /// Takes in a session that nobody here has asked for. It stays packed.
    pub(crate) fn insert_packed(
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
        self.note_unconfirmed(&key, summary.access, accessed_ms);
        let limits = limits_at(summary.expiry, summary.access, self.own.unconfirmed_ms);
        let end_ms = end_ms(limits, created_ms, accessed_ms);
        if let Some(index) = &self.index {
            index.enter_packed(&key, &state.head.meta.context, &state.body);
        }
        let held = Residency::Cold(ColdSession::taken_in(state, end_ms, own));
        let version = session_version(&key, &summary.vector, summary.access, summary.attributes);
        let counted = self.counts.add_session();
        self.insert_stored(counted, key, StoredSession::new(version, end_ms, held));
    }

    /// Takes in a session, or what is left of one, that is on disk as it is here.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn without_saving<R>(&mut self, take_in: impl FnOnce(&mut Self) -> R) -> R {
        let unsaved = std::mem::take(&mut self.unsaved);
        let result = take_in(self);
        self.unsaved = unsaved;
        result
    }

    /// Returns a session as it is held.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn residency(&self, key: &SessionKey) -> Option<&Residency> {
        let session = self.sessions[self.digest_of(key)].get(key)?;
        Some(&session.residency)
    }

    /// Returns what peers may have of a session, if it is cold.
    pub(crate) fn packed(&self, key: &SessionKey, now: Now) -> Option<PackedSession> {
        match &self.sessions[self.digest_of(key)].get(key)?.residency {
            Residency::Cold(cold) if now.mono_ms < cold.stale_ms() => Some(cold.packed()),
            Residency::Cold(_) | Residency::Hot(_) => None,
        }
    }

    /// Turns a session into a tombstone, or merges what is known of one. Returns the immutable part
    /// of the session that was there.
    pub(crate) fn delete(
        &mut self,
        key: SessionKey,
        tombstone: Tombstone,
    ) -> Option<Arc<SessionMeta>> {
        let digest = self.digest_of(&key);
        let gone = self.remove_session(&key);
        if let Some(held) = self.tombstone_mut(&key) {
            let before = held.tombstone;
            held.tombstone.merge(tombstone);
            let merged = held.tombstone;
            self.counts.remove_tombstone(&before);
            self.counts.add_tombstone(&merged);
            if merged != before {
                // It may be older than was known here: another node has run while this one has not.
                let due = bucket(merged.ends_ms(self.retention()));
                self.next_due[digest] = self.next_due[digest].min(due);
                self.unsaved.note_change(&key);
            }
            return gone;
        }
        self.digests[digest] ^= destroyed_version(&key);
        let due = bucket(tombstone.ends_ms(self.retention()));
        let entry = TombstoneEntry {
            tombstone,
            position: None,
            dirty: false,
        };
        self.tombstones[digest].insert(key, entry);
        self.unsaved.note_arrival(&key);
        self.counts.add_tombstone(&tombstone);
        self.next_due[digest] = self.next_due[digest].min(due);
        if self.counts.tombstones() > self.counts.max_tombstones() {
            self.make_room_beside(&key);
        }
        gone
    }

    /// Forgets a tombstone before its time: the oldest that is listed beside a new one, or else the
    /// oldest of this shard.
    fn make_room_beside(&mut self, new: &SessionKey) {
        let oldest = |tombstones: &[SortedMap<TombstoneEntry>]| {
            let others = tombstones.iter().flat_map(SortedMap::iter);
            others
                .filter(|(key, _)| *key != new)
                .min_by_key(|(_, held)| held.tombstone.destroyed_ms)
                .map(|(key, _)| *key)
        };
        let beside = std::slice::from_ref(&self.tombstones[self.digest_of(new)]);
        if let Some(key) = oldest(beside).or_else(|| oldest(&self.tombstones)) {
            self.drop_tombstone(&key);
            self.counts.note_lost_tombstone();
        }
    }

    /// Drops an expired session without a trace. Returns its immutable part.
    pub(crate) fn drop_session(&mut self, key: &SessionKey) -> Option<Arc<SessionMeta>> {
        let meta = self.remove_session(key)?;
        self.drops = self.drops.wrapping_add(1);
        Some(meta)
    }

    pub(crate) fn drop_tombstone(&mut self, key: &SessionKey) {
        let digest = self.digest_of(key);
        if let Some(held) = self.tombstones[digest].remove(key) {
            self.counts.remove_tombstone(&held.tombstone);
            self.unsaved.note_departure(key);
            self.digests[digest] ^= destroyed_version(key);
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// Returns the keys of sessions that were created before an instant, and that others may have
    /// destroyed.
    pub(crate) fn keys_created_before(&self, before_ms: u64) -> Vec<SessionKey> {
        let sessions = self.sessions.iter().flat_map(SortedMap::iter);
        let old = sessions.filter(|(_, StoredSession { residency, .. })| {
            let may_end = || !residency.meta().is_of_map() || Mutant::DoubtMaps.is_on();
            residency.created_ms() < before_ms && may_end()
        });
        old.map(|(key, _)| *key).collect()
    }

    /// Returns the keys of sessions that were written here since their last commit.
    pub(crate) fn uncommitted(&self) -> Vec<SessionKey> {
        let sessions = self.sessions.iter().flat_map(SortedMap::iter);
        let has_more = |residency: &Residency| match residency {
            Residency::Hot(hot) => hot.written > hot.logged,
            Residency::Cold(_) => false,
        };
        let uncommitted = sessions.filter(|(_, session)| has_more(&session.residency));
        uncommitted.map(|(key, _)| *key).collect()
    }

    /// Looks at a session or tombstone again then.
    pub(crate) fn schedule(&mut self, key: &SessionKey, at_ms: u64) {
        let (digest, due) = (self.digest_of(key), bucket(at_ms));
        if let Some(session) = self.sessions[digest].get_mut(key) {
            session.due = due;
        }
        self.next_due[digest] = self.next_due[digest].min(due);
    }

    /// Has the next sweep look at all there is.
    pub(crate) fn schedule_all(&mut self) {
        self.next_due.fill(0);
    }

    /// Returns some keys whose time has come, from `place` on, which it moves.
    pub(crate) fn due_from(&mut self, place: &mut Place, now: Now) -> Due {
        let now_bucket = bucket(now.mono_ms);
        let retention = self.retention();
        let mut due = Due::default();
        while place.digest < self.next_due.len() && !due.is_enough() {
            let digest = place.digest;
            let next_due = &mut self.next_due[digest];
            if place.starts_digest() {
                if *next_due > now_bucket {
                    place.digest += 1;
                    continue;
                }
                // What is looked at from here on, and what comes meanwhile, brings it down again.
                *next_due = u64::MAX;
            }
            let after = place.after.as_ref();
            place.go_on(match place.part {
                Part::Sessions => {
                    let sessions = self.sessions[digest].iter_after(after);
                    due.look(
                        sessions.map(|(key, session)| (key, session.due)),
                        now_bucket,
                        next_due,
                    )
                }
                Part::Tombstones => {
                    let tombstones = self.tombstones[digest].iter_after(after);
                    let due_of = |held: &TombstoneEntry| bucket(held.tombstone.ends_ms(retention));
                    due.look(
                        tombstones.map(|(key, held)| (key, due_of(held))),
                        now_bucket,
                        next_due,
                    )
                }
            });
        }
        due.is_last = place.digest == self.next_due.len();
        due
    }

    /// Returns the oldest session that may make room for another one, and its age.
    pub(crate) fn oldest_unconfirmed(&mut self, now: Now) -> Option<Candidate> {
        let mut unconfirmed = std::mem::take(&mut self.unconfirmed);
        let oldest = unconfirmed.oldest(now, |key| match self.view(key) {
            None => Standing::Settled,
            Some(hot) if hot.state.is_confirmed() => Standing::Settled,
            Some(hot) if hot.pins > 0 => Standing::InUse,
            Some(_) => Standing::Unconfirmed,
        });
        self.unconfirmed = unconfirmed;
        oldest
    }

    /// Drops a session that makes room for another one, unless it is in use or confirmed by now.
    /// Returns its immutable part, and the instant of its creation.
    pub(crate) fn evict(&mut self, key: &SessionKey) -> Option<(Arc<SessionMeta>, u64)> {
        let hot = self.view(key)?;
        if hot.state.is_confirmed() || hot.pins > 0 {
            return None;
        }
        let created_ms = hot.state.created_ms();
        Some((self.drop_session(key)?, created_ms))
    }

    /// Forgets which sessions were unconfirmed that have ended by now.
    pub(crate) fn forget_unconfirmed(&mut self, now: Now) {
        let limit_ms = self.own.unconfirmed_ms;
        let kept_ms = limit_ms.saturating_add(slack_ms(limit_ms));
        let before = self.unconfirmed.memory();
        self.unconfirmed
            .forget_before(now.mono_ms.saturating_sub(kept_ms));
        self.counts.resize(before, self.unconfirmed.memory());
    }

    fn note_unconfirmed(&mut self, key: &SessionKey, access: Stamp, accessed_ms: u64) {
        if access.is_of_visit() || self.own.unconfirmed_ms == u64::MAX {
            return;
        }
        let before = self.unconfirmed.memory();
        self.unconfirmed.push(accessed_ms, *key);
        self.counts.resize(before, self.unconfirmed.memory());
    }

    /// Returns how many sessions are hot.
    #[cfg(test)]
    pub(crate) fn hot_count(&self) -> usize {
        let sessions = self.sessions.iter().flat_map(SortedMap::iter);
        let is_hot =
            |(_, session): &(_, &StoredSession)| matches!(session.residency, Residency::Hot(_));
        sessions.filter(is_hot).count()
    }

    /// Packs some sessions that nobody has used for a moment.
    pub(crate) fn cool_idle(&mut self, now: Now) -> Cooled {
        let mut cooled = Cooled::default();
        let mut bytes = 0;
        let mut idle_queue = std::mem::take(&mut self.idle_queue);
        idle_queue.start(now);
        while cooled.sessions < MAX_DUE && bytes < MAX_COOLED_BYTES {
            let Some(key) = idle_queue.pop_due() else {
                cooled.is_last = true;
                break;
            };
            cooled.sessions += 1;
            match self.cool(&key, now) {
                Some(packed) => bytes += packed,
                None => idle_queue.push(key),
            }
        }
        idle_queue.shrink();
        self.idle_queue = idle_queue;
        cooled
    }

    /// Returns what is held of one digest shard, in the order of keys, sessions first.
    pub(crate) fn list(&self, digest: usize) -> impl Iterator<Item = Listed<'_>> {
        let sessions = self.sessions[digest].iter().map(|(key, session)| {
            let (changed_ms, stale_ms) = match &session.residency {
                Residency::Hot(hot) => (hot.changed_ms, hot.stale_ms()),
                Residency::Cold(cold) => (0, cold.stale_ms()),
            };
            Listed {
                key,
                version: session.version,
                changed_ms,
                stale_ms,
            }
        });
        let retention = self.retention();
        let tombstones = self.tombstones[digest]
            .iter()
            .map(move |(key, held)| Listed {
                key,
                version: destroyed_version(key),
                changed_ms: held.tombstone.destroyed_ms,
                stale_ms: held.tombstone.ends_ms(retention),
            });
        sessions.chain(tombstones)
    }

    /// Returns the digest of this shard that `key` belongs to.
    pub(crate) fn digest_of(&self, key: &SessionKey) -> usize {
        digest_number(key, self.digest_shift) & (self.digests.len() - 1)
    }

    fn insert_stored(&mut self, _counted: Counted, key: SessionKey, session: StoredSession) {
        let digest = self.digest_of(&key);
        self.digests[digest] ^= session.version;
        self.next_due[digest] = self.next_due[digest].min(session.due);
        let map = &mut self.sessions[digest];
        let (before, added) = (map.memory(), session.residency.memory());
        map.insert(key, session);
        self.unsaved.note_arrival(&key);
        self.counts.resize(before, map.memory() + added);
    }

    fn remove_session(&mut self, key: &SessionKey) -> Option<Arc<SessionMeta>> {
        let digest = self.digest_of(key);
        let map = &mut self.sessions[digest];
        let before = map.memory();
        let session = map.remove(key)?;
        self.counts.remove_sessions(1);
        self.unsaved.note_departure(key);
        let removed = session.residency.memory();
        self.counts.resize(before + removed, map.memory());
        self.digests[digest] ^= session.version;
        if let Some(index) = &self.index {
            session.residency.leave(index, key);
        }
        Some(Arc::clone(session.residency.meta()))
    }

    /// Packs a session if it is idle. Returns how many bytes that took, `None` if it stays hot.
    fn cool(&mut self, key: &SessionKey, now: Now) -> Option<usize> {
        let digest = self.digest_of(key);
        let Some(session) = self.sessions[digest].get_mut(key) else {
            return Some(0);
        };
        let Residency::Hot(hot) = &session.residency else {
            return Some(0);
        };
        if !hot.is_idle(now) {
            return None;
        }
        let cold = ColdSession::of(hot)?;
        let bytes = cold.length();
        let before = hot.memory;
        session.residency = Residency::Cold(cold);
        self.counts.resize(before, session.residency.memory());
        Some(bytes)
    }
}

/// Entries whose time has come.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) keys: Vec<SessionKey>,
    /// How many entries were looked at to find them.
    pub(crate) looked: usize,
    /// Whether there are no more in the shard.
    pub(crate) is_last: bool,
}

/// Sessions that were looked at to be packed.
#[derive(Debug, Default)]
pub(crate) struct Cooled {
    pub(crate) sessions: usize,
    /// Whether no more of them are idle.
    pub(crate) is_last: bool,
}

impl Due {
    /// Looks at entries until these are enough. Returns the last one, `None` if there are no more.
    fn look<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a SessionKey, u64)>,
        now_bucket: u64,
        next_due: &mut u64,
    ) -> Option<SessionKey> {
        for (key, due) in entries {
            self.looked += 1;
            if due <= now_bucket {
                self.keys.push(*key);
            } else {
                *next_due = (*next_due).min(due);
            }
            if self.is_enough() {
                return Some(*key);
            }
        }
        None
    }

    fn is_enough(&self) -> bool {
        self.keys.len() >= MAX_DUE || self.looked >= MAX_LOOKED
    }
}

/// Returns the digest shard of a key, among all of the store's before masking.
fn digest_number(key: &SessionKey, shift: u32) -> usize {
    key.prefix().checked_shr(shift).unwrap_or(0) as usize
}

/// Entries that are dealt with while the shard is locked: dropped, or packed. Tests want many turns.
pub(crate) const MAX_DUE: usize = if cfg!(test) { 2 } else { 16 };
/// Entries that are looked at while it is locked.
const MAX_LOOKED: usize = if cfg!(test) { 8 } else { 1024 };
/// Bytes of packed sessions after which no further one is packed.
const MAX_COOLED_BYTES: usize = 256 * 1024;
