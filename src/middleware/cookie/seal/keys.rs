//! The keys that session cookies are sealed with.

use std::{fmt, sync::Arc};

/// A key for session cookies: 64 random bytes, as `openssl rand -out cookie.key 64` makes them, by
/// `CookieKey::try_from(bytes)`.
///
/// The type is that of the [`cookie`](https://docs.rs/cookie) crate.
pub use cookie::Key as CookieKey;

/// The keys of `with_signed` and `with_private`: the first seals cookies, all open them.
///
/// A key can be replaced without logging anybody out. Give all nodes the new one behind the old
/// one, then before it. Take the old one away when cookies of it are too old to matter. Do each
/// step on all nodes before the next.
///
/// ```
/// use tower_cluster_sessions::{CookieKey, CookieKeys};
///
/// let (new, old) = (CookieKey::generate(), CookieKey::generate());
/// let keys = CookieKeys::from([new, old]);
/// assert_eq!(format!("{keys:?}"), "CookieKeys(2)");
/// ```
#[derive(Clone)]
pub struct CookieKeys(Arc<[CookieKey]>);

impl CookieKeys {
    pub(super) fn as_slice(&self) -> &[CookieKey] {
        &self.0
    }
}

impl From<CookieKey> for CookieKeys {
    fn from(key: CookieKey) -> Self {
        Self::from([key])
    }
}

impl<const COUNT: usize> From<[CookieKey; COUNT]> for CookieKeys {
    fn from(keys: [CookieKey; COUNT]) -> Self {
        Self(Arc::new(keys))
    }
}

impl From<Vec<CookieKey>> for CookieKeys {
    fn from(keys: Vec<CookieKey>) -> Self {
        Self(keys.into())
    }
}

/// Shows how many there are.
impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieKeys({})", self.0.len())
    }
}
