//! The end of a request: its writes are committed, acknowledged, and told to the client.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY},
};

use super::{
    RequestSession, lifetime,
    state::{CookieAction, Phase},
};
use crate::{
    middleware::{cookie::CookieEnd, transport::HeaderTransport},
    node::CommitWait,
    session::{Access, CookieValue, Now, SessionState},
    wire::Position,
};

impl RequestSession {
    /// Commits what has been written, before the response head leaves. Returns the log position
    /// that the response must wait for, if any.
    ///
    /// From now on no cookie can be sent, and each write is a commit of its own.
    pub(crate) fn commit_at_head(&self) -> Option<Position> {
        if self.has_sent_head() {
            return None;
        }
        let state = self.state();
        // Set before committing: a parallel write either is in the commit or sees the flag.
        let was_sent = self.head_sent.swap(true, Ordering::AcqRel);
        drop(state);
        match was_sent {
            true => None,
            false => self.commit(),
        }
    }

    /// [Commits](Self::commit_at_head), and returns the wait for peers that the layer's options ask
    /// for.
    pub(crate) fn commit_and_wait(&self) -> Option<CommitWait> {
        let position = self.commit_at_head()?;
        Some(CommitWait::new(self.node(), position, self.config.ack))
    }

    /// [Releases](Self::release) the sessions of a request of which nobody has a handle any more.
    /// Returns the wait for peers that the layer's options ask for.
    ///
    /// The commit and the end of use are one step then.
    pub(crate) fn release_and_wait(&mut self) -> Option<CommitWait> {
        let position = self.release()?;
        Some(CommitWait::new(self.node(), position, self.config.ack))
    }

    /// Commits what has been written, and ends the use of the sessions. Returns the log position to
    /// wait for, if any.
    pub(super) fn release(&mut self) -> Option<Position> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        *self.head_sent.get_mut() = true;
        if std::mem::replace(&mut state.released, true) {
            return None;
        }
        let keys = state.keys();
        let (node, replicate) = (self.config.node(), self.replicate);
        let positions = keys.map(|key| node.release(&key, replicate));
        positions.max().flatten().max(state.ordered)
    }

    /// Commits what has been written so far. Returns the log position to wait for, if any.
    pub(crate) fn commit(&self) -> Option<Position> {
        let state = self.state();
        let (keys, ordered) = (state.keys(), state.ordered);
        drop(state);
        let positions = keys.map(|key| self.node().commit(&key));
        positions.max().flatten().max(ordered)
    }

    /// Adds the `Set-Cookie` fields that the client needs, and says what caches may do.
    pub(crate) fn complete<B>(&self, response: &mut Response<B>) {
        if self.config.cache_headers && !response.status().is_informational() {
            self.restrict_caches(response.headers_mut());
        }
        let headers = response.headers_mut();
        let fields = self.id_field().into_iter().chain(self.token_cookie());
        for (name, value) in fields {
            headers.append(name, value);
            // A shared cache that kept this response would hand the session to everybody.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }

    /// Keeps a shared cache from giving one client's page to another.
    ///
    /// A page that looked for a session depends on the cookie, whether there was one or not. A page
    /// that found one belongs to its client.
    fn restrict_caches(&self, headers: &mut HeaderMap) {
        let state = self.state();
        let has_ended = !state.destroyed.is_empty();
        let has_found = match state.phase {
            Phase::Unread => return,
            Phase::Absent => has_ended,
            Phase::Superseded | Phase::Held { .. } => true,
        };
        drop(state);
        if has_found && let Entry::Vacant(entry) = headers.entry(CACHE_CONTROL) {
            entry.insert(HeaderValue::from_static("private, no-cache"));
        }
        let header = self.config.header.as_ref();
        if header.is_none_or(HeaderTransport::allows_cookie) {
            vary_by(headers, "cookie", HeaderValue::from_static("Cookie"));
        }
        if let Some(name) = header.map(HeaderTransport::request) {
            vary_by(headers, name.as_str(), name.clone().into());
        }
    }

    /// Returns when the client's cookies end; `None` with the browser.
    pub(crate) fn cookie_end(&self, state: &SessionState, now: Now) -> Option<CookieEnd> {
        self.is_persistent_in(state)
            .then(|| lifetime::cookie_end(state, now))
    }

    /// Returns the field that tells the client its id, or that it has none any more.
    fn id_field(&self) -> Option<(HeaderName, HeaderValue)> {
        let by_header = self.config.header.as_ref();
        let by_header = by_header.filter(|_| self.cookies.is_by_header());
        let state = self.state();
        let announced = match (state.cookie, &state.phase) {
            (CookieAction::Removal, _) => None,
            (CookieAction::Id, Phase::Held { key, secret, .. }) => {
                let (key, secret) = (*key, secret.clone()?);
                Some(self.announced(&CookieValue { key, secret })?)
            }
            (CookieAction::Id | CookieAction::Nothing, _) => return None,
        };
        Some(match by_header {
            Some(header) => {
                let value = announced.map(|(value, _)| value).unwrap_or_default();
                (header.answer().clone(), HeaderTransport::field(value))
            }
            None => {
                let cookie = &self.config.cookie;
                let removal = || cookie.removal();
                let field = announced.map_or_else(removal, |(value, end)| cookie.set(value, end));
                (SET_COOKIE, field)
            }
        })
    }

    /// Returns the text that opens the session that is held, and when its cookie ends.
    ///
    /// It is `None` when the id has been destroyed or replaced meanwhile. The client then gets, or
    /// has, a better one from another response, and must not lose it to ours.
    fn announced(&self, cookie: &CookieValue) -> Option<(String, Option<CookieEnd>)> {
        let now = self.node().now();
        let hash = cookie.secret.hash();
        let described = self.node().read(&cookie.key, |state| {
            let alive = state.secrets().presented(&hash, now) == Access::Alive;
            alive.then(|| (Arc::clone(state.meta()), self.cookie_end(state, now)))
        });
        let (meta, end) = described.ok().flatten()?;
        let value = self.config.cookie.seal(cookie, meta.route.as_ref());
        Some((value, end))
    }
}

/// Says that a response depends on a field of the request, unless it says so.
fn vary_by(headers: &mut HeaderMap, name: &str, field: HeaderValue) {
    let says_so = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|held| {
            let held = held.trim_ascii();
            held == b"*" || held.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    if !headers.get_all(VARY).iter().any(says_so) {
        headers.append(VARY, field);
    }
}

/// Ends the use of the sessions.
///
/// What was written has been committed by [`RequestSession::commit_at_head`], and after that write
/// by write, unless the inner service panicked before it returned its future.
impl Drop for RequestSession {
    fn drop(&mut self) {
        self.release();
    }
}
