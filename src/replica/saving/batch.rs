//! What is written at once.

use crate::{replica::lineage::SavedLineage, session::SavedKey, wire::Position};

/// Records to be written at once or not at all. Write batches in the order in which they were taken,
/// and give one back that could not be written before you take the next.
#[derive(Debug, Default)]
#[must_use = "what is neither written nor given back is not saved"]
pub(crate) struct Batch {
    /// What is to be written under each key, `None` where the record goes. There may be none.
    pub(crate) entries: Vec<(SavedKey, Option<Vec<u8>>)>,
    /// Once this batch and all before it cannot be lost, neither can this node's changes be up to this
    /// position of its log.
    pub(crate) position: Option<Position>,
    /// Whether there was no more to take.
    pub(crate) is_last: bool,
    /// What a new directory begins with, in its first batch.
    pub(super) lineage: Option<SavedLineage>,
}
