//! Places in a change log.

use std::num::NonZeroU64;

/// A place in a node's change log. Positions start at 1 in each boot; on the wire, and wherever
/// records are counted, 0 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(NonZeroU64);

impl Position {
    pub(crate) const MAX: Self = Self(NonZeroU64::MAX);

    /// Returns the position of the record with this number, `None` for 0.
    pub(crate) const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns the position of the record before which there are so many.
    pub(crate) const fn following(records: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(records))
    }

    /// Returns how many records there are up to and with this position, none without one.
    pub(crate) const fn number(position: Option<Self>) -> u64 {
        match position {
            Some(Self(number)) => number.get(),
            None => 0,
        }
    }
}
