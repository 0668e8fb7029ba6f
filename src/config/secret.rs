//! Where the cluster's secrets come from.

use std::{env, fmt, fs::File, io::Read as _, path::PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    error::ConfigError,
    key::{Key, KeyProblem, KeyText},
};

/// One place that holds a secret, or several, one behind the other with white space between them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SecretSource {
    Value(KeyText),
    File(PathBuf),
    Env(String),
}

impl SecretSource {
    /// All secrets of all sources, in their order, each once.
    pub(super) fn read_all(sources: &[Self]) -> Result<Vec<Key>, ConfigError> {
        let mut keys = Vec::new();
        for source in sources {
            let found = source.read().map_err(|problem| ConfigError::Secret {
                setting: source.to_string(),
                problem,
            })?;
            for key in found {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    fn read(&self) -> Result<Vec<Key>, SecretProblem> {
        let text = self.text()?;
        let keys: Result<Vec<Key>, KeyProblem> =
            text.split_whitespace().map(Key::from_text).collect();
        match keys {
            Ok(keys) if keys.is_empty() => Err(SecretProblem::Empty),
            Ok(keys) => Ok(keys),
            Err(problem) => Err(SecretProblem::Weak(problem)),
        }
    }

    fn text(&self) -> Result<Zeroizing<String>, SecretProblem> {
        match self {
            Self::Value(text) => Ok(text.0.clone()),
            Self::File(path) => {
                // Sized so that it does not grow, which would leave a copy behind.
                let mut text = Zeroizing::new(String::with_capacity(MAX_FILE));
                let read = File::open(path)
                    .and_then(|file| file.take(MAX_FILE as u64).read_to_string(&mut text));
                match read {
                    Ok(_) => Ok(text),
                    Err(error) => Err(SecretProblem::Unreadable(error.to_string())),
                }
            }
            Self::Env(variable) => env::var(variable)
                .map(Zeroizing::new)
                .map_err(|_| SecretProblem::NotSet),
        }
    }
}

/// The setting as it was written, without what is secret.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("secret"),
            Self::File(path) => write!(f, "secret_file {}", path.display()),
            Self::Env(variable) => write!(f, "secret_env {variable}"),
        }
    }
}

/// Why a secret cannot be used. It does not show the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretProblem {
    /// It is not one that nobody can guess.
    Weak(KeyProblem),
    /// There is none.
    Empty,
    /// The environment has no such variable, or it is no text.
    NotSet,
    /// The file cannot be read, for this reason.
    Unreadable(String),
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weak(problem) => problem.fmt(f),
            Self::Empty => f.write_str("is empty"),
            Self::NotSet => f.write_str("is not set"),
            Self::Unreadable(error) => write!(f, "cannot be read ({error})"),
        }
    }
}

/// A hundred secrets and more.
const MAX_FILE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    const TWO: &str = "qM0mDqQ8l2o4kI2c8m9mTzv3i1m1xY0mXHnJ7l0u3oQ=";

    fn value(text: &str) -> SecretSource {
        SecretSource::Value(KeyText::new(text))
    }

    fn read(source: SecretSource) -> Result<Vec<Key>, ConfigError> {
        SecretSource::read_all(&[source])
    }

    fn key(text: &str) -> Key {
        Key::from_text(text).expect("valid")
    }

    #[test]
    fn sources_give_their_secrets_in_order_and_each_once() {
        let list = [value(TWO), value(&format!("{ONE}\n{TWO}\n"))];
        let keys = SecretSource::read_all(&list).expect("valid");
        assert_eq!(keys, [key(TWO), key(ONE)]);
    }

    #[test]
    fn a_file_holds_a_secret_in_each_line() {
        let file = env::temp_dir().join(format!("secrets-{}", std::process::id()));
        std::fs::write(&file, format!("{ONE}\n{TWO}\n")).expect("a writable directory");
        let keys = read(SecretSource::File(file.clone()));
        std::fs::remove_file(&file).expect("just written");
        assert_eq!(keys.expect("valid"), [key(ONE), key(TWO)]);
        let error = read(SecretSource::File(file.clone())).expect_err("gone");
        let text = error.to_string();
        assert!(text.contains(&*file.to_string_lossy()), "{text}");
        assert!(text.contains("cannot be read"), "{text}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let variable = "NOBODY_SETS_THIS_VARIABLE".to_owned();
        let error = read(SecretSource::Env(variable)).expect_err("not set");
        let text = error.to_string();
        assert!(text.contains("secret_env NOBODY_SETS_THIS_VARIABLE"));
        assert!(text.contains("is not set"), "{text}");
    }

    #[test]
    fn a_weak_secret_is_refused_with_the_command_that_makes_a_good_one() {
        for weak in ["hunter2", &"00".repeat(32), "", " \n", &format!("{ONE} x")] {
            let error = read(value(weak)).expect_err("weak");
            let text = error.to_string();
            assert!(text.contains("`openssl rand -hex 32`"), "{text}");
            assert!(weak.trim().is_empty() || !text.contains(weak), "{text}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?} {}", value(ONE), value(ONE));
        assert_eq!(shown, "Value(KeyText(_)) secret");
    }
}
