//! An engine in memory, whose disk can be full, fail, be slow, and lose power.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::engine::{Engine, EngineError, Go, KEY_LEN, Part, Storage, Write};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct MemoryDisk(Arc<(Mutex<Content>, Condvar)>);

/// What is on the disk.
#[derive(Debug, Default)]
struct Content {
    records: Records,
    /// Batches since the last sync, oldest first.
    unsynced: Vec<Vec<Write>>,
    /// The number of the last synced batch.
    last: u64,
    fault: Fault,
    syncs: u64,
}

type Records = BTreeMap<[u8; KEY_LEN], Vec<u8>>;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) enum Fault {
    #[default]
    None,
    /// There is no room for a write, and reading works.
    Full,
    /// A sync fails, and nobody knows what is on disk of what came before it.
    SyncFails,
    /// A sync takes as long as this is so.
    Stalls,
    /// Nothing works, not even opening it.
    Gone,
}

impl MemoryDisk {
    pub(in crate::node) fn set_fault(&self, fault: Fault) {
        self.content().fault = fault;
        self.0.1.notify_all();
    }

    /// Cuts the power: of what was not synced so many batches are there afterwards.
    pub(in crate::node) fn lose_power(&self, kept: usize) {
        let mut content = self.content();
        let unsynced = std::mem::take(&mut content.unsynced);
        for batch in unsynced.into_iter().take(kept) {
            content.apply(batch);
        }
    }

    /// Returns another disk with what is on this one after a power cut.
    pub(in crate::node) fn copy(&self) -> Self {
        let content = self.content();
        let copy = Content {
            records: content.records.clone(),
            last: content.last,
            ..Content::default()
        };
        Self(Arc::new((Mutex::new(copy), Condvar::new())))
    }

    pub(in crate::node) fn syncs(&self) -> u64 {
        self.content().syncs
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn apply(&mut self, batch: Vec<Write>) {
        self.last += 1;
        for Write { key, value } in batch {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
    }
}

impl Storage for MemoryDisk {
    fn open(&self, _: &Path, written: u64) -> Result<Box<dyn Engine>, EngineError> {
        if self.content().fault == Fault::Gone {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        // A process that died has written all that it could: its page cache outlives it.
        self.lose_power(usize::MAX);
        match self.content().last < written {
            true => Err(EngineError::Damaged("batches are missing".to_owned())),
            false => Ok(Box::new(self.clone())),
        }
    }
}

impl Engine for MemoryDisk {
    fn last_batch(&self) -> u64 {
        let content = self.content();
        content.last + content.unsynced.len() as u64
    }

    fn record(&self, key: &[u8; KEY_LEN]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.content().records.get(key).cloned())
    }

    fn read(
        &self,
        part: Part,
        each: &mut dyn FnMut(&[u8; KEY_LEN], &[u8]) -> Go,
    ) -> Result<(), EngineError> {
        let records = self.content().records.clone();
        for (_, (key, value)) in (0..).zip(&records).filter(|(at, _)| part.holds(*at)) {
            if each(key, value) == Go::Stop {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &[Write]) -> Result<(), EngineError> {
        let mut content = self.content();
        match content.fault {
            Fault::Full => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            Fault::Gone => Err(io::Error::from(io::ErrorKind::NotFound).into()),
            Fault::None | Fault::Stalls | Fault::SyncFails => {
                content.unsynced.push(batch.to_vec());
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        let is_stalled = |content: &mut Content| content.fault == Fault::Stalls;
        let waited = self.0.1.wait_while(self.content(), is_stalled);
        let mut content = waited.unwrap_or_else(PoisonError::into_inner);
        if content.fault == Fault::SyncFails {
            content.unsynced.clear();
            return Err(io::Error::other("the disk fails").into());
        }
        content.syncs += 1;
        let unsynced = std::mem::take(&mut content.unsynced);
        for batch in unsynced {
            content.apply(batch);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let content = self.content();
        let records = content.records.iter();
        records
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum()
    }
}
