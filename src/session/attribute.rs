//! One attribute: a last-writer-wins register, or a conflict-free counter.

use std::sync::Arc;

use super::{Mutant, Origin, SessionError, Stamp, Tag};

/// A register: an attribute's value and the tag of the write that set it. The later tag wins
/// everywhere. The increments of a counter share the tag of its last reset, so they add up instead
/// of competing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) tag: Tag,
    pub(crate) content: Content,
}

/// The content of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The JSON bytes as they were written. Opaque: never parsed to replicate.
    Json(Arc<[u8]>),
    Counter(Counter),
    /// Remembered so that an older write met later does not bring the attribute back.
    Removed,
}

/// Bytes of an attribute's or counter's name at most.
pub(crate) const MAX_NAME_LENGTH: usize = 255;

/// Fails for a name that no attribute can have.
pub(crate) fn check_name(name: &str) -> Result<(), SessionError> {
    if (1..=MAX_NAME_LENGTH).contains(&name.len()) {
        return Ok(());
    }
    Err(SessionError::InvalidName { name: name.into() })
}

/// Bytes an attribute costs beside its name and value, for the size limit.
pub(crate) const REGISTER_OVERHEAD: usize = 64;

/// Returns what an attribute counts against a session's size limit, with a value of so many bytes.
pub(crate) const fn register_weight(name: &str, value: usize) -> usize {
    name.len() + value + REGISTER_OVERHEAD
}

/// A sum that every origin adds to on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    /// The sum of what origins added that are forgotten.
    pub(crate) base: i64,
    /// Per origin the sum of its increments, sorted by origin.
    pub(crate) counts: Vec<Count>,
}

/// One origin's share of a counter. Only that origin changes it, so the later stamp wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) origin: Origin,
    pub(crate) stamp: Stamp,
    pub(crate) sum: i64,
}

impl Count {
    /// Returns the tag of the write that made it what it is.
    pub(crate) const fn tag(&self) -> Tag {
        Tag {
            stamp: self.stamp,
            origin: self.origin,
        }
    }
}

/// The error of using one name as counter and attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongKind {
    pub(crate) is_counter: bool,
}

impl WrongKind {
    /// Returns the error of who used `name` in the other way.
    pub(crate) fn error(self, name: &str) -> SessionError {
        SessionError::WrongKind {
            name: name.into(),
            is_counter: self.is_counter,
        }
    }
}

impl Register {
    /// Returns whether the attribute or counter is there, which one that was removed is not.
    pub(crate) const fn is_present(&self) -> bool {
        !matches!(self.content, Content::Removed)
    }

    /// Returns the bytes of an attribute, `None` when it was removed.
    pub(crate) const fn json(&self) -> Result<Option<&Arc<[u8]>>, WrongKind> {
        match &self.content {
            Content::Json(bytes) => Ok(Some(bytes)),
            Content::Removed => Ok(None),
            Content::Counter(_) => Err(WrongKind { is_counter: true }),
        }
    }

    /// Returns the value of a counter, zero when it was removed. Saturates.
    pub(crate) fn count(&self) -> Result<i64, WrongKind> {
        match &self.content {
            Content::Counter(counter) => Ok(counter.total()),
            Content::Removed => Ok(0),
            Content::Json(_) => Err(WrongKind { is_counter: false }),
        }
    }

    /// Returns the bytes of the value, for the session's size limit.
    pub(crate) fn weight(&self) -> usize {
        match &self.content {
            Content::Json(bytes) => bytes.len(),
            Content::Counter(counter) => counter.counts.len() * size_of::<Count>(),
            Content::Removed => 0,
        }
    }

    /// Returns what the register counts against the session's size limit under this name.
    pub(crate) fn weight_as(&self, name: &str) -> usize {
        register_weight(name, self.weight())
    }

    /// Merges a register of another copy. Returns whether anything changed.
    pub(crate) fn merge(&mut self, incoming: Self) -> bool {
        if incoming.tag > self.tag {
            *self = incoming;
            return true;
        }
        if incoming.tag < self.tag {
            return false;
        }
        match (&mut self.content, incoming.content) {
            (Content::Counter(held), Content::Counter(counter)) => {
                if Mutant::ReplaceCounts.is_on() {
                    *held = counter;
                    return true;
                }
                held.merge(counter)
            }
            // A reset and the increments that followed it share a tag.
            (held @ Content::Removed, counter @ Content::Counter(_)) => {
                *held = counter;
                true
            }
            (Content::Removed | Content::Counter(_), Content::Removed)
            | (Content::Json(_), _)
            | (_, Content::Json(_)) => false,
        }
    }
}

impl Counter {
    pub(crate) fn new(counts: Vec<Count>) -> Self {
        Self { base: 0, counts }
    }

    /// Returns whether `origin` has a share already.
    pub(crate) fn is_counted_by(&self, origin: Origin) -> bool {
        self.position(origin).is_ok()
    }

    pub(crate) fn total(&self) -> i64 {
        let counts = self.counts.iter().map(|count| i128::from(count.sum));
        let sum = i128::from(self.base) + counts.sum::<i128>();
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
    }

    /// Adds `by` to `origin`'s share. Saturates.
    pub(super) fn add(&mut self, origin: Origin, stamp: Stamp, by: i64) {
        let held = self.position(origin).map_or(0, |at| self.counts[at].sum);
        let sum = held.saturating_add(by);
        self.merge_count(Count { origin, stamp, sum });
    }

    /// Merges a counter of another copy, of which the same origins are folded. Returns whether
    /// anything changed.
    fn merge(&mut self, other: Self) -> bool {
        let base = merged_base(self.base, other.base);
        let changed = base != self.base;
        self.base = base;
        other
            .counts
            .into_iter()
            .fold(changed, |changed, count| self.merge_count(count) | changed)
    }

    fn merge_count(&mut self, count: Count) -> bool {
        match self.position(count.origin) {
            Ok(at) if self.counts[at].stamp >= count.stamp => false,
            Ok(at) => {
                self.counts[at] = count;
                true
            }
            Err(at) => {
                self.counts.reserve_exact(1);
                self.counts.insert(at, count);
                true
            }
        }
    }

    fn position(&self, origin: Origin) -> Result<usize, usize> {
        self.counts
            .binary_search_by_key(&origin, |count| count.origin)
    }

    /// Folds the shares of origins that are gone into the base, and forgets who they were.
    pub(super) fn fold(&mut self, is_gone: impl Fn(Origin) -> bool) {
        let base = &mut self.base;
        self.counts.retain(|count| {
            let gone = is_gone(count.origin);
            if gone {
                *base = base.saturating_add(count.sum);
            }
            !gone
        });
    }
}

/// Returns the base of a merged counter. Two nodes that were not apart for longer than a tombstone
/// lives have folded the same sum. Of two others the larger amount counts on both.
fn merged_base(one: i64, other: i64) -> i64 {
    if (one.unsigned_abs(), one) >= (other.unsigned_abs(), other) {
        one
    } else {
        other
    }
}

/// Returns whether counts from the wire are sorted by origin without repetition.
pub(crate) fn counts_are_sorted(counts: &[Count]) -> bool {
    counts
        .windows(2)
        .all(|pair| pair[0].origin < pair[1].origin)
}

impl Register {
    /// Returns the latest stamp of `origin`'s writes that still show, zero when there is none.
    pub(super) fn stamp_of(&self, origin: Origin) -> Stamp {
        let register = if self.tag.origin == origin {
            self.tag.stamp
        } else {
            Stamp::ZERO
        };
        match &self.content {
            Content::Counter(counter) => counter
                .counts
                .iter()
                .filter(|count| count.origin == origin)
                .map(|count| count.stamp)
                .fold(register, Stamp::max),
            Content::Json(_) | Content::Removed => register,
        }
    }

    /// Returns the tags of all writes that show, and that of a counter's reset, also if there was
    /// none.
    pub(super) fn tags(&self) -> impl Iterator<Item = Tag> {
        let counts: &[Count] = match &self.content {
            Content::Counter(counter) => &counter.counts,
            Content::Json(_) | Content::Removed => &[],
        };
        std::iter::once(self.tag).chain(counts.iter().map(Count::tag))
    }

    /// Returns the tag of the latest write that shows.
    pub(super) fn latest_tag(&self) -> Tag {
        self.tags().fold(Tag::BOTTOM, Tag::max)
    }

    /// Returns the oldest stamp of the writes that show.
    pub(super) fn oldest_stamp(&self) -> Stamp {
        let written = self.tags().filter(|tag| *tag != Tag::BOTTOM);
        written.map(|tag| tag.stamp).fold(Stamp::MAX, Stamp::min)
    }

    /// Returns the part of the register that `origin` wrote after `since`, if any.
    pub(super) fn written_by(&self, origin: Origin, since: Stamp) -> Option<Self> {
        if self.stamp_of(origin) <= since {
            return None;
        }
        let content = match &self.content {
            Content::Counter(counter) => Content::Counter(Counter::new(
                counter
                    .counts
                    .iter()
                    .filter(|count| count.origin == origin && count.stamp > since)
                    .copied()
                    .collect(),
            )),
            other => other.clone(),
        };
        Some(Self {
            tag: self.tag,
            content,
        })
    }

    /// Drops what another copy has `seen` and does not have: it was removed there, and the removal
    /// forgotten. Returns whether anything is left, which is what the removal had not seen.
    ///
    /// An origin that went on counting without having seen the removal counts from its beginning.
    pub(super) fn drop_forgotten(&mut self, seen: impl Fn(Tag) -> bool) -> bool {
        match &mut self.content {
            Content::Counter(counter) => {
                let base_is_seen = self.tag == Tag::BOTTOM || seen(self.tag);
                let before = counter.counts.len();
                counter.counts.retain(|count| !seen(count.tag()));
                if counter.counts.len() < before && base_is_seen {
                    counter.base = 0;
                }
                !counter.counts.is_empty() || !base_is_seen
            }
            Content::Json(_) | Content::Removed => !seen(self.tag),
        }
    }

    /// Returns whether `origin` alone has written what shows.
    pub(super) fn is_only_by(&self, origin: Origin) -> bool {
        let register = self.tag == Tag::BOTTOM || self.tag.origin == origin;
        register
            && match &self.content {
                Content::Counter(counter) => {
                    let mut counts = counter.counts.iter();
                    counter.base == 0 && counts.all(|count| count.origin == origin)
                }
                Content::Json(_) | Content::Removed => true,
            }
    }
}
