//! One locked part of the store.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use super::{
    expiry::{end_ms, stale_ms},
    live::{Grave, Live},
    rest::{QUIET_MS, Resting},
    shelf::Shelf,
};
use crate::session::{
    AtRest, Birth, BootId, Locator, Mutant, Now, Origin, SessionState, Stamp, Tombstone,
    destroyed_version, live_version,
};

/// Sessions and tombstones of one range of keys. Guarded by one lock.
#[derive(Debug)]
pub(super) struct Shard {
    boot: BootId,
    live: Box<[Shelf<Place>]>,
    graves: Box<[Shelf<Grave>]>,
    /// Per digest shard the xor of its sessions' versions.
    pub(super) digests: Box<[u64]>,
    /// Sessions and tombstones dropped here: the epoch of what is taken in next.
    drops: u32,
    /// Per digest shard the first tick at which something of it is due, or an earlier one.
    looks: Box<[u64]>,
    awake: Awake,
    digest_shift: u32,
}

/// Where a session is.
/// Keys of all sessions that are awake, and of some that are not any more, each with the instant
/// to look at it. The first is the earliest.
#[derive(Debug, Default)]
struct Awake {
    keys: VecDeque<(u64, Locator)>,
    /// Of the last sweep.
    now_ms: u64,
}

#[derive(Debug)]
struct Place {
    /// The tick at which the session is looked at again.
    due: u64,
    version: u64,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Awake(Box<Live>),
    Resting(Resting),
}

impl Shard {
    pub(super) fn new(boot: BootId, digests: usize, digest_shift: u32) -> Self {
        let shared_bits = u32::BITS - digest_shift;
        Self {
            boot,
            live: (0..digests).map(|_| Shelf::new(shared_bits)).collect(),
            graves: (0..digests).map(|_| Shelf::new(shared_bits)).collect(),
            digests: vec![0; digests].into(),
            drops: 0,
            looks: vec![u64::MAX; digests].into(),
            awake: Awake::default(),
            digest_shift,
        }
    }

    /// Who this node is in a session that it takes in now.
    pub(super) fn next_origin(&self) -> Origin {
        let epoch = if Mutant::KeepOrigin.is_on() {
            0
        } else {
            self.drops
        };
        let boot = self.boot;
        Origin { boot, epoch }
    }

    pub(super) fn holds(&self, key: &Locator) -> bool {
        self.live[self.digest_of(key)].contains(key)
    }

    /// The session as it is, without waking it.
    pub(super) fn view(&self, key: &Locator) -> Option<Cow<'_, Live>> {
        let place = self.live[self.digest_of(key)].get(key)?;
        Some(place.held.view(self.boot))
    }

    /// All sessions as they are.
    pub(super) fn views(&self) -> impl Iterator<Item = (&Locator, Cow<'_, Live>)> {
        let places = self.live.iter().flat_map(Shelf::iter);
        places.map(|(key, place)| (key, place.held.view(self.boot)))
    }

    /// The session, awake from now on.
    pub(super) fn live(&mut self, key: &Locator) -> Option<&mut Live> {
        let digest = self.digest_of(key);
        let place = self.live[digest].get_mut(key)?;
        place.held.wake(key, self.boot, &mut self.awake)
    }

    /// Hands the session to `write`, which says whether it changed it. One that this node has not
    /// written for so long that its origin may be forgotten soon gets another; what the former one
    /// has not shipped goes with the next full state.
    pub(super) fn write<R>(
        &mut self,
        key: &Locator,
        now: Now,
        write: impl FnOnce(&mut Live) -> (bool, R),
    ) -> Option<R> {
        let digest = self.digest_of(key);
        let place = self.live[digest].get_mut(key)?;
        let live = place.held.wake(key, self.boot, &mut self.awake)?;
        if live.written != Stamp::ZERO {
            let half = live.state.birth().memory_ms() / 2;
            let next = live.state.next_stamp(now);
            if let Some(next) = next.filter(|next| live.written < next.earlier(half)) {
                self.drops = self.drops.wrapping_add(1);
                live.own.epoch = self.drops;
                live.logged = Stamp::ZERO;
                live.written = Stamp::ZERO;
                live.lost = next;
            }
        }
        let (changed, result) = write(live);
        if changed {
            let (sum, look) = (&mut self.digests[digest], &mut self.looks[digest]);
            place.settle(key, sum, look, now);
        }
        Some(result)
    }

    /// Sessions and tombstones beside which `key` would be listed.
    pub(super) fn entries_beside(&self, key: &Locator) -> usize {
        let digest = self.digest_of(key);
        self.live[digest].len() + self.graves[digest].len()
    }

    pub(super) fn grave(&self, key: &Locator) -> Option<&Grave> {
        self.graves[self.digest_of(key)].get(key)
    }

    pub(super) fn grave_mut(&mut self, key: &Locator) -> Option<&mut Grave> {
        self.graves[self.digest_of(key)].get_mut(key)
    }

    /// Takes in a session that is about to be used.
    pub(super) fn insert(&mut self, key: Locator, state: SessionState, now: Now) {
        let live = Live::new(state, self.next_origin(), now.mono_ms);
        let (version, check_ms) = (live.version(&key), live.next_check());
        self.awake.push(key);
        self.place(key, version, check_ms, Held::Awake(Box::new(live)));
    }

    /// Takes in a session that nobody here has asked for.
    pub(super) fn insert_at_rest(&mut self, key: Locator, state: &AtRest, now: Now) {
        let own = self.next_origin();
        if state.vector.of(own) != Stamp::ZERO {
            // What this node is said to have written must not look as if its log had it.
            return self.insert(key, state.wake(), now);
        }
        let end_ms = end_ms(state.expiry, state.created_ms, state.accessed_ms);
        let held = Held::Resting(Resting::taken_in(state, end_ms, own));
        let version = live_version(&key, &state.vector, state.access);
        self.place(key, version, end_ms, held);
    }

    /// What peers may have of a session, if it rests.
    pub(super) fn at_rest(&self, key: &Locator, now: Now) -> Option<AtRest> {
        match &self.live[self.digest_of(key)].get(key)?.held {
            Held::Resting(resting) if now.mono_ms < resting.stale_ms() => Some(resting.at_rest()),
            Held::Resting(_) | Held::Awake(_) => None,
        }
    }

    /// Brings version, digest and schedule up to date after a change of a live session.
    pub(super) fn settle(&mut self, key: &Locator, now: Now) {
        let digest = self.digest_of(key);
        let Some(place) = self.live[digest].get_mut(key) else {
            return;
        };
        let (sum, look) = (&mut self.digests[digest], &mut self.looks[digest]);
        place.settle(key, sum, look, now);
    }

    /// Turns a live session into a tombstone, or adds what is known of one. Returns the birth of
    /// the session.
    pub(super) fn bury(&mut self, key: Locator, tombstone: Tombstone) -> Option<Arc<Birth>> {
        let digest = self.digest_of(&key);
        let gone = self.remove_live(&key);
        if let Some(grave) = self.grave_mut(&key) {
            grave.tombstone.merge(tombstone);
            return gone;
        }
        self.digests[digest] ^= destroyed_version(&key);
        let due = tick(tombstone.ends_ms());
        let grave = Grave {
            tombstone,
            position: 0,
            dirty: false,
            due,
        };
        self.graves[digest].insert(key, grave);
        self.looks[digest] = self.looks[digest].min(due);
        gone
    }

    /// Drops an expired session without a trace. Returns its birth.
    pub(super) fn drop_live(&mut self, key: &Locator) -> Option<Arc<Birth>> {
        let birth = self.remove_live(key)?;
        self.drops = self.drops.wrapping_add(1);
        Some(birth)
    }

    pub(super) fn drop_grave(&mut self, key: &Locator) {
        let digest = self.digest_of(key);
        if self.graves[digest].remove(key).is_some() {
            self.digests[digest] ^= destroyed_version(key);
            self.drops = self.drops.wrapping_add(1);
        }
    }

    /// Drops all. Returns how many sessions and tombstones there were.
    pub(super) fn clear(&mut self) -> (usize, usize) {
        let live = self.live.iter().map(Shelf::len).sum();
        let graves = self.graves.iter().map(Shelf::len).sum();
        self.live.iter_mut().for_each(Shelf::clear);
        self.graves.iter_mut().for_each(Shelf::clear);
        self.digests.fill(0);
        self.looks.fill(u64::MAX);
        self.awake.keys = VecDeque::new();
        self.drops = self.drops.wrapping_add(1);
        (live, graves)
    }

    /// Looks at a session or tombstone again then.
    pub(super) fn schedule(&mut self, key: &Locator, at_ms: u64) {
        let (digest, due) = (self.digest_of(key), tick(at_ms));
        if let Some(place) = self.live[digest].get_mut(key) {
            place.due = due;
        } else if let Some(grave) = self.graves[digest].get_mut(key) {
            grave.due = due;
        }
        self.looks[digest] = self.looks[digest].min(due);
    }

    /// The keys whose time has come.
    pub(super) fn due(&mut self, now: Now) -> Vec<Locator> {
        let tick = tick(now.mono_ms);
        let mut keys = Vec::new();
        let shelves = self.live.iter().zip(&self.graves);
        for (look, (live, graves)) in self.looks.iter_mut().zip(shelves) {
            if *look > tick {
                continue;
            }
            *look = u64::MAX;
            let live = live.iter().map(|(key, place)| (key, place.due));
            let graves = graves.iter().map(|(key, grave)| (key, grave.due));
            for (key, due) in live.chain(graves) {
                if due <= tick {
                    keys.push(*key);
                } else {
                    *look = (*look).min(due);
                }
            }
        }
        keys
    }

    /// Sessions that are not at rest.
    #[cfg(test)]
    pub(super) fn awake(&self) -> usize {
        let places = self.live.iter().flat_map(Shelf::iter);
        let awake = places.filter(|(_, place)| matches!(place.held, Held::Awake(_)));
        awake.count()
    }

    /// Puts sessions that nobody has used for a moment to rest.
    pub(super) fn rest(&mut self, now: Now) {
        let mut awake = std::mem::take(&mut self.awake);
        awake.now_ms = now.mono_ms;
        while let Some(key) = awake.pop_due() {
            if !self.rests(&key, now) {
                awake.push(key);
            }
        }
        if awake.keys.capacity() / 4 > awake.keys.len() {
            awake.keys.shrink_to_fit();
        }
        self.awake = awake;
    }

    /// Calls `each` with key, version, instant of the last change, and the instant from which on
    /// it is not offered to peers any more.
    pub(super) fn list(&self, digest: usize, mut each: impl FnMut(&Locator, u64, u64, u64)) {
        for (key, place) in self.live[digest].iter() {
            let (changed_ms, stale_ms) = match &place.held {
                Held::Awake(live) => (live.changed_ms, stale_ms(&live.state)),
                Held::Resting(resting) => (0, resting.stale_ms()),
            };
            each(key, place.version, changed_ms, stale_ms);
        }
        for (key, grave) in self.graves[digest].iter() {
            let Tombstone { destroyed_ms, .. } = grave.tombstone;
            let ends_ms = grave.tombstone.ends_ms();
            each(key, destroyed_version(key), destroyed_ms, ends_ms);
        }
    }

    /// The digest of this shard that `key` belongs to.
    pub(super) fn digest_of(&self, key: &Locator) -> usize {
        digest_number(key, self.digest_shift) & (self.digests.len() - 1)
    }

    fn place(&mut self, key: Locator, version: u64, check_ms: u64, held: Held) {
        let (digest, due) = (self.digest_of(&key), tick(check_ms));
        self.digests[digest] ^= version;
        self.looks[digest] = self.looks[digest].min(due);
        self.live[digest].insert(key, Place { due, version, held });
    }

    fn remove_live(&mut self, key: &Locator) -> Option<Arc<Birth>> {
        let digest = self.digest_of(key);
        let place = self.live[digest].remove(key)?;
        self.digests[digest] ^= place.version;
        Some(Arc::clone(match &place.held {
            Held::Awake(live) => live.state.birth(),
            Held::Resting(resting) => resting.birth(),
        }))
    }

    /// Whether the session is not awake, or is put to rest now.
    fn rests(&mut self, key: &Locator, now: Now) -> bool {
        let digest = self.digest_of(key);
        let Some(place) = self.live[digest].get_mut(key) else {
            return true;
        };
        let Held::Awake(live) = &place.held else {
            return true;
        };
        if !live.is_quiet(now) {
            return false;
        }
        let Some(resting) = Resting::of(live) else {
            return false;
        };
        place.held = Held::Resting(resting);
        true
    }
}

impl Place {
    /// Brings version, digest and schedule up to date after a change of a session that is awake.
    fn settle(&mut self, key: &Locator, digest: &mut u64, look: &mut u64, now: Now) {
        let Held::Awake(live) = &mut self.held else {
            return;
        };
        live.changed_ms = now.mono_ms;
        let version = live.version(key);
        *digest ^= self.version ^ version;
        self.version = version;
        self.due = self.due.min(tick(live.next_check()));
        *look = (*look).min(self.due);
    }
}

impl Held {
    /// What is held, awake; `awake` gets the key of what has just woken.
    fn wake(&mut self, key: &Locator, boot: BootId, awake: &mut Awake) -> Option<&mut Live> {
        if let Self::Resting(resting) = self {
            *self = Self::Awake(Box::new(resting.wake(boot)));
            awake.push(*key);
        }
        match self {
            Self::Awake(live) => Some(live),
            Self::Resting(_) => None,
        }
    }

    fn view(&self, boot: BootId) -> Cow<'_, Live> {
        match self {
            Self::Awake(live) => Cow::Borrowed(live),
            Self::Resting(resting) => Cow::Owned(resting.wake(boot)),
        }
    }
}

impl Awake {
    fn push(&mut self, key: Locator) {
        self.keys.push_back((self.now_ms + LOOK_AFTER_MS, key));
    }

    fn pop_due(&mut self) -> Option<Locator> {
        let (look_ms, key) = *self.keys.front()?;
        if self.now_ms < look_ms {
            return None;
        }
        self.keys.pop_front();
        Some(key)
    }
}

/// The digest shard of a key, among all of the store's before masking.
fn digest_number(key: &Locator, shift: u32) -> usize {
    key.prefix().checked_shr(shift).unwrap_or(0) as usize
}

/// A schedule tick is a quarter of a second: nodes drop a session at nearly the same moment.
const TICK_SHIFT: u32 = 8;

const fn tick(at_ms: u64) -> u64 {
    if at_ms == u64::MAX {
        u64::MAX
    } else {
        at_ms >> TICK_SHIFT
    }
}

/// When to look whether a session may rest: as soon as it may after one use, however long the last
/// sweep is ago.
const LOOK_AFTER_MS: u64 = QUIET_MS + QUIET_MS / 8;
