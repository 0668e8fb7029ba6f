//! The storage engine: an append-only journal.
//!
//! All sessions are in memory, so nothing is ever looked up on disk, and an index would be kept for
//! nothing. A batch is one write at the end of a file, and all batches are read once, at a start. As
//! soon as the logs are larger than what is left of them, they are made into one file, the base.
//!
//! Each batch has a number and a checksum. A batch that is torn at the end of the last log was never
//! synced, and is cut off. Anything else that is not as it was written is an error.

mod compaction;
mod contents;
mod engine;
mod file;
mod frame;
mod recovery;

pub(in crate::node) use self::engine::JournalStorage;
