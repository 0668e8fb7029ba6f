//! The data directory, its engine, and nodes on disks that fail. A disk takes real time, so nothing
//! here pauses it.

mod damage;
mod directory;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// A directory that is gone when it is dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).expect("randomness");
        let name = format!("sessions-on-disk-{:x}", u64::from_ne_bytes(unique));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a writable directory");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it where nothing is yet.
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}
