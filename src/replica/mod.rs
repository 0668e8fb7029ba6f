//! Decisions: the store, the change log, and what a link says next. No I/O, no clock, no
//! randomness.
//!
//! A change goes one way. [`Replica::write`] alters the session and notes that it is not committed.
//! [`Replica::commit`] appends a record to the log. Each [`Link`] drains the log into batches. The
//! peer's [`Link`] has its replica merge them, and acknowledges. What a peer misses all the same,
//! digest repair finds.

#[cfg(test)]
mod adversary;
mod applied;
mod change;
mod core;
mod destroy;
mod key_hasher;
mod lineage;
mod link;
mod log;
mod mutant;
mod observer;
mod orders;
mod requests;
mod retention;
#[cfg(any(test, feature = "durable"))]
mod saving;
mod search;
mod stops;
mod store;
#[cfg(test)]
mod tests;
mod unsaved_orders;

#[cfg(test)]
pub(crate) use self::link::denied_in_doubt;
pub(crate) use self::{
    change::{Change, ChangeKind, Destroyed},
    core::{Replica, TombstoneUse},
    link::{
        Arrears, Flow, Link, LinkAcks, LinkEvent, LinkOptions, PeersTransfer, RoundMark, Violation,
    },
    observer::Observer,
    search::Wanted,
    store::{
        hot::Replicate, index::LimitClaim, missing::Missing, sweep::Sweep, writer::SessionWriter,
    },
};
#[cfg(any(test, feature = "durable"))]
pub(crate) use self::{
    key_hasher::SessionKeyHash,
    saving::{Batch, Loaded},
};
