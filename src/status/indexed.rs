//! What sessions are indexed by, where operators may see values.

use serde_json::Value;

use super::StatusPage;
use crate::session::SessionKey;

impl StatusPage {
    /// Returns by what sessions are indexed, nothing where values are hidden.
    pub(super) fn shown_indexes(&self) -> Vec<String> {
        let indexes = self.cluster.node().settings().indexes.iter();
        let shown = indexes.filter(|_| self.shows_values);
        shown.map(ToString::to_string).collect()
    }

    /// Returns what a session has for each of these indexes, if it still lives.
    pub(super) fn indexed_values(&self, id: &str) -> Vec<Option<Value>> {
        if !self.shows_values {
            return Vec::new();
        }
        let node = self.cluster.node();
        let indexes = &node.settings().indexes;
        let values = SessionKey::from_public_id(id).and_then(|key| {
            let read = node.read(&key, |state| {
                let values = indexes.iter().map(|path| {
                    let json = state.json(path.attribute()).ok()??;
                    path.value_in(json)
                });
                values.collect()
            });
            read.ok()
        });
        values.unwrap_or_else(|| vec![None; indexes.len()])
    }
}

/// Returns a value as it stands in a list, on one line and cut where it is long.
pub(super) fn in_a_list(value: Option<Value>) -> String {
    let text = match value {
        None => return String::new(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    match text.char_indices().nth(LONG) {
        Some((at, _)) => format!("{}\u{2026}", &text[..at]),
        None => text,
    }
}

/// Characters of a value in a list.
const LONG: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_short_in_a_list() {
        for (value, shown) in [
            (None, String::new()),
            (Some(json!("alice")), "alice".to_owned()),
            (Some(json!(7)), "7".to_owned()),
            (Some(json!({"a": null})), r#"{"a":null}"#.to_owned()),
            (Some(json!("\u{fc}".repeat(64))), "\u{fc}".repeat(64)),
            (
                Some(json!("\u{fc}".repeat(65))),
                format!("{}\u{2026}", "\u{fc}".repeat(64)),
            ),
        ] {
            assert_eq!(in_a_list(value), shown);
        }
    }
}
