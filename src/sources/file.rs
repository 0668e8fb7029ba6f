//! A configuration in a TOML file.

use std::{fs, path::Path};

use toml::{Spanned, de::DeTable, de::DeValue};

use super::tree::{Entry, Node, Table};
use crate::config::{ConfigError, ConfigErrorKind};

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| {
        let message = format!(
            "cannot read the configuration {}: {error}; check the path and who may read it",
            path.display()
        );
        ConfigError::new("config", ConfigErrorKind::Unreadable, message).caused_by(Some(error))
    })
}

/// Parses the text of the file at `path`.
pub(super) fn parse<'i>(path: &'i Path, text: &'i str) -> Result<Table<'i>, ConfigError> {
    let lines = Lines { path, text };
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.into_inner())),
        Err(error) => {
            let place = lines.place(error.span().map_or(0, |span| span.start));
            Err(ConfigError::invalid("config", error.message()).at(&place))
        }
    }
}

/// A file's text, to tell lines from offsets.
struct Lines<'i> {
    path: &'i Path,
    text: &'i str,
}

impl<'i> Lines<'i> {
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }

    fn table(&self, table: DeTable<'i>) -> Table<'i> {
        let mut entries = Table::default();
        for (name, value) in table {
            let place = self.place(name.span().start);
            let node = self.node(value);
            entries.set(name.into_inner().into_owned(), Entry { place, node });
        }
        entries
    }

    fn node(&self, value: Spanned<DeValue<'i>>) -> Node<'i> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Node::Table(self.table(table)),
            value => Node::Toml(Spanned::new(span, value).into()),
        }
    }
}
