//! The index: which sessions have a value under a name by which sessions are found.
//!
//! Each session has the entries that its attributes call for, and no others: those that change it
//! bring them in step under the lock of its shard. The hash of a value says nothing about which of
//! several values it is, so whoever finds a session looks at it before believing that.

mod entries;
mod limits;
mod surplus;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::collections::BTreeSet;
use std::{
    hash::{BuildHasher as _, Hash as _, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;

pub(crate) use self::limits::LimitClaim;
use self::{
    entries::{Entries, Entry, ValueHash},
    limits::{Crowded, ValueLimit, ValueLimits},
};
use super::counts::Counts;
use crate::{
    config::AtLimit,
    session::{Mutant, SessionKey, SessionState, Tag, ValuePath, hash_json},
    wire::packed_session::each_json,
};

/// The sessions of a store by the values of some of their attributes.
#[derive(Debug)]
pub(crate) struct Index {
    paths: Box<[ValuePath]>,
    /// Random, so that no client can choose values that share a hash.
    hashers: RandomState,
    /// Each guards the entries whose hashes begin alike. Taken inside the lock of a shard, held for
    /// one entry, or for those of one value.
    parts: Box<[Mutex<Entries>]>,
    limits: ValueLimits,
    /// Of the store: what the index takes counts as memory of sessions.
    counts: Arc<Counts>,
}

/// What the index has of a hot session under one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the attribute that was looked at. One with the same tag has the same value.
    tag: Option<Tag>,
    /// `None` when there is no such value.
    hash: Option<ValueHash>,
}

impl Index {
    pub(crate) fn new(paths: &[ValuePath], counts: Arc<Counts>) -> Self {
        Self {
            paths: paths.into(),
            hashers: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            limits: ValueLimits::default(),
            counts,
        }
    }

    /// Returns what the index has of a session that it has, and that was not changed since.
    pub(crate) fn places(&self, state: &SessionState) -> Box<[Place]> {
        let paths = 0..self.paths.len();
        if Mutant::ForgetPlacesOfCold.is_on() {
            return paths.map(|_| Place::default()).collect();
        }
        paths.map(|path| self.place(path, state)).collect()
    }

    /// Takes in a session. Returns what the index has of it then.
    pub(crate) fn enter(&self, key: &SessionKey, state: &SessionState) -> Box<[Place]> {
        let mut places = vec![Place::default(); self.paths.len()].into_boxed_slice();
        self.update(key, state, &mut places);
        places
    }

    /// Brings the entries of a session in step with its attributes.
    pub(crate) fn update(&self, key: &SessionKey, state: &SessionState, places: &mut [Place]) {
        if Mutant::LeaveChangesOutOfIndex.is_on() {
            return;
        }
        for (path, held) in places.iter_mut().enumerate() {
            let register = state.register(self.paths[path].attribute());
            if register.map(|register| register.tag) == held.tag {
                continue;
            }
            let place = self.place(path, state);
            if place.hash != held.hash {
                self.leave(key, held.hash);
                if let Some(hash) = place.hash {
                    self.insert(key, &state.meta().context, path, hash);
                }
            }
            *held = place;
        }
    }

    /// Lets go of a session that was hot.
    pub(crate) fn leave_all(&self, key: &SessionKey, places: &[Place]) {
        if Mutant::KeepDroppedInIndex.is_on() {
            return;
        }
        for place in places {
            self.leave(key, place.hash);
        }
    }

    /// Takes in a session that is packed.
    pub(crate) fn enter_packed(&self, key: &SessionKey, context: &str, body: &[u8]) {
        if Mutant::LeavePackedOutOfIndex.is_on() {
            return;
        }
        for (path, hash) in self.hashes_in(context, body) {
            self.insert(key, context, path, hash);
        }
    }

    /// Lets go of a session that is packed.
    pub(crate) fn leave_packed(&self, key: &SessionKey, context: &str, body: &[u8]) {
        if Mutant::KeepDroppedInIndex.is_on() {
            return;
        }
        for (_, hash) in self.hashes_in(context, body) {
            self.leave(key, Some(hash));
        }
    }

    /// Returns the keys of the sessions that may have a value: all that have it, and others whose
    /// values have the same hash. `None` when there is no index of this path.
    pub(crate) fn candidates(
        &self,
        context: &str,
        path: &ValuePath,
        json: &[u8],
    ) -> Option<Vec<SessionKey>> {
        let path = self.number_of(path)?;
        let mut hasher = self.hashers.build_hasher();
        begin(&mut hasher, context, path);
        if !hash_json(json, &mut hasher) {
            return Some(Vec::new());
        }
        let hash = ValueHash(hasher.finish());
        Some(self.part(hash).of(hash, usize::MAX))
    }

    /// Limits how many sessions of a context may have the same value.
    pub(crate) fn limit(
        &self,
        context: &Arc<str>,
        path: &ValuePath,
        most: usize,
        at_limit: AtLimit,
    ) -> LimitClaim {
        let Some(path) = self.number_of(path) else {
            return LimitClaim::NotIndexed;
        };
        let limit = ValueLimit {
            context: Arc::clone(context),
            path,
            most,
            at_limit,
        };
        let claim = self.limits.claim(limit.clone());
        if claim == LimitClaim::New {
            // From now on each session that comes is counted. These are those that are there, of
            // other contexts and paths, too.
            for (number, part) in self.parts.iter().enumerate() {
                let part = part.lock().unwrap_or_else(PoisonError::into_inner);
                let crowded = part.crowded(number, most);
                drop(part);
                for hash in crowded {
                    self.limits.note(limit.clone(), hash);
                }
            }
        }
        claim
    }

    fn number_of(&self, path: &ValuePath) -> Option<usize> {
        self.paths.iter().position(|indexed| indexed == path)
    }

    fn place(&self, path: usize, state: &SessionState) -> Place {
        let Some(register) = state.register(self.paths[path].attribute()) else {
            return Place::default();
        };
        // Counters have no value to be found by.
        let json = register.json().ok().flatten();
        Place {
            tag: Some(register.tag),
            hash: json.and_then(|json| self.hash(&state.meta().context, path, json)),
        }
    }

    fn hashes_in(&self, context: &str, body: &[u8]) -> SmallVec<[(usize, ValueHash); 4]> {
        let mut hashes = SmallVec::new();
        each_json(body, |name, json| {
            for (path, indexed) in self.paths.iter().enumerate() {
                if indexed.attribute() == name {
                    let hash = self.hash(context, path, json);
                    hashes.extend(hash.map(|hash| (path, hash)));
                }
            }
        });
        hashes
    }

    fn hash(&self, context: &str, path: usize, json: &[u8]) -> Option<ValueHash> {
        let mut hasher = self.hashers.build_hasher();
        begin(&mut hasher, context, path);
        let has_value = self.paths[path].hash_in(json, &mut hasher);
        has_value.then(|| ValueHash(hasher.finish()))
    }

    fn insert(&self, key: &SessionKey, context: &str, path: usize, hash: ValueHash) {
        let limit = self.limits.of(context, path);
        let mut part = self.part(hash);
        part.insert(Entry::new(hash, key));
        let is_crowded = |limit: &ValueLimit| {
            let beyond = limit.most.saturating_add(1);
            part.of(hash, beyond).len() == beyond
        };
        let crowded = limit.filter(is_crowded);
        drop(part);
        self.counts.resize(0, ENTRY_BYTES);
        if let Some(limit) = crowded {
            self.limits.note(limit, hash);
        }
    }

    fn leave(&self, key: &SessionKey, hash: Option<ValueHash>) {
        if let Some(hash) = hash {
            self.part(hash).remove(&Entry::new(hash, key));
            self.counts.resize(ENTRY_BYTES, 0);
        }
    }

    fn part(&self, hash: ValueHash) -> MutexGuard<'_, Entries> {
        let part = self.parts[hash.part()].lock();
        part.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Index {
    /// Returns whether there are the entries that these sessions call for, and no others.
    pub(crate) fn is_of(&self, sessions: &[(SessionKey, SessionState)]) -> bool {
        let mut expected = vec![BTreeSet::new(); PARTS];
        for (key, state) in sessions {
            for path in 0..self.paths.len() {
                if let Some(hash) = self.place(path, state).hash {
                    expected[hash.part()].insert(Entry::new(hash, key));
                }
            }
        }
        let mut parts = self.parts.iter().zip(expected);
        parts.all(|(part, expected)| {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.iter().eq(&expected)
        })
    }
}

/// Hashes what a value is in. Sessions of different contexts never have a value in common.
fn begin(hasher: &mut impl Hasher, context: &str, path: usize) {
    path.hash(hasher);
    context.hash(hasher);
}

/// One for each first byte of a hash.
const PARTS: usize = 256;
/// Bytes of memory that an entry takes, with the room that arrays have to grow.
const ENTRY_BYTES: usize = 24;
