//! The limits of what a node holds, and the division of its memory.

use crate::session::{MAX_REMOVED_BYTES, register_weight};

/// The limits that are checked where a session is created or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_sessions: usize,
    /// Bytes of names and values of one session.
    pub(crate) max_session_bytes: usize,
    pub(crate) max_attributes: usize,
    /// Bytes of memory that all sessions together take.
    pub(crate) max_bytes: usize,
    /// Bytes of memory for destroyed sessions.
    pub(crate) max_tombstone_bytes: usize,
    /// The idle limit of a session whose client has not come back, `u64::MAX` for none of its own.
    pub(crate) unconfirmed_ms: u64,
}

impl Limits {
    /// Returns how many names a peer may tell of one session: attributes at the hard limit, and
    /// removed ones. Two copies may just have been joined.
    pub(crate) const fn max_names(&self) -> usize {
        let removed = MAX_REMOVED_BYTES / register_weight("", 0);
        self.max_attributes
            .saturating_add(removed)
            .saturating_mul(Self::HARD)
    }

    /// Returns how many tombstones there is room for.
    pub(crate) const fn max_tombstones(&self) -> usize {
        self.max_tombstone_bytes / Self::TOMBSTONE_BYTES
    }

    /// Returns the bytes up to which what peers send is merged: half as many again, as the default is
    /// half of the memory that there is.
    pub(crate) const fn hard_bytes(&self) -> usize {
        self.max_bytes.saturating_add(self.max_bytes / 2)
    }

    /// Returns how many sessions and tombstones one of `digest_shards` may list.
    ///
    /// That is far beyond its share of the hard limits, and few enough for a message that lists
    /// them.
    pub(crate) fn max_listed(&self, digest_shards: usize) -> usize {
        self.share(digest_shards)
            .saturating_mul(2)
            .saturating_add(LISTED_BEYOND)
    }

    /// Returns what one of `digest_shards` holds when all are at the hard limits.
    pub(crate) fn share(&self, digest_shards: usize) -> usize {
        self.max_entries() / digest_shards.max(1)
    }

    /// Returns the sessions and tombstones at their hard limits.
    pub(crate) const fn max_entries(&self) -> usize {
        self.max_sessions
            .saturating_mul(Self::HARD)
            .saturating_add(self.max_tombstones())
    }

    /// What peers send is always merged up to this many times the limits.
    pub(crate) const HARD: usize = 2;
    /// Bytes that a tombstone takes, with the room that its array has to grow.
    pub(crate) const TOMBSTONE_BYTES: usize = 64;
}

/// Entries of 24 bytes that fit the mebibyte that any message may have.
const LISTED_BEYOND: usize = 40_000;

/// The defaults of users, but for `max_bytes`, which depends on the machine, and `unconfirmed_ms`.
/// The settings know both.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1_000_000,
            max_session_bytes: 256 * 1024,
            max_attributes: 256,
            max_bytes: usize::MAX,
            max_tombstone_bytes: 64 * 1024 * 1024,
            unconfirmed_ms: u64::MAX,
        }
    }
}

/// The division of the store. Tests use small shapes to reach the edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Shards with a lock each, a power of two.
    pub(crate) lock_shards: usize,
    /// Digest shards within each lock shard, a power of two.
    pub(crate) digests_per_lock: usize,
    /// Records of the change log; with 0, changes are counted and none is kept.
    pub(crate) log_records: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            lock_shards: 256,
            digests_per_lock: 16,
            log_records: 256 * 1024,
        }
    }
}
