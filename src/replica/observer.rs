//! Who wants to know what happens to sessions.

use super::change::Change;

/// A collector of changes for event streams. One that nobody has asked for costs nothing: what it
/// would be told is not even put together.
#[derive(Debug)]
pub(crate) struct Observer(Option<Vec<Change>>);

impl Observer {
    /// Returns an observer that collects changes when somebody wants them.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(Vec::new))
    }

    /// Returns whether somebody wants changes.
    pub(crate) const fn is_watching(&self) -> bool {
        self.0.is_some()
    }

    /// Adds what `changes` returns, which is called only when somebody wants it.
    pub(super) fn tell<C: IntoIterator<Item = Change>>(&mut self, changes: impl FnOnce() -> C) {
        if let Some(told) = &mut self.0 {
            told.extend(changes());
        }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.0.unwrap_or_default()
    }
}
