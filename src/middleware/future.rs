//! The end of a request: commit, wait for peers, set the cookie.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::request::RequestSession;
use crate::node::CommitWait;

pin_project! {
    /// The future of [`ClusterSessionService`](crate::ClusterSessionService).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the inner future first. Then what that has written to the session is
    /// replicated, without waiting for peers.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F>
    where
        F: Future,
    {
        // Fields are dropped in this order: the handler's last writes are committed, too.
        #[pin]
        inner: Option<F>,
        answer: Option<F::Output>,
        wait: Option<CommitWait>,
        request: Option<CommitOnDrop>,
    }
}

impl<F: Future> ResponseFuture<F> {
    pub(super) fn new(inner: F, request: Option<Arc<RequestSession>>) -> Self {
        Self {
            inner: Some(inner),
            answer: None,
            wait: None,
            request: request.map(CommitOnDrop),
        }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let mut answer = if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let on_panic = this
                .request
                .as_ref()
                .map(|request| CommitOnPanic(&request.0));
            let answer = ready!(inner.poll(cx));
            drop(on_panic);
            this.inner.set(None);
            if let Some(mut wait) = this
                .request
                .as_mut()
                .and_then(CommitOnDrop::commit_and_wait)
                && Pin::new(&mut wait).poll(cx).is_pending()
            {
                *this.answer = Some(answer);
                *this.wait = Some(wait);
                return Poll::Pending;
            }
            answer
        } else {
            if let Some(wait) = this.wait {
                ready!(Pin::new(wait).poll(cx));
                *this.wait = None;
            }
            this.answer.take().expect("polled after completion")
        };
        if let Some(request) = this.request.take()
            && let Ok(response) = &mut answer
        {
            request.0.complete(response);
        }
        Poll::Ready(answer)
    }
}

impl<F: Future> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A request under way. Whatever ends it, its writes are committed.
struct CommitOnDrop(Arc<RequestSession>);

impl CommitOnDrop {
    fn commit_and_wait(&mut self) -> Option<CommitWait> {
        match Arc::get_mut(&mut self.0) {
            Some(request) => request.release_and_wait(),
            // A streamed body or a task goes on using the session.
            None => self.0.commit_and_wait(),
        }
    }
}

impl Drop for CommitOnDrop {
    fn drop(&mut self) {
        // Nobody is left to wait for peers.
        self.0.commit_at_head();
    }
}

/// A guard that commits at once when the handler panics, because whoever catches that may keep the
/// future.
struct CommitOnPanic<'a>(&'a RequestSession);

impl Drop for CommitOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.commit();
        }
    }
}
