//! Batches as they are in a file.
//!
//! ```text
//! frame    length of the changes, 4 bytes; number of the batch, 8; checksum of both and of the
//!          changes, 8; the changes
//! change   key, 17 bytes; length of the value, 4, or FF FF FF FF where the record goes; the value
//! ```
//!
//! Numbers are big-endian. The bytes come from a disk: nothing is taken for granted.

use twox_hash::xxhash3_64;

use crate::node::disk::engine::{KEY_LEN, Write};

/// Appends the frame of a batch.
pub(super) fn encode(number: u64, batch: &[Write], bytes: &mut Vec<u8>) -> Result<(), TooLong> {
    let start = bytes.len();
    bytes.resize(start + HEAD_LEN, 0);
    for Write { key, value } in batch {
        bytes.extend(key);
        let Some(value) = value else {
            bytes.extend(GONE.to_be_bytes());
            continue;
        };
        let length = u32::try_from(value.len())
            .ok()
            .filter(|length| *length < GONE);
        bytes.extend(length.ok_or(TooLong)?.to_be_bytes());
        bytes.extend(value);
    }
    let length = u32::try_from(bytes.len() - start - HEAD_LEN).map_err(|_| TooLong)?;
    let checksum = checksum(length, number, &bytes[start + HEAD_LEN..]);
    let head = Head {
        length,
        number,
        checksum,
    };
    bytes[start..start + HEAD_LEN].copy_from_slice(&head.to_bytes());
    Ok(())
}

/// A batch that does not fit into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) number: u64,
    checksum: u64,
}

impl Head {
    pub(super) fn read(bytes: &[u8; HEAD_LEN]) -> Self {
        let (length, rest) = bytes.split_at(4);
        let (number, checksum) = rest.split_at(8);
        let number_in = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte))
        };
        Self {
            length: length
                .iter()
                .fold(0, |all, byte| all << 8 | u32::from(*byte)),
            number: number_in(number),
            checksum: number_in(checksum),
        }
    }

    /// Returns whether these changes are those that the frame was written with.
    pub(super) fn is_of(&self, changes: &[u8]) -> bool {
        u32::try_from(changes.len()) == Ok(self.length)
            && self.checksum == checksum(self.length, self.number, changes)
    }

    fn to_bytes(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_be_bytes());
        bytes[12..].copy_from_slice(&self.checksum.to_be_bytes());
        bytes
    }
}

/// A change in the bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8; KEY_LEN],
    pub(super) value: Option<&'a [u8]>,
    /// Where it begins, from the first change on.
    pub(super) offset: usize,
}

/// The changes of a frame, one after the other; `None` where they are no changes.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Changes<'a> {
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self) -> Option<Change<'a>> {
        let offset = self.at;
        let rest = self.bytes.get(offset..)?;
        let (head, rest) = rest.split_first_chunk::<CHANGE_HEAD_LEN>()?;
        let (key, _) = head.split_first_chunk()?;
        let value = match value_length(head) {
            None => None,
            Some(length) => Some(rest.get(..usize::try_from(length).ok()?)?),
        };
        self.at = offset + CHANGE_HEAD_LEN + value.map_or(0, <[u8]>::len);
        Some(Change { key, value, offset })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Option<Change<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let change = self.take();
        if change.is_none() {
            self.at = self.bytes.len();
        }
        Some(change)
    }
}

/// Returns the length of a change's value, `None` where the record goes.
pub(super) fn value_length(head: &[u8; CHANGE_HEAD_LEN]) -> Option<u32> {
    let length = head
        .last_chunk()
        .map_or(GONE, |length| u32::from_be_bytes(*length));
    (length != GONE).then_some(length)
}

fn checksum(length: u32, number: u64, changes: &[u8]) -> u64 {
    // The bits of the two do not meet while numbers are below 2^32, and then one hides nothing of the
    // other.
    let seed = number.rotate_left(32) ^ u64::from(length);
    xxhash3_64::Hasher::oneshot_with_seed(seed, changes)
}

pub(super) const HEAD_LEN: usize = 4 + 8 + 8;
pub(super) const CHANGE_HEAD_LEN: usize = KEY_LEN + 4;
/// In the place of a length: the record goes.
const GONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Write> {
        let write = |byte: u8, value: Option<&[u8]>| Write {
            key: [byte; KEY_LEN],
            value: value.map(<[u8]>::to_vec),
        };
        vec![write(1, Some(b"one")), write(2, None), write(3, Some(b""))]
    }

    #[test]
    fn frame_is_these_bytes() {
        let mut bytes = Vec::new();
        encode(258, &batch()[..1], &mut bytes).expect("short");
        let expected = [
            &[0, 0, 0, 24][..],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &checksum(24, 258, &bytes[HEAD_LEN..]).to_be_bytes(),
            &[1; 17],
            &[0, 0, 0, 3],
            b"one",
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn frame_is_read_back() {
        let mut bytes = Vec::new();
        encode(7, &batch(), &mut bytes).expect("short");
        let (head, changes) = bytes.split_first_chunk().expect("a head");
        let head = Head::read(head);
        assert_eq!(head.number, 7);
        assert!(head.is_of(changes));
        let read: Vec<Write> = Changes::of(changes)
            .map(|change| {
                let Change { key, value, .. } = change.expect("a change");
                let value = value.map(<[u8]>::to_vec);
                Write { key: *key, value }
            })
            .collect();
        assert_eq!(read, batch());
    }

    #[test]
    fn frame_with_any_bit_flipped_is_not_what_was_written() {
        let mut bytes = Vec::new();
        encode(7, &batch(), &mut bytes).expect("short");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (head, changes) = flipped.split_first_chunk().expect("a head");
            assert!(!Head::read(head).is_of(changes), "{bit}");
        }
    }

    #[test]
    fn what_is_no_change_ends_the_changes() {
        let mut bytes = Vec::new();
        encode(7, &batch()[..1], &mut bytes).expect("short");
        let changes = &bytes[HEAD_LEN..];
        for length in 1..changes.len() {
            let read: Vec<_> = Changes::of(&changes[..length]).collect();
            assert_eq!(read, [None], "{length}");
        }
    }
}
