//! Why a data directory cannot be used, in words that name the fix.

use std::{io, path::Path};

use super::{engine::EngineError, seal::SealError};
use crate::config::StartError;

/// Continues a sentence that begins with the directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(
        "cannot be used: {0}; check that its disk is mounted and has room, and that the user of \
         this process may read and write it"
    )]
    Io(#[from] io::Error),
    #[error("is not a directory; give `data_dir` the path of one")]
    NotDirectory,
    #[error(
        "is in use by another process, or by another node of this one; stop that, or give each \
         node a `data_dir` of its own"
    )]
    InUse,
    #[error(
        "holds `{0}`, which was not written by this crate; give `data_dir` a directory that is \
         empty or not there"
    )]
    Foreign(String),
    #[error(
        "is of format {0}, which a later release has written; start that release, or move the \
         directory away, and the node begins empty and gets the sessions of its peers"
    )]
    Later(u32),
    #[error(
        "holds the sessions of the cluster `{found}`, and this node is of `{cluster}`; correct \
         `data_dir` or `cluster`"
    )]
    OtherCluster { found: String, cluster: String },
    #[error(
        "is encrypted, and this node has no key; set the `secret` or `data_key` that it was \
         written with"
    )]
    NoKey,
    #[error(
        "is encrypted with a key that this node does not have; add the `secret` or `data_key` \
         that it was written with, behind the new one"
    )]
    OtherKey,
    #[error(
        "is not encrypted, and this node has a `secret` or `data_key`, so it takes nothing that is \
         not; move the directory away, and the node begins empty and gets the sessions of its peers"
    )]
    Plain,
    #[error(
        "is damaged: {0}; put a copy in its place, or move it away, and the node begins empty and \
         gets the sessions of its peers"
    )]
    Damaged(String),
}

impl DirectoryError {
    /// Returns the error of a start with the directory at `path`.
    pub(super) fn at(self, path: &Path) -> StartError {
        StartError::DataDir {
            path: path.to_owned(),
            source: self.into(),
        }
    }

    /// Returns the error of a record of which `what` tells.
    pub(super) fn sealed(error: SealError, what: &str) -> Self {
        match error {
            SealError::NoKey => Self::NoKey,
            SealError::OtherKey => Self::OtherKey,
            SealError::Plain => Self::Plain,
            SealError::Damaged => Self::Damaged(format!("{what} is not what was written")),
        }
    }
}

impl From<EngineError> for DirectoryError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Io(error) if is_about_content(error.kind()) => {
                Self::Damaged(error.to_string())
            }
            EngineError::Io(error) => Self::Io(error),
            EngineError::Damaged(what) => Self::Damaged(what),
        }
    }
}

/// Returns whether an error of the operating system's interface tells of what is in a file.
const fn is_about_content(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound
            | io::ErrorKind::Other
    )
}
