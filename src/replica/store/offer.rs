//! What the store offers to peers: changes, full states, listings, and how two listings differ.

use super::{Store, hot::UNDER_WAY_MS, lock, shard::Listed};
use crate::{
    replica::{log::Record, mutant},
    session::{Item, Now, SessionKey},
};

/// The form in which a change leaves for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeForm {
    /// What this node has written since the last record, where that is all there is to tell.
    Delta,
    /// The session as it is, unless it is large.
    Full,
}

/// What a comparison leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeavesOut {
    Nothing,
    /// Changes whose deltas may be under way.
    UnderWay,
}

/// The difference of two nodes' listings of one digest shard, from the answerer's side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What the lister lacks or has otherwise.
    pub(crate) send: Vec<SessionKey>,
    /// What this node lacks or has otherwise.
    pub(crate) want: Vec<SessionKey>,
}

impl Store {
    /// Returns what leaves for a session whose record has come up: everything written here since
    /// the record before it, by whatever request, or the full state when another origin has beaten
    /// a part of that.
    pub(crate) fn outgoing(&self, record: &Record, form: ChangeForm) -> Item {
        let Record {
            key, prev, touch, ..
        } = record;
        let shard = self.shard(key);
        match shard.view(key) {
            Some(_) if self.is_doubted(key) => Item::Absent,
            None => match shard.tombstone(key) {
                Some(held) => Item::Destroyed(held.tombstone),
                None => Item::Absent,
            },
            Some(hot)
                if hot.claims_beaten_writes(*prev)
                    || (form == ChangeForm::Full && hot.state.weight() <= SMALL_WEIGHT) =>
            {
                Item::Full(Box::new(hot.into_owned().state))
            }
            Some(hot) => {
                let mut delta = hot.state.delta(hot.own, *prev, *touch);
                mutant::carry_committed_only(&mut delta, hot.logged);
                Item::Delta(Box::new(delta))
            }
        }
    }

    /// Returns all there is of a session, for a peer that asks.
    pub(crate) fn full(&self, key: &SessionKey, now: Now) -> Item {
        let shard = self.shard(key);
        if let Some(held) = shard.tombstone(key) {
            return Item::Destroyed(held.tombstone);
        }
        match shard.view(key) {
            Some(_) if self.is_doubted(key) => Item::Absent,
            Some(hot) if now.mono_ms < hot.stale_ms() => {
                Item::Full(Box::new(hot.into_owned().state))
            }
            _ => Item::Absent,
        }
    }

    /// Returns the same for a transfer: a cold session as it is, without unpacking it.
    pub(crate) fn full_state(&self, key: &SessionKey, now: Now) -> Item {
        if self.is_doubted(key) {
            return self.full(key, now);
        }
        let packed = self.shard(key).packed(key, now);
        packed.map_or_else(
            || self.full(key, now),
            |state| Item::Packed(Box::new(state)),
        )
    }

    /// Returns the digests of all shards, in the order of their keys.
    pub(crate) fn digests(&self) -> Vec<u64> {
        let mut digests = Vec::with_capacity(self.shards.len() * self.digests_per_shard);
        for shard in &self.shards {
            digests.extend_from_slice(&lock(shard).digests);
        }
        digests
    }

    /// Returns keys and versions of one digest shard, without what is past its time.
    pub(crate) fn listing(
        &self,
        shard: u32,
        leaves_out: LeavesOut,
        now: Now,
    ) -> Vec<(SessionKey, u64)> {
        let mut entries = Vec::new();
        self.visit(shard, now, |listed| {
            if leaves_out.includes(listed.changed_ms, now) {
                entries.push((*listed.key, listed.version));
            }
        });
        entries
    }

    /// Compares the sessions of one digest shard with a peer's listing of it.
    pub(crate) fn difference(
        &self,
        shard: u32,
        leaves_out: LeavesOut,
        mut theirs: Vec<(SessionKey, u64)>,
        now: Now,
    ) -> Difference {
        theirs.sort_unstable();
        let mut met = vec![false; theirs.len()];
        let mut difference = Difference::default();
        // The shard is locked while it is listed, and not while the two are compared.
        let mut ours = Vec::new();
        self.visit(shard, now, |listed| {
            let is_included = leaves_out.includes(listed.changed_ms, now);
            ours.push((*listed.key, listed.version, is_included));
        });
        for (key, version, is_included) in ours {
            let at = theirs.binary_search_by_key(&key, |entry| entry.0).ok();
            if let Some(at) = at {
                met[at] = true;
            }
            let is_same = at.is_some_and(|at| theirs[at].1 == version);
            if is_same || !is_included {
                continue;
            }
            difference.send.push(key);
            if at.is_some() {
                difference.want.push(key);
            }
        }
        let unmet = theirs.iter().zip(met).filter(|(_, met)| !met);
        difference.want.extend(unmet.map(|((key, _), _)| *key));
        difference
    }

    /// Calls `each` for what is not past its time.
    fn visit(&self, shard: u32, now: Now, each: impl FnMut(Listed<'_>)) {
        let number = shard as usize;
        let Some(locked) = self.shards.get(number / self.digests_per_shard) else {
            return;
        };
        let shard = lock(locked);
        let listed = shard.list(number % self.digests_per_shard);
        listed
            .filter(|listed| now.mono_ms < listed.stale_ms)
            .for_each(each);
    }
}

impl LeavesOut {
    const fn includes(self, changed_ms: u64, now: Now) -> bool {
        match self {
            Self::Nothing => true,
            Self::UnderWay => now.mono_ms.saturating_sub(changed_ms) >= UNDER_WAY_MS,
        }
    }
}

/// Bytes of a session that may go whole with each of its changes.
const SMALL_WEIGHT: usize = 4096;
