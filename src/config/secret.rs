//! The sources of the cluster's secrets.

use std::{
    env, fmt,
    io::{self, Read as _},
    path::PathBuf,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use super::{
    error::{ConfigError, ConfigErrorKind},
    key::{ClusterSecret, KeyProblem, KeyText},
    secret_file::{open_regular, warn_if_too_open},
};

/// A place that holds a secret, or several, one behind the other with white space between them.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum SecretSource {
    Value(KeyText),
    File(PathBuf),
    Env(String),
}

impl SecretSource {
    /// Reads all secrets of all sources, in their order, each once.
    pub(super) fn read_all(sources: &[Self]) -> Result<Vec<ClusterSecret>, ConfigError> {
        let mut keys = Vec::new();
        for source in sources {
            let found = source.read().map_err(|problem| problem.of(source))?;
            for key in found {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    fn read(&self) -> Result<Vec<ClusterSecret>, SecretProblem> {
        let text = self.text()?;
        let keys: Result<Vec<ClusterSecret>, KeyProblem> = text
            .split_whitespace()
            .map(ClusterSecret::from_text)
            .collect();
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
                let mut text = Zeroizing::new(String::with_capacity(2 * MAX_FILE));
                let read = open_regular(path)
                    .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_string(&mut text));
                match read {
                    Ok(length) if length > MAX_FILE => Err(SecretProblem::TooLong),
                    Ok(_) => {
                        warn_if_too_open(path);
                        Ok(text)
                    }
                    Err(error) => Err(SecretProblem::Unreadable(error)),
                }
            }
            Self::Env(variable) => env::var(variable)
                .map(Zeroizing::new)
                // The error would show what is in the variable.
                .map_err(|_| SecretProblem::NotSet),
        }
    }

    const fn setting(&self) -> &'static str {
        match self {
            Self::Value(_) => "secret",
            Self::File(_) => "secret_file",
            Self::Env(_) => "secret_env",
        }
    }
}

/// Shows the setting as it was written, without what is secret, also where a secret was given
/// instead of the place that holds it.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.setting())?;
        let place = match self {
            Self::Value(_) => return Ok(()),
            Self::File(path) => path.to_string_lossy(),
            Self::Env(variable) => variable.into(),
        };
        f.write_str(" ")?;
        if place.len() >= ClusterSecret::LENGTH
            && ClusterSecret::from_text(&place) != Err(KeyProblem::Form)
        {
            return f.write_str("_");
        }
        f.write_str(&place)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

/// Written by hand, because the errors that serde derives show what was found, which may be the
/// secret.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: de::Error>(self, _secret: &str) -> Result<SecretSource, E> {
        Err(E::custom(FORM))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let malformed = |_| de::Error::custom(FORM);
        let (kind, place): (String, String) = map
            .next_entry()
            .map_err(malformed)?
            .ok_or_else(|| de::Error::custom(FORM))?;
        let place = Zeroizing::new(place);
        let source = match &*kind {
            "value" => SecretSource::Value(KeyText(place)),
            "file" => SecretSource::File(place.as_str().into()),
            "env" => SecretSource::Env(place.as_str().to_owned()),
            _ => return Err(de::Error::custom(FORM)),
        };
        match map.next_key::<IgnoredAny>().map_err(malformed)? {
            None => Ok(source),
            Some(_) => Err(de::Error::custom(FORM)),
        }
    }
}

/// Reads the list of all sources.
pub(super) fn list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretSource>, D::Error> {
    deserializer.deserialize_any(ListVisitor)
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<SecretSource>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIST)
    }

    fn visit_str<E: de::Error>(self, _secret: &str) -> Result<Self::Value, E> {
        Err(E::custom(LIST))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut sources = Vec::new();
        while let Some(source) = seq.next_element()? {
            sources.push(source);
        }
        Ok(sources)
    }
}

/// The reason why a secret cannot be used. It does not show the secret.
enum SecretProblem {
    /// It is not one that nobody can guess.
    Weak(KeyProblem),
    Empty,
    /// The environment has no such variable, or it is no text.
    NotSet,
    TooLong,
    Unreadable(io::Error),
}

impl SecretProblem {
    fn of(self, source: &SecretSource) -> ConfigError {
        let message = format!(
            "`{source}` {self}; make a secret with `openssl rand -hex 32`, the same for all nodes"
        );
        let (kind, cause) = match self {
            Self::Weak(problem) => (problem.kind(), None),
            Self::Empty | Self::TooLong => (ConfigErrorKind::Invalid, None),
            Self::NotSet => (ConfigErrorKind::Unreadable, None),
            Self::Unreadable(error) => (ConfigErrorKind::Unreadable, Some(error)),
        };
        ConfigError::new(source.setting(), kind, message).caused_by(cause)
    }
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weak(problem) => problem.fmt(f),
            Self::Empty => f.write_str("is empty"),
            Self::NotSet => f.write_str("is not set"),
            Self::TooLong => f.write_str("is longer than 8 KiB"),
            Self::Unreadable(error) => write!(f, "cannot be read ({error})"),
        }
    }
}

const FORM: &str =
    r#"one of `secrets` is written {"file": PATH}, {"env": NAME} or {"value": SECRET}"#;
const LIST: &str = r#"`secrets` is a list, as in [{"file": "/run/secrets/cluster"}]"#;
/// The bytes of a hundred secrets and more.
const MAX_FILE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    const TWO: &str = "qM0mDqQ8l2o4kI2c8m9mTzv3i1m1xY0mXHnJ7l0u3oQ=";

    fn value(text: &str) -> SecretSource {
        SecretSource::Value(KeyText::new(text))
    }

    fn read(source: SecretSource) -> Result<Vec<ClusterSecret>, ConfigError> {
        SecretSource::read_all(&[source])
    }

    fn key(text: &str) -> ClusterSecret {
        ClusterSecret::from_text(text).expect("valid")
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
        let cause = std::error::Error::source(&error).expect("the cause");
        let cause = cause.downcast_ref::<io::Error>().expect("as it was");
        assert_eq!(cause.kind(), io::ErrorKind::NotFound);
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
        let misplaced = [
            SecretSource::File(ONE.into()),
            SecretSource::Env(TWO.to_owned()),
        ];
        for source in misplaced.into_iter().chain([value(ONE)]) {
            let error = read(source.clone()).err();
            let shown = format!("{source:?} {source} {error:?}");
            assert!(
                !shown.contains(&ONE[..8]) && !shown.contains(&TWO[..8]),
                "{shown}"
            );
        }
        let file = SecretSource::File("/run/secrets/cluster".into());
        assert_eq!(file.to_string(), "secret_file /run/secrets/cluster");
    }

    #[test]
    fn a_list_that_is_written_wrongly_is_refused_without_showing_secrets() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[serde(deserialize_with = "list")]
            secrets: Vec<SecretSource>,
        }
        let read = |json: &str| serde_json::from_str::<Holder>(json);
        for wrong in [
            "\"S\"",
            "[\"S\"]",
            "[[\"S\"]]",
            "{\"value\": \"S\"}",
            "[{\"S\": \"value\"}]",
            "[{\"secret\": \"S\"}]",
            "[{\"value\": [\"S\"]}]",
            "[{\"value\": \"S\", \"S\": 1}]",
            "[{}]",
            "[7]",
        ] {
            let json = format!("{{\"secrets\": {}}}", wrong.replace('S', ONE));
            let error = read(&json).expect_err(wrong).to_string();
            assert!(!error.contains(&ONE[..8]), "{error}");
            assert!(error.contains("`secrets` is"), "{error}");
        }
        let good = format!("{{\"secrets\": [{{\"env\": \"E\"}}, {{\"value\": \"{ONE}\"}}]}}");
        let sources = read(&good).expect("as documented").secrets;
        assert_eq!(sources, [SecretSource::Env("E".to_owned()), value(ONE)]);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let file = env::temp_dir().join(format!("long-{}", std::process::id()));
        std::fs::write(&file, format!("{ONE}\n").repeat(200)).expect("a writable directory");
        let error = read(SecretSource::File(file.clone())).expect_err("too long");
        std::fs::remove_file(&file).expect("just written");
        assert!(error.to_string().contains("8 KiB"), "{error}");
    }
}
