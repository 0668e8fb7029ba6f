//! The way of a request to its session.

use std::sync::atomic::Ordering;

use super::{
    RequestSession, lifetime,
    state::{CookieAction, Phase, SessionSource},
};
use crate::session::{Access, CookieValue, Now, SessionKey, SessionState};

impl RequestSession {
    /// Finds the session of the client's cookies, if it lives here.
    ///
    /// During a state transfer or after a stall of this process, peers are asked for it. Dropping
    /// the future leaves the request as it was.
    pub(crate) async fn load(&self) {
        let mut now = self.node().now();
        if self.may_have_to_wait(now) && matches!(self.state().phase, Phase::Unread) {
            // On the heap, because it is rare, and each request would have to carry its size.
            Box::pin(self.wait(now)).await;
            now = self.node().now();
        }
        self.loaded_ms.store(now.mono_ms, Ordering::Relaxed);
        self.open_first_alive(now);
    }

    fn may_have_to_wait(&self, now: Now) -> bool {
        self.node().lacks_peers(now) || self.config.token_key.is_some()
    }

    /// Waits for peers, within bounds.
    async fn wait(&self, now: Now) {
        if self.node().lacks_peers(now) {
            self.node().recover_sessions(self.cookie_keys()).await;
        }
        self.await_writes().await;
    }

    /// Opens the first session among those of the client's cookies that is alive.
    fn open_first_alive(&self, now: Now) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Held { .. } | Phase::Absent) {
            return;
        }
        for presented in self.cookies.presented(&self.config.cookie) {
            let Some(candidate) = presented else {
                self.node().note_unreadable_id();
                continue;
            };
            let cookie = candidate.cookie;
            let mut needs_cookie = candidate.is_outdated;
            let look = |session: &SessionState| {
                needs_cookie |=
                    self.is_persistent_in(session) && lifetime::needs_renewal(session, now);
            };
            match self.open(&cookie, now, look) {
                Access::Alive => {
                    if needs_cookie {
                        state.cookie = CookieAction::Id;
                    }
                    let source = SessionSource::Found;
                    state.phase = Phase::held(cookie, source);
                    return;
                }
                Access::Superseded => state.phase = Phase::Superseded,
                Access::Replaced | Access::Forged | Access::Unknown => {}
            }
        }
        if let Phase::Unread = state.phase {
            state.phase = Phase::Absent;
        }
    }

    pub(crate) fn cookie_keys(&self) -> Vec<SessionKey> {
        let candidates = self.cookies.candidates(&self.config.cookie);
        candidates.map(|candidate| candidate.cookie.key).collect()
    }

    pub(crate) fn open(
        &self,
        cookie: &CookieValue,
        now: Now,
        look: impl FnOnce(&SessionState),
    ) -> Access {
        let context = self.config.context();
        self.node().open(context, cookie, self.replicate, now, look)
    }
}
