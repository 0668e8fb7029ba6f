//! The copies that a peer holds and this node has not merged, because of a limit.
//!
//! The two nodes differ by these for as long as there is no room. Each round of repair would find
//! that, and bring them again in vain. So digests and listings of this link say of such a session
//! what they would if the peer's copy were here.

use std::collections::BTreeMap;

use crate::{
    replica::{
        Replica,
        core::root_of,
        store::{Store, quota::Refused},
    },
    session::{Now, SessionKey},
};

/// The peer's copies that this node does without, of one link.
#[derive(Debug, Default)]
pub(super) struct RefusedCopies {
    /// By digest shard and key, in order, so that equal histories say the same.
    shards: BTreeMap<u32, BTreeMap<SessionKey, RefusedCopy>>,
}

#[derive(Clone, Copy, Debug)]
struct RefusedCopy {
    theirs: Refused,
    /// The version of this node's copy at that time, `None` if it held none.
    ours: Option<u64>,
}

impl RefusedCopies {
    /// Remembers a copy, unless its shard has many already. Such a one is offered again.
    pub(super) fn note(&mut self, store: &Store, key: SessionKey, theirs: Refused) {
        let ours = store.version(&key);
        let shard = self.shards.entry(store.digest_shard(&key)).or_default();
        if shard.contains_key(&key) || shard.len() < MAX_IN_SHARD {
            shard.insert(key, RefusedCopy { theirs, ours });
        }
    }

    /// Forgets what was merged, or what the peer asks for.
    pub(super) fn forget(&mut self, store: &Store, key: &SessionKey) {
        if !self.shards.is_empty()
            && let Some(shard) = self.shards.get_mut(&store.digest_shard(key))
        {
            shard.remove(key);
        }
    }

    /// Forgets as many as there is room for now, so that they are offered again.
    pub(super) fn release(&mut self, store: &Store) {
        if self.shards.is_empty() {
            return;
        }
        let mut quota = store.quota_for_peers();
        self.shards.retain(|_, shard| {
            shard.retain(|_, copy| !quota.takes(copy.theirs.needs));
            !shard.is_empty()
        });
    }

    /// Returns the digests of all shards as the peer is told of them.
    pub(super) fn digests(&self, store: &Store) -> Vec<u64> {
        let mut digests = store.digests();
        for (shard, copies) in &self.shards {
            if let Some(digest) = digests.get_mut(*shard as usize) {
                let differences = copies
                    .values()
                    .map(|copy| copy.ours.unwrap_or(0) ^ copy.theirs.version);
                *digest = differences.fold(*digest, |digest, difference| digest ^ difference);
            }
        }
        digests
    }

    /// Returns the hash over these digests.
    pub(super) fn root(&self, replica: &Replica, now: Now) -> u64 {
        match self.shards.is_empty() {
            true => replica.root(now),
            false => root_of(&self.digests(&replica.store)),
        }
    }

    /// Puts the peer's versions into a listing of what is held here.
    pub(super) fn amend(
        &mut self,
        store: &Store,
        shard: u32,
        entries: &mut Vec<(SessionKey, u64)>,
    ) {
        for (key, copy) in self.unchanged(store, shard).into_iter().flatten() {
            match entries.iter().position(|entry| entry.0 == *key) {
                Some(at) => entries[at].1 = copy.theirs.version,
                None if copy.ours.is_none() && entries.len() < store.max_listed() => {
                    entries.push((*key, copy.theirs.version));
                }
                // It is here, and left out as it may be under way.
                None => {}
            }
        }
    }

    /// Returns the sessions that the peer lists as they were refused. The others of the shard are
    /// forgotten, so that they are compared again.
    pub(super) fn still_refused(
        &mut self,
        store: &Store,
        shard: u32,
        listed: &[(SessionKey, u64)],
    ) -> Vec<SessionKey> {
        let Some(copies) = self.unchanged(store, shard) else {
            return Vec::new();
        };
        copies.retain(|key, copy| listed.contains(&(*key, copy.theirs.version)));
        copies.keys().copied().collect()
    }

    /// Returns the copies of a shard, without those of sessions that have changed here since.
    fn unchanged(
        &mut self,
        store: &Store,
        shard: u32,
    ) -> Option<&mut BTreeMap<SessionKey, RefusedCopy>> {
        let copies = self.shards.get_mut(&shard)?;
        copies.retain(|key, copy| store.version(key) == copy.ours);
        Some(copies)
    }
}

/// Copies of one digest shard that are remembered: 48 bytes each. Tests want few.
const MAX_IN_SHARD: usize = if cfg!(test) { 1 } else { 32 };
