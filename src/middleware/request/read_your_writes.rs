//! Reading one's own writes: what the client says it has written, and what it is told to say.

use std::sync::atomic::Ordering;

use http::HeaderValue;

use super::{
    RequestSession,
    state::{CookieAction, Phase},
};
use crate::{
    replica::Missing,
    session::{SessionKey, Token},
};
use futures_util::future::join_all;

impl RequestSession {
    /// Waits until this node has what the client says it has written, within bounds. It comes before
    /// the session is opened, because the write may have created it or given it another secret.
    pub(in crate::middleware) async fn await_writes(&self) {
        if self.app.tokens.is_none() {
            return;
        }
        let behind: Vec<(SessionKey, Token)> = self
            .presented
            .candidates(&self.app.cookie)
            .map(|candidate| candidate.cookie.locator)
            .filter_map(|key| Some((key, self.presented_token(&key)?)))
            .filter(|(key, token)| self.node().missing(key, token) != Missing::Nothing)
            .collect();
        let waits = behind
            .iter()
            .map(|(key, token)| self.node().await_writes(*key, token));
        join_all(waits).await;
    }

    /// The `Set-Cookie` field that tells the client what it has written, or that there is nothing
    /// any more.
    pub(in crate::middleware) fn seen_cookie(&self) -> Option<HeaderValue> {
        let tokens = self.app.tokens.as_ref()?;
        let state = self.state();
        match (state.cookie, &state.phase) {
            (CookieAction::Removal, _) => self
                .presented
                .has_seen(&self.app.cookie)
                .then(|| self.app.cookie.seen_removal()),
            (_, Phase::Held { cookie, .. }) if self.changed.load(Ordering::Relaxed) => {
                let key = &cookie.locator;
                let token = self.presented_token(key).unwrap_or_default();
                let mut token = self.node().without_lost_writes(key, token);
                token.add(self.node().replica().last_logged(key)?);
                let max_age = self.max_age(key)?;
                let value = tokens.sign(key, &token);
                Some(self.app.cookie.set_seen(value, max_age))
            }
            _ => None,
        }
    }

    /// What the client says it has written to a session, as far as a node has signed it.
    fn presented_token(&self, key: &SessionKey) -> Option<Token> {
        let tokens = self.app.tokens.as_ref()?;
        let valid = self
            .presented
            .seen(&self.app.cookie)
            .filter_map(|text| tokens.verify(key, text));
        valid.reduce(|mut all, other| {
            all.merge(&other);
            all
        })
    }
}
