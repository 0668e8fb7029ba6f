//! Where a value is that sessions are found by: in an attribute, or in a part of one.

use std::{fmt, hash::Hasher};

use serde_json::Value;

use super::{MAX_NAME_LENGTH, SessionState, Tag};

/// The name of an attribute, or that and a JSON pointer (RFC 6901) to a part of its value.
///
/// It is written as in the fragment of a URI: `user_id`, or `axum-login.data#/user_id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ValuePath {
    attribute: Box<str>,
    /// It begins with a slash.
    pointer: Option<Box<str>>,
}

impl ValuePath {
    pub(crate) fn parse(text: &str) -> Self {
        let (attribute, pointer) = match text.split_once("#/") {
            Some((attribute, _)) => (attribute, Some(&text[attribute.len() + 1..])),
            None => (text, None),
        };
        Self {
            attribute: attribute.into(),
            pointer: pointer.map(Box::from),
        }
    }

    /// Returns whether there can be such a value.
    pub(crate) fn is_possible(&self) -> bool {
        let escapes = |pointer: &str| {
            let mut behind_tilde = pointer.split('~').skip(1);
            behind_tilde.all(|rest| rest.starts_with(['0', '1']))
        };
        (1..=MAX_NAME_LENGTH).contains(&self.attribute.len())
            && self.pointer.as_deref().is_none_or(escapes)
    }

    pub(crate) fn attribute(&self) -> &str {
        &self.attribute
    }

    /// Returns whether an attribute with this JSON has the value.
    pub(crate) fn leads_to(&self, wanted: &Value, json: &[u8]) -> bool {
        self.value_in(json).is_some_and(|value| value == *wanted)
    }

    /// Returns the value that an attribute with this JSON has, if it has one.
    pub(crate) fn value_in(&self, json: &[u8]) -> Option<Value> {
        // What is not JSON has no value.
        let mut value: Value = serde_json::from_slice(json).ok()?;
        match &self.pointer {
            None => Some(value),
            Some(pointer) => value.pointer_mut(pointer).map(Value::take),
        }
    }

    /// Hashes the value that an attribute with this JSON has, so that equal values have equal hashes,
    /// however they are written. Returns whether it has one.
    pub(crate) fn hash_in(&self, json: &[u8], hasher: &mut impl Hasher) -> bool {
        match &self.pointer {
            None => hash_json(json, hasher),
            Some(_) => {
                let value = self.value_in(json);
                value.map(|value| hash_value(&value, hasher)).is_some()
            }
        }
    }
}

impl fmt::Display for ValuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attribute)?;
        match &self.pointer {
            Some(pointer) => write!(f, "#{pointer}"),
            None => Ok(()),
        }
    }
}

impl SessionState {
    /// Returns the tag of the attribute in which the session has the value, if it has it.
    pub(crate) fn tag_of_value(&self, path: &ValuePath, wanted: &Value) -> Option<Tag> {
        let register = self.register(path.attribute())?;
        let json = register.json().ok()??;
        path.leads_to(wanted, json).then_some(register.tag)
    }
}

/// Hashes a value of which this is the JSON. Returns whether it is JSON.
///
/// Most values by which sessions are found are texts without escapes, or numbers. These are not
/// parsed: what is not JSON then has a hash, too, and equals nothing all the same.
pub(crate) fn hash_json(json: &[u8], hasher: &mut impl Hasher) -> bool {
    if let Some(text) = plain_text(json) {
        hash_text(text, hasher);
        return true;
    }
    if let Some(number) = plain_number(json) {
        hash_natural(number, hasher);
        return true;
    }
    match serde_json::from_slice::<Value>(json) {
        Ok(value) => {
            hash_value(&value, hasher);
            true
        }
        Err(_) => false,
    }
}

/// Hashes a value. It is nested no deeper than serde_json reads.
fn hash_value(value: &Value, hasher: &mut impl Hasher) {
    match value {
        Value::Null => hasher.write_u8(NULL),
        Value::Bool(value) => hasher.write_u8(if *value { TRUE } else { FALSE }),
        Value::Number(number) => {
            if let Some(natural) = number.as_u64() {
                hash_natural(natural, hasher);
            } else if let Some(negative) = number.as_i64() {
                hasher.write_u8(NEGATIVE);
                hasher.write_i64(negative);
            } else {
                // The two zeros are equal.
                let float = number.as_f64().filter(|float| *float != 0.0);
                hasher.write_u8(FLOAT);
                hasher.write_u64(float.unwrap_or(0.0).to_bits());
            }
        }
        Value::String(text) => hash_text(text.as_bytes(), hasher),
        Value::Array(parts) => {
            hasher.write_u8(ARRAY);
            hasher.write_usize(parts.len());
            parts.iter().for_each(|part| hash_value(part, hasher));
        }
        Value::Object(fields) => {
            hasher.write_u8(OBJECT);
            hasher.write_usize(fields.len());
            // Some apps have serde_json keep the order in which fields were written.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|field| field.0);
            for (name, field) in fields {
                hash_text(name.as_bytes(), hasher);
                hash_value(field, hasher);
            }
        }
    }
}

fn hash_text(text: &[u8], hasher: &mut impl Hasher) {
    hasher.write_u8(TEXT);
    hasher.write(text);
    // No text has this byte.
    hasher.write_u8(0xff);
}

fn hash_natural(number: u64, hasher: &mut impl Hasher) {
    hasher.write_u8(NATURAL);
    hasher.write_u64(number);
}

/// Returns the text of a JSON string that is written as it is.
fn plain_text(json: &[u8]) -> Option<&[u8]> {
    let text = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'\\')).then_some(text)
}

/// Returns the number of a few digits.
fn plain_number(json: &[u8]) -> Option<u64> {
    let is_canonical = json == b"0" || json.first().is_some_and(|first| *first != b'0');
    if !is_canonical || json.len() > MAX_DIGITS || !json.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = json.iter().map(|digit| u64::from(digit - b'0'));
    Some(digits.fold(0, |number, digit| number * 10 + digit))
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NATURAL: u8 = 3;
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;
/// Any number of so many digits fits 64 bits.
const MAX_DIGITS: usize = 19;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use proptest::prelude::*;

    use super::*;

    fn hash(path: &str, json: &str, state: &RandomState) -> Option<u64> {
        let mut hasher = state.build_hasher();
        let path = ValuePath::parse(path);
        let has_value = path.hash_in(json.as_bytes(), &mut hasher);
        has_value.then(|| hasher.finish())
    }

    #[test]
    fn values_that_are_equal_have_equal_hashes_however_they_are_written() {
        let state = &RandomState::new();
        for (one, other) in [
            (r#""alice""#, r#" "al\u0069ce""#),
            ("17", " 17 "),
            ("0", "0 "),
            ("0.0", "-0.0"),
            ("1e2", "100.0"),
            (r#"{"a":1,"b":[2,null]}"#, r#"{ "b": [2, null], "a": 1 }"#),
            ("18446744073709551615", " 18446744073709551615"),
        ] {
            let hashed = [one, other].map(|json| hash("a", json, state));
            assert!(hashed[0].is_some(), "{one}");
            assert_eq!(hashed[0], hashed[1], "{one} {other}");
        }
        let different = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "0.5",
            "1.0",
            "\"\"",
            "\"1\"",
            "[]",
            "[[]]",
            "[null]",
            "{}",
            "{\"\":null}",
            "\"null\"",
        ];
        let hashes = different.map(|json| hash("a", json, state).expect(json));
        for (at, one) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(one), "{}", different[at]);
        }
        for none in ["", "tru", "[1", "01"] {
            assert_eq!(hash("a", none, state), None, "{none}");
        }
    }

    #[test]
    fn path_leads_to_a_part_of_an_object() {
        let state = &RandomState::new();
        let json = r#"{"user_id":7,"a/b":[{"~":"x"}],"none":null}"#;
        for (path, part) in [
            ("data#/user_id", "7"),
            ("data#/a~1b/0/~0", "\"x\""),
            ("data#/none", "null"),
            ("data", json),
        ] {
            let value: Value = serde_json::from_str(part).expect(part);
            let parsed = ValuePath::parse(path);
            assert_eq!(parsed.attribute(), "data");
            assert!(parsed.is_possible());
            assert!(parsed.leads_to(&value, json.as_bytes()), "{path}");
            assert_eq!(hash(path, json, state), hash("data", part, state), "{path}");
        }
        let absent = ValuePath::parse("data#/other");
        assert!(!absent.leads_to(&Value::Null, json.as_bytes()));
        assert_eq!(hash("data#/other", json, state), None);
        assert_eq!(hash("data#/user_id", "7", state), None);
    }

    #[test]
    fn path_that_leads_nowhere_is_found_out() {
        for impossible in ["", "#/a", "a#/~", "a#/b~2", &"a".repeat(256)] {
            assert!(!ValuePath::parse(impossible).is_possible(), "{impossible}");
        }
        for possible in ["a", "a#", "a.b", "a#b", "a#/", "a#/~01"] {
            assert!(ValuePath::parse(possible).is_possible(), "{possible}");
        }
    }

    /// Any JSON value, of few enough that two of them are often equal.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2..3_i64).prop_map(Value::from),
            Just(Value::from(-0.0)),
            Just(Value::from(0.0)),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\"\\\\a\u{e9}]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab]{1,2}", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn hash_of_the_text_is_that_of_the_value(one in json(), other in json()) {
            let state = &RandomState::new();
            let hashed = [&one, &other].map(|value| {
                let compact = hash("a", &value.to_string(), state);
                let spaced = serde_json::to_string_pretty(value).expect("a value");
                prop_assert!(compact.is_some());
                prop_assert_eq!(compact, hash("a", &format!(" {spaced}"), state));
                Ok(compact)
            });
            let [one_hash, other_hash] = hashed;
            prop_assert_eq!(one == other, one_hash? == other_hash?);
        }
    }
}
