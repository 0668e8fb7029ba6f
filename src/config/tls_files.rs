//! The files of a node's certificate.

use std::path::PathBuf;

use serde::Deserialize;

/// The paths of a certificate, its key and the authority, each in PEM form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}
