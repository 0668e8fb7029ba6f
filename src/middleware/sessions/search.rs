//! Sessions by what they hold.

use std::sync::Arc;

use serde::Serialize;

use super::Sessions;
use crate::{
    node::DestroyedWhere,
    session::{
        MAX_SEARCH_BYTES, Search, SessionError, SessionInfo, SessionKey, Stamp, encode_json,
    },
};

/// A page of all sessions of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, in an order that is the same for all pages.
    pub sessions: Vec<SessionInfo>,
    /// What [`Sessions::page`] is to be given for the next page, `None` when this is the last.
    pub next: Option<String>,
}

/// # Sessions by what they hold
///
/// A `name` is that of an attribute. Where the attribute is an object, a JSON pointer behind `#`
/// leads to a field of it: `axum-login.data#/user_id`. Values are compared as JSON, so the order of
/// an object's fields does not matter, and a counter equals nothing.
impl Sessions {
    /// Returns the sessions in which `name` equals `value`, the one used last first.
    ///
    /// It is what this node holds at this moment: what another node has just written is found once
    /// it has come here, which a response with [`Ack::All`](crate::Ack::All) waits for. While
    /// the state transfer is under way some sessions are lacking. It costs what it finds, however
    /// many other sessions there are.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotIndexed`] if the name is not [indexed](crate::ClusterConfig::index) on this
    /// node, and [`SessionError::Encode`] if no attribute can have that `value`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_cluster_sessions::{Changes, Cluster, ClusterConfig};
    ///
    /// let config = ClusterConfig::standalone().index("user_id");
    /// let cluster = Cluster::start(config).await?;
    /// let sessions = cluster.sessions("");
    /// let mut changes = Changes::new();
    /// changes.insert("user_id", 7)?;
    /// let (session, _) = sessions.create(&changes)?;
    ///
    /// let found = sessions.find("user_id", &7).await?;
    /// assert_eq!(Some(&found[0].id), session.id().as_ref());
    /// for info in found {
    ///     println!("{} was used {:?} ago", info.id, info.idle);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn find(
        &self,
        name: &str,
        value: &impl Serialize,
    ) -> Result<Vec<SessionInfo>, SessionError> {
        let json = encode_json(name, value)?;
        let node = self.config.node();
        node.find_where(self.context(), name, &json).await
    }

    /// Returns a page of all sessions, in an order of their ids that never changes. It has `size` of
    /// them, 1 to 1000, or fewer if it is the last.
    ///
    /// `after` is `None` for the first page, and then [`next`](SessionPage::next) of the page before.
    /// Any public id will do, of a session that is gone, too; any other text begins with the first.
    ///
    /// Sessions come and go meanwhile. One that is there all the time is on one page, whatever
    /// happens to others. It is what this node holds, as of [`find`](Self::find). A page is made on a
    /// thread of the runtime's blocking pool.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Changes, Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let sessions = cluster.sessions("");
    /// # for _ in 0..3 { sessions.create(&Changes::new())?; }
    /// let mut page = sessions.page(None, 2).await;
    /// assert_eq!(page.sessions.len(), 2);
    /// while let Some(next) = page.next {
    ///     page = sessions.page(Some(&next), 2).await;
    ///     for info in page.sessions {
    ///         println!("{} has {:?}", info.id, info.attributes);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn page(&self, after: Option<&str>, size: usize) -> SessionPage {
        let size = size.clamp(1, MAX_PAGE);
        let after = after.and_then(SessionKey::from_public_id);
        let context = Arc::clone(&self.config.meta.context);
        // One more tells whether there is a next page.
        let mut found = self.config.node().page(context, after, size + 1).await;
        let has_more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| has_more);
        SessionPage {
            next: last.map(|(key, _)| key.public_id(None)),
            sessions: found.into_iter().map(|(_, info)| info).collect(),
        }
    }

    /// Destroys all sessions in which `name` equals `value`, on every node. Returns how many there
    /// were, and which nodes have said that it is done.
    ///
    /// This logs a user out everywhere, for example. That includes the session of the request that
    /// asks: its handle then fails with [`SessionError::Destroyed`]. Use
    /// [`destroy_where_except`](Self::destroy_where_except) to keep it.
    ///
    /// A node on which the name is [indexed](crate::ClusterConfig::index) looks at the sessions that
    /// are meant. Any other looks at every session that it holds, on a thread of the runtime's
    /// blocking pool.
    ///
    /// It first destroys what this node holds, and waits for the peers as
    /// [`Ack::All`](crate::Ack::All) does. Then every node that a path of links reaches looks for
    /// more. This waits for their answers: for
    /// [`ack_timeout`](crate::ClusterConfig::ack_timeout), and as much longer as the search took
    /// here. A member that is down has it wait so long.
    ///
    /// Nodes that are met within 24 hours learn of it, too, and destroy what was written before.
    /// Before and after are judged by the clocks of the nodes, which should not differ. Of such
    /// calls 64 can wait at a node, and the latest megabyte of them is remembered.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] if no attribute can have that `value`, and
    /// [`SessionError::TooLarge`] if that and the names are longer than 16 KiB; nothing is destroyed
    /// then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting; any of the sessions may be destroyed or not.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// // Each session of the user has an attribute `user`.
    /// let logins = cluster.sessions("").destroy_where("user", &"alice").await?;
    /// println!("logged out {} times", logins.sessions);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn destroy_where(
        &self,
        name: &str,
        value: &impl Serialize,
    ) -> Result<DestroyedWhere, SessionError> {
        self.destroy_all_but(None, name, value).await
    }

    /// Destroys sessions as [`destroy_where`](Self::destroy_where) does, except for the one whose id
    /// is `keep`, on every node. Returns the same.
    ///
    /// This logs a user out everywhere else, for example after a change of the password. The id is
    /// that of [`Session::id`](crate::Session::id). A text that is no id keeps nothing.
    ///
    /// # Errors
    ///
    /// As [`destroy_where`](Self::destroy_where).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting; any of the sessions may be destroyed or not.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Session, SessionError, Sessions};
    ///
    /// async fn log_out_elsewhere(
    ///     sessions: &Sessions,
    ///     session: &Session,
    ///     user: &str,
    /// ) -> Result<usize, SessionError> {
    ///     let keep = session.id().unwrap_or_default();
    ///     let destroyed = sessions.destroy_where_except("user", &user, &keep).await?;
    ///     Ok(destroyed.sessions)
    /// }
    /// ```
    pub async fn destroy_where_except(
        &self,
        name: &str,
        value: &impl Serialize,
        keep: &str,
    ) -> Result<DestroyedWhere, SessionError> {
        let keep = SessionKey::from_public_id(keep);
        self.destroy_all_but(keep, name, value).await
    }

    async fn destroy_all_but(
        &self,
        keep: Option<SessionKey>,
        name: &str,
        value: &impl Serialize,
    ) -> Result<DestroyedWhere, SessionError> {
        let search = self.search(keep, name, value)?;
        let node = Arc::clone(self.config.node());
        Ok(node.destroy_where(search).await)
    }

    /// Destroys sessions as [`destroy_where`](Self::destroy_where) does, and waits for nobody but live
    /// peers.
    pub(in crate::middleware) async fn end_where(
        &self,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), SessionError> {
        let search = self.search(None, name, value)?;
        self.config.node().end_where(search).await;
        Ok(())
    }

    fn search(
        &self,
        keep: Option<SessionKey>,
        name: &str,
        value: &impl Serialize,
    ) -> Result<Search, SessionError> {
        let json = encode_json(name, value)?;
        let search = Search {
            context: Arc::clone(&self.config.meta.context),
            name: name.into(),
            json: json.as_slice().into(),
            keep,
            upto: Stamp::MAX,
        };
        SessionError::unless_within("bytes", search.weight(), MAX_SEARCH_BYTES)?;
        Ok(search)
    }
}

/// Sessions of a page at most.
const MAX_PAGE: usize = 1000;
