//! The slot that the layer puts into a request's extensions.

use std::{fmt, sync::Arc};

use http::{Extensions, Request, Uri};

use super::{
    cookie::request_cookies::RequestCookies, layer_config::LayerConfig, request::RequestSession,
    session::Session,
};
use crate::replica::Replicate;

/// The session that a request may have, found in the request's extensions.
///
/// Nothing is looked up before [`load`](Self::load).
///
/// With layers of several contexts around a service, the extensions hold the innermost slot;
/// [`of`](Self::of) finds the others.
///
/// ```
/// use http::{Request, Response};
/// use tower_cluster_sessions::{SessionError, SessionSlot};
///
/// async fn handler(request: Request<()>) -> Result<Response<String>, SessionError> {
///     let slot = request.extensions().get::<SessionSlot>().expect("a session layer around");
///     let session = slot.load().await;
///     let hits = session.increment("hits", 1)?;
///     Ok(Response::new(format!("{hits} hits")))
/// }
/// ```
#[derive(Clone)]
pub struct SessionSlot {
    session: Arc<RequestSession>,
    /// The slot of the next layer outside, which is of another context.
    outer: Option<Arc<Self>>,
}

impl SessionSlot {
    /// Returns the slot of `context`, if a layer of that context is around.
    ///
    /// The context is that of [`with_context`](crate::ClusterSessionLayer::with_context); `""` is
    /// the layer without one.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use tower_cluster_sessions::{Session, SessionSlot};
    ///
    /// async fn session_of_the_shop(request: &Request<()>) -> Option<Session> {
    ///     let slot = SessionSlot::of(request.extensions(), "shop")?;
    ///     Some(slot.load().await)
    /// }
    /// ```
    #[must_use]
    pub fn of<'a>(extensions: &'a Extensions, context: &str) -> Option<&'a Self> {
        extensions
            .get::<Self>()?
            .chain()
            .find(|slot| slot.session.config().context() == context)
    }

    /// Returns the innermost slot of any other context.
    pub(super) fn beside<'a>(extensions: &'a Extensions, context: &str) -> Option<&'a Self> {
        extensions
            .get::<Self>()?
            .chain()
            .find(|slot| slot.session.config().context() != context)
    }

    /// Returns whether the client sent a cookie of the layer's name, whatever it is worth, or a value
    /// in the header field of its [`Transport`](crate::Transport).
    ///
    /// It looks nothing up: the cookie may be forged, or that of a session that has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Session, SessionSlot};
    ///
    /// /// Spares a client without a cookie the look-up.
    /// async fn session(slot: &SessionSlot) -> Option<Session> {
    ///     match slot.presents_cookie() {
    ///         true => Some(slot.load().await),
    ///         false => None,
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn presents_cookie(&self) -> bool {
        self.session.presents_cookie()
    }

    /// Returns the public id in the client's cookie, as far as it can be read without a look-up.
    ///
    /// That says nothing: the session may have ended, and the cookie may not open it. Take
    /// [`Session::id`] for that of a session that lives. Of several cookies it is the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::SessionSlot;
    ///
    /// fn note(slot: &SessionSlot) {
    ///     let claimed = slot.presented_id();
    ///     println!("the client claims to have the session {claimed:?}");
    /// }
    /// ```
    #[must_use]
    pub fn presented_id(&self) -> Option<String> {
        let key = self.session.cookie_keys().into_iter().next()?;
        Some(key.public_id(None))
    }

    /// Loads the session of the client's cookie, or an empty one that is created by its first
    /// write.
    ///
    /// Loading is use: the session's idle time starts anew. All handles of one request show the
    /// same session.
    ///
    /// It waits in two cases only:
    ///
    /// - While this node's state transfer is under way, or the node recovers from a stall of its
    ///   process, peers are asked, for 500 ms at most. After a stall it waits for up to
    ///   [`ack_timeout`](crate::ClusterConfig::ack_timeout) more.
    /// - With [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites) it waits for what
    ///   the client has written on another node, for
    ///   [`read_your_writes_timeout`](crate::ClusterConfig::read_your_writes_timeout) at most.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loads nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use tower_cluster_sessions::{Session, SessionSlot};
    ///
    /// async fn session(request: &Request<()>) -> Session {
    ///     let slot = request.extensions().get::<SessionSlot>();
    ///     slot.expect("a `ClusterSessionLayer` around").load().await
    /// }
    /// ```
    pub async fn load(&self) -> Session {
        self.session.load().await;
        Session::new(Arc::clone(&self.session))
    }

    /// Puts a slot for `config` into the request. Returns `None` when an outer layer has done so
    /// already.
    pub(super) fn open<B>(
        config: &Arc<LayerConfig>,
        request: &mut Request<B>,
    ) -> Option<Arc<RequestSession>> {
        let outer = request.extensions_mut().remove::<Self>();
        if let Some(outer) = outer.as_ref()
            && outer
                .chain()
                .any(|slot| slot.session.config().shares_sessions_with(config))
        {
            request.extensions_mut().insert(outer.clone());
            return None;
        }
        let mut cookies = RequestCookies::find(
            &config.cookie,
            config.header.as_ref(),
            request.headers_mut(),
        );
        if config.user_agent_binding {
            cookies.bind_to_user_agent(request.headers());
        }
        let replicate = if !config.filter.is_empty()
            && config
                .filter
                .matches(requested_path(request.extensions(), request.uri()))
        {
            Replicate::Deferred
        } else {
            Replicate::Now
        };
        let session = Arc::new(RequestSession::new(Arc::clone(config), cookies, replicate));
        request.extensions_mut().insert(Self {
            session: Arc::clone(&session),
            outer: outer.map(Arc::new),
        });
        Some(session)
    }

    /// Returns this slot and those outside it.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |slot| slot.outer.as_deref())
    }
}

impl fmt::Debug for SessionSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionSlot").field(&self.session).finish()
    }
}

/// Returns the path as the client sent it. Inside `nest` axum has cut it off the request's URI.
pub(super) fn requested_path<'a>(extensions: &'a Extensions, uri: &'a Uri) -> &'a str {
    #[cfg(feature = "axum")]
    if let Some(original) = extensions.get::<axum::extract::OriginalUri>() {
        return original.path();
    }
    #[cfg(not(feature = "axum"))]
    let _ = extensions;
    uri.path()
}
