//! Sessions outside requests, for jobs, admin pages and stores.

mod search;

use std::{fmt, sync::Arc};

pub use self::search::SessionPage;
use super::{
    layer_config::LayerConfig,
    request::{
        RequestSession,
        outside::{await_peers, destroy_outside},
    },
    session::Session,
};
use crate::{
    config::Ack,
    session::{Changes, CookieValue, SessionError, SessionKey},
};

/// The sessions of one context, for whoever has no request at hand: a job, an admin page, a task
/// behind a WebSocket. Cheap to clone.
///
/// [`Cluster::sessions`](crate::Cluster::sessions) and
/// [`ClusterSessionLayer::sessions`](crate::ClusterSessionLayer::sessions) make one. The node runs
/// as long as one lives.
///
/// The [`Session`] that it opens is like one of a request after the response's head has left:
///
/// - Each write is replicated at once. [`Session::change`] makes several one.
///   [`Session::acknowledged`] waits for peers.
/// - Nothing counts as use, unless [`Session::touch`] is called. So the session may expire while the
///   handle lives; its methods then fail with [`SessionError::Destroyed`].
/// - [`cycle_id`](Session::cycle_id) and [`set_persistent`](Session::set_persistent) fail with
///   [`SessionError::HeadersSent`], and so does a write when the session was destroyed by this
///   handle.
///
/// # Examples
///
/// A job tells a user's session that the report is there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_cluster_sessions::{Ack, Changes, Cluster, ClusterConfig};
///
/// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let sessions = cluster.sessions("");
/// # let (created, _) = sessions.create(&Changes::new())?;
/// # let id = created.id().expect("it lives");
/// // The id is that of `Session::id`, which the job got from the request that ordered the report.
/// if let Some(session) = sessions.open(&id).await {
///     let mut changes = Changes::new();
///     changes.insert("report", "/reports/17")?;
///     changes.remove("report.pending");
///     session.change(&changes)?;
///     session.acknowledged(Ack::All).await;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions {
    config: Arc<LayerConfig>,
}

impl Sessions {
    pub(super) fn new(config: LayerConfig) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// Opens the session with a public id, that of [`Session::id`]. Returns `None` when there is none
    /// of this context.
    ///
    /// While this node's state transfer is under way or the node recovers from a stall, peers are
    /// asked for it, as they are for a request.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{SessionError, Sessions};
    ///
    /// async fn user_of(sessions: &Sessions, id: &str) -> Result<Option<String>, SessionError> {
    ///     match sessions.open(id).await {
    ///         Some(session) => session.get("user"),
    ///         None => Ok(None),
    ///     }
    /// }
    /// ```
    pub async fn open(&self, id: &str) -> Option<Session> {
        let key = SessionKey::from_public_id(id)?;
        let request = RequestSession::open_outside(Arc::clone(&self.config), key, None).await;
        request.map(Session::of)
    }

    /// Opens the session that a cookie value opens. Returns `None` when there is none of this
    /// context, and when [`cycle_id`](Session::cycle_id) has replaced the value.
    ///
    /// It waits where [`open`](Self::open) does. [`parse_cookie`](Self::parse_cookie) makes the value
    /// of a cookie's text.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Session, Sessions};
    ///
    /// /// Opens the session of a client that sends the value of its cookie by other means.
    /// async fn session(sessions: &Sessions, text: &str) -> Option<Session> {
    ///     let cookie = sessions.parse_cookie(text)?;
    ///     sessions.open_with(&cookie).await
    /// }
    /// ```
    pub async fn open_with(&self, cookie: &CookieValue) -> Option<Session> {
        let CookieValue { key, secret } = cookie.clone();
        let config = Arc::clone(&self.config);
        let request = RequestSession::open_outside(config, key, Some(secret)).await;
        request.map(Session::of)
    }

    /// Destroys the session that a cookie value opens, everywhere, and waits for peers as `ack` has
    /// it. Returns whether this node knew the session.
    ///
    /// If this node does not know it, other nodes may, in a partition for example. Then every node
    /// that a path of links reaches within 24 hours destroys it, as [`Session::destroy`] has it. A
    /// value that [`cycle_id`](Session::cycle_id) has replaced destroys nothing.
    ///
    /// It waits where [`open`](Self::open) does, too.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] when too many sessions are to be destroyed that this node does not know.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting; the session may be destroyed or not.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_cluster_sessions::{Ack, Changes, Cluster, ClusterConfig};
    ///
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let sessions = cluster.sessions("");
    /// let (_, cookie) = sessions.create(&Changes::new())?;
    /// assert!(sessions.destroy_with(&cookie, Ack::All).await?);
    /// assert!(sessions.open_with(&cookie).await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn destroy_with(&self, cookie: &CookieValue, ack: Ack) -> Result<bool, SessionError> {
        await_peers(&self.config, cookie.key).await;
        let (is_known, position) = destroy_outside(&self.config, cookie)?;
        self.config.node().acknowledged(position, ack).await;
        Ok(is_known)
    }

    /// Creates a session with what `changes` write, in one step. Returns it with the value that
    /// opens it.
    ///
    /// It has the expiry of the layer that this was [made from](crate::ClusterSessionLayer::sessions),
    /// or else the default one, unless the changes set one.
    ///
    /// As any session it is unconfirmed until its client has come back: it ends after
    /// [`unconfirmed_timeout`](crate::ClusterConfig::unconfirmed_timeout), 120 s by default, unless a
    /// request presents its cookie before. One that must stay until then is
    /// [touched](Session::touch), once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] and [`SessionError::Leaving`] when it cannot be created,
    /// [`SessionError::TooLarge`] when the changes pass a limit. Nothing is created then.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Ack, Changes, SessionError, Sessions};
    ///
    /// /// Returns the value of the session cookie that a mobile app is given after its login.
    /// async fn log_in(sessions: &Sessions, user: &str) -> Result<String, SessionError> {
    ///     let mut changes = Changes::new();
    ///     changes.insert("user", user)?;
    ///     let (session, cookie) = sessions.create(&changes)?;
    ///     session.touch()?; // the app may be offline for longer than two minutes
    ///     session.acknowledged(Ack::All).await;
    ///     Ok(sessions.format_cookie(&cookie))
    /// }
    /// ```
    pub fn create(&self, changes: &Changes) -> Result<(Session, CookieValue), SessionError> {
        let created = RequestSession::create_outside(Arc::clone(&self.config), None, changes);
        let (request, cookie) = created?;
        Ok((Session::of(request), cookie))
    }

    /// [Creates](Self::create) a session under an id that the caller chooses. Waits where
    /// [`open`](Self::open) does.
    ///
    /// Only this adopts an id that the cluster has not issued: never call it with one that a client
    /// presents. An id is for one node to create. Two nodes that create it at once hold one session,
    /// with the attributes of both.
    ///
    /// # Errors
    ///
    /// [`SessionError::Taken`] when a session of the key lives, whatever its context, or was
    /// destroyed and is remembered. A node that has never met a peer remembers none. And those of
    /// [`create`](Self::create).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future creates nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_cluster_sessions::{Changes, Cluster, ClusterConfig, CookieValue, SessionError};
    ///
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// # let (key, secret) = ([1; 16], [2; 16]);
    /// let sessions = cluster.sessions("");
    /// let cookie = CookieValue::new(key, secret);
    /// let session = sessions.create_with(&cookie, &Changes::new()).await?;
    /// let again = sessions.create_with(&cookie, &Changes::new()).await;
    /// assert!(matches!(again, Err(SessionError::Taken)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_with(
        &self,
        cookie: &CookieValue,
        changes: &Changes,
    ) -> Result<Session, SessionError> {
        await_peers(&self.config, cookie.key).await;
        let config = Arc::clone(&self.config);
        let created = RequestSession::create_outside(config, Some(cookie.clone()), changes);
        created.map(|(request, _)| Session::of(request))
    }

    /// Reads the text of a session cookie: sealed as the layer seals it that this was
    /// [made from](crate::ClusterSessionLayer::sessions), or else unsealed. Returns `None` for any
    /// other text.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Changes, Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let sessions = cluster.sessions("");
    /// let (_, cookie) = sessions.create(&Changes::new())?;
    /// let text = sessions.format_cookie(&cookie);
    /// assert!(sessions.parse_cookie(&text).is_some());
    /// assert!(sessions.parse_cookie("made up").is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn parse_cookie(&self, text: &str) -> Option<CookieValue> {
        let opened = self.config.cookie.open(text)?;
        Some(opened.cookie)
    }

    /// Writes the text of a session cookie, as [`parse_cookie`](Self::parse_cookie) reads it. The
    /// node's route follows it, if it has one.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{CookieValue, Sessions};
    ///
    /// fn set_cookie(sessions: &Sessions, cookie: &CookieValue) -> String {
    ///     let text = sessions.format_cookie(cookie);
    ///     format!("__Host-id={text}; Secure; HttpOnly; Path=/; SameSite=Lax")
    /// }
    /// ```
    #[must_use]
    pub fn format_cookie(&self, cookie: &CookieValue) -> String {
        let config = &self.config;
        config.cookie.seal(cookie, config.meta.route.as_ref())
    }

    /// Returns the context whose sessions these are, `""` for the default one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// assert_eq!(cluster.sessions("shop").context(), "shop");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn context(&self) -> &str {
        self.config.context()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.context()).finish()
    }
}
