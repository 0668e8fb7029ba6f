//! Room for new sessions: when a node is full, those go whose clients have not come back.
//!
//! As expiry, it is silent: no message, no tombstone. All nodes hold about the same sessions, and so
//! about the same ones go.

use std::sync::atomic::Ordering;

use super::{
    Store, lock,
    unconfirmed::{Candidate, YOUNG_MS},
};
use crate::{
    replica::{
        change::{Change, ChangeKind},
        observer::Observer,
    },
    session::{Now, Stamp},
};

impl Store {
    /// Makes room for a session of `weight` bytes, if the store is full. Returns whether it has made
    /// some.
    pub(crate) fn make_room(&self, weight: usize, now: Now, observer: &mut Observer) -> bool {
        let is_full = self.sessions() >= self.limits.max_sessions
            || self.free_bytes_of_unconfirmed() <= weight;
        // Looking for the oldest takes a look at each shard, which is worth it for several.
        let few = (self.limits.max_sessions >> 16).max(1);
        is_full && self.evict(few, now, observer) > 0
    }

    /// Makes room for what peers have sent beyond the limits of this node, and some for what grows.
    pub(crate) fn keep_room(&self, now: Now, observer: &mut Observer) {
        let spare_bytes = self.limits.max_bytes / 32;
        for _ in 0..MAX_LOOKS {
            let surplus = self.sessions().saturating_sub(self.limits.max_sessions);
            let wanted = match self.free_bytes_of_unconfirmed() < spare_bytes {
                true => surplus.max(1),
                false => surplus,
            };
            if wanted == 0 || self.evict(wanted, now, observer) == 0 {
                return;
            }
        }
    }

    /// Returns whether a session is one that was evicted here, or would be at once.
    pub(super) fn is_evicted(&self, access: Stamp, accessed_ms: u64) -> bool {
        let is_full =
            || self.sessions() >= self.limits.max_sessions || self.free_bytes_of_unconfirmed() == 0;
        let upto_ms = self.eviction.upto_ms.load(Ordering::Relaxed);
        // On its way it has become younger.
        !access.is_of_visit() && accessed_ms < upto_ms.saturating_add(ON_ITS_WAY_MS) && is_full()
    }

    /// Returns how many sessions have made room for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.eviction.evicted.load(Ordering::Relaxed)
    }

    /// Drops the oldest unconfirmed sessions, one of each shard and `most` in all. Returns how many.
    fn evict(&self, most: usize, now: Now, observer: &mut Observer) -> usize {
        let eviction = &self.eviction;
        if now.mono_ms < eviction.not_before_ms.load(Ordering::Relaxed) {
            return 0;
        }
        let shards = self.shards.iter();
        let oldest = shards.filter_map(|shard| lock(shard).oldest_unconfirmed(now));
        let mut oldest: Vec<Candidate> = oldest.collect();
        oldest.sort_unstable();
        if oldest.is_empty() {
            let later_ms = now.mono_ms.saturating_add(YOUNG_MS / 50);
            eviction.not_before_ms.store(later_ms, Ordering::Relaxed);
        }
        let mut evicted = 0;
        for Candidate { accessed_ms, key } in oldest.into_iter().take(most) {
            let Some((meta, created_ms)) = self.shard(&key).evict(&key) else {
                continue;
            };
            evicted += 1;
            observer.note_evicted(now.mono_ms.saturating_sub(created_ms));
            eviction.upto_ms.fetch_max(accessed_ms, Ordering::Relaxed);
            observer.tell(|| [Change::of(&key, &meta, ChangeKind::Expired)]);
        }
        eviction
            .evicted
            .fetch_add(evicted as u64, Ordering::Relaxed);
        evicted
    }
}

/// Looks at all shards in one tick.
const MAX_LOOKS: usize = 8;
/// How long a session may be under way between two nodes.
const ON_ITS_WAY_MS: u64 = 1_000;
