//! The bytes of everything that nodes say, one value after the other: integers in groups of seven
//! bits, the lowest group first, and lengths before what they count.
//!
//! Written by hand and not derived, because every value is checked while it is read. Derived code
//! would put a session together twice: as plain data of the wire, and again as what it is.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::error::Malformed;

/// The rest of a message. It keeps nothing for a length that the bytes do not bear out.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn remaining(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// Reads an integer in its shortest form, so that equal values are equal bytes.
    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let mut rest = self.0.iter();
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *rest.next().ok_or(SHORT)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for the highest bit alone.
            if shift == 63 && bits > 1 {
                return Err(LARGE);
            }
            value |= bits.wrapping_shl(shift);
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(LONG);
                }
                self.0 = rest.as_slice();
                return Ok(value);
            }
        }
        Err(LARGE)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| LARGE)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        u16::try_from(self.u64()?).map_err(|_| LARGE)
    }

    /// Alternates between the signs, so that small numbers of both take few bytes.
    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        let folded = self.u64()?;
        Ok((folded >> 1).cast_signed() ^ (folded & 1).cast_signed().wrapping_neg())
    }

    /// Reads a hash, which is as long as its type. An integer would take ten bytes.
    pub(crate) fn hash(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(UNKNOWN),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text that is not UTF-8"))
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.bool()? {
            false => Ok(None),
            true => read(self).map(Some),
        }
    }

    /// Reads how many of something follow, each of so many bytes at least.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count = self.length()?;
        if count.saturating_mul(bytes_each) > self.0.len() {
            return Err(SHORT);
        }
        Ok(count)
    }

    /// Reads a list of values, each of so many bytes at least.
    pub(crate) fn list<T>(
        &mut self,
        bytes_each: usize,
        read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(bytes_each)?;
        self.repeat(count, read)
    }

    /// Reads so many values, which a count has promised.
    pub(crate) fn repeat<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// Returns what is read, and its bytes.
    pub(crate) fn with_bytes<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<(T, &'a [u8]), Malformed> {
        let before = self.0;
        let value = read(self)?;
        let length = before.len().saturating_sub(self.0.len());
        let (bytes, _rest) = before.split_at_checked(length).ok_or(SHORT)?;
        Ok((value, bytes))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u64()?).map_err(|_| LARGE)
    }
}

/// The end of a buffer, to which values are appended.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.u64((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn hash(&mut self, hash: u64) {
        self.array(&hash.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.byte(value.into());
    }

    pub(crate) fn array(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u64(count as u64);
    }

    pub(crate) fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.count(values.len());
        values.for_each(|value| write(self, value));
    }
}

const SHORT: Malformed = Malformed("bytes that end too early");
const LARGE: Malformed = Malformed("a number that is too large");
const LONG: Malformed = Malformed("a number of more bytes than it needs");
/// A variant that this protocol version does not have.
pub(super) const UNKNOWN: Malformed = Malformed("nothing of this protocol version");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Writer(&mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(value in any::<u64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let bytes = written(|to| to.u64(value));
            let bits = u64::BITS - value.leading_zeros();
            prop_assert_eq!(bytes.len(), bits.div_ceil(7).max(1) as usize);
            prop_assert_eq!(Reader::new(&bytes).u64().ok(), Some(value));
            for signed in [value.cast_signed(), value.wrapping_neg().cast_signed()] {
                let bytes = written(|to| to.i64(signed));
                prop_assert_eq!(Reader::new(&bytes).i64().ok(), Some(signed));
            }
        }

        /// So that equal values are equal bytes.
        #[test]
        fn numbers_are_read_in_their_shortest_form_alone(
            bytes in prop::collection::vec(any::<u8>(), 1..12),
        ) {
            let mut from = Reader::new(&bytes);
            if let Ok(value) = from.u64() {
                let read = &bytes[..bytes.len() - from.remaining().len()];
                prop_assert_eq!(written(|to| to.u64(value)), read);
            }
        }
    }

    #[test]
    fn bytes_of_numbers_stay_as_they_are() {
        for (value, bytes) in [
            (0, &b"\0"[..]),
            (127, b"\x7f"),
            (128, b"\x80\x01"),
            (300, b"\xac\x02"),
        ] {
            assert_eq!(written(|to| to.u64(value)), bytes);
        }
        for (value, bytes) in [(0, &b"\0"[..]), (-1, b"\x01"), (1, b"\x02"), (-64, b"\x7f")] {
            assert_eq!(written(|to| to.i64(value)), bytes);
        }
        assert_eq!(written(|to| to.hash(1)), b"\x01\0\0\0\0\0\0\0");
    }

    #[test]
    fn numbers_of_too_many_bits_are_malformed() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(Reader::new(&bytes).u64().ok(), Some(u64::MAX));
        assert!(Reader::new(&bytes).u32().is_err());
        bytes[9] = 2;
        assert!(Reader::new(&bytes).u64().is_err());
        assert!(Reader::new(&[0x80; 11]).u64().is_err());
        assert!(Reader::new(&[0x80]).u64().is_err());
    }

    #[test]
    fn counts_that_the_bytes_do_not_bear_out_are_malformed() {
        assert_eq!(Reader::new(&[2, 0, 0]).count(1).ok(), Some(2));
        assert!(Reader::new(&[3, 0, 0]).count(1).is_err());
        assert!(Reader::new(&[2, 0, 0]).count(2).is_err());
        let huge = written(|to| to.u64(u64::MAX));
        assert!(Reader::new(&huge).count(usize::MAX).is_err());
        assert!(Reader::new(&[3, 0, 0]).bytes().is_err());
    }
}
