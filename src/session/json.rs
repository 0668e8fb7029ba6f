//! The JSON of attributes. What would not come back equal is refused when it is written.
//!
//! serde_json writes infinite floats and those that are no number as `null`, it reads `Some` of a
//! `null` as `None`, and it reads no deeper than 127 levels.

use std::{any::type_name, fmt, io};

use serde::{
    Serialize, Serializer,
    de::DeserializeOwned,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::{error::Category, ser::Formatter};
use smallvec::SmallVec;

use super::SessionError;

/// Returns the value as JSON.
pub(crate) fn encode_json<T: Serialize>(
    name: &str,
    value: &T,
) -> Result<SmallVec<[u8; USUAL_BYTES]>, SessionError> {
    let refuse = |why| SessionError::Encode {
        name: name.into(),
        why,
    };
    let mut bytes = SmallVec::new();
    let mut has_null = false;
    let format = CheckedFormat {
        depth: 0,
        has_null: &mut has_null,
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    value.serialize(&mut serializer).map_err(|error| {
        // What the value's own `Serialize` says may be made of the value, and is not kept.
        refuse(match error.classify() {
            Category::Io => TOO_DEEP,
            Category::Syntax | Category::Data | Category::Eof => NOT_JSON,
        })
    })?;
    if has_null {
        value.serialize(NullCheck).map_err(|lost| refuse(lost.0))?;
    }
    Ok(bytes)
}

/// Returns the value that the JSON is of.
pub(crate) fn decode_json<T: DeserializeOwned>(
    name: &str,
    bytes: &[u8],
) -> Result<T, SessionError> {
    // serde_json's text quotes the value, so it is not kept.
    serde_json::from_slice(bytes).map_err(|error| SessionError::Decode {
        name: name.into(),
        expected: type_name::<T>(),
        line: error.line(),
        column: error.column(),
    })
}

/// Checks that a text is JSON that can be read back.
pub(crate) fn check_json(name: &str, json: &str) -> Result<(), SessionError> {
    // It reads numbers and nesting as whoever gets the attribute does.
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(_) => Ok(()),
        Err(_) => Err(SessionError::Encode {
            name: name.into(),
            why: NOT_READABLE,
        }),
    }
}

/// JSON without spaces, up to the depth that is read back.
struct CheckedFormat<'a> {
    depth: u8,
    has_null: &'a mut bool,
}

impl CheckedFormat<'_> {
    fn begin<W: ?Sized + io::Write>(&mut self, writer: &mut W, byte: u8) -> io::Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.depth += 1;
        writer.write_all(&[byte])
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, byte: u8) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(&[byte])
    }
}

impl Formatter for CheckedFormat<'_> {
    fn write_null<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        *self.has_null = true;
        writer.write_all(b"null")
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b'[')
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b']')
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b'{')
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b'}')
    }
}

/// Looks for what becomes a `null` that is not read as what it was. It writes nothing; its output
/// is whether the value is a `null` itself.
#[derive(Clone, Copy)]
struct NullCheck;

/// The reason why a value would not come back equal.
#[derive(Debug)]
struct Lost(&'static str);

type Checked = Result<bool, Lost>;

impl Serializer for NullCheck {
    type Ok = bool;
    type Error = Lost;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Checked {
        match value.serialize(self)? {
            true => Err(Lost(SOME_NULL)),
            false => Ok(false),
        }
    }

    fn serialize_f32(self, value: f32) -> Checked {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Checked {
        match value.is_finite() {
            true => Ok(false),
            false => Err(Lost(NO_NUMBER)),
        }
    }

    fn serialize_none(self) -> Checked {
        Ok(true)
    }

    fn serialize_unit(self) -> Checked {
        Ok(true)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Checked {
        Ok(true)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self).map(|_| false)
    }

    fn serialize_bool(self, _: bool) -> Checked {
        Ok(false)
    }

    fn serialize_i8(self, _: i8) -> Checked {
        Ok(false)
    }

    fn serialize_i16(self, _: i16) -> Checked {
        Ok(false)
    }

    fn serialize_i32(self, _: i32) -> Checked {
        Ok(false)
    }

    fn serialize_i64(self, _: i64) -> Checked {
        Ok(false)
    }

    fn serialize_i128(self, _: i128) -> Checked {
        Ok(false)
    }

    fn serialize_u8(self, _: u8) -> Checked {
        Ok(false)
    }

    fn serialize_u16(self, _: u16) -> Checked {
        Ok(false)
    }

    fn serialize_u32(self, _: u32) -> Checked {
        Ok(false)
    }

    fn serialize_u64(self, _: u64) -> Checked {
        Ok(false)
    }

    fn serialize_u128(self, _: u128) -> Checked {
        Ok(false)
    }

    fn serialize_char(self, _: char) -> Checked {
        Ok(false)
    }

    fn serialize_str(self, _: &str) -> Checked {
        Ok(false)
    }

    fn serialize_bytes(self, _: &[u8]) -> Checked {
        Ok(false)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        Ok(false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        Ok(self)
    }
}

/// A part of a value may be a `null`, and the whole is none.
macro_rules! check_parts {
    ($($part_of:ident: $part:ident($($name:ty)?);)*) => {$(
        impl $part_of for NullCheck {
            type Ok = bool;
            type Error = Lost;

            fn $part<T: ?Sized + Serialize>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> Result<(), Lost> {
                value.serialize(*self).map(drop)
            }

            fn end(self) -> Checked {
                Ok(false)
            }
        }
    )*};
}

check_parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

impl SerializeMap for NullCheck {
    type Ok = bool;
    type Error = Lost;

    /// Finds no `null` here: serde_json writes none as a key.
    fn serialize_key<T: ?Sized + Serialize>(&mut self, _: &T) -> Result<(), Lost> {
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Lost> {
        value.serialize(*self).map(drop)
    }

    fn end(self) -> Checked {
        Ok(false)
    }
}

impl serde::ser::Error for Lost {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(NOT_JSON)
    }
}

impl std::error::Error for Lost {}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The bytes that most values fit in, which are then written without a buffer from the heap.
const USUAL_BYTES: usize = 256;
/// How deep serde_json reads.
const MAX_DEPTH: u8 = 127;
const TOO_DEEP: &str = "it is nested deeper than 127 levels, which are not read back";
const NO_NUMBER: &str = "it has a float that is infinite or not a number, which JSON has not";
const SOME_NULL: &str = "it has a `Some` of what is `null` in JSON, which is read back as `None`";
const NOT_READABLE: &str = "the text is not JSON, or has numbers or levels that are not read back";
const NOT_JSON: &str = "its `Serialize` fails, or it has a map whose keys are no text in JSON";

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde::{Deserialize, ser::Error as _};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Pair(Option<u8>, ()),
        Named { at: Option<f32>, unit: Unit },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Option<u8>);

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
        let bytes = encode_json("a", value).expect("it comes back");
        assert_eq!(&decode_json::<T>("a", &bytes).expect("own bytes"), value);
    }

    fn is_refused<T: Serialize>(value: &T, expected: &str) {
        let error = encode_json("cart", value).expect_err(expected);
        let SessionError::Encode { name, why } = &error else {
            panic!("{error}");
        };
        assert_eq!((&**name, *why), ("cart", expected));
        assert!(error.to_string().contains("cart"), "{error}");
    }

    #[test]
    fn what_cannot_come_back_equal_is_refused_with_its_name() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            is_refused(&value, NO_NUMBER);
            is_refused(&(value as f32), NO_NUMBER);
            is_refused(&Some(value), NO_NUMBER);
            is_refused(&vec![1.0, value], NO_NUMBER);
            is_refused(&HashMap::from([("a", value)]), NO_NUMBER);
            is_refused(&(1, value), NO_NUMBER);
            is_refused(&Shape::Circle(value), NO_NUMBER);
            let (at, unit) = (Some(value as f32), Unit);
            is_refused(&Shape::Named { at, unit }, NO_NUMBER);
        }
        is_refused(&Some(None::<u8>), SOME_NULL);
        is_refused(&Some(()), SOME_NULL);
        is_refused(&Some(Unit), SOME_NULL);
        is_refused(&Some(Wrapped(None)), SOME_NULL);
        is_refused(&[Some(serde_json::Value::Null)], SOME_NULL);
        is_refused(&HashMap::from([((1, 2), 3)]), NOT_JSON);
    }

    #[test]
    fn what_comes_back_equal_is_written() {
        comes_back(&None::<Option<u8>>);
        comes_back(&Some(Some(1)));
        comes_back(&());
        comes_back(&vec![None, Some(1)]);
        comes_back(&Wrapped(None));
        comes_back(&vec![(); 3]);
        comes_back(&[Shape::Point, Shape::Circle(-0.0), Shape::Pair(None, ())]);
        let (at, unit) = (None, Unit);
        comes_back(&Some(Shape::Named { at, unit }));
        comes_back(&HashMap::from([(7, Some(u128::MAX)), (8, None)]));
        comes_back(&serde_json::json!({"a": null, "b": [null, "null"]}));
    }

    #[test]
    fn nesting_is_written_as_deep_as_it_is_read() {
        let nested = |levels| {
            let leaf = serde_json::json!([]);
            (1..levels).fold(leaf, |inner, level| match level % 2 {
                0 => serde_json::json!([inner]),
                _ => serde_json::json!({"a": inner}),
            })
        };
        comes_back(&nested(127));
        comes_back(&vec![nested(126), nested(126)]);
        for levels in [128, 200] {
            is_refused(&nested(levels), TOO_DEEP);
        }
    }

    #[test]
    fn errors_show_nothing_of_the_value() {
        struct Talkative;

        impl Serialize for Talkative {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("alice@example.org"))
            }
        }

        let stored = encode_json("email", &"alice@example.org").expect("text");
        let errors = [
            decode_json::<u64>("email", &stored).expect_err("text"),
            decode_json::<Vec<u8>>("email", &stored).expect_err("text"),
            decode_json::<Shape>("email", &stored).expect_err("text"),
            encode_json("email", &Talkative).expect_err("it fails"),
            encode_json("email", &(None::<u8>, Some(()), Talkative)).expect_err("it fails"),
        ];
        for error in errors {
            let mut shown = format!("{error:?} {error} {error:#?}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                shown += &format!("{cause:?} {cause}");
                source = cause.source();
            }
            assert!(!shown.contains("alice"), "{shown}");
            assert!(shown.contains("email"), "{shown}");
        }
        let error = decode_json::<u64>("email", &stored)
            .expect_err("text")
            .to_string();
        assert!(
            error.contains("u64") && error.contains("column 19"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn floats_come_back_bit_by_bit(bits: u64, single: u32) {
            for value in [f64::from_bits(bits), f64::from_bits(bits >> 12)] {
                if value.is_finite() {
                    let bytes = encode_json("a", &value).expect("finite");
                    let back: f64 = decode_json("a", &bytes).expect("own bytes");
                    prop_assert_eq!(back.to_bits(), value.to_bits());
                }
            }
            let value = f32::from_bits(single);
            if value.is_finite() {
                let bytes = encode_json("a", &[value]).expect("finite");
                let [back]: [f32; 1] = decode_json("a", &bytes).expect("own bytes");
                prop_assert_eq!(back.to_bits(), value.to_bits());
            }
        }
    }
}
