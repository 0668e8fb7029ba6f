//! How far a node has come with saving.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{
    config::Shape,
    replica::{lineage::SavedLineage, store::unsaved::ChangedShards},
    session::{OrderId, SavedClock, SessionKey},
    wire::{
        Position,
        saved::{Facts, SavedOrder},
    },
};

/// What a replica knows of its directory.
#[derive(Debug)]
pub(in crate::replica) struct Saving {
    /// Set by the facts that are loaded, or with the first batch of a new directory.
    pub(super) clock: OnceLock<SavedClock>,
    pub(super) changed: Arc<ChangedShards>,
    /// Guards the order of batches. No other lock is held when it is taken.
    progress: Mutex<Progress>,
}

/// How far saving has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) pass: Option<Pass>,
    /// What a new directory begins with: facts from before anything that it will hold.
    pub(super) lineage: Option<SavedLineage>,
    /// When facts were taken last, zero if they are to be taken again.
    pub(super) facts_ms: u64,
}

impl Saving {
    pub(in crate::replica) fn new(shape: &Shape) -> Self {
        Self {
            clock: OnceLock::new(),
            changed: Arc::new(ChangedShards::new(shape.lock_shards.next_power_of_two())),
            progress: Mutex::default(),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to be read of what was not saved when the pass began.
#[derive(Debug)]
pub(super) struct Pass {
    /// The head of the log at the beginning.
    pub(super) position: Option<Position>,
    pub(super) facts: Facts,
    /// Shards with unsaved keys.
    pub(super) shards: Vec<usize>,
    /// The shard under way, and its keys that are left.
    pub(super) shard: usize,
    pub(super) keys: Vec<SessionKey>,
    /// Orders as they were at the beginning, before the sessions are read that they have destroyed.
    pub(super) orders: Vec<(OrderId, Option<SavedOrder>)>,
    pub(super) has_taken: bool,
}

impl Pass {
    /// Returns how much is left that is not noted elsewhere.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.orders.len()
    }
}
