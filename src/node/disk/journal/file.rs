//! Files of frames.
//!
//! `00000000000000000042.log` has the batches from number 42 on, one frame each. A file
//! `00000000000000000041.base` has what was left of all batches up to 41: frames of that number, and
//! an empty one at the end.

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::frame::{CHANGE_HEAD_LEN, HEAD_LEN, Head, value_length};
use crate::node::disk::engine::Part;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Base,
    Log,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Log => "log",
        }
    }

    /// Returns what a file of this kind begins with.
    pub(super) const fn magic(self) -> &'static [u8; MAGIC_LEN] {
        match self {
            Self::Base => b"TCSbase\x01",
            Self::Log => b"TCSlog \x01",
        }
    }
}

/// A file, by its kind and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) number: u64,
}

impl Name {
    pub(super) fn in_directory(self, directory: &Path) -> PathBuf {
        let Self { kind, number } = self;
        directory.join(format!("{number:020}.{}", kind.extension()))
    }

    fn read(name: &str) -> Option<Self> {
        let (number, extension) = name.split_once('.')?;
        let kinds = [Kind::Base, Kind::Log];
        let kind = kinds
            .into_iter()
            .find(|kind| kind.extension() == extension)?;
        let is_number = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| number.parse().ok()).flatten()?;
        Some(Self { kind, number })
    }
}

/// Returns the bases and the logs of a directory, each in the order of their numbers. Other files are
/// nobody's business.
pub(super) fn list(directory: &Path) -> io::Result<(Vec<Name>, Vec<Name>)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().to_str().and_then(Name::read));
    }
    names.sort_unstable();
    Ok(names.into_iter().partition(|name| name.kind == Kind::Base))
}

/// Reads the frames of a file.
#[derive(Debug)]
pub(super) struct Frames {
    file: BufReader<File>,
    /// Where the next frame begins.
    at: u64,
    length: u64,
    /// How many frames came before.
    count: u64,
    part: Part,
    changes: Vec<u8>,
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Frame {
        number: u64,
        changes: &'a [u8],
        /// Where the changes begin.
        at: u64,
    },
    /// Nothing.
    End,
    /// Something that is no frame, or not as it was written.
    Torn,
}

impl Frames {
    /// Opens a file; `None` if it does not begin as one of its kind.
    pub(super) fn open(directory: &Path, name: Name) -> io::Result<Option<Self>> {
        let file = File::open(name.in_directory(directory))?;
        let length = file.metadata()?.len();
        let mut file = BufReader::with_capacity(BUFFER, file);
        let mut magic = [0; MAGIC_LEN];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *name.kind.magic() => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(Self {
            file,
            at: MAGIC_LEN as u64,
            length,
            count: 0,
            part: Part::ALL,
            changes: Vec::new(),
        }))
    }

    /// Passes over the frames of other parts unread, but for the last of a base.
    pub(super) fn only(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// Returns where the next frame begins, or what is no frame.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Reads the next frame. After one that is torn, call it no more.
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        let head = loop {
            let left = self.length.saturating_sub(self.at);
            if left == 0 {
                return Ok(Next::End);
            }
            let Some(room) = left.checked_sub(HEAD_LEN as u64) else {
                return Ok(Next::Torn);
            };
            let mut head = [0; HEAD_LEN];
            self.file.read_exact(&mut head)?;
            let head = Head::read(&head);
            // So no more is allocated than there is.
            if u64::from(head.length) > room {
                return Ok(Next::Torn);
            }
            let frame = self.count;
            self.count += 1;
            if self.part.holds(frame) || head.length == 0 {
                break head;
            }
            self.file.seek_relative(i64::from(head.length))?;
            self.at += HEAD_LEN as u64 + u64::from(head.length);
        };
        self.changes.clear();
        let mut changes = self.file.by_ref().take(u64::from(head.length));
        changes.read_to_end(&mut self.changes)?;
        if !head.is_of(&self.changes) {
            return Ok(Next::Torn);
        }
        let at = self.at + HEAD_LEN as u64;
        self.at = at + u64::from(head.length);
        Ok(Next::Frame {
            number: head.number,
            changes: &self.changes,
            at,
        })
    }
}

/// Returns the value of the change at a place in a file, which was read before.
pub(super) fn value_at(directory: &Path, name: Name, at: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(name.in_directory(directory))?;
    file.seek(SeekFrom::Start(at))?;
    let mut head = [0; CHANGE_HEAD_LEN];
    file.read_exact(&mut head)?;
    let Some(length) = value_length(&head) else {
        return Ok(None);
    };
    let mut value = vec![0; length as usize];
    file.read_exact(&mut value)?;
    Ok(Some(value))
}

/// Returns whether there is a whole frame of a number behind `at`, at any place. Only a file that was
/// damaged has one behind what is no frame: batches are synced one after the other.
pub(super) fn has_frame_behind(
    directory: &Path,
    name: Name,
    at: u64,
    number: u64,
) -> io::Result<bool> {
    let bytes = fs::read(name.in_directory(directory))?;
    let from = usize::try_from(at).unwrap_or(usize::MAX);
    let behind = bytes.get(from..).unwrap_or_default();
    let is_frame = |start: usize| {
        let (head, changes) = behind.get(start..)?.split_first_chunk()?;
        let head = Head::read(head);
        if !(number..number.saturating_add(MOST_BATCHES)).contains(&head.number) {
            return None;
        }
        let changes = changes.get(..usize::try_from(head.length).ok()?)?;
        Some(head.is_of(changes))
    };
    Ok((1..behind.len()).any(|start| is_frame(start) == Some(true)))
}

/// Makes sure that the names in a directory are on the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

pub(super) const MAGIC_LEN: usize = 8;
const BUFFER: usize = 256 << 10;
/// More than there are in one file.
const MOST_BATCHES: u64 = 1 << 32;
