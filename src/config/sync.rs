//! When changes are written to the data directory.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

use super::duration;

/// The time at which changes are on this node's disk, with
/// [`data_dir`](crate::ClusterConfig::data_dir).
///
/// The default is [`Every`](Self::Every) 100 ms. Import it under another name where the trait `Sync`
/// of the standard library is written, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sync {
    /// They are written so often, and nobody waits for it. The default, with 100 ms.
    ///
    /// When all nodes are killed or lose power at once, changes are lost that are younger than this
    /// and the time that one write takes. A crash of some nodes loses nothing: the others have the
    /// changes in memory.
    Every(Duration),
    /// A response leaves after its change is on this node's disk. Changes that come at once share
    /// a write.
    ///
    /// Then no acknowledged change is lost when all nodes stop at once. A response waits for the disk
    /// as for a peer: for [`ack_timeout`](crate::ClusterConfig::ack_timeout) at most, whatever the
    /// layer's [`Ack`](crate::Ack) is.
    BeforeResponse,
}

impl Default for Sync {
    fn default() -> Self {
        Self::Every(DEFAULT_INTERVAL)
    }
}

/// Reads `100ms`, or `response`.
impl<'de> Deserialize<'de> for Sync {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SyncVisitor)
    }
}

struct SyncVisitor;

impl Visitor<'_> for SyncVisitor {
    type Value = Sync;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a time with its unit, such as "100ms", or "response""#)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sync, E> {
        match text {
            "response" => Ok(Sync::BeforeResponse),
            text => duration::parse(text)
                .map(Sync::Every)
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_the_word_response_says_when_to_write() {
        let read = |text: &str| serde_json::from_str::<Sync>(&format!("\"{text}\""));
        let every = |ms| Sync::Every(Duration::from_millis(ms));
        assert_eq!(read("100ms").expect("a time"), Sync::default());
        assert_eq!(read("2s").expect("a time"), every(2000));
        assert_eq!(read("response").expect("the word"), Sync::BeforeResponse);
        for text in ["", "always", "100", "Response"] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("\"response\""), "{error}");
        }
    }
}
