//! The 64-bit version of a session: equal versions mean equal sessions, up to accidents.

use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::{
    Content, Counter, Mutant, Origin, Register, SessionKey, SessionState, Stamp, Tag, Vector,
};

/// Returns the version of a session: XXH3 over key, last access, vector and attributes, each entry
/// seeded with the hash before it. This runs at every write, and XXH3 is quick at short inputs. It
/// finds accidents, not forgers.
///
/// Attributes are in it, although equal vectors nearly always mean equal attributes: what is
/// forgotten of removals and old writers depends on the order in which a copy met others.
pub(crate) fn session_version(
    key: &SessionKey,
    vector: &Vector,
    access: Stamp,
    attributes: AttributesHash,
) -> u64 {
    let mut head = [0; 32];
    head[..16].copy_from_slice(key.bytes());
    head[16..24].copy_from_slice(&access.get().to_le_bytes());
    if !Mutant::VersionOfVectorOnly.is_on() {
        head[24..].copy_from_slice(&attributes.0.to_le_bytes());
    }
    let head = XxHash3_64::oneshot(&head);
    vector.entries().iter().fold(head, |hash, (origin, stamp)| {
        let tag = Tag {
            stamp: *stamp,
            origin: *origin,
        };
        XxHash3_64::oneshot_with_seed(hash, &tag_bytes(tag))
    })
}

/// A hash of the writes that made the attributes and counters of a copy what they are, removed ones
/// included. A tag is that of one write, so it stands for name and value. Add them in the order of
/// their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttributesHash(u64);

impl AttributesHash {
    pub(crate) fn of(registers: &[(Arc<str>, Register)]) -> Self {
        let each = registers.iter();
        each.fold(Self::default(), |hash, (_, register)| {
            let tag = register.tag;
            match &register.content {
                Content::Json(_) => hash.with_value(tag),
                Content::Counter(counter) => hash.with_counter(tag, counter),
                Content::Removed => hash.with_removal(tag),
            }
        })
    }

    pub(crate) fn with_value(self, tag: Tag) -> Self {
        let Origin { boot, epoch } = tag.origin;
        let boot = u64::from_le_bytes(boot.bytes());
        self.with(tag.stamp.get()).with(boot).with(epoch.into())
    }

    pub(crate) fn with_removal(self, tag: Tag) -> Self {
        self.with_value(tag).with(REMOVED)
    }

    pub(crate) fn with_counter(self, tag: Tag, counter: &Counter) -> Self {
        let base = self.with_value(tag).with(counter.base.cast_unsigned());
        let counts = counter.counts.iter();
        counts.fold(base, |hash, count| hash.with_value(count.tag()))
    }

    /// Takes in a number, as FNV-1a takes in a byte (Fowler, Noll, Vo). The version mixes the result
    /// better, once.
    const fn with(self, number: u64) -> Self {
        Self((self.0 ^ number).wrapping_mul(FNV_PRIME))
    }
}

const FNV_PRIME: u64 = 0x0100_0000_01B3;
const REMOVED: u64 = u64::MAX;

impl SessionState {
    pub(crate) fn version(&self, key: &SessionKey) -> u64 {
        let attributes = AttributesHash::of(&self.registers);
        session_version(key, &self.vector, self.access, attributes)
    }
}

fn tag_bytes(Tag { stamp, origin }: Tag) -> [u8; 20] {
    let Origin { boot, epoch } = origin;
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&boot.bytes());
    bytes[8..12].copy_from_slice(&epoch.to_le_bytes());
    bytes[12..].copy_from_slice(&stamp.get().to_le_bytes());
    bytes
}

/// Returns the version of a destroyed session, the same on every node. It is not that of a session
/// that is there, whose input is longer.
pub(crate) fn destroyed_version(key: &SessionKey) -> u64 {
    XxHash3_64::oneshot(key.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{BootId, Count};

    /// Nodes of different releases must agree on these bytes.
    #[test]
    fn versions_are_what_they_always_were() {
        let key = SessionKey::from_bytes([7; 16]);
        let mut vector = Vector::default();
        let origin = Origin {
            boot: BootId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]),
            epoch: 9,
        };
        vector.raise(origin, Stamp::new(10 << 16).expect("small"));
        let access = Stamp::new(11 << 16).expect("small");
        assert_eq!(
            session_version(&key, &vector, access, AttributesHash::default()),
            0x4dd6_695b_eceb_f4fb
        );
        let tag = |stamp| Tag {
            stamp: Stamp::new(stamp).expect("small"),
            origin,
        };
        let count = Count {
            origin,
            stamp: tag(3).stamp,
            sum: 5,
        };
        let attributes = AttributesHash::default()
            .with_value(tag(1))
            .with_counter(Tag::BOTTOM, &Counter::new(vec![count]))
            .with_removal(tag(2));
        assert_eq!(
            session_version(&key, &vector, access, attributes),
            0x6eb4_3d8b_97a4_3ccb
        );
        assert_eq!(destroyed_version(&key), 0xfe8a_7fec_7d80_ca73);
    }
}
