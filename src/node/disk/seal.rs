//! Encryption of what is on disk.
//!
//! Each record is sealed by AES-256-GCM with a key that is used in one run of one process alone: HKDF
//! makes it of a configured key and of a salt of 128 random bits. So records of a run can be counted
//! for their nonces, also when a directory is copied and both copies go on. After 2^32 records there
//! is another salt. What a record belongs to is authenticated with it: records cannot be swapped, or
//! taken for those of another cluster, whose keys are others.
//!
//! An older record of the same session can be put back by whoever can write the directory.

use std::{collections::HashMap, fmt, sync::Arc};

use hkdf::Hkdf;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use twox_hash::xxhash3_64;
use zeroize::Zeroizing;

use crate::{config::ClusterSecret, node::env::Random};

/// The keys of a directory. The first seals, all open. Without any, nothing is encrypted.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<[Key]>);

#[derive(Debug)]
struct Key {
    id: [u8; ID_LEN],
    secret: ClusterSecret,
}

impl Keys {
    pub(super) fn new(secrets: impl IntoIterator<Item = ClusterSecret>) -> Self {
        let keys = secrets.into_iter().map(|secret| {
            let mut id = [0; ID_LEN];
            expand(&secret, None, b"id", &mut id);
            Key { id, secret }
        });
        Self(keys.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Seals records.
pub(super) struct Sealer {
    keys: Keys,
    random: Arc<dyn Random>,
    run: Option<Run>,
}

/// What records are sealed with until it is used up.
struct Run {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
    next: u32,
}

impl Sealer {
    pub(super) fn new(keys: Keys, random: Arc<dyn Random>) -> Self {
        Self {
            keys,
            random,
            run: None,
        }
    }

    /// Returns the record of this key as it is written.
    pub(super) fn seal(&mut self, key: &[u8], plain: &[u8]) -> Vec<u8> {
        let Some(Key { id, secret }) = self.keys.0.first() else {
            let mut record = Vec::with_capacity(PLAIN_HEAD + plain.len());
            record.push(PLAIN);
            record.extend(checksum(key, plain).to_be_bytes());
            record.extend(plain);
            return record;
        };
        let run = self.run.get_or_insert_with(|| {
            let mut salt = [0; SALT_LEN];
            self.random.fill(&mut salt);
            Run {
                key: record_key(secret, &salt),
                salt,
                next: 0,
            }
        });
        let number = run.next;
        let mut record = Vec::with_capacity(SEALED_HEAD + plain.len() + TAG_LEN);
        record.push(SEALED);
        record.extend(id);
        record.extend(run.salt);
        record.extend(number.to_be_bytes());
        let aad = Aad::from(bound_to(key, &record));
        record.extend(plain);
        let tag = run
            .key
            .seal_in_place_separate_tag(nonce(number), aad, &mut record[SEALED_HEAD..])
            .expect("records are far shorter than the 64 GiB that this takes");
        record.extend(tag.as_ref());
        match number.checked_add(1) {
            Some(next) => run.next = next,
            None => self.run = None,
        }
        record
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(_)")
    }
}

/// Opens records.
#[derive(Debug)]
pub(super) struct Opener {
    keys: Keys,
    /// The keys of runs that were met, and whether the first configured key is behind them.
    runs: HashMap<[u8; SALT_LEN], (LessSafeKey, bool)>,
    opened: Vec<u8>,
}

/// A record that could be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) plain: &'a [u8],
    /// Another key than the first one has sealed it.
    pub(super) is_old: bool,
}

impl Opener {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            runs: HashMap::new(),
            opened: Vec::new(),
        }
    }

    /// Opens the record of this key.
    pub(super) fn open(&mut self, key: &[u8], record: &[u8]) -> Result<Opened<'_>, SealError> {
        match record.first() {
            Some(&PLAIN) if self.keys.is_empty() => {
                self.opened.clear();
                let (head, plain) = record
                    .split_first_chunk::<PLAIN_HEAD>()
                    .ok_or(SealError::Damaged)?;
                if head[1..] != checksum(key, plain).to_be_bytes() {
                    return Err(SealError::Damaged);
                }
                self.opened.extend(plain);
                Ok(Opened {
                    plain: &self.opened,
                    is_old: false,
                })
            }
            // Or whoever can write the directory could add sessions without knowing a key.
            Some(&PLAIN) => Err(SealError::Plain),
            Some(&SEALED) if self.keys.is_empty() => Err(SealError::NoKey),
            Some(&SEALED) => self.unseal(key, record),
            Some(_) | None => Err(SealError::Damaged),
        }
    }

    fn unseal(&mut self, key: &[u8], record: &[u8]) -> Result<Opened<'_>, SealError> {
        let (head, sealed) = record
            .split_first_chunk::<SEALED_HEAD>()
            .ok_or(SealError::Damaged)?;
        let (id, rest) = head[1..].split_at(ID_LEN);
        let (salt, number) = rest.split_at(SALT_LEN);
        let (Ok(salt), Ok(number)) = (salt.try_into(), number.try_into()) else {
            return Err(SealError::Damaged);
        };
        let (run, is_first) = match self.runs.get(&salt) {
            Some(run) => run,
            None => {
                let at = self.keys.0.iter().position(|key| key.id == id);
                let at = at.ok_or(SealError::OtherKey)?;
                let run = (record_key(&self.keys.0[at].secret, &salt), at == 0);
                // Each start of a node adds one; what is beyond that was made up.
                if self.runs.len() >= MOST_RUNS {
                    self.runs.clear();
                }
                self.runs.entry(salt).or_insert(run)
            }
        };
        self.opened.clear();
        self.opened.extend(sealed);
        let nonce = nonce(u32::from_be_bytes(number));
        let aad = Aad::from(bound_to(key, head));
        let plain = run
            .open_in_place(nonce, aad, &mut self.opened)
            .map_err(|_| SealError::Damaged)?;
        Ok(Opened {
            plain,
            is_old: !is_first,
        })
    }
}

/// The reason why a record cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealError {
    /// It is encrypted, and there is no key.
    NoKey,
    /// It is encrypted with a key that is not one of those given.
    OtherKey,
    /// It is not encrypted, and there is a key.
    Plain,
    /// It is not what was written, or not in the place where it was written.
    Damaged,
}

/// Returns the key of the records of one run.
fn record_key(secret: &ClusterSecret, salt: &[u8; SALT_LEN]) -> LessSafeKey {
    let mut key = Zeroizing::new([0; ClusterSecret::LENGTH]);
    expand(secret, Some(salt), b"records", key.as_mut_slice());
    let key =
        UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("it is as long as such keys are");
    LessSafeKey::new(key)
}

fn expand(secret: &ClusterSecret, salt: Option<&[u8]>, purpose: &[u8], key: &mut [u8]) {
    Hkdf::<Sha256>::new(salt, secret.bytes())
        .expand(purpose, key)
        .expect("it gives up to 255 blocks of 32 bytes");
}

fn nonce(number: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Returns what is authenticated with a record: its head, and the key that it belongs to.
fn bound_to(key: &[u8], head: &[u8]) -> Vec<u8> {
    [head, key].concat()
}

/// Returns a checksum over a record and its key. The engine has its own, over what it writes.
fn checksum(key: &[u8], plain: &[u8]) -> u64 {
    let seed = xxhash3_64::Hasher::oneshot(key);
    xxhash3_64::Hasher::oneshot_with_seed(seed, plain)
}

/// The first byte of a record: how it was written.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const ID_LEN: usize = 4;
const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;
const PLAIN_HEAD: usize = 1 + 8;
const SEALED_HEAD: usize = 1 + ID_LEN + SALT_LEN + 4;
const MOST_RUNS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, so that two runs differ.
    #[derive(Debug, Default)]
    struct Counted(std::sync::atomic::AtomicU8);

    impl Random for Counted {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn keys(secrets: &[u8]) -> Keys {
        let secret = |byte: &u8| ClusterSecret::from_bytes([*byte; 32]);
        Keys::new(secrets.iter().map(secret))
    }

    fn sealer(secrets: &[u8]) -> Sealer {
        Sealer::new(keys(secrets), Arc::<Counted>::default())
    }

    fn open(secrets: &[u8], key: &[u8], record: &[u8]) -> Result<(Vec<u8>, bool), SealError> {
        let mut opener = Opener::new(keys(secrets));
        let opened = opener.open(key, record)?;
        Ok((opened.plain.to_vec(), opened.is_old))
    }

    #[test]
    fn record_is_opened_by_any_key_and_sealed_by_the_first() {
        let record = sealer(&[1, 2]).seal(b"key", b"value");
        assert_eq!(open(&[1], b"key", &record), Ok((b"value".to_vec(), false)));
        assert_eq!(
            open(&[3, 1], b"key", &record),
            Ok((b"value".to_vec(), true))
        );
        assert_eq!(open(&[2], b"key", &record), Err(SealError::OtherKey));
        assert_eq!(open(&[], b"key", &record), Err(SealError::NoKey));
        assert!(!record.windows(5).any(|part| part == b"value"));
    }

    #[test]
    fn without_a_key_records_are_plain_and_with_one_plain_records_are_refused() {
        let record = sealer(&[]).seal(b"key", b"value");
        assert_eq!(open(&[], b"key", &record), Ok((b"value".to_vec(), false)));
        assert_eq!(open(&[1], b"key", &record), Err(SealError::Plain));
    }

    #[test]
    fn record_belongs_to_its_key() {
        for secrets in [&[][..], &[1]] {
            let record = sealer(secrets).seal(b"key", b"value");
            assert_eq!(open(secrets, b"other", &record), Err(SealError::Damaged));
        }
    }

    #[test]
    fn changed_or_shortened_record_is_never_opened() {
        for secrets in [&[][..], &[1]] {
            let record = sealer(secrets).seal(b"key", b"value");
            for length in 0..record.len() {
                assert!(
                    open(secrets, b"key", &record[..length]).is_err(),
                    "{length}"
                );
            }
            for bit in 0..record.len() * 8 {
                let mut flipped = record.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(secrets, b"key", &flipped).is_err(), "{bit}");
            }
        }
    }

    #[test]
    fn no_two_records_are_sealed_with_the_same_key_and_nonce() {
        let mut sealer = sealer(&[1]);
        let mut heads = std::collections::HashSet::new();
        let mut seal = |sealer: &mut Sealer| {
            let record = sealer.seal(b"key", b"value");
            assert!(open(&[1], b"key", &record).is_ok());
            assert!(heads.insert(record[..SEALED_HEAD].to_vec()));
        };
        seal(&mut sealer);
        seal(&mut sealer);
        sealer.run.as_mut().expect("it has sealed").next = u32::MAX;
        seal(&mut sealer);
        assert!(sealer.run.is_none(), "its numbers are used up");
        seal(&mut sealer);
    }
}
