//! The session as a handler sees it: its life, its id, its limits.

use std::{fmt, sync::Arc, time::Duration};

use super::request::RequestSession;
use crate::{
    config::{Ack, Expiry},
    session::{SessionError, SessionInfo},
};

/// The session of the client that sent a request.
///
/// Methods do not wait. Reads come from this node's memory. Writes apply there at once, for all
/// requests of the session. They are replicated to peers when the response is ready or its future
/// is dropped. There is no rollback, not for an error response either.
///
/// The first write creates the session, reading never does. After the response's head has left (in
/// a streamed body, behind a WebSocket) each write is replicated by itself. Creating a session and
/// [`cycle_id`](Self::cycle_id) then fail with [`SessionError::HeadersSent`].
///
/// A handle counts as use: as long as one lives the session does not expire. Clones, and other
/// handles that were loaded in the same request, show the same session. Outside requests,
/// [`Sessions`](crate::Sessions) opens and creates sessions; see there what is different.
///
/// # Errors
///
/// All methods that return a `Result` fail with [`SessionError::Destroyed`] when the session was
/// alive on loading, and another request or node has destroyed it since, or it has reached its limit
/// of age; [`ended`](Self::ended) waits for that. Writes fail with
/// [`SessionError::Superseded`] when the client came with an id that [`cycle_id`](Self::cycle_id)
/// replaced less than a minute ago; reads are empty then. Whoever calls `cycle_id` or
/// [`destroy`](Self::destroy) lets go of that id: the next write starts another session.
///
/// # Examples
///
/// ```
/// use tower_cluster_sessions::{Session, SessionError};
///
/// fn log_in(session: &Session, user: &str) -> Result<u64, SessionError> {
///     session.cycle_id()?;
///     session.insert("user", user)?;
///     session.update("logins", |logins: Option<u64>| logins.unwrap_or(0) + 1)
/// }
/// ```
#[derive(Clone)]
pub struct Session {
    pub(super) request: Arc<RequestSession>,
}

impl Session {
    pub(super) const fn new(request: Arc<RequestSession>) -> Self {
        Self { request }
    }

    pub(super) fn of(request: RequestSession) -> Self {
        Self::new(Arc::new(request))
    }

    /// Returns the session's public id, or `None` as long as there is no session, and again when it
    /// is destroyed.
    ///
    /// The id is the same on all nodes and for the session's whole life, also after
    /// [`cycle_id`](Self::cycle_id). It opens nothing, so it may be logged and shown.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::Session;
    /// fn name_in_log(session: &Session) -> String {
    ///     session.id().unwrap_or_else(|| "no session".to_owned())
    /// }
    /// ```
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.request.id()
    }

    /// Returns whether the client does not know of the session yet.
    ///
    /// It has yet to be created, or this request created it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::Session;
    /// fn greeting(session: &Session) -> &'static str {
    ///     if session.is_new() { "Welcome." } else { "Welcome back." }
    /// }
    /// ```
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.request.is_new()
    }

    /// Gives the client another cookie for the same session, so that whoever knew the old one is
    /// locked out.
    ///
    /// Call it when a user logs in or gains rights. It is one atomic change that all nodes learn
    /// of. Attributes stay, and what other requests write meanwhile. Without a session the first write
    /// mints a fresh id anyway, and the session is
    /// [confirmed](crate::ClusterConfig::unconfirmed_timeout) from the beginning. So it is when the client came with an id that is replaced already, as
    /// one does that presses the button twice. If the client presents a session that this node does
    /// not know, other nodes destroy it, as [`destroy`](Self::destroy) has it.
    ///
    /// The old cookie is dead at once. A client that misses the response must log in again.
    ///
    /// # Errors
    ///
    /// [`SessionError::HeadersSent`] once the response's head has left, and the
    /// [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn log_in(session: &Session, user: &str) -> Result<(), SessionError> {
    ///     session.insert("user", user)?;
    ///     session.cycle_id()
    /// }
    /// ```
    pub fn cycle_id(&self) -> Result<(), SessionError> {
        self.request.cycle_id()
    }

    /// Destroys the session everywhere, and removes the client's cookie if it sent one.
    ///
    /// A client may have several cookies of the name, of other paths or domains. All sessions that
    /// they open are destroyed, of the first eight cookies.
    ///
    /// The session does not come back, also not through a parallel request's write. A later write
    /// on this handle starts another session. The call succeeds also when there is no session, or
    /// no longer one.
    ///
    /// If this node does not know the session that the client presents, other nodes may, in a
    /// partition for example. Then every node that a path of links reaches destroys it. So let a
    /// logout take a `Session` and not an `Option<Session>`, which is `None` then.
    ///
    /// Once the response's head has left, the cookie stays, and is worth nothing.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] when clients present too many sessions that this node does not know.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn log_out(session: &Session) -> Result<(), SessionError> {
    ///     session.destroy()
    /// }
    /// ```
    pub fn destroy(&self) -> Result<(), SessionError> {
        self.request.destroy()
    }

    /// Returns the limits of the session's life: those of [`set_expiry`](Self::set_expiry), or of
    /// the layer that created it.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// use std::time::Duration;
    ///
    /// fn idle_limit(session: &Session) -> Result<Option<Duration>, SessionError> {
    ///     Ok(session.expiry()?.idle_limit())
    /// }
    /// ```
    pub fn expiry(&self) -> Result<Expiry, SessionError> {
        self.request.expiry()
    }

    /// Sets the limits of this session's life.
    ///
    /// An age counts from creation. Before there is a session, the limits are remembered for the
    /// one that this request may create.
    ///
    /// The limits and [whether the cookie persists](Self::set_persistent) are one value: when two
    /// nodes set them at once, both are as the later one has them.
    ///
    /// # Errors
    ///
    /// [`SessionError::ZeroLimit`], and the [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// use std::time::Duration;
    /// use tower_cluster_sessions::Expiry;
    ///
    /// fn end_soon(session: &Session) -> Result<(), SessionError> {
    ///     session.set_expiry(Expiry::idle(Duration::from_secs(5 * 60)))
    /// }
    /// ```
    pub fn set_expiry(&self, expiry: Expiry) -> Result<(), SessionError> {
        self.request.set_expiry(expiry)
    }

    /// Returns whether the client's cookie outlives its browser: as
    /// [`set_persistent`](Self::set_persistent) says, or else the layer.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<bool, SessionError> {
    ///     session.is_persistent()
    /// }
    /// ```
    pub fn is_persistent(&self) -> Result<bool, SessionError> {
        self.request.is_persistent()
    }

    /// Sets whether the client's cookie outlives its browser, for this session whatever the
    /// [layer](crate::ClusterSessionLayer::with_persistent_cookie) says.
    ///
    /// It is kept with the session on all nodes, and the client gets the cookie again. Before there
    /// is a session it is remembered for the one that this request may create.
    ///
    /// # Errors
    ///
    /// [`SessionError::HeadersSent`] once the response's head has left, and the
    /// [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::{Expiry, Session, SessionError};
    ///
    /// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    ///
    /// fn remember_me(session: &Session) -> Result<(), SessionError> {
    ///     session.set_expiry(Expiry::idle(30 * DAY))?;
    ///     session.set_persistent(true)
    /// }
    /// ```
    pub fn set_persistent(&self, persistent: bool) -> Result<(), SessionError> {
        self.request.set_persistent(persistent)
    }

    /// Waits until the session has ended: it was destroyed, by whatever request or node, or has
    /// reached its limit of age. Returns at once when there is no session.
    ///
    /// A task that holds the session, as behind a WebSocket, learns of a logout by it, within a
    /// second of when this node does. Idleness does not end a session that a handle uses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting and changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::Session;
    /// async fn serve(session: Session, talk: impl Future<Output = ()>) {
    ///     tokio::select! {
    ///         () = talk => {}
    ///         () = session.ended() => println!("logged out"),
    ///     }
    /// }
    /// ```
    pub async fn ended(&self) {
        self.request.ended().await;
    }

    /// Replicates the session's changes now and waits until every live peer holds them, whatever
    /// the layer's [`Ack`](crate::Ack). Returns how many peers do.
    ///
    /// It returns 0 also when nothing was to be replicated. It waits for
    /// [`ack_timeout`](crate::ClusterConfig::ack_timeout) at most. Attribute writes of a filtered
    /// request are not part of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the changes are on their way.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// async fn note(session: &Session, message: &str) -> Result<(), SessionError> {
    ///     session.insert("last", message)?;
    ///     let peers = session.replicated().await;
    ///     println!("{peers} peers hold it");
    ///     Ok(())
    /// }
    /// ```
    pub async fn replicated(&self) -> usize {
        self.acknowledged(Ack::All).await
    }

    /// Replicates the session's changes now and waits for so many peers as `ack` says, whatever the
    /// layer's. Otherwise it is as [`replicated`](Self::replicated).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the changes are on their way.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Ack, Session, SessionError};
    /// # async fn handler(session: &Session) -> Result<(), SessionError> {
    /// session.insert("progress", 40)?;
    /// session.acknowledged(Ack::One).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acknowledged(&self, ack: Ack) -> usize {
        self.request.acknowledged(ack).await
    }

    /// Counts as use of the session now, so that its idle time starts anew. It does nothing when
    /// there is no session.
    ///
    /// A request that loads its session need not call it, unless it is
    /// [filtered](crate::ClusterSessionLayer::with_filter). It is for handles that
    /// [`Sessions`](crate::Sessions) has opened or created, which are no use by themselves. It also
    /// [confirms](crate::ClusterConfig::unconfirmed_timeout) the session.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{SessionError, Sessions};
    ///
    /// /// Keeps a user's session alive while a device that holds no cookie reports.
    /// async fn heartbeat(sessions: &Sessions, id: &str) -> Result<(), SessionError> {
    ///     match sessions.open(id).await {
    ///         Some(session) => session.touch(),
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn touch(&self) -> Result<(), SessionError> {
        self.request.touch()
    }

    /// Returns the time since the session was created, `None` when there is none.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// use std::time::Duration;
    ///
    /// /// Asks for the password again before something dangerous.
    /// fn must_confirm(session: &Session) -> Result<bool, SessionError> {
    ///     let age = session.age()?.unwrap_or_default();
    ///     Ok(age > Duration::from_secs(24 * 60 * 60))
    /// }
    /// ```
    pub fn age(&self) -> Result<Option<Duration>, SessionError> {
        Ok(self.info()?.map(|info| info.age))
    }

    /// Returns what there is to know of the session beside its values: its age, its last use, the
    /// time it has left, the names of its attributes. `None` when there is no session.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// # fn handler(session: &Session) -> Result<(), SessionError> {
    /// if let Some(info) = session.info()? {
    ///     println!("{} was created {:?} ago and has {:?} left", info.id, info.age, info.remaining);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> Result<Option<SessionInfo>, SessionError> {
        self.request.info()
    }

    #[cfg(feature = "axum")]
    pub(super) fn is_live(&self) -> bool {
        self.request.key().is_some()
    }
}

/// Shows no attribute and no credential.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.request).finish()
    }
}
