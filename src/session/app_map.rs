//! Maps of the app: what makes an ordinary session one that nobody can open and that never ends.
//!
//! A map is stored, sent, merged and saved as a session of a context that no layer can have. All
//! nodes give it the same key, so that it does not matter which of them begins it, or how many do at
//! once. What is left out for it is the end: it has no limits of life, it counts as confirmed from the
//! beginning, nobody destroys it, and no node doubts it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{CookieValue, MAX_CONTEXT_LENGTH, SecretHash, SessionKey, SessionMeta, SessionSecret};
use crate::config::Expiry;

/// The beginning of the context of each map. No layer has such a context: `:` is in no cookie name.
const PREFIX: &str = "map:";

/// The longest name of a map.
pub(crate) const MAX_MAP_NAME: usize = MAX_CONTEXT_LENGTH - PREFIX.len();

impl SessionMeta {
    /// Returns that of a map, which is the same on all nodes. Its name has [`MAX_MAP_NAME`] bytes at
    /// most.
    pub(crate) fn of_map(name: &str) -> Arc<Self> {
        Arc::new(Self {
            context: format!("{PREFIX}{name}").into(),
            route: None,
            expiry: Expiry::never(),
        })
    }

    pub(crate) fn is_of_map(&self) -> bool {
        self.context.starts_with(PREFIX)
    }
}

impl CookieValue {
    /// Returns the key of a map, and a secret that no cookie holds: to find one for this hash takes
    /// as long as to guess any session's.
    pub(crate) fn of_map(meta: &SessionMeta) -> Self {
        let digest = Sha256::digest(meta.context.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self {
            key: SessionKey::from_bytes(key),
            secret: SessionSecret::of_hash(SecretHash::from_bytes([0; 16])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::is_of_layer;

    #[test]
    fn map_has_a_key_of_its_own_and_a_context_that_no_layer_has() {
        let [one, other] = ["settings", "counts"].map(SessionMeta::of_map);
        assert!(one.is_of_map() && !is_of_layer(&one.context));
        let [key, again, different] =
            [&one, &one, &other].map(|meta| CookieValue::of_map(meta).key);
        assert_eq!(key, again);
        assert_ne!(key, different);
    }

    #[test]
    fn no_text_opens_a_map() {
        let cookie = CookieValue::of_map(&SessionMeta::of_map("settings"));
        let parsed = CookieValue::parse(&cookie.expose()).expect("its form is right");
        assert_ne!(parsed.secret.hash(), cookie.secret.hash());
    }
}
