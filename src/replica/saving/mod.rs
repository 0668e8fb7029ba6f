//! What a node writes into its directory, and what a node is that has loaded it.
//!
//! Changes note the keys of their sessions, whatever brings them about: a request, a peer, expiry.
//! [`Replica::take_unsaved`] reads these sessions as they are by then, in passes over all keys that
//! were noted. A pass saves what its node was when it began. So the batch that ends it covers all
//! records of the log up to the head of that moment, and facts that are no newer than the states.

mod batch;
mod load;
mod progress;
mod take;
#[cfg(test)]
mod tests;

pub(super) use self::progress::Saving;
pub(crate) use self::{batch::Batch, load::Loaded};
