//! A secret for nodes of one machine, made for this run.

use std::{
    env::temp_dir,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A file that only this user can read, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct SecretFile(PathBuf);

impl SecretFile {
    /// What `openssl rand -hex 32` makes, in a new file.
    pub(crate) fn new() -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let secret = bytes.iter().fold(String::new(), |mut secret, byte| {
            // Writing to a string does not fail.
            let _ = write!(secret, "{byte:02x}");
            secret
        });
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = temp_dir().join(format!("hit_counter-{}-{number}", process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut opened = options.open(&path)?;
        let file = Self(path);
        opened.write_all(secret.as_bytes())?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            // Where nobody reads it, there is nobody to tell.
            let _ = writeln!(io::stderr(), "{} stays: {error}", self.0.display());
        }
    }
}
