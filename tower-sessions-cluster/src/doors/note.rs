//! What was given out of a session, so that only what changed is written.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tower_cluster_sessions::{Changes, SessionError};

/// The attributes of a session at one moment: the name of each, and a hash of its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(HashMap<String, u64>);

impl Note {
    pub(super) fn of(data: &HashMap<String, Value>) -> Self {
        let attributes = data.iter().filter(|(name, _)| !is_reserved(name));
        Self(
            attributes
                .map(|(name, value)| (name.clone(), hash(value)))
                .collect(),
        )
    }

    /// Takes the note out of a record's data, where [`Note::put_into`] has put it.
    pub(super) fn find_in(data: &HashMap<String, Value>) -> Option<Self> {
        let written = data.get(NOTE)?.as_object()?;
        let entries = written.iter();
        entries
            .map(|(name, hash)| Some((name.clone(), hash.as_u64()?)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Puts a note of a record's data into it. Whoever has the record cannot list its data, so they
    /// do not see it.
    pub(super) fn put_into(data: &mut HashMap<String, Value>) {
        let Self(entries) = Self::of(data);
        let entries = entries.into_iter();
        let written: Map<String, Value> = entries
            .map(|(name, hash)| (name, Value::from(hash)))
            .collect();
        data.insert(NOTE.to_owned(), Value::Object(written));
    }

    /// Returns what makes the attributes that were noted those of `data`.
    ///
    /// # Errors
    ///
    /// When an attribute cannot be stored.
    pub(super) fn changes_to(
        &self,
        data: &HashMap<String, Value>,
    ) -> Result<Changes, SessionError> {
        let mut changes = Changes::new();
        for (name, value) in data.iter().filter(|(name, _)| !is_reserved(name)) {
            if self.0.get(name) != Some(&hash(value)) {
                changes.insert(name, value)?;
            }
        }
        for name in self.0.keys().filter(|name| !data.contains_key(*name)) {
            changes.remove(name);
        }
        Ok(changes)
    }
}

/// Returns whether an attribute is none of the app's.
pub(super) fn is_reserved(name: &str) -> bool {
    name == NOTE || name == EXPIRY_DATE
}

/// Returns the first bits of a value's SHA-256: clients choose values, and two of them must not look
/// the same.
fn hash(value: &Value) -> u64 {
    let digest = Sha256::digest(value.to_string());
    let (first, _) = digest.split_at(8);
    first
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The name in a record's data under which its note is.
const NOTE: &str = "tower-sessions-cluster.note";
/// The name of the attribute that holds a session's expiry date.
pub(super) const EXPIRY_DATE: &str = "tower-sessions-cluster.expiry_date";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data(json: &Value) -> HashMap<String, Value> {
        serde_json::from_value(json.clone()).expect("an object")
    }

    #[test]
    fn only_what_changed_since_the_note_is_written() {
        let mut data = data(&json!({"same": [1, 2.5, null], "changed": 1, "gone": "x"}));
        Note::put_into(&mut data);
        let note = Note::find_in(&data).expect("it is there");
        assert!(note.changes_to(&data).expect("valid").is_empty());
        data.insert("changed".to_owned(), json!(2));
        data.insert("new".to_owned(), json!(null));
        data.remove("gone");
        let changes = note.changes_to(&data).expect("valid");
        let shown = format!("{changes:?}");
        assert!(shown.contains(r#"["changed", "gone", "new"]"#), "{shown}");
    }

    #[test]
    fn damaged_note_is_none() {
        for note in [json!(1), json!({"a": "x"}), json!({"a": -1})] {
            let damaged = HashMap::from([(NOTE.to_owned(), note)]);
            assert!(Note::find_in(&damaged).is_none());
        }
        assert!(Note::find_in(&HashMap::new()).is_none());
    }
}
