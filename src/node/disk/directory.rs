//! The directory: whose it is, and that nobody else has it.
//!
//! ```text
//! about     the format and the cluster, as text
//! lock      locked by the process that has the directory
//! written   the number of the last batch that was synced
//! engine/   what the storage engine writes
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::error::DirectoryError;
use crate::log::{info, warn};

/// A data directory that this process has locked, until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    cluster: String,
    is_new: bool,
    written: Option<File>,
    _lock: File,
}

impl Directory {
    /// Opens a directory of this cluster, or makes one.
    pub(super) fn open(path: &Path, cluster: &str) -> Result<Self, DirectoryError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(DirectoryError::NotDirectory),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
            Err(error) => return Err(error.into()),
        }
        warn_if_too_open(path);
        let found = About::read(&path.join(ABOUT))?;
        if found.is_none() {
            refuse_foreign(path)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DirectoryError::InUse,
            TryLockError::Error(error) => error.into(),
        })?;
        // Read again, now that nobody else can be writing it.
        let is_new = match About::read(&path.join(ABOUT))? {
            Some(about) if about.cluster != cluster => {
                return Err(DirectoryError::OtherCluster {
                    found: about.cluster,
                    cluster: cluster.to_owned(),
                });
            }
            Some(about) => about.is_new,
            None => true,
        };
        let directory = Self {
            path: path.to_owned(),
            cluster: cluster.to_owned(),
            is_new,
            written: None,
            _lock: lock,
        };
        directory.prepare_engine()?;
        Ok(directory)
    }

    /// Returns where the engine has its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE)
    }

    /// Returns whether there is nothing in the directory yet.
    #[cfg(test)]
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the number of a batch that the engine must have: the last one that was synced, or,
    /// after a power cut, one before it.
    pub(super) fn written(&self) -> Result<u64, DirectoryError> {
        // One was written before the directory counted as begun.
        let least = u64::from(!self.is_new);
        match fs::read(self.path.join(WRITTEN)) {
            Ok(bytes) => Ok(number_in(&bytes).unwrap_or(least)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(least),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a batch was synced. This itself is not: it costs a moment, and tells a process that
    /// died from an engine that has lost something.
    pub(super) fn note_written(&mut self, batch: u64) -> io::Result<()> {
        let file = match &mut self.written {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                options.create(true).truncate(false).write(true);
                none.insert(options.open(self.path.join(WRITTEN))?)
            }
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[batch.to_be_bytes(), (!batch).to_be_bytes()].concat())
    }

    /// Notes that the engine has begun, so that its files are missed from now on.
    pub(super) fn begin(&mut self) -> Result<(), DirectoryError> {
        if self.is_new {
            self.write_about(false)?;
            self.is_new = false;
        }
        Ok(())
    }

    fn prepare_engine(&self) -> Result<(), DirectoryError> {
        let engine = self.engine();
        let is_there = engine.try_exists()?;
        if !self.is_new {
            return match is_there {
                true => Ok(()),
                false => Err(DirectoryError::Damaged(format!("`{ENGINE}` is missing"))),
            };
        }
        self.write_about(true)?;
        if is_there {
            // The process died while it made the directory, before it wrote a session.
            info!(
                directory = %self.path.display(),
                "the data directory [{}] was never finished and is begun anew",
                self.path.display()
            );
            fs::remove_dir_all(&engine)?;
        }
        make(&engine)?;
        sync_directory(&self.path)?;
        Ok(())
    }

    /// Replaces the description at once or not at all.
    fn write_about(&self, is_new: bool) -> Result<(), DirectoryError> {
        let about = About {
            cluster: self.cluster.clone(),
            is_new,
        };
        let (next, path) = (self.path.join(ABOUT_NEXT), self.path.join(ABOUT));
        let mut file = File::create(&next)?;
        file.write_all(about.to_text().as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&next, &path)?;
        sync_directory(&self.path)?;
        Ok(())
    }
}

/// What the directory says of itself.
#[derive(Debug, PartialEq, Eq)]
struct About {
    cluster: String,
    /// The engine may not have begun.
    is_new: bool,
}

impl About {
    fn to_text(&self) -> String {
        let Self { cluster, is_new } = self;
        let state = if *is_new { NEW } else { BEGUN };
        format!("{TITLE}\nformat {FORMAT}\ncluster {cluster}\nstate {state}\n")
    }

    /// Reads the file, `None` if there is none.
    fn read(path: &Path) -> Result<Option<Self>, DirectoryError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8(bytes).map_err(|_| unreadable())?;
        Self::parse(&text).map(Some)
    }

    fn parse(text: &str) -> Result<Self, DirectoryError> {
        let mut lines = text.lines();
        let mut field = |name: &str| {
            let line = lines.next()?;
            line.strip_prefix(name)?.strip_prefix(' ')
        };
        if field(TITLE_NAME) != Some(TITLE_REST) {
            return Err(unreadable());
        }
        let format: Option<u32> = field("format").and_then(|format| format.parse().ok());
        // What follows is known for this format alone.
        match format {
            Some(FORMAT) => {}
            Some(later) if later > FORMAT => return Err(DirectoryError::Later(later)),
            Some(_) | None => return Err(unreadable()),
        }
        let (Some(cluster), Some(state)) = (field("cluster"), field("state")) else {
            return Err(unreadable());
        };
        let about = Self {
            cluster: cluster.to_owned(),
            is_new: state == NEW,
        };
        match about.to_text() == text {
            true => Ok(about),
            false => Err(unreadable()),
        }
    }
}

/// Reads a number that is followed by its complement.
fn number_in(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    let number = u64::from_be_bytes(*number);
    (rest == (!number).to_be_bytes()).then_some(number)
}

fn unreadable() -> DirectoryError {
    DirectoryError::Damaged(format!("the file `{ABOUT}` cannot be read"))
}

/// Refuses to begin in a directory that holds what others wrote.
fn refuse_foreign(path: &Path) -> Result<(), DirectoryError> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // The last is in the root of some file systems, which is empty otherwise.
        let is_own = [LOCK, ABOUT_NEXT, "lost+found"]
            .iter()
            .any(|own| name == *own);
        if !is_own {
            return Err(DirectoryError::Foreign(name.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}

/// Makes a directory that only this process's user may use, and those above it.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Warns if others on this machine can use the directory, as one that was there before.
#[cfg(unix)]
fn warn_if_too_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    // That its group may use it is how Kubernetes gives it to a process that is not root.
    if let Ok(mode) = mode
        && mode & 0o007 != 0
    {
        let path = path.display();
        warn!(
            directory = %path,
            "the data directory [{path}] can be used by others on this machine (mode {mode:o}); \
             run `chmod 700` on it"
        );
    }
}

#[cfg(not(unix))]
const fn warn_if_too_open(_: &Path) {}

/// Has the names in a directory reach the disk.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
const fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

const ABOUT: &str = "about";
const ABOUT_NEXT: &str = "about.next";
const LOCK: &str = "lock";
const WRITTEN: &str = "written";
const ENGINE: &str = "engine";
const TITLE: &str = "tower-cluster-sessions data directory";
const TITLE_NAME: &str = "tower-cluster-sessions";
const TITLE_REST: &str = "data directory";
const FORMAT: u32 = 1;
const NEW: &str = "new";
const BEGUN: &str = "begun";
