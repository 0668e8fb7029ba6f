//! The engine: logs that are appended to, and a base that is made of them now and then.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{
    compaction::{Base, Compaction, NEXT, too_long},
    contents::Contents,
    file::{Kind, MAGIC_LEN, Name, sync_directory},
    frame::{self, TooLong},
    recovery::{Recovered, log, recover},
};
use crate::{
    log::warn,
    node::disk::engine::{Engine, EngineError, Go, KEY_LEN, Part, Storage, Write},
};

/// Opens engines on disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct JournalStorage {
    /// The bytes of a log after which the next one begins.
    pub(in crate::node::disk) log_bytes: u64,
    /// The bytes of logs from which on they become a base, where that is not larger.
    pub(in crate::node::disk) least_bytes: u64,
}

impl Default for JournalStorage {
    fn default() -> Self {
        Self {
            log_bytes: 16 << 20,
            least_bytes: 64 << 20,
        }
    }
}

impl Storage for JournalStorage {
    fn open(&self, directory: &Path, written: u64) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Journal::open(directory, written, *self)?))
    }
}

/// An open engine.
#[derive(Debug)]
struct Journal {
    directory: PathBuf,
    sizes: JournalStorage,
    /// The number of the last batch.
    last: u64,
    /// What was there at the start, until something is written.
    contents: Option<Contents>,
    superseded: Vec<Name>,
    base: Option<Stored>,
    /// Logs that nothing is written to any more.
    sealed: Vec<Stored>,
    active: Option<Active>,
    compaction: Option<Compaction>,
    /// How many logs there were when a compaction failed.
    failed_with: usize,
}

/// A file and its length.
#[derive(Clone, Copy, Debug)]
struct Stored {
    name: Name,
    bytes: u64,
}

/// The log that is written to.
#[derive(Debug)]
struct Active {
    file: File,
    stored: Stored,
}

impl Journal {
    fn open(directory: &Path, written: u64, sizes: JournalStorage) -> Result<Self, EngineError> {
        let recovered = recover(directory, written)?;
        let mut base = None;
        let mut sealed = Vec::new();
        for name in recovered.files() {
            let bytes = fs::metadata(name.in_directory(directory))?.len();
            let stored = Stored { name, bytes };
            match name.kind {
                Kind::Base => base = Some(stored),
                Kind::Log => sealed.push(stored),
            }
        }
        let Recovered {
            contents,
            last,
            superseded,
        } = recovered;
        Ok(Self {
            directory: directory.to_owned(),
            sizes,
            last,
            contents: Some(contents),
            superseded,
            base,
            sealed,
            active: None,
            compaction: None,
            failed_with: 0,
        })
    }

    /// Returns the log to write to.
    fn active(&mut self) -> Result<&mut Active, EngineError> {
        let is_full = |active: &mut Active| active.stored.bytes >= self.sizes.log_bytes;
        if let Some(full) = self.active.take_if(is_full) {
            full.file.sync_data()?;
            self.sealed.push(full.stored);
        }
        match &mut self.active {
            Some(active) => Ok(active),
            none => {
                let name = log(self.last + 1);
                // One that is there has no batch in it.
                let mut file = File::create(name.in_directory(&self.directory))?;
                file.write_all(name.kind.magic())?;
                file.sync_all()?;
                sync_directory(&self.directory)?;
                let bytes = MAGIC_LEN as u64;
                let stored = Stored { name, bytes };
                Ok(none.insert(Active { file, stored }))
            }
        }
    }

    /// Removes files that a base has taken the place of.
    fn remove(&self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            let path = name.in_directory(&self.directory);
            if let Err(error) = fs::remove_file(&path) {
                warn!(file = %path.display(), "cannot remove [{}]: {error}", path.display());
            }
        }
    }

    /// Takes the base that was made. One that could not be made leaves all as it was.
    fn end_compaction(&mut self, done: Compaction) {
        let replaced = done.replaced.clone();
        match done.join() {
            Ok(Base { name, bytes }) => {
                self.sealed.retain(|log| !replaced.contains(&log.name));
                self.remove(replaced);
                self.base = Some(Stored { name, bytes });
                self.failed_with = 0;
            }
            Err(error) => {
                let directory = self.directory.display();
                warn!(
                    %directory,
                    "cannot make the files in [{directory}] smaller: {error}; it is tried again \
                     with the next file"
                );
                self.failed_with = self.sealed.len();
            }
        }
    }

    fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|log| log.bytes).sum()
    }

    /// Returns how many bytes of logs are worth a compaction.
    fn most_bytes(&self) -> u64 {
        let base = self.base.map_or(0, |base| base.bytes);
        base.max(self.sizes.least_bytes)
    }

    /// Ends a compaction that is done, and begins one where it is worth it.
    fn compact(&mut self) -> Result<(), EngineError> {
        // The room is bounded though changes come faster than a compaction gets on: they wait for it.
        let is_behind = self.sealed_bytes() >= self.most_bytes() + self.sizes.least_bytes / 2;
        let compaction = &mut self.compaction;
        if let Some(done) = compaction.take_if(|running| is_behind || running.has_ended()) {
            self.end_compaction(done);
        }
        let is_worth_it =
            self.sealed_bytes() >= self.most_bytes() || self.sealed.len() >= MOST_LOGS;
        let Some(active) = &self.active else {
            return Ok(());
        };
        if is_worth_it && self.compaction.is_none() && self.sealed.len() > self.failed_with {
            let logs = self.sealed.iter().map(|log| log.name).collect();
            let last = active.stored.name.number - 1;
            let base = self.base.map(|base| base.name);
            self.compaction = Some(Compaction::begin(&self.directory, base, logs, last)?);
        }
        Ok(())
    }
}

impl Journal {
    fn contents(&self) -> Result<&Contents, EngineError> {
        self.contents.as_ref().ok_or_else(|| {
            let what = "records are read before something is written";
            EngineError::Io(io::Error::other(what))
        })
    }
}

impl Engine for Journal {
    fn last_batch(&self) -> u64 {
        self.last
    }

    fn record(&self, key: &[u8; KEY_LEN]) -> Result<Option<Vec<u8>>, EngineError> {
        self.contents()?.find(&self.directory, key)
    }

    fn read(
        &self,
        part: Part,
        each: &mut dyn FnMut(&[u8; KEY_LEN], &[u8]) -> Go,
    ) -> Result<(), EngineError> {
        self.contents()?.each(&self.directory, part, each)
    }

    fn write(&mut self, batch: &[Write]) -> Result<(), EngineError> {
        if self.contents.take().is_some() {
            let superseded = std::mem::take(&mut self.superseded);
            self.remove(superseded);
        }
        let number = self.last + 1;
        let mut bytes = Vec::new();
        frame::encode(number, batch, &mut bytes).map_err(|TooLong| too_long())?;
        let active = self.active()?;
        active.file.write_all(&bytes)?;
        active.stored.bytes += bytes.len() as u64;
        self.last = number;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        if let Some(active) = &self.active {
            active.file.sync_data()?;
        }
        self.compact()
    }

    fn bytes(&self) -> u64 {
        let next = fs::metadata(self.directory.join(NEXT)).map_or(0, |next| next.len());
        let active = self.active.as_ref().map(|active| active.stored);
        let stored = self.base.iter().chain(&self.sealed).chain(&active);
        next + stored.map(|stored| stored.bytes).sum::<u64>()
    }
}

/// So many logs become a base whatever their size: each start begins one.
const MOST_LOGS: usize = 64;
