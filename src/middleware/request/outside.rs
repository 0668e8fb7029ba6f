//! Sessions outside requests. A handle of one is as after the head of a response: each write is a
//! commit of its own.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    RequestSession,
    state::{Phase, RequestState, SessionSource},
};
use crate::{
    middleware::{cookie::request_cookies::RequestCookies, layer_config::LayerConfig},
    replica::Replicate,
    session::{Access, Changes, CookieValue, SessionError, SessionKey, SessionSecret},
    wire::Position,
};

impl RequestSession {
    /// Finds a session by its key, and by its secret if there is one. It is not counted as in use.
    pub(crate) async fn open_outside(
        config: Arc<LayerConfig>,
        key: SessionKey,
        secret: Option<SessionSecret>,
    ) -> Option<Self> {
        await_peers(&config, key).await;
        let node = config.node();
        if node.peek(config.context(), &key, secret.as_ref()) != Access::Alive {
            return None;
        }
        Some(Self::outside(config, key, secret))
    }

    /// Creates a session, under this id or a fresh one. It is counted as in use now, and not any
    /// longer.
    pub(crate) fn create_outside(
        config: Arc<LayerConfig>,
        given: Option<CookieValue>,
        changes: &Changes,
    ) -> Result<(Self, CookieValue), SessionError> {
        let now = config.node().now();
        let cookie = given.unwrap_or_else(|| config.node().fresh_id());
        let mut request = Self::new(config, RequestCookies::default(), Replicate::Now);
        *request.loaded_ms.get_mut() = now.mono_ms;
        request.state().given = Some(cookie.clone());
        request.admit_values_of(changes)?;
        request.held_or_created(|limits| changes.weight_within(limits))?;
        request.change_all(changes)?;
        request.release();
        Ok((request, cookie))
    }

    /// Holds the map of a configuration, whether anybody has begun it or not.
    pub(crate) fn of_map(config: Arc<LayerConfig>) -> Self {
        let key = CookieValue::of_map(&config.meta).key;
        Self::outside(config, key, None)
    }

    /// Begins the map, unless somebody has done so.
    pub(crate) fn begin_map(&self) -> Result<(), SessionError> {
        let map = CookieValue::of_map(&self.config.meta);
        let config = Arc::clone(&self.config);
        match Self::create_outside(config, Some(map), &Changes::new()) {
            Ok(_) | Err(SessionError::Taken) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Holds a session without a pin.
    fn outside(config: Arc<LayerConfig>, key: SessionKey, secret: Option<SessionSecret>) -> Self {
        let source = SessionSource::Found;
        let now = config.node().now();
        let mut request = Self::new(config, RequestCookies::default(), Replicate::Now);
        *request.loaded_ms.get_mut() = now.mono_ms;
        request.head_sent = AtomicBool::new(true);
        request.state = RequestState {
            phase: Phase::Held {
                key,
                secret,
                source,
            },
            // Nothing is pinned.
            released: true,
            ..RequestState::default()
        }
        .into();
        request
    }
}

/// Destroys the session that a cookie value opens: here if it is known here, or else by an order to
/// all nodes. Returns whether it was known, and the position to wait for.
///
/// # Errors
///
/// [`SessionError::Busy`] when there are too many such orders.
pub(crate) fn destroy_outside(
    config: &LayerConfig,
    cookie: &CookieValue,
) -> Result<(bool, Option<Position>), SessionError> {
    let (node, key) = (config.node(), &cookie.key);
    if node.peek(config.context(), key, Some(&cookie.secret)) == Access::Alive {
        // Somebody else may have been first meanwhile: it is gone, as wanted.
        return Ok((true, node.destroy_now(key).unwrap_or_default()));
    }
    let ordered = node.destroy_elsewhere(&config.meta.context, cookie)?;
    Ok((false, ordered))
}

/// Waits for what peers know of a session, where a request would.
pub(crate) async fn await_peers(config: &LayerConfig, key: SessionKey) {
    let node = config.node();
    if node.lacks_peers(node.now()) {
        node.recover_sessions(vec![key]).await;
    }
}
