//! Places in a shard, at which a sweep goes on.

use crate::session::SessionKey;

/// How far a sweep has come in one shard.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) digest: usize,
    pub(crate) part: Part,
    /// The last key that was looked at in this part.
    pub(crate) after: Option<SessionKey>,
}

/// The two maps of a digest shard, in the order in which they are swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    #[default]
    Sessions,
    Tombstones,
}

impl Place {
    /// Returns whether nothing of the digest shard was looked at.
    pub(crate) const fn starts_digest(&self) -> bool {
        matches!(self.part, Part::Sessions) && self.after.is_none()
    }

    /// Goes on behind `last`, or with the next part when there is no more in this one.
    pub(crate) const fn go_on(&mut self, last: Option<SessionKey>) {
        if last.is_none() {
            match self.part {
                Part::Sessions => self.part = Part::Tombstones,
                Part::Tombstones => {
                    self.part = Part::Sessions;
                    self.digest += 1;
                }
            }
        }
        self.after = last;
    }
}
