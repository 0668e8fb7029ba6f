//! One login for all contexts of a cluster, and one logout.
//!
//! It is built on sessions alone. The sign-on is a session of a context of its own, whose cookie all
//! contexts see. It holds the user. A session of another context holds the public id of its sign-on,
//! by which a sign-off finds it, on every node. Whoever loads both brings them in step.

use std::fmt;

use futures_util::future::join_all;
use http::Extensions;
use serde::{Serialize, de::DeserializeOwned};

use super::{session::Session, sessions::Sessions, slot::SessionSlot};
use crate::{
    node::Cluster,
    session::{SessionError, SessionKey, encode_json},
};

/// The sign-on of a visitor, which all contexts of a cluster share.
///
/// Who has logged in at one context is known at the others, on every node, and a sign-off at one ends
/// the sessions of all. It takes two layers: one of the context [`CONTEXT`](Self::CONTEXT) around
/// everything, and inside it one of each app's own. The cookie of the outer one must be seen by all of
/// them: where they are paths of one host its default is right, and for several hosts of a domain it needs
/// [`with_domain`](crate::ClusterSessionLayer::with_domain). Its other options are up to you, as those
/// of any layer.
///
/// An axum handler extracts it. Put the extractor around the routes of each context, too, with
/// `axum::middleware::from_extractor`, so that each request loads it. Without axum, it is
/// [`load`](Self::load).
///
/// # What loading it does
///
/// - It is use of the sign-on. So the sign-on does not expire while a visitor uses any of the contexts,
///   and nodes tell each other of that as seldom as of any use.
/// - The visitor's session of this context is made one of the sign-on. If there is none, it begins. If
///   there is one, it gets another cookie, so that whoever planted the old one is locked out.
/// - A session of this context that belongs to another sign-on is destroyed, and so is one whose
///   sign-on has ended. It may hold what another user did.
///
/// # What ends what
///
/// | what ends | ends with it |
/// |---|---|
/// | the sign-on, by [`sign_off`](Self::sign_off) | all its sessions, of all contexts on all nodes |
/// | the sign-on, by its expiry, or destroyed by its id or with [`destroy_where`](crate::Sessions::destroy_where) | each of its sessions, when it is next loaded |
/// | a session of one context, by its expiry or by [`Session::destroy`] | nothing: the next request begins another |
///
/// A copy of the sign-on's cookie is a copy of the user's key to all contexts. It is as well protected
/// as [that of any session](crate::ClusterSessionLayer), and each sign-on replaces it. With a domain,
/// every host of the domain sees it and can plant one.
///
/// # Examples
///
/// ```
/// # #[cfg(not(feature = "axum"))]
/// # fn main() {}
/// # #[cfg(feature = "axum")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, middleware::from_extractor, routing::{get, post}};
/// use tower_cluster_sessions::{
///     Cluster, ClusterConfig, ClusterSessionLayer, SessionError, SingleSignOn,
/// };
///
/// async fn log_in(sign_on: SingleSignOn) -> Result<(), SessionError> {
///     // The password was right.
///     sign_on.sign_on("alice").await
/// }
///
/// async fn greet(sign_on: SingleSignOn) -> Result<String, SessionError> {
///     let user: Option<String> = sign_on.user()?;
///     Ok(format!("Hello, {}.", user.as_deref().unwrap_or("stranger")))
/// }
///
/// async fn log_out(sign_on: SingleSignOn) -> Result<(), SessionError> {
///     sign_on.sign_off().await
/// }
///
/// let config = ClusterConfig::standalone().index(SingleSignOn::ATTRIBUTE);
/// let cluster = Cluster::start(config).await?;
/// let context = |name| {
///     Router::new()
///         .route("/", get(greet))
///         .route("/login", post(log_in))
///         .route("/logout", post(log_out))
///         .layer(from_extractor::<SingleSignOn>())
///         .layer(ClusterSessionLayer::from_cluster(&cluster).with_context(name))
/// };
/// let sign_ons = ClusterSessionLayer::from_cluster(&cluster).with_context(SingleSignOn::CONTEXT);
/// let app: Router = Router::new()
///     .nest("/shop", context("shop"))
///     .nest("/forum", context("forum"))
///     .layer(sign_ons);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SingleSignOn {
    /// The session that all contexts share.
    shared: Session,
    /// The session of this context.
    own: Session,
}

impl SingleSignOn {
    /// The context of sign-ons.
    pub const CONTEXT: &str = "sign-on";

    /// The attribute by which a session knows its sign-on. [Index](crate::ClusterConfig::index) it, so that a
    /// sign-off need not look at all sessions.
    pub const ATTRIBUTE: &str = "sign-on";

    /// Loads the sign-on of a request and its session of the innermost other context, and brings them
    /// [in step](Self#what-loading-it-does). Returns `None` when one of the layers is missing.
    ///
    /// It waits where [`SessionSlot::load`] does. For a session whose sign-on this node does not know
    /// it asks the peers, for 500 ms at most.
    ///
    /// # Errors
    ///
    /// [`SessionError::Full`] and [`SessionError::Leaving`] when the session of this context cannot
    /// begin, [`SessionError::Destroyed`] when it was destroyed at this moment.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves what it has done; the next load does the rest.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower_cluster_sessions::{SessionError, SingleSignOn};
    ///
    /// async fn handler(request: Request<()>) -> Result<Response<String>, SessionError> {
    ///     let sign_on = SingleSignOn::load(request.extensions()).await?;
    ///     let user: Option<String> = sign_on.expect("both layers around").user()?;
    ///     Ok(Response::new(user.unwrap_or_default()))
    /// }
    /// ```
    pub async fn load(extensions: &Extensions) -> Result<Option<Self>, SessionError> {
        let shared = SessionSlot::of(extensions, Self::CONTEXT);
        let own = SessionSlot::beside(extensions, Self::CONTEXT);
        let (Some(shared), Some(own)) = (shared.cloned(), own.cloned()) else {
            return Ok(None);
        };
        let sign_on = Self {
            shared: shared.load().await,
            own: own.load().await,
        };
        sign_on.bring_in_step().await?;
        Ok(Some(sign_on))
    }

    /// Returns what [`sign_on`](Self::sign_on) was given, `None` when the visitor is not signed on.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when it is of another type.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{SessionError, SingleSignOn};
    /// fn is_guest(sign_on: &SingleSignOn) -> Result<bool, SessionError> {
    ///     Ok(sign_on.user::<String>()?.is_none())
    /// }
    /// ```
    pub fn user<T: DeserializeOwned>(&self) -> Result<Option<T>, SessionError> {
        match self.shared.get(USER) {
            // Signed off since.
            Err(SessionError::Destroyed) => Ok(None),
            user => user,
        }
    }

    /// Signs the visitor on at all contexts, as the user whose credentials the app has checked.
    ///
    /// `user` is a name or number by which the app finds the user: keep what changes elsewhere. Another
    /// user who was signed on in this browser is [signed off](Self::sign_off) first. The sign-on and the
    /// session of this context get new cookies; what the visitor has put into the latter stays.
    ///
    /// # Errors
    ///
    /// Those of [`Session::insert`], and of [`Session::cycle_id`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the visitor signed on or off, and no one else signed on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{SessionError, SingleSignOn};
    /// async fn log_in(sign_on: &SingleSignOn, user: u64) -> Result<(), SessionError> {
    ///     sign_on.sign_on(user).await
    /// }
    /// ```
    pub async fn sign_on<T: Serialize>(&self, user: T) -> Result<(), SessionError> {
        let json = encode_json(USER, &user)?;
        let json = String::from_utf8_lossy(&json);
        if (self.user_json()?).is_some_and(|before| before != json) {
            self.sign_off().await?;
        }
        self.shared.cycle_id()?;
        self.shared.insert_json(USER, &json)?;
        match self.shared.id() {
            Some(id) => self.join(&id),
            None => Err(SessionError::Destroyed),
        }
    }

    /// Signs the visitor off from all contexts: destroys the sign-on and all its sessions, on all nodes.
    ///
    /// It waits until every live peer holds that, as [`Ack::All`](crate::Ack::All) does. Nodes that are
    /// met within 24 hours learn of it, too.
    ///
    /// # Errors
    ///
    /// Those of [`Session::destroy`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future after its first step leaves sessions that end when they are next loaded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{SessionError, SingleSignOn};
    /// async fn log_out(sign_on: &SingleSignOn) -> Result<(), SessionError> {
    ///     sign_on.sign_off().await
    /// }
    /// ```
    pub async fn sign_off(&self) -> Result<(), SessionError> {
        // Only of one that the client has opened: a public id is no secret.
        let id = self.shared.id();
        self.shared.destroy()?;
        self.own.destroy()?;
        let Some(id) = id else {
            return Ok(());
        };
        let contexts: Vec<Sessions> = self.contexts().collect();
        let ends = contexts
            .iter()
            .map(|sessions| sessions.end_where(Self::ATTRIBUTE, &id));
        join_all(ends).await.into_iter().collect()
    }

    /// Waits until the visitor has been signed off, on whatever node. Returns at once when there is no
    /// sign-on.
    ///
    /// A WebSocket learns of it so, as with [`Session::ended`]. While it holds this, the sign-on is in use
    /// and does not expire.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting and changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::SingleSignOn;
    /// async fn serve(sign_on: SingleSignOn, talk: impl Future<Output = ()>) {
    ///     tokio::select! {
    ///         () = talk => {}
    ///         () = sign_on.ended() => println!("signed off"),
    ///     }
    /// }
    /// ```
    pub async fn ended(&self) {
        self.shared.ended().await;
    }

    /// Makes the session of this context one of the sign-on, or ends it with a sign-on that has ended.
    async fn bring_in_step(&self) -> Result<(), SessionError> {
        if matches!(self.own.request.writable(), Err(SessionError::Superseded)) {
            // Another request of this client has just joined it.
            return Ok(());
        }
        let joined: Option<String> = self.own.get(Self::ATTRIBUTE)?;
        match (joined, self.shared.id()) {
            (None, None) => Ok(()),
            (Some(joined), Some(id)) if joined == id => Ok(()),
            (_, Some(id)) => self.join(&id),
            // The client may merely have come with a cookie that was replaced a moment ago.
            (Some(joined), None) if self.is_alive(&joined).await => Ok(()),
            (Some(_), None) => self.own.destroy(),
        }
    }

    /// Makes the session of this context one of the sign-on with an id.
    fn join(&self, id: &str) -> Result<(), SessionError> {
        let joined: Option<String> = self.own.get(Self::ATTRIBUTE)?;
        if joined.is_some_and(|joined| joined != id) {
            self.own.destroy()?;
        }
        self.own.cycle_id()?;
        self.own.insert(Self::ATTRIBUTE, id)
    }

    async fn is_alive(&self, id: &str) -> bool {
        let Some(key) = SessionKey::from_public_id(id) else {
            return false;
        };
        let node = self.shared.request.node();
        if node.read(&key, |_| ()).is_err() {
            node.find(key).await;
        }
        node.read(&key, |_| ()).is_ok()
    }

    fn user_json(&self) -> Result<Option<String>, SessionError> {
        match self.shared.get_json(USER) {
            Err(SessionError::Destroyed) => Ok(None),
            json => json,
        }
    }

    /// Returns the sessions of all contexts but that of sign-ons.
    fn contexts(&self) -> impl Iterator<Item = Sessions> {
        let cluster: &Cluster = &self.shared.request.config().cluster;
        let contexts = cluster.contexts().into_iter();
        let others = contexts.filter(|context| context != Self::CONTEXT);
        others.map(|context| cluster.sessions(&context))
    }
}

/// Shows no attribute and no credential.
impl fmt::Debug for SingleSignOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleSignOn")
            .field("shared", &self.shared)
            .field("own", &self.own)
            .finish()
    }
}

/// The attribute of a sign-on that holds the user.
const USER: &str = "user";
