//! The layer: tower-sessions' sessions under the rules of the cluster's layer.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode};
use tower_cluster_sessions::{
    ClusterSessionLayer, ClusterSessionService, SessionError, SessionSlot,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    core::Session,
    request_store::{Ending, RequestStore, id_of},
};

/// A layer that gives requests a [`Session`] of tower-sessions, which is that of a
/// [`ClusterSessionLayer`].
///
/// Cookie, keys, expiry, filter and acknowledgements are as that layer has them. What stands on
/// tower-sessions and takes its `Session` from the request works inside.
///
/// - `cycle_id` keeps the session, and with it what parallel requests write.
/// - `id()` is the session's public id. It is the same for the session's whole life.
/// - `set_expiry` sets the session's limits, and makes its cookie persistent or not.
/// - A session is created by its first entry: there are none without.
/// - As in tower-sessions, a response with a status of 500 or more saves nothing, and one that cannot
///   be saved is replaced by an empty one with the [status](SessionError::status) of the error.
///
/// Handlers can take a [`tower_cluster_sessions::Session`] of the same session, too. What it writes is
/// not seen by one of tower-sessions that has been loaded before.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
/// use tower_sessions_0_14::Session;
/// use tower_sessions_cluster::core_0_14::SessionLayer;
///
/// async fn hit(session: Session) -> String {
///     let hits = session.get::<u64>("hits").await.ok().flatten().unwrap_or(0) + 1;
///     let _ = session.insert("hits", hits).await;
///     format!("{hits} hits")
/// }
///
/// let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let layer = ClusterSessionLayer::from_cluster(&cluster);
/// let app: Router = Router::new()
///     .route("/", get(hit))
///     .layer(SessionLayer::new(layer)); // was `SessionManagerLayer::new(store)`
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    cluster: ClusterSessionLayer,
}

impl SessionLayer {
    /// Returns a layer around which is this one of the cluster.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # use tower_sessions_cluster::core_0_14::*;
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_context("shop");
    /// let sessions = SessionLayer::new(layer);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn new(cluster: ClusterSessionLayer) -> Self {
        Self { cluster }
    }
}

/// As that of [`ClusterSessionLayer`], it panics if its options do not go together.
impl<S> Layer<S> for SessionLayer {
    type Service = ClusterSessionService<SessionService<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.cluster.layer(SessionService { inner })
    }
}

/// A service whose requests carry a [`Session`] of tower-sessions.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send,
    R: Default + Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let slot = request.extensions().get::<SessionSlot>();
        let under_way = slot.cloned().map(RequestUnderWay::new);
        if let Some(under_way) = &under_way {
            request.extensions_mut().insert(under_way.session.clone());
        }
        let response = self.inner.call(request);
        ResponseFuture(Box::pin(async move {
            let mut response = response.await?;
            if let Some(under_way) = under_way
                && let Err(status) = under_way.finish(response.status()).await
            {
                response = Response::default();
                *response.status_mut() = status;
            }
            Ok(response)
        }))
    }
}

/// The future of a [`SessionService`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<O>(Pin<Box<dyn Future<Output = O> + Send>>);

impl<O> Future for ResponseFuture<O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        self.0.as_mut().poll(cx)
    }
}

impl<O> fmt::Debug for ResponseFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A request under way. If it is dropped, what was deleted is destroyed all the same.
struct RequestUnderWay {
    session: Session,
    store: Arc<RequestStore>,
}

impl RequestUnderWay {
    fn new(slot: SessionSlot) -> Self {
        let id = slot.presented_id().as_deref().and_then(id_of);
        let store = Arc::new(RequestStore::new(slot));
        Self {
            session: Session::new(id, Arc::clone(&store), None),
            store,
        }
    }

    /// Saves what the app has changed. The error is the status of the response.
    async fn finish(&self, status: StatusCode) -> Result<(), StatusCode> {
        let is_empty = self.session.is_empty().await;
        if self.session.is_modified() && !is_empty && !status.is_server_error() {
            if let Some(expiry) = self.session.expiry() {
                let set = self.store.set_expiry(expiry).await;
                set.map_err(|error| told(&error))?;
            }
            if let Err(error) = self.session.save().await {
                tracing::error!(%error, "the session cannot be saved");
                let cause = self.store.take_error();
                return Err(cause.map_or(StatusCode::INTERNAL_SERVER_ERROR, |cause| cause.status()));
            }
        }
        // Who has let go of the id, and has entries all the same, was about to get another id.
        let ending = match self.session.id().is_none() && !is_empty {
            true => Ending::KeepCycled,
            false => Ending::Destroy,
        };
        let ended = self.store.end(ending).await;
        ended.map_err(|error| told(&error))
    }
}

fn told(error: &SessionError) -> StatusCode {
    tracing::error!(%error, "the session cannot be saved");
    error.status()
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        let end = pin!(self.store.end(Ending::Destroy));
        // Deleting has loaded the session, so there is nothing to wait for.
        let ended = end.poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = ended {
            told(&error);
        }
    }
}
