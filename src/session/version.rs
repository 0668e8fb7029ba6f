//! The 64-bit version of a session: equal versions mean equal sessions, up to accidents.

use twox_hash::XxHash3_64;

use super::{SessionKey, Stamp, Vector};

/// Returns the version of a session: XXH3 over key, last access and vector, each entry seeded with
/// the hash before it. This runs at every write, and XXH3 is quick at short inputs. It finds
/// accidents, not forgers.
pub(crate) fn session_version(key: &SessionKey, vector: &Vector, access: Stamp) -> u64 {
    let mut head = [0; 24];
    head[..16].copy_from_slice(key.bytes());
    head[16..].copy_from_slice(&access.get().to_le_bytes());
    let head = XxHash3_64::oneshot(&head);
    vector.entries().iter().fold(head, |hash, (origin, stamp)| {
        let mut entry = [0; 20];
        entry[..8].copy_from_slice(&origin.boot.bytes());
        entry[8..12].copy_from_slice(&origin.epoch.to_le_bytes());
        entry[12..].copy_from_slice(&stamp.get().to_le_bytes());
        XxHash3_64::oneshot_with_seed(hash, &entry)
    })
}

/// Returns the version of a destroyed session, the same on every node. It is not that of a session
/// that is there, whose input is longer.
pub(crate) fn destroyed_version(key: &SessionKey) -> u64 {
    XxHash3_64::oneshot(key.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{BootId, Origin};

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
            session_version(&key, &vector, access),
            0xc615_8dd2_d1c2_f4f0
        );
        assert_eq!(destroyed_version(&key), 0xfe8a_7fec_7d80_ca73);
    }
}
