//! Taking what is on disk into memory, before the node serves anything.

use std::{num::NonZeroUsize, thread};

use super::{
    engine::{Engine, Go, KEY_LEN, Part},
    error::DirectoryError,
    seal::{Keys, Opener},
};
use crate::{
    replica::{Loaded, Replica},
    session::{Now, SavedKey},
};

/// What there was to do but to load.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Records that another key than the first one has sealed.
    pub(super) old: Vec<SavedKey>,
    /// Sessions beyond the limits, which stay where they are.
    pub(super) over_limit: usize,
    /// The limit of the last of these.
    pub(super) limit: &'static str,
}

/// Loads what there is to know of the node, which also tells whether the keys are those of the
/// directory.
pub(super) fn facts(
    engine: &dyn Engine,
    keys: &Keys,
    replica: &Replica,
    now: Now,
) -> Result<(), DirectoryError> {
    let key = SavedKey::Facts.to_bytes();
    let record = engine.record(&key)?;
    let missing = || DirectoryError::Damaged(format!("{OF_NODE} is missing"));
    let record = record.ok_or_else(missing)?;
    let mut opener = Opener::new(keys.clone());
    let opened = opener.open(&key, &record);
    let facts = opened.map_err(|error| DirectoryError::sealed(error, OF_NODE))?;
    let loaded = replica.load_facts(facts.plain, now);
    loaded.map_err(|error| DirectoryError::Damaged(format!("{OF_NODE} cannot be read: {error}")))
}

/// Loads all else there is. Nothing else may use the replica meanwhile.
pub(super) fn all(
    engine: &dyn Engine,
    keys: &Keys,
    replica: &Replica,
    now: Now,
) -> Result<Found, DirectoryError> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = u8::try_from(threads).map_or(MOST_THREADS, |threads| threads.min(MOST_THREADS));
    let loaded: Vec<_> = thread::scope(|scope| {
        let load = |number| {
            let part = Part {
                number,
                of: threads,
            };
            scope.spawn(move || load(engine, keys, replica, part, now))
        };
        let running: Vec<_> = (0..threads).map(load).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });
    let mut found = Found::default();
    for part in loaded {
        let part = part.map_err(|_| {
            DirectoryError::Damaged("reading it panicked, which is a defect".to_owned())
        })??;
        found.old.extend(part.old);
        found.over_limit += part.over_limit;
        if part.over_limit > 0 {
            found.limit = part.limit;
        }
    }
    Ok(found)
}

fn load(
    engine: &dyn Engine,
    keys: &Keys,
    replica: &Replica,
    part: Part,
    now: Now,
) -> Result<Found, DirectoryError> {
    let mut opener = Opener::new(keys.clone());
    let mut found = Found::default();
    let mut taken = Ok(());
    engine.read(part, &mut |key, record| {
        taken = take(&mut opener, replica, key, record, now, &mut found);
        match taken {
            Ok(()) => Go::On,
            Err(_) => Go::Stop,
        }
    })?;
    taken.map(|()| found)
}

fn take(
    opener: &mut Opener,
    replica: &Replica,
    bytes: &[u8; KEY_LEN],
    record: &[u8],
    now: Now,
    found: &mut Found,
) -> Result<(), DirectoryError> {
    let key = match SavedKey::from_bytes(bytes) {
        Some(SavedKey::Facts) => return Ok(()),
        Some(key) => key,
        None => {
            let what = "there is a record that no release up to this one writes";
            return Err(DirectoryError::Damaged(what.to_owned()));
        }
    };
    let what = || match key {
        SavedKey::Session(key) => format!("the record of the session [{key}]"),
        SavedKey::Order(_) | SavedKey::Facts => "the record of an order".to_owned(),
    };
    let opened = opener.open(bytes, record);
    let opened = opened.map_err(|error| DirectoryError::sealed(error, &what()))?;
    let loaded = replica.load(key, opened.plain, now);
    let loaded = loaded
        .map_err(|error| DirectoryError::Damaged(format!("{} cannot be read: {error}", what())))?;
    match loaded {
        Loaded::Taken if opened.is_old => found.old.push(key),
        Loaded::Taken | Loaded::Ended => {}
        Loaded::OverLimit(limit) => {
            found.over_limit += 1;
            found.limit = limit;
        }
    }
    Ok(())
}

const OF_NODE: &str = "the record of the node";
const MOST_THREADS: u8 = 8;
