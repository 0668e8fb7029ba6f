//! What the data directory needs of a storage engine.

use std::{fmt, io, path::Path};

/// Where engines come from. A test can have others.
pub(crate) trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens what is in the directory, or begins anew where it is empty. All batches up to the number
    /// `written` must be there, and of later ones those up to any.
    fn open(&self, directory: &Path, written: u64) -> Result<Box<dyn Engine>, EngineError>;
}

/// Records by their keys, changed by batches that are numbered from 1 on.
pub(crate) trait Engine: Send + Sync {
    /// Returns the number of the last batch that is there.
    fn last_batch(&self) -> u64;

    /// Returns the record of a key, if there is one. It is for the time before the first write.
    fn record(&self, key: &[u8; KEY_LEN]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Passes on every record of a part once, in any order, until told to stop. It is for the time
    /// before the first write.
    fn read(
        &self,
        part: Part,
        each: &mut dyn FnMut(&[u8; KEY_LEN], &[u8]) -> Go,
    ) -> Result<(), EngineError>;

    /// Writes all of a batch or nothing.
    fn write(&mut self, batch: &[Write]) -> Result<(), EngineError>;

    /// Returns once everything written is on disk.
    fn sync(&mut self) -> Result<(), EngineError>;

    /// Returns the bytes that it takes on disk.
    fn bytes(&self) -> u64;
}

/// One of several parts of all records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u8,
    pub(crate) of: u8,
}

impl Part {
    pub(crate) const ALL: Self = Self { number: 0, of: 1 };

    /// Returns whether the piece of this number is in it. It is up to the engine what a piece is.
    pub(crate) const fn holds(self, piece: u64) -> bool {
        piece % self.of as u64 == self.number as u64
    }
}

/// Whether to pass on the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    On,
    Stop,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: [u8; KEY_LEN],
    /// `None`: the record goes.
    pub(crate) value: Option<Vec<u8>>,
}

/// What an engine could not do. After it, the engine is to be opened anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The operating system did not do it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is on disk is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// The length of all keys.
pub(crate) const KEY_LEN: usize = 17;
