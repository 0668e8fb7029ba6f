//! Stamps order writes, origins name writers, vectors say which writes a copy holds.

use std::{cmp::Ordering, fmt};

use super::Mutant;

/// The two clocks at one moment. Only stamps use wall time. Every age is monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since the Unix epoch.
    pub(crate) wall_ms: u64,
    /// Milliseconds since this process started.
    pub(crate) mono_ms: u64,
}

/// The time of a write, as far as its session is concerned: wall milliseconds shifted by 16 bits,
/// or one more than anything the session has seen. Zero means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) const ZERO: Self = Self(0);
    /// A larger stamp is a malformed frame; a local write that would pass it fails.
    pub(crate) const MAX: Self = Self(i64::MAX as u64);

    pub(crate) const fn new(raw: u64) -> Option<Self> {
        if raw <= Self::MAX.0 {
            Some(Self(raw))
        } else {
            None
        }
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// Returns the stamp just below this one, if there is one.
    pub(crate) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns the stamp of a write made so many milliseconds earlier.
    pub(crate) const fn earlier(self, ms: u64) -> Self {
        let shift = if ms > Self::MAX.0 >> 16 {
            Self::MAX.0
        } else {
            ms << 16
        };
        Self(self.0.saturating_sub(shift))
    }

    /// Returns the stamp of a write made `now` in a session that has seen `self`. `None` when the
    /// session's stamps are used up, which only a hostile or broken clock brings about.
    pub(crate) fn next(self, now: Now) -> Option<Self> {
        let clock = now.wall_ms.min(Self::MAX.0 >> 16) << 16;
        if Mutant::StampByClockOnly.is_on() {
            return Self::new(clock);
        }
        Self::new(clock.max(self.0.checked_add(1)?))
    }

    /// Returns the stamp of a use by a client that has come back, which is not the clock's alone.
    pub(crate) fn of_visit(self) -> Self {
        if Mutant::LeaveUnconfirmed.is_on() {
            return Self(self.0 & !COUNT);
        }
        Self(self.0 | 1)
    }

    /// Returns whether [`of_visit`](Self::of_visit) made it, and not the clock alone.
    pub(crate) const fn is_of_visit(self) -> bool {
        self.0 & COUNT > 0
    }
}

/// The bits of a stamp that count within a millisecond.
const COUNT: u64 = 0xffff;

/// The id of one run of one process. It is random at each start and never reused: a node that came
/// back empty must not claim the writes of its former self.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BootId([u8; 8]);

impl BootId {
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

/// Orders boots by their bytes, compared as one number.
impl Ord for BootId {
    fn cmp(&self, other: &Self) -> Ordering {
        u64::from_be_bytes(self.0).cmp(&u64::from_be_bytes(other.0))
    }
}

impl PartialOrd for BootId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A writer: a boot, and the count of sessions that the node's shard had dropped when it took this
/// one in. A node that dropped a session and got it back is another writer, so it never claims
/// writes it forgot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    pub(crate) boot: BootId,
    pub(crate) epoch: u32,
}

/// The name of one write. Tags are ordered by stamp, then origin: the later write wins everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag {
    pub(crate) stamp: Stamp,
    pub(crate) origin: Origin,
}

impl Tag {
    /// Before every write: the tag of a counter nobody has reset.
    pub(crate) const BOTTOM: Self = Self {
        stamp: Stamp::ZERO,
        origin: Origin {
            boot: BootId([0; 8]),
            epoch: 0,
        },
    };
}

/// The writes that a copy holds: per origin the last stamp.
///
/// A vector is honest. That it covers a write means that this write, or one that beats it, is here.
/// And nothing is here that the vector does not cover. Equal vectors then mean equal sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vector(Vec<(Origin, Stamp)>);

impl Vector {
    /// Returns a vector from the wire, `None` unless the entries are sorted by origin without
    /// repetition and no stamp is zero.
    pub(crate) fn from_sorted(entries: Vec<(Origin, Stamp)>) -> Option<Self> {
        let ordered = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let written = entries.iter().all(|(_, stamp)| *stamp > Stamp::ZERO);
        (ordered && written).then_some(Self(entries))
    }

    pub(crate) fn entries(&self) -> &[(Origin, Stamp)] {
        &self.0
    }

    /// Returns the last stamp held of `origin`, zero when there is none.
    pub(crate) fn of(&self, origin: Origin) -> Stamp {
        self.0
            .binary_search_by_key(&origin, |entry| entry.0)
            .map_or(Stamp::ZERO, |at| self.0[at].1)
    }

    pub(crate) fn covers(&self, tag: Tag) -> bool {
        self.of(tag.origin) >= tag.stamp
    }

    /// Returns the stamp before which writes are covered whoever made them.
    ///
    /// It is zero while few origins have written. Then it is as far back as `gc_grace_ms` from the
    /// latest write, or as the newest [`KEPT_ORIGINS`] origins, if that is farther.
    ///
    /// It depends on nothing but the vector, or nodes with equal vectors would forget other origins
    /// and differ. Both bounds only rise when vectors are joined: so what one copy has forgotten,
    /// every copy that has met it takes for covered, and it is not merged again as new.
    pub(crate) fn watermark(&self, gc_grace_ms: u64) -> Stamp {
        if self.0.len() < KEPT_ORIGINS {
            return Stamp::ZERO;
        }
        let mut stamps: Vec<Stamp> = self.0.iter().map(|entry| entry.1).collect();
        stamps.sort_unstable_by(|one, other| other.cmp(one));
        stamps[0].earlier(gc_grace_ms).min(stamps[KEPT_ORIGINS - 1])
    }

    /// Returns what a session with this vector may forget.
    pub(crate) fn gc_horizon(&self, gc_grace_ms: u64) -> GcHorizon {
        GcHorizon {
            watermark: self.watermark(gc_grace_ms),
            before: self.max_stamp().earlier(gc_grace_ms),
        }
    }

    /// Drops origins that have not written since `watermark`. Returns whether there were any.
    pub(crate) fn prune(&mut self, watermark: Stamp) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.1 >= watermark);
        self.0.len() < before
    }

    /// Returns the latest stamp of all origins.
    pub(crate) fn max_stamp(&self) -> Stamp {
        self.0
            .iter()
            .map(|entry| entry.1)
            .max()
            .unwrap_or(Stamp::ZERO)
    }

    /// Returns whether `origin` alone has written.
    pub(crate) fn is_only(&self, origin: Origin) -> bool {
        self.0.iter().all(|entry| entry.0 == origin)
    }

    pub(crate) fn raise(&mut self, origin: Origin, stamp: Stamp) {
        if stamp == Stamp::ZERO {
            return;
        }
        match self.0.binary_search_by_key(&origin, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(stamp),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (origin, stamp));
            }
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for &(origin, stamp) in &other.0 {
            self.raise(origin, stamp);
        }
    }
}

/// The age up to which a session remembers what it keeps only to ward off older writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GcHorizon {
    /// Writes from before are covered whoever made them.
    pub(super) watermark: Stamp,
    /// Removals and deaths from before are forgotten.
    pub(super) before: Stamp,
}

/// Origins that a vector names however long ago they wrote. Tests want few.
pub(crate) const KEPT_ORIGINS: usize = if cfg!(test) { 4 } else { 64 };

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(wall_ms: u64) -> Now {
        Now {
            wall_ms,
            mono_ms: 0,
        }
    }

    #[test]
    fn stamp_follows_the_clock_and_never_goes_back() {
        let first = Stamp::ZERO.next(at(1_000)).expect("far from the end");
        assert_eq!(first.get(), 1_000 << 16);
        let second = first.next(at(10)).expect("far from the end");
        assert_eq!(second.get(), first.get() + 1);
    }

    #[test]
    fn stamps_end_instead_of_wrapping() {
        assert_eq!(Stamp::MAX.next(at(0)), None);
        assert_eq!(
            Stamp::ZERO.next(at(u64::MAX)).map(Stamp::get),
            Some((Stamp::MAX.get() >> 16) << 16)
        );
        assert_eq!(Stamp::new(Stamp::MAX.get() + 1), None);
    }

    #[test]
    fn vector_from_the_wire_must_be_sorted_and_written() {
        let one = Origin {
            boot: BootId([1; 8]),
            epoch: 0,
        };
        let two = Origin { epoch: 1, ..one };
        let stamp = Stamp::new(7).expect("small");
        assert!(Vector::from_sorted(vec![(one, stamp), (two, stamp)]).is_some());
        assert!(Vector::from_sorted(vec![(two, stamp), (one, stamp)]).is_none());
        assert!(Vector::from_sorted(vec![(one, stamp), (one, stamp)]).is_none());
        assert!(Vector::from_sorted(vec![(one, Stamp::ZERO)]).is_none());
    }
}
