//! Groups of digests. Two nodes under load always differ somewhere, because changes are under way.
//! So they compare one sum for each group first, and the digests below a sum only when it differs
//! again and again.

use crate::wire::MAX_DIGEST_GROUPS;

/// A set of groups, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupSet(pub(super) u64);

impl GroupSet {
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the digests of these groups, each with the number of its shard.
    pub(super) fn members(self, digests: &[u64]) -> impl Iterator<Item = (u32, u64)> {
        let length = group_length(digests);
        (0..)
            .zip(digests.iter().copied())
            .filter(move |(shard, _)| {
                let group = *shard as usize / length;
                self.0 >> group & 1 == 1
            })
    }
}

/// Returns the sum of each group.
pub(super) fn sums_of(digests: &[u64]) -> Vec<u32> {
    let groups = digests.chunks(group_length(digests));
    let sum = |group: &[u64]| group.iter().fold(0, |sum, digest| sum ^ digest);
    groups.map(|group| (sum(group) >> 32) as u32).collect()
}

/// Returns the groups whose sums differ.
pub(super) fn differing(ours: &[u32], theirs: &[u32]) -> GroupSet {
    let sums = ours.iter().zip(theirs).enumerate();
    let differing = sums.filter(|(_, (ours, theirs))| ours != theirs);
    GroupSet(differing.fold(0, |set, (group, _)| set | 1 << group))
}

fn group_length(digests: &[u64]) -> usize {
    digests.len().div_ceil(MAX_DIGEST_GROUPS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_whose_digest_differs_is_found_with_its_digests() {
        let ours = vec![7 << 32; 4096];
        let mut theirs = ours.clone();
        theirs[100] = 8 << 32;
        let differing = differing(&sums_of(&ours), &sums_of(&theirs));
        assert_eq!(differing, GroupSet(1 << 1));
        let below: Vec<_> = differing.members(&theirs).collect();
        assert_eq!(below.len(), 64);
        assert_eq!((below[0].0, below[36]), (64, (100, 8 << 32)));
        assert_eq!(sums_of(&ours).len(), 64);
    }

    #[test]
    fn few_digests_are_groups_of_their_own() {
        let digests = [1 << 32, 2 << 32, 3 << 32];
        assert_eq!(sums_of(&digests), [1, 2, 3]);
        let members = GroupSet(0b101).members(&digests);
        assert_eq!(members.collect::<Vec<_>>(), [(0, 1 << 32), (2, 3 << 32)]);
    }
}
