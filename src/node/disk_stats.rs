//! Figures of the disk.

use serde::Serialize;

/// The figures of a node's data directory, which
/// `ClusterConfig::data_dir` sets with the feature `durable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskStats {
    /// Sessions that have changed since they were written.
    pub unsaved: usize,
    /// Whether the last write failed. Changes then wait in memory, and it is tried again every second.
    pub failing: bool,
    /// Writes that failed.
    pub failures: u64,
    /// Writes that were done, each of which may hold the changes of many sessions.
    pub writes: u64,
    /// Bytes of changes that were written. The storage engine writes them again when it sorts them.
    pub written_bytes: u64,
    /// Bytes that the files take, as of a few seconds ago.
    pub bytes: u64,
    /// Records that are encrypted with another key than the first one, and will be written anew.
    pub old_records: usize,
}
