//! A place on disk for the sessions of nodes, for as long as they run.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A directory with one for each node in it, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct DataDirs(PathBuf);

impl DataDirs {
    /// A new one, below another directory.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("hit_counter-data-{}-{number}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The directory of a node, which makes it.
    pub(crate) fn of(&self, node: &str) -> PathBuf {
        self.0.join(node)
    }
}

impl Drop for DataDirs {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            // Where nobody reads it, there is nobody to tell.
            let _ = writeln!(io::stderr(), "{} stays: {error}", self.0.display());
        }
    }
}
