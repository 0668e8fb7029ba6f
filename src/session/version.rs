//! The 64-bit version of a session: equal versions mean equal sessions, up to accidents.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::{Locator, Stamp, Vector};

/// SipHash-1-3 with a zero key over key, vector and last access. Finds accidents, not forgers.
pub(crate) fn live_version(key: &Locator, vector: &Vector, access: Stamp) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(key.bytes());
    hasher.write(&[0]);
    for (origin, stamp) in vector.entries() {
        // At once: this runs at every write, and the hasher is slow at taking in pieces.
        let mut entry = [0; 20];
        entry[..8].copy_from_slice(&origin.boot.bytes());
        entry[8..12].copy_from_slice(&origin.epoch.to_le_bytes());
        entry[12..].copy_from_slice(&stamp.get().to_le_bytes());
        hasher.write(&entry);
    }
    hasher.write(&access.get().to_le_bytes());
    hasher.finish()
}

/// The version of a destroyed session, the same on every node.
pub(crate) fn destroyed_version(key: &Locator) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(key.bytes());
    hasher.write(&[1]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{BootId, Origin};

    /// Nodes of different releases must agree on these bytes.
    #[test]
    fn versions_are_what_they_always_were() {
        let key = Locator::from_random([7; 16]);
        let mut vector = Vector::default();
        let origin = Origin {
            boot: BootId::from_random([1, 2, 3, 4, 5, 6, 7, 8]),
            epoch: 9,
        };
        vector.raise(origin, Stamp::new(10 << 16).expect("small"));
        let access = Stamp::new(11 << 16).expect("small");
        assert_eq!(live_version(&key, &vector, access), 0xe6f8_8465_f49e_2f58);
        assert_eq!(destroyed_version(&key), 0x043a_008d_7329_4de5);
    }
}
