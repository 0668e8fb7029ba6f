//! The service around an app.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{future::ResponseFuture, layer_config::LayerConfig, slot::SessionSlot};

/// A service whose requests carry a [`SessionSlot`].
///
/// [`ClusterSessionLayer`](crate::ClusterSessionLayer) makes it of the service it wraps. The inner
/// service's errors pass through.
#[derive(Clone, Debug)]
pub struct ClusterSessionService<S> {
    inner: S,
    config: Arc<LayerConfig>,
}

impl<S> ClusterSessionService<S> {
    pub(super) const fn new(inner: S, config: Arc<LayerConfig>) -> Self {
        Self { inner, config }
    }
}

impl<S, B, R> Service<Request<B>> for ClusterSessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let session = SessionSlot::open(&self.config, &mut request);
        // The ready service itself is used, right away, so no clone needs to be swapped in.
        ResponseFuture::new(self.inner.call(request), session)
    }
}
