//! The thread that writes what has changed.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    directory::Directory,
    engine::{Engine, Storage, Write},
    error::DirectoryError,
    handle::{Call, Writing},
    load::Found,
    seal::{Keys, Sealer},
};
use crate::{
    config::{StartError, Sync},
    log::{info, warn},
    node::Node,
    replica::Batch,
    session::SavedKey,
};

/// Writes what has changed, batch by batch: one write of the engine, one sync, and whoever waits for
/// it may go on. A failure costs nothing but time: what was not written waits in memory, and the engine
/// is opened anew, since it may not know what reached the disk.
pub(in crate::node) struct Writer {
    node: Arc<Node>,
    directory: Directory,
    path: String,
    storage: Arc<dyn Storage>,
    /// `None` after a failure.
    engine: Option<Box<dyn Engine>>,
    sealer: Sealer,
    /// When to look at the size of the files next.
    next_look_ms: u64,
    /// What is being written.
    batch: Option<Batch>,
    /// The number of the last batch that was synced.
    synced: u64,
    /// Sessions whose records are to be sealed anew.
    old: Vec<SavedKey>,
    /// Some records were sealed by another key, and the directory does not say yet that none is.
    is_changing_keys: bool,
}

/// A directory that was opened.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) directory: Directory,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) engine: Box<dyn Engine>,
    pub(super) keys: Keys,
    pub(super) sealer: Sealer,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Begins with what has to be written at a start, so that a new directory that cannot be written is
    /// an error. One that has sessions is as good as it was, also on a disk that is full.
    pub(super) fn begin(
        opened: Opened,
        node: Arc<Node>,
        found: Found,
    ) -> Result<Self, DirectoryError> {
        let Opened {
            path,
            directory,
            storage,
            engine,
            sealer,
            ..
        } = opened;
        let mut writer = Self {
            directory,
            path: path.display().to_string(),
            storage,
            synced: engine.last_batch(),
            engine: Some(engine),
            sealer,
            next_look_ms: 0,
            batch: None,
            is_changing_keys: !found.old.is_empty() && found.over_limit == 0,
            old: found.old,
            node,
        };
        writer.note_old();
        let is_new = writer.synced == 0;
        let saved = writer.save_all();
        writer.give_back();
        if is_new {
            saved?;
            writer.directory.begin()?;
            writer.note_size();
        } else {
            writer.note(saved);
        }
        Ok(writer)
    }

    /// Starts the thread. It ends when the node is told to end, or has nobody left.
    pub(in crate::node) fn start(self) -> Result<(), StartError> {
        // The clock of the runtime, which a test can pause.
        let runtime = Handle::current();
        let path = self.path.clone();
        let thread = thread::Builder::new().name("sessions-disk".to_owned());
        thread
            .spawn(move || {
                let _entered = runtime.enter();
                self.run();
            })
            .map(drop)
            .map_err(|error| DirectoryError::from(error).at(path.as_ref()))
    }

    fn run(mut self) {
        let node = Arc::clone(&self.node);
        let Some(writing) = node.disk.writing() else {
            return;
        };
        let interval = match writing.sync {
            Sync::Every(interval) => interval,
            Sync::BeforeResponse => IDLE_INTERVAL,
        };
        let mut took = Duration::ZERO;
        loop {
            let call = match self.engine {
                Some(_) => writing.sleep(interval.saturating_sub(took)),
                None => writing.pause(RETRY_INTERVAL),
            };
            let began_us = node.clock.now_us();
            writing.begin();
            let is_last = call == Call::End;
            let saved = catch_unwind(AssertUnwindSafe(|| self.save_all()));
            let saved = saved.unwrap_or_else(|_| {
                node.note_panic("disk");
                self.engine = None;
                Err(io::Error::other("the task panicked").into())
            });
            self.give_back();
            self.note(saved);
            took = Duration::from_micros(node.clock.now_us().saturating_sub(began_us));
            if is_last {
                break;
            }
        }
        let unsaved = node.replica.unsaved();
        if unsaved > 0 {
            warn!(
                node = %node.settings.node, directory = %self.path, unsaved,
                "ended without writing [{unsaved}] changed sessions to [{}]", self.path
            );
        }
        // Before anybody is told that the directory is free.
        drop(self);
        writing.tell_end();
    }

    /// Has what could not be written taken again.
    fn give_back(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.node.replica.give_back(batch);
        }
    }

    /// Writes all that has changed.
    fn save_all(&mut self) -> Result<(), DirectoryError> {
        if self.engine.is_none() {
            let engine = self.storage.open(&self.directory.engine(), self.synced)?;
            self.engine = Some(engine);
        }
        self.renew_old();
        loop {
            let batch = self.node.replica.take_unsaved(self.node.now(), BATCH_BYTES);
            let is_last = batch.is_last;
            if batch.entries.is_empty() {
                self.tell(&batch);
            } else {
                self.batch = Some(batch);
                self.save()?;
            }
            if is_last {
                self.end_change_of_keys();
                return Ok(());
            }
        }
    }

    /// Writes the batch that was taken.
    fn save(&mut self) -> Result<(), DirectoryError> {
        let began_us = self.node.clock.now_us();
        let entries = self.batch.iter().flat_map(|batch| &batch.entries);
        let mut bytes = 0;
        let mut writes = Vec::new();
        for (key, record) in entries {
            let key = key.to_bytes();
            let record = record.as_deref();
            let value = record.map(|plain| self.sealer.seal(&key, plain));
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            writes.push(Write { key, value });
        }
        self.write(&writes)?;
        if let Some(batch) = self.batch.take() {
            self.tell(&batch);
        }
        if let Some(Writing { figures, .. }) = self.node.disk.writing() {
            figures.writes.fetch_add(1, Ordering::Relaxed);
            figures
                .written_bytes
                .fetch_add(bytes as u64, Ordering::Relaxed);
        }
        let took_us = self.node.clock.now_us().saturating_sub(began_us);
        self.node.monitor.metrics.disk_writes.record_us(took_us);
        Ok(())
    }

    /// Writes and syncs changes. After a failure nobody knows what is on disk, so the engine is opened
    /// anew.
    fn write(&mut self, changes: &[Write]) -> Result<(), DirectoryError> {
        let Some(engine) = &mut self.engine else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        if let Err(error) = engine.write(changes).and_then(|()| engine.sync()) {
            self.engine = None;
            return Err(error.into());
        }
        let number = engine.last_batch();
        self.synced = number;
        // It is for the next start, and the batch is on disk.
        if let Err(error) = self.directory.note_written(number)
            && self.node.monitor.disk_log.may_log(self.node.now())
        {
            let node = &self.node.settings.node;
            warn!(%node, directory = %self.path, "cannot note what was written: {error}");
        }
        Ok(())
    }

    /// Lets responses go that waited for a batch.
    fn tell(&self, batch: &Batch) {
        self.node.peers.acks.saved(batch.position).wake();
    }

    /// Has some of the records written anew that another key has sealed. Call it before the first batch,
    /// so that they are all written with the last one.
    fn renew_old(&mut self) {
        if self.old.is_empty() || self.node.replica.unsaved() >= RENEWED_AT_ONCE {
            return;
        }
        let from = self.old.len().saturating_sub(RENEWED_AT_ONCE);
        self.node.replica.mark_unsaved(&self.old[from..]);
        self.old.truncate(from);
        self.note_old();
    }

    /// Says that all is sealed by the first key, once it is.
    fn end_change_of_keys(&mut self) {
        if !self.is_changing_keys || !self.old.is_empty() {
            return;
        }
        self.is_changing_keys = false;
        info!(
            node = %self.node.settings.node, directory = %self.path,
            "All records in [{}] are encrypted with the first key now; older keys are not needed \
             for it any more", self.path
        );
    }

    /// Counts and tells how a write has ended.
    fn note(&mut self, saved: Result<(), DirectoryError>) {
        let node = Arc::clone(&self.node);
        let Some(Writing { figures, .. }) = node.disk.writing() else {
            return;
        };
        let was_failing = figures.is_failing.swap(saved.is_err(), Ordering::Relaxed);
        match saved {
            Ok(()) if was_failing => {
                node.monitor.disk_log.reset();
                info!(
                    node = %node.settings.node, directory = %self.path,
                    "The data directory [{}] is written again", self.path
                );
                self.note_size();
            }
            Ok(()) => self.note_size(),
            Err(error) => {
                figures.failures.fetch_add(1, Ordering::Relaxed);
                // Nobody waits for a disk that does not work.
                node.peers.acks.disk_fails().wake();
                if node.monitor.disk_log.may_log(node.now()) {
                    let unsaved = node.replica.unsaved();
                    warn!(
                        node = %node.settings.node, directory = %self.path, unsaved,
                        "the data directory [{}] {error}; [{unsaved}] changed sessions are in memory \
                         alone, and it is tried again every second",
                        self.path
                    );
                }
            }
        }
    }

    /// Notes what the files take, which is looked at now and then.
    fn note_size(&mut self) {
        let now_ms = self.node.now().mono_ms;
        if now_ms < self.next_look_ms {
            return;
        }
        self.next_look_ms = now_ms + LOOK_INTERVAL_MS;
        let size = self.engine.as_ref().map(|engine| engine.bytes());
        if let (Some(size), Some(writing)) = (size, self.node.disk.writing()) {
            writing.figures.disk_bytes.store(size, Ordering::Relaxed);
        }
    }

    fn note_old(&self) {
        if let Some(writing) = self.node.disk.writing() {
            let old = self.old.len();
            writing.figures.old_records.store(old, Ordering::Relaxed);
        }
    }
}

/// How often it looks for changes that no response waits for.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The bytes of records in one batch, about.
const BATCH_BYTES: usize = 4 << 20;
/// How many records are sealed anew by one batch.
const RENEWED_AT_ONCE: usize = 8192;
const LOOK_INTERVAL_MS: u64 = 5_000;
