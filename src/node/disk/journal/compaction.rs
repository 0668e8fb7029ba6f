//! Making one base of a base and the logs behind it, on a thread of its own.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    contents::Contents,
    file::{Frames, Kind, Name, Next, sync_directory},
    frame::{self, TooLong},
};
use crate::node::disk::engine::{EngineError, Go, Part, Write};

/// A compaction under way. Dropping it ends it, and waits for that.
#[derive(Debug)]
pub(super) struct Compaction {
    /// What the new base takes the place of.
    pub(super) replaced: Vec<Name>,
    is_over: Arc<AtomicBool>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<Result<Base, EngineError>>>,
}

/// A base that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) name: Name,
    pub(super) bytes: u64,
}

impl Compaction {
    /// Begins to make a base of all batches up to `last`, which is the last one in these logs. Nothing
    /// writes to them any more.
    pub(super) fn begin(
        directory: &Path,
        base: Option<Name>,
        logs: Vec<Name>,
        last: u64,
    ) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let replaced = base.iter().chain(&logs).copied().collect();
        let work = Work {
            directory: directory.to_owned(),
            base,
            logs,
            last,
            is_over: Arc::clone(&is_over),
        };
        let thread = thread::Builder::new().name("sessions-compact".to_owned());
        let thread = thread.spawn(move || work.run())?;
        Ok(Self {
            replaced,
            is_over,
            thread: Some(thread),
        })
    }

    /// Returns whether it has ended, well or not.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    pub(super) fn join(mut self) -> Result<Base, EngineError> {
        let joined = self.thread.take().map(JoinHandle::join);
        joined.unwrap_or(Ok(Err(stopped()))).unwrap_or_else(|_| {
            let what = "the compaction panicked, which is a defect";
            Err(EngineError::Io(io::Error::other(what)))
        })
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it has not finished is begun anew.
            let _ = thread.join();
        }
    }
}

struct Work {
    directory: PathBuf,
    base: Option<Name>,
    logs: Vec<Name>,
    last: u64,
    is_over: Arc<AtomicBool>,
}

impl Work {
    fn run(&self) -> Result<Base, EngineError> {
        let next = self.directory.join(NEXT);
        let made = self.make(&next);
        if made.is_err()
            && let Err(error) = fs::remove_file(&next)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        made
    }

    fn make(&self, next: &Path) -> Result<Base, EngineError> {
        let mut contents = Contents::new(self.base);
        for log in &self.logs {
            contents.push(*log);
            let torn = || EngineError::Damaged("a log changed while it was read".to_owned());
            let mut frames = Frames::open(&self.directory, *log)?.ok_or_else(torn)?;
            loop {
                self.go_on()?;
                match frames.next()? {
                    Next::Frame { changes, at, .. } => contents.note(changes, at)?,
                    Next::End => break,
                    Next::Torn => return Err(torn()),
                }
            }
        }
        let name = Name {
            kind: Kind::Base,
            number: self.last,
        };
        let mut file = BufWriter::new(File::create(next)?);
        file.write_all(name.kind.magic())?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut failed = Ok(());
        contents.each(&self.directory, Part::ALL, &mut |key, value| {
            bytes += value.len();
            batch.push(Write {
                key: *key,
                value: Some(value.to_vec()),
            });
            if bytes < FRAME_BYTES {
                return Go::On;
            }
            bytes = 0;
            failed = self
                .go_on()
                .and_then(|()| self.write(&mut file, &mut batch));
            match failed {
                Ok(()) => Go::On,
                Err(_) => Go::Stop,
            }
        })?;
        failed?;
        if !batch.is_empty() {
            self.write(&mut file, &mut batch)?;
        }
        // The end, by which one knows that nothing is missing.
        self.write(&mut file, &mut batch)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(next, name.in_directory(&self.directory))?;
        sync_directory(&self.directory)?;
        Ok(Base { name, bytes })
    }

    fn write(&self, file: &mut BufWriter<File>, batch: &mut Vec<Write>) -> Result<(), EngineError> {
        let mut bytes = Vec::new();
        frame::encode(self.last, batch, &mut bytes).map_err(|TooLong| too_long())?;
        file.write_all(&bytes)?;
        batch.clear();
        Ok(())
    }

    fn go_on(&self) -> Result<(), EngineError> {
        match self.is_over.load(Ordering::Relaxed) {
            true => Err(stopped()),
            false => Ok(()),
        }
    }
}

pub(super) fn too_long() -> EngineError {
    EngineError::Io(io::Error::new(
        io::ErrorKind::InvalidInput,
        "a batch is longer than 4 GiB",
    ))
}

fn stopped() -> EngineError {
    EngineError::Io(io::ErrorKind::Interrupted.into())
}

/// The name of a base until it is whole.
pub(super) const NEXT: &str = "base.next";
const FRAME_BYTES: usize = 256 << 10;
