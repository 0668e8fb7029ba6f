//! The entries of one digest shard, in the order of keys.
//!
//! A sorted array takes less memory than a hash table, is listed in order, and is found in nearly
//! as fast: keys are uniform random bytes, so a key says about where it is.

use crate::session::SessionKey;

/// A map that is a sorted array.
#[derive(Debug)]
pub(crate) struct SortedMap<T> {
    entries: Vec<(SessionKey, T)>,
    /// Bits that all keys of this map share.
    shared_bits: u32,
}

impl<T> SortedMap<T> {
    pub(crate) const fn new(shared_bits: u32) -> Self {
        Self {
            entries: Vec::new(),
            shared_bits,
        }
    }

    /// Inserts a key that is not here yet.
    pub(crate) fn insert(&mut self, key: SessionKey, value: T) {
        let Err(at) = self.position(&key) else {
            return;
        };
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(slack(self.entries.len()));
        }
        self.entries.insert(at, (key, value));
    }

    pub(crate) fn remove(&mut self, key: &SessionKey) -> Option<T> {
        let at = self.position(key).ok()?;
        let (_, value) = self.entries.remove(at);
        let length = self.entries.len();
        if length == 0 || self.entries.capacity() > 2 * length + slack(length) {
            self.entries.shrink_to(length);
        }
        Some(value)
    }

    /// Returns the bytes that the array takes, with its spare capacity.
    pub(crate) const fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<(SessionKey, T)>()
    }

    pub(crate) fn get_mut(&mut self, key: &SessionKey) -> Option<&mut T> {
        let at = self.position(key).ok()?;
        Some(&mut self.entries[at].1)
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<&T> {
        let at = self.position(key).ok()?;
        Some(&self.entries[at].1)
    }

    pub(crate) fn contains(&self, key: &SessionKey) -> bool {
        self.position(key).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SessionKey, &T)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Returns the entries whose keys are behind `after`, all without it.
    pub(crate) fn iter_after(
        &self,
        after: Option<&SessionKey>,
    ) -> impl Iterator<Item = (&SessionKey, &T)> {
        let first = after.map_or(0, |after| match self.position(after) {
            Ok(at) => at + 1,
            Err(at) => at,
        });
        let entries = self.entries.get(first..).unwrap_or_default();
        entries.iter().map(|(key, value)| (key, value))
    }

    fn position(&self, key: &SessionKey) -> Result<usize, usize> {
        let length = self.entries.len();
        if length <= FEW {
            return self.search(0, length, key);
        }
        // Where it is if keys are spread evenly, and once more from the key that is there.
        let guess = self.share(self.offset(key));
        let found = self.offset(&self.entries[guess].0);
        let wanted = self.offset(key);
        let guess = if wanted >= found {
            (guess + self.share(wanted - found)).min(length - 1)
        } else {
            guess.saturating_sub(self.share(found - wanted))
        };
        let (mut low, mut high, mut step) = (guess, guess, 2);
        while low > 0 && self.entries[low].0 > *key {
            low = low.saturating_sub(step);
            step *= 2;
        }
        while high < length && self.entries[high].0 < *key {
            high += step;
            step *= 2;
        }
        self.search(low, (high + 1).min(length), key)
    }

    fn search(&self, low: usize, high: usize, key: &SessionKey) -> Result<usize, usize> {
        self.entries[low..high]
            .binary_search_by(|entry| entry.0.cmp(key))
            .map(|at| at + low)
            .map_err(|at| at + low)
    }

    /// Returns the first of the bits in which keys of this map differ.
    fn offset(&self, key: &SessionKey) -> u64 {
        key.first_bits() << self.shared_bits
    }

    /// Returns how many entries such a part of the range of keys has.
    fn share(&self, part: u64) -> usize {
        ((u128::from(part) * self.entries.len() as u128) >> u64::BITS) as usize
    }
}

/// Returns the spare capacity: an eighth, so that little is unused and little is moved.
const fn slack(length: usize) -> usize {
    length / 8 + 4
}

/// So few entries are searched without guessing.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Bound};

    use proptest::prelude::*;

    use super::*;

    /// Keys of a map share their first four bits; some of these share nearly all.
    fn key() -> impl Strategy<Value = SessionKey> {
        let even = any::<[u8; 16]>().prop_map(|mut bytes| {
            bytes[0] = 0x70 | bytes[0] & 0x0f;
            bytes
        });
        let crowded = any::<u8>().prop_map(|last| {
            let mut bytes = [0x7a; 16];
            bytes[15] = last;
            bytes
        });
        prop_oneof![even, crowded].prop_map(SessionKey::from_bytes)
    }

    proptest! {
        #[test]
        fn interpolation_finds_what_a_sorted_map_finds(
            steps in prop::collection::vec((key(), any::<bool>()), 0..300),
            absent in key(),
        ) {
            let mut sorted = SortedMap::new(4);
            let mut map = BTreeMap::new();
            for (number, (key, stays)) in steps.into_iter().enumerate() {
                map.entry(key).or_insert_with(|| {
                    sorted.insert(key, number);
                    number
                });
                if !stays {
                    prop_assert_eq!(sorted.remove(&key), map.remove(&key));
                }
                prop_assert!(sorted.entries.capacity() <= 3 * map.len() + 16);
            }
            prop_assert!(sorted.iter().eq(map.iter()));
            for (key, number) in &map {
                prop_assert_eq!(sorted.get(key), Some(number));
            }
            prop_assert_eq!(sorted.contains(&absent), map.contains_key(&absent));
            let behind = map.range((Bound::Excluded(absent), Bound::Unbounded));
            prop_assert!(sorted.iter_after(Some(&absent)).eq(behind));
            prop_assert!(sorted.iter_after(None).eq(map.iter()));
        }
    }
}
