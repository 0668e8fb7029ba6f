//! How long destroyed sessions are remembered at most.

/// How long tombstones are remembered at most: a minute and its doubles. Nodes shorten it alike when
/// one of them has no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retention(u8);

impl Retention {
    /// One minute. A link that breaks is back, and what was under way has arrived, in less.
    pub(crate) const SHORTEST: Self = Self(0);
    /// No tombstone is forgotten before its time.
    pub(crate) const UNBOUNDED: Self = Self(28);

    /// Reads how often the shortest was doubled.
    pub(crate) fn from_doublings(doublings: u8) -> Option<Self> {
        (doublings <= Self::UNBOUNDED.0).then_some(Self(doublings))
    }

    pub(crate) const fn doublings(self) -> u8 {
        self.0
    }

    /// Returns all of them, the shortest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=Self::UNBOUNDED.0).map(Self)
    }

    /// Returns the next longer one: twice as long up to a day, then that of all tombstones.
    pub(crate) fn longer(self) -> Self {
        match self.ms() < DAY_MS {
            true => Self(self.0 + 1),
            false => Self::UNBOUNDED,
        }
    }

    /// Returns whether some tombstones are forgotten before their time.
    pub(crate) fn is_shortened(self) -> bool {
        self < Self::UNBOUNDED
    }

    pub(crate) const fn ms(self) -> u64 {
        MINUTE_MS << self.0
    }
}

const MINUTE_MS: u64 = 60 * 1000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Expiry;

    #[test]
    fn retention_goes_from_a_minute_to_the_longest_tombstone() {
        let all: Vec<u64> = Retention::all().map(Retention::ms).collect();
        assert_eq!(all[0], 60_000);
        assert!(all.windows(2).all(|pair| pair[1] == 2 * pair[0]));
        assert!(Retention::UNBOUNDED.ms() >= 2 * Expiry::MAX_MS);
        let mut longer = vec![Retention::SHORTEST];
        while longer[longer.len() - 1].is_shortened() {
            longer.push(longer[longer.len() - 1].longer());
        }
        let longer: Vec<u64> = longer.into_iter().map(Retention::ms).collect();
        assert_eq!(longer[..12], all[..12]);
        assert_eq!(longer[12..], all[28..]);
        assert_eq!(Retention::from_doublings(29), None);
    }
}
