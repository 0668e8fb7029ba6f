//! How much a decoder accepts.

use crate::config::{Limits, Shape};

/// What a decoder accepts, from this node's own configuration.
#[derive(Clone, Debug)]
pub(crate) struct DecodeLimits {
    pub(crate) max_session_bytes: usize,
    pub(crate) max_names: usize,
    /// Sessions and tombstones at their hard limits.
    pub(crate) max_entries: usize,
    pub(crate) digest_shards: usize,
}

impl DecodeLimits {
    /// Returns those of a node that is configured so.
    pub(crate) const fn new(limits: &Limits, shape: &Shape) -> Self {
        Self {
            max_session_bytes: limits.max_session_bytes,
            max_names: limits.max_names(),
            max_entries: limits.max_entries(),
            digest_shards: shape.lock_shards.saturating_mul(shape.digests_per_lock),
        }
    }

    /// Returns how many groups of digests there are.
    pub(crate) fn digest_groups(&self) -> usize {
        self.digest_shards.min(MAX_DIGEST_GROUPS)
    }
}

/// Groups of digests at most, of which each has a sum.
pub(crate) const MAX_DIGEST_GROUPS: usize = u64::BITS as usize;
/// Origins of one vector at most: one per boot and epoch that wrote.
pub(crate) const MAX_ORIGINS: usize = 4096;
/// Secrets of one session at most: the dead that are remembered, and one alive per node at once.
pub(crate) const MAX_SECRETS: usize = 256;
