//! What is found in the files at a start: all batches up to the last one that is whole.

use std::{fs::OpenOptions, path::Path};

use super::{
    contents::{Contents, shown},
    file::{Frames, Kind, Name, Next, has_frame_behind, list},
};
use crate::{log::warn, node::disk::engine::EngineError};

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) contents: Contents,
    /// The number of the last batch.
    pub(super) last: u64,
    /// Files that a base has taken the place of.
    pub(super) superseded: Vec<Name>,
}

/// Reads all logs. The batches up to `written` were synced, so they must be there. Behind them a batch
/// may be torn that was never synced, and is cut off.
pub(super) fn recover(directory: &Path, written: u64) -> Result<Recovered, EngineError> {
    let (mut bases, logs) = list(directory)?;
    let base = bases.pop();
    let mut superseded = bases;
    let mut contents = Contents::new(base);
    let mut last = base.map_or(0, |base| base.number);
    let (old, logs): (Vec<_>, Vec<_>) = logs.into_iter().partition(|log| log.number <= last);
    superseded.extend(old);
    for (at, log) in logs.iter().enumerate() {
        if log.number != last + 1 {
            return Err(missing(last + 1, log.number - 1));
        }
        let is_newest = at + 1 == logs.len();
        let may_be_torn = |last: u64| is_newest && last >= written;
        let Some(mut frames) = Frames::open(directory, *log)? else {
            if may_be_torn(last) && !has_frame_behind(directory, *log, 0, last + 1)? {
                // The process died while it made the file.
                break;
            }
            return Err(damaged(*log, 0));
        };
        let first = last;
        loop {
            let begin = frames.at();
            match frames.next()? {
                Next::Frame {
                    number,
                    changes,
                    at,
                } if number == last + 1 => {
                    if last == first {
                        contents.push(*log);
                    }
                    contents.note(changes, at)?;
                    last = number;
                }
                Next::End => break,
                Next::Torn
                    if may_be_torn(last)
                        && !has_frame_behind(directory, *log, begin, last + 1)? =>
                {
                    cut_off(directory, *log, begin)?;
                    break;
                }
                Next::Frame { .. } | Next::Torn => return Err(damaged(*log, begin)),
            }
        }
    }
    if last < written {
        return Err(missing(last + 1, written));
    }
    Ok(Recovered {
        contents,
        last,
        superseded,
    })
}

fn cut_off(directory: &Path, log: Name, at: u64) -> Result<(), EngineError> {
    let path = log.in_directory(directory);
    warn!(
        file = %path.display(), at,
        "the last batch in [{}] was not written to its end and is cut off at [{at}]",
        path.display()
    );
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()?;
    Ok(())
}

fn damaged(log: Name, at: u64) -> EngineError {
    let what = format!(
        "`{}` is not what was written, from byte {at} on",
        shown(log)
    );
    EngineError::Damaged(what)
}

fn missing(from: u64, to: u64) -> EngineError {
    EngineError::Damaged(format!(
        "the batches from {from} to {to}, which were on disk, are missing"
    ))
}

impl Recovered {
    /// Returns the names of the files that are in use.
    pub(super) fn files(&self) -> impl Iterator<Item = Name> {
        let base = self.contents.base.into_iter();
        base.chain(self.contents.logs.iter().copied())
    }
}

/// Returns the name of the log that begins with a batch.
pub(super) const fn log(number: u64) -> Name {
    Name {
        kind: Kind::Log,
        number,
    }
}
