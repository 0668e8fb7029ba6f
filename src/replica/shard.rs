//! One locked part of the store, and what a node keeps beside a session's state.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hasher, RandomState},
    sync::LazyLock,
};

use super::log::Position;
use crate::session::{
    BootId, Locator, Mutant, Now, Origin, SessionState, Stamp, Tombstone, destroyed_version,
    live_version,
};

/// Sessions and tombstones of one range of keys. Guarded by one lock.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) live: HashMap<Locator, Box<Live>, ByLocator>,
    pub(super) graves: HashMap<Locator, Grave, ByLocator>,
    /// Per digest shard the xor of its sessions' versions.
    pub(super) digests: Box<[u64]>,
    /// Per digest shard how many sessions and tombstones there are: a peer may choose keys that
    /// all fall into one, and it must still fit a listing.
    entries: Box<[usize]>,
    /// Sessions and tombstones dropped here: the epoch of what is taken in next.
    pub(super) drops: u32,
    /// When to look at which key again, in ticks of [`tick`]. A key is listed at its `due` tick;
    /// other entries of it are stale.
    schedule: BTreeMap<u64, Vec<Locator>>,
    /// Keys in `schedule`, stale ones included.
    scheduled: usize,
    digest_shift: u32,
}

/// A session and what only this node knows of it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) state: SessionState,
    pub(super) version: u64,
    /// Who this node is when it writes this session.
    pub(super) own: Origin,
    /// Our stamp in the session at the last record appended for it.
    pub(super) logged: Stamp,
    /// The latest of our stamps that another origin has beaten, or that we forgot.
    pub(super) lost: Stamp,
    /// Our last write in the session.
    pub(super) written: Stamp,
    /// The last record of a write, for those who wait.
    pub(super) position: Position,
    /// Writes since the last record that go out with the next commit.
    pub(super) dirty: bool,
    /// Use since the last record that peers should hear of.
    pub(super) touched: bool,
    /// Requests and handles that use the session now.
    pub(super) holders: u32,
    /// Monotonic milliseconds of the last use here, told to peers coalesced.
    pub(super) used_ms: u64,
    /// Monotonic milliseconds of the last change here, by us or by a peer.
    pub(super) changed_ms: u64,
    pub(super) due: u64,
}

/// A destroyed session.
#[derive(Debug)]
pub(super) struct Grave {
    pub(super) tombstone: Tombstone,
    pub(super) position: Position,
    pub(super) dirty: bool,
    pub(super) due: u64,
}

impl Shard {
    pub(super) fn new(digests: usize, digest_shift: u32) -> Self {
        Self {
            live: HashMap::default(),
            graves: HashMap::default(),
            digests: vec![0; digests].into_boxed_slice(),
            entries: vec![0; digests].into_boxed_slice(),
            drops: 0,
            schedule: BTreeMap::new(),
            scheduled: 0,
            digest_shift,
        }
    }

    /// Who this node is in a session that it takes in now.
    pub(super) fn next_origin(&self, boot: BootId) -> Origin {
        let epoch = if Mutant::KeepOrigin.is_on() {
            0
        } else {
            self.drops
        };
        Origin { boot, epoch }
    }

    /// The digest of this shard that `key` belongs to.
    pub(super) fn digest_of(&self, key: &Locator) -> usize {
        digest_number(key, self.digest_shift) & (self.digests.len() - 1)
    }

    /// Sessions and tombstones beside which `key` would be listed.
    pub(super) fn entries_beside(&self, key: &Locator) -> usize {
        self.entries[self.digest_of(key)]
    }

    pub(super) fn insert(&mut self, boot: BootId, key: Locator, state: SessionState, now: Now) {
        let version = version_of(&key, &state);
        let digest = self.digest_of(&key);
        self.digests[digest] ^= version;
        self.entries[digest] += 1;
        let own = self.next_origin(boot);
        let used_ms = state.accessed_ms();
        let live = Live {
            state,
            version,
            own,
            logged: Stamp::ZERO,
            lost: Stamp::ZERO,
            written: Stamp::ZERO,
            position: 0,
            dirty: false,
            touched: false,
            holders: 0,
            used_ms,
            changed_ms: now.mono_ms,
            due: u64::MAX,
        };
        let due = live.next_check();
        self.live.insert(key, Box::new(live));
        self.schedule(key, due);
    }

    /// Brings version, digest and schedule up to date after a change of a live session.
    pub(super) fn settle(&mut self, key: &Locator, now: Now) {
        let digest = self.digest_of(key);
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        let version = version_of(key, &live.state);
        self.digests[digest] ^= live.version ^ version;
        live.version = version;
        live.changed_ms = now.mono_ms;
        let check = live.next_check();
        if tick(check) < live.due {
            self.schedule(*key, check);
        }
    }

    /// Makes this node another origin in a session that it has not written for so long that its
    /// former origin may be forgotten soon. What the former one has not shipped goes with the next
    /// full state.
    pub(super) fn renew_origin(&mut self, key: &Locator, now: Now) {
        let Some(live) = self.live.get_mut(key) else {
            return;
        };
        let Some(next) = live.state.next_stamp(now) else {
            return;
        };
        let half = live.state.birth().memory_ms() / 2;
        if live.written == Stamp::ZERO || live.written >= next.earlier(half) {
            return;
        }
        self.drops = self.drops.wrapping_add(1);
        live.own.epoch = self.drops;
        live.logged = Stamp::ZERO;
        live.written = Stamp::ZERO;
        live.lost = next;
    }

    /// Turns a live session into a tombstone, or adds what is known of one.
    pub(super) fn bury(&mut self, key: Locator, tombstone: Tombstone) -> Option<Box<Live>> {
        let digest = self.digest_of(&key);
        let gone = self.live.remove(&key);
        if let Some(live) = &gone {
            self.digests[digest] ^= live.version;
            self.entries[digest] -= 1;
        }
        if let Some(grave) = self.graves.get_mut(&key) {
            grave.tombstone.merge(tombstone);
            return gone;
        }
        self.digests[digest] ^= destroyed_version(&key);
        self.entries[digest] += 1;
        self.graves.insert(
            key,
            Grave {
                tombstone,
                position: 0,
                dirty: false,
                due: 0,
            },
        );
        self.schedule(key, tombstone.ends_ms());
        gone
    }

    /// Drops an expired session without a trace.
    pub(super) fn drop_live(&mut self, key: &Locator) -> Option<Box<Live>> {
        let digest = self.digest_of(key);
        let live = self.live.remove(key)?;
        self.digests[digest] ^= live.version;
        self.entries[digest] -= 1;
        self.drops = self.drops.wrapping_add(1);
        Some(live)
    }

    pub(super) fn drop_grave(&mut self, key: &Locator) {
        let digest = self.digest_of(key);
        if self.graves.remove(key).is_some() {
            self.digests[digest] ^= destroyed_version(key);
            self.entries[digest] -= 1;
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// Drops all. Returns how many sessions and tombstones there were.
    pub(super) fn clear(&mut self) -> (usize, usize) {
        let dropped = (self.live.len(), self.graves.len());
        self.live.clear();
        self.graves.clear();
        self.schedule.clear();
        self.scheduled = 0;
        self.digests.fill(0);
        self.entries.fill(0);
        self.drops = self.drops.wrapping_add(1);
        dropped
    }

    pub(super) fn schedule(&mut self, key: Locator, at_ms: u64) {
        if at_ms == u64::MAX {
            return;
        }
        let due = tick(at_ms);
        if let Some(live) = self.live.get_mut(&key) {
            live.due = due;
        } else if let Some(grave) = self.graves.get_mut(&key) {
            grave.due = due;
        }
        self.schedule.entry(due).or_default().push(key);
        self.scheduled += 1;
        if self.scheduled > 4 * (self.live.len() + self.graves.len()) + MIN_SCHEDULED {
            self.drop_stale();
        }
    }

    /// Stale keys would stay until their time, which a peer may put decades ahead.
    fn drop_stale(&mut self) {
        let (live, graves) = (&self.live, &self.graves);
        self.schedule.retain(|at, keys| {
            keys.retain(|key| {
                let due = live.get(key).map(|live| live.due);
                due.or_else(|| graves.get(key).map(|grave| grave.due)) == Some(*at)
            });
            keys.sort_unstable();
            keys.dedup();
            keys.shrink_to_fit();
            !keys.is_empty()
        });
        self.scheduled = self.schedule.values().map(Vec::len).sum();
    }

    #[cfg(test)]
    pub(super) const fn scheduled(&self) -> usize {
        self.scheduled
    }

    /// The keys whose time has come.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<(u64, Locator)> {
        let mut due = Vec::new();
        while let Some(first) = self.schedule.first_entry() {
            if *first.key() > tick(now.mono_ms) {
                break;
            }
            let (at, keys) = first.remove_entry();
            self.scheduled -= keys.len();
            due.extend(keys.into_iter().map(|key| (at, key)));
        }
        due
    }

    /// Gives back what a passed peak of sessions held.
    pub(super) fn shrink(&mut self) {
        if self.live.capacity() > 64 && self.live.capacity() / 4 > self.live.len() {
            let room = self.live.len() * 2;
            self.live.shrink_to(room);
        }
        if self.graves.capacity() > 64 && self.graves.capacity() / 4 > self.graves.len() {
            let room = self.graves.len() * 2;
            self.graves.shrink_to(room);
        }
    }
}

fn version_of(key: &Locator, state: &SessionState) -> u64 {
    let version = live_version(key, state.vector(), state.access());
    if Mutant::InstantInVersion.is_on() {
        return version ^ state.accessed_ms();
    }
    version
}

/// The digest shard of a key, among all of the store's before masking.
pub(super) fn digest_number(key: &Locator, shift: u32) -> usize {
    key.prefix().checked_shr(shift).unwrap_or(0) as usize
}

/// A schedule tick is a quarter of a second: nodes drop a session at nearly the same moment.
const TICK_SHIFT: u32 = 8;

pub(super) const fn tick(at_ms: u64) -> u64 {
    at_ms >> TICK_SHIFT
}

/// Keys that may be scheduled and stale however few sessions there are.
const MIN_SCHEDULED: usize = 1024;

/// Honest locators are uniform, but a peer may send any: which of them share a bucket is a secret
/// of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByLocator;

impl BuildHasher for ByLocator {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(*SEED)
    }
}

/// A multiplication of the two halves, each mixed with a secret, folded to 64 bits.
#[derive(Debug)]
pub(super) struct Folded((u64, u64));

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            let (one, other) = self.0;
            let one = u128::from(u64::from_le_bytes(*first) ^ one);
            let product = one * u128::from(u64::from_le_bytes(*last) ^ other);
            self.0.0 = (product >> 64) as u64 ^ product as u64;
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0.0
    }
}

/// Simulated histories must be the same each time.
static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
    if cfg!(test) {
        return (0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9);
    }
    let random = RandomState::new();
    (random.hash_one(0), random.hash_one(1))
});
