//! Read your writes: what the client says it has written, and what it is told to say.

use std::sync::atomic::Ordering;

use http::{HeaderName, HeaderValue, header::SET_COOKIE};

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
    /// Waits until this node has what the client says it has written, within bounds.
    ///
    /// It comes before the session is opened, because the write may have created it or given it
    /// another secret.
    pub(crate) async fn await_writes(&self) {
        if self.config.token_key.is_none() {
            return;
        }
        let behind: Vec<(SessionKey, Token)> = self
            .cookies
            .candidates(&self.config.cookie)
            .map(|candidate| candidate.cookie.key)
            .filter_map(|key| Some((key, self.client_token(&key)?)))
            .filter(|(key, token)| self.node().missing(key, token) != Missing::Nothing)
            .collect();
        let waits = behind
            .iter()
            .map(|(key, token)| self.node().await_writes(*key, token));
        join_all(waits).await;
    }

    /// Returns the `Set-Cookie` field that tells the client what it has written, or that there is
    /// nothing any more.
    pub(crate) fn token_cookie(&self) -> Option<(HeaderName, HeaderValue)> {
        let token_key = self.config.token_key.as_ref()?;
        let state = self.state();
        match (state.cookie, &state.phase) {
            (CookieAction::Removal, _) => self
                .cookies
                .has_token(&self.config.cookie)
                .then(|| (SET_COOKIE, self.config.cookie.token_removal())),
            (_, Phase::Held { key, .. }) if self.changed.load(Ordering::Relaxed) => {
                let token = self.client_token(key).unwrap_or_default();
                let mut token = self.node().without_lost_writes(key, token);
                token.add(self.node().replica().last_logged(key)?);
                let now = self.node().now();
                let end = self.node().read(key, |state| self.cookie_end(state, now));
                let value = token_key.sign(key, &token);
                Some((SET_COOKIE, self.config.cookie.set_token(value, end.ok()?)))
            }
            _ => None,
        }
    }

    /// Returns what the client says it has written to a session, as far as a node has signed it.
    fn client_token(&self, key: &SessionKey) -> Option<Token> {
        let token_key = self.config.token_key.as_ref()?;
        let valid = self
            .cookies
            .tokens(&self.config.cookie)
            .filter_map(|text| token_key.verify(key, text));
        valid.reduce(|mut all, other| {
            all.merge(&other);
            all
        })
    }
}
