//! The limits of a session's life.

use std::time::Duration;

/// The limits of a session's life: how long it may be idle, how old it may become, or both.
///
/// The default is 30 minutes idle, Tomcat's `session-timeout`, and no limit of age. Limits are kept
/// in whole milliseconds, and are a hundred years at most.
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
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    #[must_use]
    pub const fn idle(limit: Duration) -> Self {
        Self {
            idle_ms: Some(millis(limit)),
            absolute_ms: None,
        }
    }

    /// Returns an expiry that ends a session `limit` after its creation, however much it is used.
    #[must_use]
    pub const fn absolute(limit: Duration) -> Self {
        Self {
            idle_ms: None,
            absolute_ms: Some(millis(limit)),
        }
    }

    /// Adds a limit of age, counted from creation.
    #[must_use]
    pub const fn or_absolute(mut self, limit: Duration) -> Self {
        self.absolute_ms = Some(millis(limit));
        self
    }

    /// Returns the limit of idleness, if there is one.
    #[must_use]
    pub const fn idle_limit(&self) -> Option<Duration> {
        match self.idle_ms {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => None,
        }
    }

    /// Returns the limit of age, if there is one.
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

/// Returns whole milliseconds, at most [`Expiry::MAX_MS`].
const fn millis(limit: Duration) -> u64 {
    let ms = limit.as_millis();
    if ms > Expiry::MAX_MS as u128 {
        Expiry::MAX_MS
    } else {
        ms as u64
    }
}
