//! A page by which operators see the cluster and its sessions.

mod assets;
mod figures;
mod forms;
mod indexed;
mod links;
mod live;
mod overview;
mod responses;
mod sessions;
mod sparkline;
mod verdict;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    middleware::map_response,
    routing::{get, post},
};

use crate::node::Cluster;

/// The routes of a page by which operators see the cluster, to be nested behind the app's own
/// authentication.
///
/// **Whoever reaches it sees who is in the cluster, and can end sessions.** It asks nobody who they
/// are. So nest it where only operators come, and let balancers refuse its path to everybody else.
/// Any node can serve it. It shows the cluster as that node sees it, and says which one that is.
///
/// | path below that of the page | is |
/// |---|---|
/// | the path itself | the cluster: nodes, whether they hold the same, transfers, rates, the last events |
/// | `/overview.json` | all of that for programs |
/// | `/live` | all of that again when it changes, as server-sent events; the page reads them |
/// | `/sessions`, `/sessions/ID` | all sessions, a search by public id and by each [index](crate::ClusterConfig::index); one of them, which can be ended |
/// | `/sessions.json` | the list for programs, with the same questions |
///
/// - A form ends a session only for the browser that it was made for, whatever the app's
///   authentication. For that it sets a cookie of its own.
/// - Attributes are shown by name. [`reveal_values`](Self::reveal_values) shows what they hold, those
///   that are indexed in the lists, too.
/// - It works under any path, also behind a proxy that strips a part of it, and without JavaScript.
/// - It loads nothing from elsewhere. Its `Content-Security-Policy` allows its own style sheet and
///   script alone, and no other page can show it in a frame.
/// - Once it is made, the node takes a sample of its figures every two seconds and keeps those of three
///   minutes.
/// - Dropping its router lets go of the node, as dropping a layer does.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::Response};
/// use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, StatusPage};
///
/// /// Stands for what the app knows its operators by.
/// async fn operators_only(request: Request, next: Next) -> Result<Response, StatusCode> {
/// #     const EXPECTED: &str = "Bearer zVgsCmrkLjvtoeYNl05I7A";
///     match request.headers().get("authorization") {
///         Some(value) if value == EXPECTED => Ok(next.run(request).await),
///         _ => Err(StatusCode::UNAUTHORIZED),
///     }
/// }
///
/// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let status: Router = StatusPage::new(&cluster).router();
/// let app: Router = Router::new()
///     // .. the routes of the app ..
///     .layer(ClusterSessionLayer::from_cluster(&cluster))
///     .nest("/status", status.layer(from_fn(operators_only)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct StatusPage {
    cluster: Cluster,
    shows_values: bool,
    ends_sessions: bool,
}

impl StatusPage {
    /// Makes the page of a node, which begins to keep samples of its figures.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, StatusPage};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let page = StatusPage::new(&cluster);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(cluster: &Cluster) -> Self {
        cluster.node().keep_history();
        Self {
            cluster: cluster.clone(),
            shows_values: false,
            ends_sessions: true,
        }
    }

    /// Shows the values of attributes, too: all on the page of a session, and those that are
    /// [indexed](crate::ClusterConfig::index) in lists. By default their names are all that operators
    /// see: values may be what your users trust you with.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, StatusPage};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let status: axum::Router = StatusPage::new(&cluster).reveal_values().router();
    /// # Ok(())
    /// # }
    /// ```
    pub const fn reveal_values(mut self) -> Self {
        self.shows_values = true;
        self
    }

    /// Lets nobody end sessions. By default whoever sees the page can.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, StatusPage};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let status: axum::Router = StatusPage::new(&cluster).read_only().router();
    /// # Ok(())
    /// # }
    /// ```
    pub const fn read_only(mut self) -> Self {
        self.ends_sessions = false;
        self
    }

    /// Returns the routes of the page.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, StatusPage};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let app: axum::Router = axum::Router::new().nest("/status", StatusPage::new(&cluster).router());
    /// # Ok(())
    /// # }
    /// ```
    pub fn router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let page = Arc::new(self);
        let mut routes = Router::new();
        if page.ends_sessions {
            routes = routes.route("/sessions/{id}/end", post(sessions::end));
        }
        routes
            .route("/", get(responses::overview))
            .route("/overview.json", get(responses::overview_json))
            .route("/live", get(live::live))
            .route("/sessions", get(sessions::list))
            .route("/sessions.json", get(sessions::list_json))
            .route("/sessions/{id}", get(sessions::show))
            .route("/style.css", get(assets::style))
            .route("/live.js", get(assets::script))
            .route("/icon.svg", get(assets::icon))
            .fallback(sessions::nowhere)
            .layer(map_response(responses::add_headers))
            .with_state(page)
    }
}

impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            shows_values,
            ends_sessions,
        } = self;
        f.debug_struct("StatusPage")
            .field("cluster", cluster)
            .field("shows_values", shows_values)
            .field("ends_sessions", ends_sessions)
            .finish()
    }
}
