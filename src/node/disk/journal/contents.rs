//! What is in the files together: the base, but for what the logs have changed since, and the last
//! change of each key in the logs.

use std::{collections::HashMap, path::Path};

use super::{
    file::{Frames, Kind, Name, Next, value_at},
    frame::{Change, Changes},
};
use crate::{
    node::disk::engine::{EngineError, Go, KEY_LEN, Part},
    replica::SessionKeyHash,
};

/// A base, if there is one, and the logs behind it, with an index of the logs.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) base: Option<Name>,
    pub(super) logs: Vec<Name>,
    /// The last change of each key.
    last: HashMap<[u8; KEY_LEN], Place, SessionKeyHash>,
}

/// A change in one of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    log: u32,
    offset: u64,
}

impl Contents {
    pub(super) fn new(base: Option<Name>) -> Self {
        Self {
            base,
            logs: Vec::new(),
            last: HashMap::default(),
        }
    }

    /// Begins with the changes of another log.
    pub(super) fn push(&mut self, log: Name) {
        self.logs.push(log);
    }

    /// Notes the changes of a frame of the last log.
    pub(super) fn note(&mut self, changes: &[u8], at: u64) -> Result<(), EngineError> {
        let log = u32::try_from(self.logs.len()).unwrap_or(u32::MAX);
        for change in Changes::of(changes) {
            let Change { key, offset, .. } = change.ok_or_else(malformed)?;
            let offset = at + offset as u64;
            self.last.insert(*key, Place { log, offset });
        }
        Ok(())
    }

    /// Returns the record of a key, if there is one.
    pub(super) fn find(
        &self,
        directory: &Path,
        key: &[u8; KEY_LEN],
    ) -> Result<Option<Vec<u8>>, EngineError> {
        if let Some(&Place { log, offset }) = self.last.get(key) {
            let log = self.logs[log as usize - 1];
            return Ok(value_at(directory, log, offset)?);
        }
        let mut found = None;
        if let Some(base) = self.base {
            let mut look = |change: Change<'_>, _| match change.key == key {
                true => {
                    found = change.value.map(<[u8]>::to_vec);
                    Go::Stop
                }
                false => Go::On,
            };
            read(directory, base, Part::ALL, &mut look)?;
        }
        Ok(found)
    }

    /// Passes on each record of a part once, until told to stop.
    pub(super) fn each(
        &self,
        directory: &Path,
        part: Part,
        each: &mut dyn FnMut(&[u8; KEY_LEN], &[u8]) -> Go,
    ) -> Result<(), EngineError> {
        if let Some(base) = self.base {
            let mut pass = |change: Change<'_>, _| match change.value {
                Some(value) if !self.last.contains_key(change.key) => each(change.key, value),
                Some(_) | None => Go::On,
            };
            if read(directory, base, part, &mut pass)? == Go::Stop {
                return Ok(());
            }
        }
        for (log, name) in (1..).zip(&self.logs) {
            let mut pass = |change: Change<'_>, at| {
                let place = Place { log, offset: at };
                match change.value {
                    Some(value) if self.last.get(change.key) == Some(&place) => {
                        each(change.key, value)
                    }
                    Some(_) | None => Go::On,
                }
            };
            if read(directory, *name, part, &mut pass)? == Go::Stop {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Passes on the changes of a part of a file's frames, each with its place in the file.
fn read(
    directory: &Path,
    name: Name,
    part: Part,
    pass: &mut dyn FnMut(Change<'_>, u64) -> Go,
) -> Result<Go, EngineError> {
    let torn = || EngineError::Damaged(format!("`{}` is not what was written", shown(name)));
    let frames = Frames::open(directory, name)?.ok_or_else(torn)?;
    let mut frames = frames.only(part);
    // A base that is shorter than it was lacks its last frame, which is empty.
    let mut is_whole = name.kind == Kind::Log;
    loop {
        match frames.next()? {
            Next::End if is_whole => return Ok(Go::On),
            Next::End | Next::Torn => return Err(torn()),
            Next::Frame { changes, at, .. } => {
                is_whole |= changes.is_empty();
                for change in Changes::of(changes) {
                    let change = change.ok_or_else(malformed)?;
                    if pass(change, at + change.offset as u64) == Go::Stop {
                        return Ok(Go::Stop);
                    }
                }
            }
        }
    }
}

/// Returns the name of a file as people know it.
pub(super) fn shown(name: Name) -> String {
    let path = name.in_directory(Path::new(""));
    path.display().to_string()
}

fn malformed() -> EngineError {
    EngineError::Damaged("a batch holds what is no change".to_owned())
}
