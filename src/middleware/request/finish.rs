//! How a request ends: shipped, acknowledged, and told to the client.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use http::HeaderValue;

use super::{
    RequestSession, lifetime,
    state::{CookieAction, Phase},
};
use crate::{
    cluster::AckWait,
    session::{Access, CookieValue, SessionKey, SessionState},
};

impl RequestSession {
    /// From now on no cookie can be sent, and each write is a commit of its own. Ships what has
    /// been written. Returns the log position the response must wait for, 0 for none.
    pub(in crate::middleware) fn commit_at_head(&self) -> u64 {
        if self.has_sent_head() {
            return 0;
        }
        let state = self.state();
        // Set before committing: a parallel write either is in the commit or sees the flag.
        let closed_before = self.head_sent.swap(true, Ordering::AcqRel);
        drop(state);
        match closed_before {
            true => 0,
            false => self.commit(),
        }
    }

    /// [Closes](Self::close), and returns the wait for peers that the layer's options ask for.
    pub(in crate::middleware) fn commit_and_wait(&self) -> Option<AckWait> {
        let position = self.commit_at_head();
        (position != 0).then(|| self.node().acknowledged(position, self.app.ack))
    }

    /// [Ends](Self::end) a request of which nobody has a handle any more, so that shipping and the
    /// end of use are one step.
    pub(in crate::middleware) fn release_and_wait(&mut self) -> Option<AckWait> {
        let position = self.release();
        (position != 0).then(|| self.node().acknowledged(position, self.app.ack))
    }

    /// Ships what has been written, and uses the sessions no more. Returns as [`RequestSession::commit`] does.
    fn release(&mut self) -> u64 {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        *self.head_sent.get_mut() = true;
        if std::mem::replace(&mut state.released, true) {
            return 0;
        }
        let keys = state.keys();
        let (node, replicate) = (self.app.node(), self.replicate);
        keys.map(|key| node.release(&key, replicate))
            .max()
            .unwrap_or(0)
    }

    /// Ships what has been written so far. Returns the log position to wait for, 0 for none.
    pub(in crate::middleware) fn commit(&self) -> u64 {
        let keys = self.state().keys();
        keys.map(|key| self.node().commit(&key)).max().unwrap_or(0)
    }

    /// The `Set-Cookie` fields the client needs.
    pub(in crate::middleware) fn set_cookies(&self) -> impl Iterator<Item = HeaderValue> {
        self.id_cookie().into_iter().chain(self.seen_cookie())
    }

    /// How long a cookie of the session shall last; `Some(None)` is until the browser closes, `None`
    /// that the session is gone.
    pub(in crate::middleware) fn max_age(&self, key: &SessionKey) -> Option<Option<Duration>> {
        let now_ms = self.node().now().mono_ms;
        let remaining = |state: &SessionState| lifetime::remaining_ms(state, now_ms);
        let remaining_ms = self.node().read(key, remaining).ok()?;
        Some(self.app.cookie.max_age(remaining_ms))
    }

    fn id_cookie(&self) -> Option<HeaderValue> {
        let state = self.state();
        match (state.cookie, &state.phase) {
            (CookieAction::Removal, _) => Some(self.app.cookie.removal()),
            (CookieAction::Id, Phase::Held { cookie, .. }) => self.announcement(cookie),
            (CookieAction::Id | CookieAction::Nothing, _) => None,
        }
    }

    /// `None` when the id has been destroyed or replaced meanwhile: the client gets, or has, a
    /// better one from another response, and must not lose it to ours.
    fn announcement(&self, cookie: &CookieValue) -> Option<HeaderValue> {
        let now = self.node().now();
        let hash = cookie.secret.hash();
        let described = self.node().read(&cookie.locator, |state| {
            let alive = state.secrets().presented(&hash, now) == Access::Alive;
            alive.then(|| {
                (
                    Arc::clone(state.meta()),
                    lifetime::remaining_ms(state, now.mono_ms),
                )
            })
        });
        let (meta, remaining_ms) = described.ok().flatten()?;
        let max_age = self.app.cookie.max_age(remaining_ms);
        let value = self.app.cookie.seal(cookie, meta.route.as_ref());
        Some(self.app.cookie.set(value, max_age))
    }
}

/// Ends the use of the sessions. What was written has been shipped by [`RequestSession::commit_at_head`], and behind
/// that write by write, unless the inner service panicked before it returned its future.
impl Drop for RequestSession {
    fn drop(&mut self) {
        self.release();
    }
}
