//! Sessions on this node's own disk.
//!
//! At a start the [`DataDirectory`] is opened and loaded, before the node serves anything. Then a
//! thread writes what has changed. Requests know the [`Disk`] alone, and wait for it
//! only where [`Sync::BeforeResponse`](crate::config::Sync) asks for that. When the disk fails, all
//! goes on in memory.

mod directory;
mod engine;
mod error;
mod handle;
mod journal;
mod load;
#[cfg(test)]
mod memory;
mod open;
mod seal;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(in crate::node) use self::memory::{Fault, MemoryDisk};
pub(in crate::node) use self::{engine::Storage, journal::JournalStorage};
pub(in crate::node) use self::{handle::Disk, open::DataDirectory};
