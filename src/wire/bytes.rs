//! The bytes of an item, one value after the other, as postcard writes them: integers in groups of
//! seven bits, the lowest first, lengths before what they count.
//!
//! By hand, and not by derived code, because a session would then be put together twice: as plain
//! data of the wire, and again as what it is.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::error::Malformed;

/// What is left of an item. Nothing is kept for a length that the bytes do not bear out.
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
                self.0 = rest.as_slice();
                return Ok(value);
            }
        }
        Err(LARGE)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| LARGE)
    }

    /// Alternates between the signs, so that small numbers of both take few bytes.
    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        let folded = self.u64()?;
        Ok((folded >> 1).cast_signed() ^ (folded & 1).cast_signed().wrapping_neg())
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
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(UNKNOWN),
        }
    }

    /// How many of something follow, each of one byte at least.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.length()?;
        if count > self.0.len() {
            return Err(SHORT);
        }
        Ok(count)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u64()?).map_err(|_| LARGE)
    }
}

/// Where the bytes go.
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

    pub(crate) fn array(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                write(self, value);
            }
        }
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u64(count as u64);
    }
}

const SHORT: Malformed = Malformed("an item that ends too early");
const LARGE: Malformed = Malformed("a number that is too large");
/// A variant that this protocol version does not have.
pub(super) const UNKNOWN: Malformed = Malformed("no item of this protocol version");

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
        fn numbers_are_written_as_postcard_writes_them(value in any::<u64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let bytes = written(|to| to.u64(value));
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&value).expect("a number"));
            prop_assert_eq!(Reader::new(&bytes).u64().ok(), Some(value));
            for signed in [value.cast_signed(), value.wrapping_neg().cast_signed()] {
                let bytes = written(|to| to.i64(signed));
                prop_assert_eq!(&bytes, &postcard::to_stdvec(&signed).expect("a number"));
                prop_assert_eq!(Reader::new(&bytes).i64().ok(), Some(signed));
            }
        }
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
        assert_eq!(Reader::new(&[2, 0, 0]).count().ok(), Some(2));
        assert!(Reader::new(&[3, 0, 0]).count().is_err());
        assert!(Reader::new(&[3, 0, 0]).bytes().is_err());
    }
}
