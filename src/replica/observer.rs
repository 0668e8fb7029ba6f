//! Who wants to know what happens to sessions.

use super::change::Change;

/// A collector of changes for event streams. One that nobody has asked for costs nothing: what it
/// would be told is not even put together.
#[derive(Debug)]
pub(crate) struct Observer {
    told: Option<Vec<Change>>,
    /// The ages of the sessions that have expired, and of those that have made room for others. They
    /// are counted in any case.
    expired_ms: Vec<u64>,
    evicted_ms: Vec<u64>,
}

impl Observer {
    /// Returns an observer that collects changes when somebody wants them.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            told: is_wanted.then(Vec::new),
            expired_ms: Vec::new(),
            evicted_ms: Vec::new(),
        }
    }

    /// Returns whether somebody wants changes.
    pub(crate) const fn is_watching(&self) -> bool {
        self.told.is_some()
    }

    /// Adds what `changes` returns, which is called only when somebody wants it.
    pub(super) fn tell<C: IntoIterator<Item = Change>>(&mut self, changes: impl FnOnce() -> C) {
        if let Some(told) = &mut self.told {
            told.extend(changes());
        }
    }

    /// Notes that a session of this age has expired.
    pub(super) fn note_expired(&mut self, age_ms: u64) {
        self.expired_ms.push(age_ms);
    }

    /// Notes that a session of this age has made room for others.
    pub(super) fn note_evicted(&mut self, age_ms: u64) {
        self.evicted_ms.push(age_ms);
    }

    /// Returns the ages of the sessions that have expired.
    pub(crate) fn expired_ms(&self) -> &[u64] {
        &self.expired_ms
    }

    /// Returns the ages of the sessions that have made room for others.
    pub(crate) fn evicted_ms(&self) -> &[u64] {
        &self.evicted_ms
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.told.unwrap_or_default()
    }
}
