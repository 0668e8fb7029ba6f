//! The hash of keys where they are gathered for a moment.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::LazyLock,
};

/// The maker of hashers. Honest keys are uniform, but a peer may send any: which of them share a
/// bucket is a secret of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionKeyHash;

impl BuildHasher for SessionKeyHash {
    type Hasher = SessionKeyHasher;

    fn build_hasher(&self) -> SessionKeyHasher {
        SessionKeyHasher(*SEED)
    }
}

/// A multiplication of the two halves, each mixed with a secret, folded to 64 bits.
#[derive(Debug)]
pub(crate) struct SessionKeyHasher((u64, u64));

impl Hasher for SessionKeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            let (one, other) = self.0;
            let one = u128::from(u64::from_le_bytes(*first) ^ one);
            let product = one * u128::from(u64::from_le_bytes(*last) ^ other);
            self.0.0 = (product >> 64) as u64 ^ product as u64;
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0.0
    }
}

/// Random in each process, but for tests: simulated histories must be the same each time.
static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
    if cfg!(test) {
        return (0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9);
    }
    let random = RandomState::new();
    (random.hash_one(0), random.hash_one(1))
});
