//! What is wrong with a value of a file or of the environment.

use std::fmt;

use serde::de;

use crate::config::ConfigError;

/// The error that `serde` makes here: it learns its setting and its place on the way out.
#[derive(Debug)]
pub(super) struct Fault {
    /// From the outermost table on, joined by dots.
    setting: String,
    /// The file and line, or the variable.
    place: Option<String>,
    message: String,
}

impl Fault {
    /// Adds the name of a table or setting in front.
    pub(super) fn inside(mut self, name: &str) -> Self {
        if self.setting.is_empty() {
            self.setting = name.to_owned();
        } else {
            self.setting = format!("{name}.{}", self.setting);
        }
        self
    }

    /// Sets the place, unless the fault came with a closer one.
    pub(super) fn at(mut self, place: &str) -> Self {
        self.place.get_or_insert_with(|| place.to_owned());
        self
    }

    pub(super) fn into_error(self) -> ConfigError {
        let Self {
            setting,
            place,
            message,
        } = self;
        let error = ConfigError::invalid(
            setting.clone(),
            match &*setting {
                "" => message,
                setting => format!("`{setting}`: {message}"),
            },
        );
        match place {
            Some(place) => error.at(&place),
            None => error,
        }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            setting: String::new(),
            place: None,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
