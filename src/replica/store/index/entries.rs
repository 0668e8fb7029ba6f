//! The entries of one part of the index, in order.
//!
//! Short sorted arrays one behind the other take little more memory than the entries themselves.
//! Entries of one value may be nearly all there are, so an array must not be long.

use crate::session::SessionKey;

/// A sorted set of entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// None of them is empty. The entries of each are before those of the next.
    runs: Vec<Vec<Entry>>,
}

/// The hash of a value, and the key of a session that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry([u8; HASH + KEY]);

impl Entry {
    pub(super) fn new(hash: ValueHash, key: &SessionKey) -> Self {
        let mut bytes = [0; HASH + KEY];
        bytes[..HASH].copy_from_slice(&hash.kept());
        bytes[HASH..].copy_from_slice(key.bytes());
        Self(bytes)
    }

    fn has(&self, hash: ValueHash) -> bool {
        self.kept() == hash.kept()
    }

    fn kept(&self) -> [u8; HASH] {
        let [a, b, c, d, e, f, ..] = self.0;
        [a, b, c, d, e, f]
    }

    pub(super) fn key(&self) -> SessionKey {
        let mut bytes = [0; KEY];
        bytes.copy_from_slice(&self.0[HASH..]);
        SessionKey::from_bytes(bytes)
    }
}

/// The hash of a context, a path and a value. The first byte chooses the part of the index, some of
/// the others are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ValueHash(pub(super) u64);

impl ValueHash {
    pub(super) const fn part(self) -> usize {
        self.0.to_be_bytes()[0] as usize
    }

    /// Returns one that is in this part and is kept so. Nobody can tell it from the one that it was.
    fn of_kept(part: usize, [a, b, c, d, e, f]: [u8; HASH]) -> Self {
        let part = u8::try_from(part).expect("there are 256 parts");
        Self(u64::from_be_bytes([part, a, b, c, d, e, f, 0]))
    }

    const fn kept(self) -> [u8; HASH] {
        let [_, a, b, c, d, e, f, _] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }
}

impl Entries {
    /// Inserts an entry that is not here yet.
    pub(super) fn insert(&mut self, entry: Entry) {
        let Some(at) = self.run_of(&entry) else {
            let mut first = Vec::with_capacity(SPARE);
            first.push(entry);
            return self.runs.push(first);
        };
        let run = &mut self.runs[at];
        let Err(place) = run.binary_search(&entry) else {
            return;
        };
        if run.len() == run.capacity() {
            run.reserve_exact(SPARE);
        }
        run.insert(place, entry);
        if run.len() > LONGEST {
            let mut rest = run.split_off(LONGEST / 2);
            run.shrink_to(run.len() + SPARE);
            rest.shrink_to(rest.len() + SPARE);
            self.runs.insert(at + 1, rest);
        }
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        let Some(at) = self.run_of(entry) else {
            return;
        };
        let run = &mut self.runs[at];
        let Ok(place) = run.binary_search(entry) else {
            return;
        };
        run.remove(place);
        if run.is_empty() {
            self.runs.remove(at);
        } else if run.capacity() > run.len() + 2 * SPARE {
            run.shrink_to(run.len());
        }
        self.join_beside(at);
        if self.runs.capacity() / 4 > self.runs.len() {
            self.runs.shrink_to_fit();
        }
    }

    /// Returns the entries of a hash, `most` at most.
    pub(super) fn of(&self, hash: ValueHash, most: usize) -> Vec<SessionKey> {
        let first = Entry::new(hash, &SessionKey::from_bytes([0; KEY]));
        let run = self.run_of(&first).unwrap_or(0);
        let behind = self.runs.iter().skip(run).enumerate();
        let entries = behind.flat_map(|(number, run)| {
            let from = match number {
                0 => run.partition_point(|entry| *entry < first),
                _ => 0,
            };
            &run[from..]
        });
        let found = entries.inspect(|_| looked::note());
        let found = found.take_while(|entry| entry.has(hash)).take(most);
        found.map(Entry::key).collect()
    }

    /// Returns the hashes that more than `most` entries have, if these are those of the `part`.
    pub(super) fn crowded(&self, part: usize, most: usize) -> Vec<ValueHash> {
        let all: Vec<&Entry> = self.runs.iter().flatten().collect();
        let alike = all.chunk_by(|one, next| one.kept() == next.kept());
        let crowded = alike.filter(|alike| alike.len() > most);
        crowded
            .map(|alike| ValueHash::of_kept(part, alike[0].kept()))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.runs.iter().flatten()
    }

    /// Returns the bytes that the arrays take, with their spare capacity.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let of_run = |run: &Vec<Entry>| run.capacity() * size_of::<Entry>();
        let runs: usize = self.runs.iter().map(of_run).sum();
        runs + self.runs.capacity() * size_of::<Vec<Entry>>()
    }

    /// Returns the place of the run that an entry is in, or belongs to.
    fn run_of(&self, entry: &Entry) -> Option<usize> {
        let behind = self.runs.partition_point(|run| run[0] <= *entry);
        (!self.runs.is_empty()).then_some(behind.saturating_sub(1))
    }

    /// Joins a short run with the next, so that many removals leave no crumbs.
    fn join_beside(&mut self, at: usize) {
        let at = at.min(self.runs.len().saturating_sub(2));
        if let [one, next] = &self.runs[at..self.runs.len().min(at + 2)]
            && one.len() + next.len() <= LONGEST / 2
        {
            let next = self.runs.remove(at + 1);
            self.runs[at].extend_from_slice(&next);
        }
    }
}

/// Bytes of a hash that are kept with each session.
const HASH: usize = 6;
const KEY: usize = 16;
/// Entries of one array at most.
const LONGEST: usize = 64;
/// Entries by which an array grows.
const SPARE: usize = 2;

/// How many entries were looked at, for tests.
pub(super) mod looked {
    #[cfg(test)]
    thread_local! {
        static LOOKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    pub(super) fn note() {
        #[cfg(test)]
        LOOKED.set(LOOKED.get() + 1);
    }

    #[cfg(test)]
    pub(crate) fn count() -> usize {
        LOOKED.get()
    }
}
