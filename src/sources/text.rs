//! The text of a variable, for `serde` to read.

use std::str::FromStr;

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, Unexpected, Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
};
use toml::{Value, de::ValueDeserializer};

use super::fault::Fault;

/// The text of a variable. What it means depends on what is expected.
pub(super) struct Text(String);

impl Text {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    fn parse<'de, V: Visitor<'de>, T: FromStr>(&self, visitor: &V) -> Result<T, Fault> {
        self.0
            .trim()
            .parse()
            .map_err(|_| <Fault as de::Error>::invalid_value(Unexpected::Str(&self.0), visitor))
    }
}

impl<'de> Deserializer<'de> for Text {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_string(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = self.parse(&visitor)?;
        visitor.visit_bool(value)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = self.parse(&visitor)?;
        visitor.visit_u64(value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Reads a list, which is written as in TOML or separated by commas.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.trim_start().starts_with('[') {
            return ValueDeserializer::parse(&self.0)
                .and_then(Value::deserialize)
                .and_then(|list| list.deserialize_seq(visitor))
                .map_err(|error| <Fault as de::Error>::custom(error.message()));
        }
        let parts = self.0.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        let parts = parts.map(|part| Self(part.to_owned()));
        visitor.visit_seq(SeqDeserializer::new(parts))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Fault> for Text {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
