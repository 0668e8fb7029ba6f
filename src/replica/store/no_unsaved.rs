//! Without the feature `durable` nothing is saved, and no changes are noted.

use crate::session::SessionKey;

#[derive(Debug, Default)]
pub(crate) struct Unsaved {}

impl Unsaved {
    pub(crate) const fn note_arrival(&mut self, _key: &SessionKey) {}

    pub(crate) const fn note_change(&mut self, _key: &SessionKey) {}

    pub(crate) const fn note_departure(&mut self, _key: &SessionKey) {}
}
