//! The limits of a session's life.

use std::time::Duration;

use serde::Deserialize;

use super::duration::WrittenTime;

/// The limits of a session's life: how long it may be idle, how old it may become, or both.
///
/// The default is 30 minutes idle, Tomcat's `session-timeout`, and no limit of age. Limits are kept
/// in whole milliseconds, rounded up, and are a hundred years at most. A limit of zero is an error
/// where it is used; [`never`](Self::never) is without limits.
///
/// It can be read with `serde`: `idle`, `absolute` or both as times with a unit, or else `never`.
///
/// ```
/// use std::time::Duration;
/// use tower_cluster_sessions::Expiry;
///
/// let hour = Duration::from_secs(3600);
/// let both = Expiry::idle(hour).or_absolute(12 * hour);
/// assert_eq!(both.idle_limit(), Some(hour));
/// assert_eq!(both.absolute_limit(), Some(12 * hour));
/// assert_eq!(Expiry::default(), Expiry::idle(hour / 2));
///
/// let from_file: Expiry = serde_json::from_str(r#"{ "idle": "60m" }"#)?;
/// assert_eq!(from_file, Expiry::idle(hour));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Written")]
pub struct Expiry {
    idle_ms: Option<u64>,
    absolute_ms: Option<u64>,
}

impl Expiry {
    /// Returns an expiry that ends a session `limit` after its last use.
    ///
    /// Loading a session is use, and so is a request or a handle that holds it.
    ///
    /// A request finds the session alive at least until the limit. It may find it alive for a
    /// twentieth of the limit (60 s at most) plus 2 s longer, because nodes tell each other of use
    /// that rarely.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let expiry = Expiry::idle(Duration::from_secs(30 * 60));
    /// ```
    #[must_use]
    pub const fn idle(limit: Duration) -> Self {
        Self {
            idle_ms: Some(millis(limit)),
            absolute_ms: None,
        }
    }

    /// Returns an expiry that ends a session `limit` after its creation, however much it is used.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let expiry = Expiry::absolute(Duration::from_secs(8 * 60 * 60));
    /// ```
    #[must_use]
    pub const fn absolute(limit: Duration) -> Self {
        Self {
            idle_ms: None,
            absolute_ms: Some(millis(limit)),
        }
    }

    /// Returns an expiry without limits: such a session ends when it is destroyed, and with the
    /// last node.
    ///
    /// A client that throws its cookie away leaves its session behind for good. So prefer a long
    /// limit where you can.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let expiry = Expiry::never();
    /// assert_eq!((expiry.idle_limit(), expiry.absolute_limit()), (None, None));
    /// ```
    #[must_use]
    pub const fn never() -> Self {
        Self {
            idle_ms: None,
            absolute_ms: None,
        }
    }

    /// Adds a limit of age, counted from creation.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let hour = Duration::from_secs(60 * 60);
    /// let expiry = Expiry::idle(hour / 2).or_absolute(8 * hour);
    /// ```
    #[must_use]
    pub const fn or_absolute(mut self, limit: Duration) -> Self {
        self.absolute_ms = Some(millis(limit));
        self
    }

    /// Returns the limit of idleness, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let expiry = Expiry::idle(Duration::from_secs(60));
    /// assert_eq!(expiry.idle_limit(), Some(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub const fn idle_limit(&self) -> Option<Duration> {
        match self.idle_ms {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => None,
        }
    }

    /// Returns the limit of age, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// let expiry = Expiry::idle(Duration::from_secs(60));
    /// assert_eq!(expiry.absolute_limit(), None);
    /// ```
    #[must_use]
    pub const fn absolute_limit(&self) -> Option<Duration> {
        match self.absolute_ms {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => None,
        }
    }

    /// A hundred years: longer than any process and safe to add up.
    pub(crate) const MAX_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1000;

    /// Returns an expiry of limits that are up to [`Expiry::MAX_MS`].
    pub(crate) const fn from_millis(idle_ms: Option<u64>, absolute_ms: Option<u64>) -> Self {
        Self {
            idle_ms,
            absolute_ms,
        }
    }

    /// Returns whether a session would end as soon as it begins.
    pub(crate) const fn has_zero_limit(&self) -> bool {
        matches!(self.idle_ms, Some(0)) || matches!(self.absolute_ms, Some(0))
    }

    pub(crate) const fn idle_ms(&self) -> Option<u64> {
        self.idle_ms
    }

    pub(crate) const fn absolute_ms(&self) -> Option<u64> {
        self.absolute_ms
    }
}

impl Default for Expiry {
    fn default() -> Self {
        Self::idle(Duration::from_secs(30 * 60))
    }
}

/// The error of a limit that is zero.
pub(crate) const ZERO_LIMIT: &str =
    "a limit of zero ends a session at once: use `Expiry::never()` for one without limits";

/// An expiry as it is written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    idle: Option<WrittenTime>,
    absolute: Option<WrittenTime>,
    #[serde(default)]
    never: bool,
}

impl TryFrom<Written> for Expiry {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let limit = |time: Option<WrittenTime>| time.map(|WrittenTime(time)| millis(time));
        let expiry = Self::from_millis(limit(written.idle), limit(written.absolute));
        if (expiry == Self::never()) != written.never {
            return Err("an expiry has `idle`, `absolute` or both, or else `never`");
        }
        if expiry.has_zero_limit() {
            return Err(
                "a limit of zero ends a session at once: use `never` for one without limits",
            );
        }
        Ok(expiry)
    }
}

/// Returns whole milliseconds, at most [`Expiry::MAX_MS`]. They are rounded up, so that only zero
/// is zero.
const fn millis(limit: Duration) -> u64 {
    let ms = limit.as_nanos().div_ceil(1_000_000);
    if ms > Expiry::MAX_MS as u128 {
        Expiry::MAX_MS
    } else {
        ms as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_zero_and_nothing_is_longer_than_a_century() {
        let tiny = Duration::from_nanos(1);
        assert_eq!(Expiry::idle(tiny), Expiry::from_millis(Some(1), None));
        assert!(!Expiry::idle(tiny).or_absolute(tiny).has_zero_limit());
        assert!(Expiry::idle(Duration::ZERO).has_zero_limit());
        assert!(
            Expiry::idle(tiny)
                .or_absolute(Duration::ZERO)
                .has_zero_limit()
        );
        assert!(!Expiry::never().has_zero_limit());
        let longest = Expiry::from_millis(None, Some(Expiry::MAX_MS));
        assert_eq!(Expiry::absolute(Duration::MAX), longest);
    }

    #[test]
    fn what_a_file_says_is_checked() {
        let read = serde_json::from_str::<Expiry>;
        for (json, expected) in [
            (r#"{"idle": "5ms"}"#, Expiry::from_millis(Some(5), None)),
            (r#"{"absolute": "7ms"}"#, Expiry::from_millis(None, Some(7))),
            (r#"{"never": true}"#, Expiry::never()),
        ] {
            assert_eq!(read(json).expect(json), expected);
        }
        for (json, word) in [
            ("{}", "or else `never`"),
            (r#"{"never": false}"#, "or else `never`"),
            (r#"{"never": true, "idle": "5ms"}"#, "or else `never`"),
            (r#"{"idle": "0s"}"#, "use `never`"),
            (r#"{"idle": "5s", "absolute": "0s"}"#, "use `never`"),
            (r#"{"idle": 5}"#, "\"250ms\""),
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
