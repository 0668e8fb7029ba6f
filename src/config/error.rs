//! What can be wrong with a configuration, and with a start.

use std::{borrow::Cow, error::Error, fmt, io, path::PathBuf, sync::Arc};

/// A configuration that cannot work.
///
/// Nothing was started or changed. The text names the setting and the fix, and shows no secret.
/// It is for people and may change: a program asks for the [`kind`](Self::kind) and the
/// [`setting`](Self::setting).
///
/// Two errors are equal when setting, kind and text are.
#[derive(Clone)]
pub struct ConfigError {
    setting: Cow<'static, str>,
    kind: ConfigErrorKind,
    message: String,
    source: Option<Arc<io::Error>>,
}

impl ConfigError {
    /// Returns the setting that the error is about, by the name of its method of
    /// [`ClusterConfig`](crate::ClusterConfig). The name of the node is `node`. In a configuration
    /// it is the field, behind its tables and dots, such as `layer.expiry.idle`.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// Returns the kind of fault that the setting has.
    #[must_use]
    pub const fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    pub(super) fn missing(setting: &'static str, message: impl Into<String>) -> Self {
        Self::new(setting, ConfigErrorKind::Missing, message)
    }

    pub(crate) fn invalid(
        setting: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(setting, ConfigErrorKind::Invalid, message)
    }

    pub(super) fn conflict(setting: &'static str, message: impl Into<String>) -> Self {
        Self::new(setting, ConfigErrorKind::Conflict, message)
    }

    pub(super) fn insecure(setting: &'static str, message: impl Into<String>) -> Self {
        Self::new(setting, ConfigErrorKind::Insecure, message)
    }

    pub(crate) fn new(
        setting: impl Into<Cow<'static, str>>,
        kind: ConfigErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self {
            setting: setting.into(),
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the place where the setting was given, such as a file and line.
    #[cfg(feature = "config")]
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn caused_by(mut self, source: Option<io::Error>) -> Self {
        self.source = source.map(Arc::new);
        self
    }
}

impl PartialEq for ConfigError {
    fn eq(&self, other: &Self) -> bool {
        // The text holds that of the cause, which cannot be compared.
        (&self.setting, self.kind, &self.message) == (&other.setting, other.kind, &other.message)
    }
}

impl Eq for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Shows the same text as `Display`, since a `main` that returns an error shows its `Debug`.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// The kind of fault that a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The setting is needed, by itself or by another one, and is not there.
    Missing,
    /// The value is malformed, empty or out of its range.
    Invalid,
    /// The setting and another one exclude each other.
    Conflict,
    /// Others could read or change sessions: links would be plaintext, or a secret can be guessed.
    Insecure,
    /// The file or environment variable that holds the value cannot be read.
    Unreadable,
}

/// A node that could not start.
///
/// An absent peer is no such error: it is dialled for ever. Nothing is left running.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listen address cannot be used.
    #[error("cannot listen on {address}: {}", bind_advice(source))]
    #[non_exhaustive]
    Bind {
        /// The address, with all ports tried.
        address: String,
        /// The reason why the last port tried could not be bound.
        source: io::Error,
    },
    /// A file given to [`tls`](crate::ClusterConfig::tls) cannot be used.
    #[error("the file {} given to `tls` {source}", path.display())]
    #[non_exhaustive]
    Tls {
        /// The file.
        path: PathBuf,
        /// The reason why it cannot be used.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The directory given to [`data_dir`](crate::ClusterConfig::data_dir) cannot be used. Nothing in
    /// it was changed.
    #[cfg(feature = "durable")]
    #[error("the data directory {} {source}", path.display())]
    #[non_exhaustive]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The reason why it cannot be used, and what to do.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no runtime to run the node's tasks.
    #[error(
        "no tokio runtime is running here; start the cluster inside one, as in `#[tokio::main]`"
    )]
    NoRuntime,
}

/// Shows the same text as `Display`, since a `main` that returns an error shows its `Debug`.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn bind_advice(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; stop the process that has it, listen on \
            another port, or allow a range with `auto_bind`"
            .to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; listen on one of \
            its own, or on 0.0.0.0 or [::] for all of them"
            .to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this process may not use the port; listen on one from 1024 on".to_owned()
        }
        _ => format!("{source}; check the address given to `listen`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_bind_says_where_why_and_what_to_do() {
        for (kind, words) in [
            (io::ErrorKind::AddrInUse, &["in use", "`auto_bind`"][..]),
            (
                io::ErrorKind::AddrNotAvailable,
                &["no such address", "[::]"],
            ),
            (io::ErrorKind::PermissionDenied, &["may not", "1024"]),
            (io::ErrorKind::Other, &["`listen`"]),
        ] {
            let error = StartError::Bind {
                address: "10.0.0.1:41".to_owned(),
                source: kind.into(),
            };
            let text = error.to_string();
            assert!(text.contains("10.0.0.1:41"), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
            assert!(error.source().is_some());
        }
    }

    #[test]
    fn debug_of_an_error_is_the_text_that_names_the_fix() {
        let config = ConfigError::missing("listen", "set `listen`");
        assert_eq!(format!("{config:?}"), "set `listen`");
        let bind = StartError::Bind {
            address: "10.0.0.1:41".to_owned(),
            source: io::ErrorKind::AddrInUse.into(),
        };
        for error in [StartError::from(config), bind, StartError::NoRuntime] {
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }

    #[test]
    fn a_wrong_configuration_speaks_for_itself() {
        let cause = io::Error::other("no disk");
        let error = ConfigError::new("secret_file", ConfigErrorKind::Unreadable, "cannot be read")
            .caused_by(Some(cause));
        let start = StartError::from(error.clone());
        assert_eq!(start.to_string(), error.to_string());
        for source in [error.source(), start.source()] {
            let cause = source.and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(cause.expect("the cause").to_string(), "no disk");
        }
    }
}
