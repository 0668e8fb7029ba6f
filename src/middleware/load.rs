//! How a request comes to its session.

use std::sync::atomic::Ordering;

use super::{
    lifetime,
    state::{Found, Outgoing, Phase},
    visit::Visit,
};
use crate::{
    replica::Opened,
    session::{CookieValue, Locator},
};

impl Visit {
    /// Finds the session the client presents, if it lives here or, during a state transfer or after
    /// a pause of this process, at a peer. Dropping this leaves the visit as it was.
    pub(super) async fn load(&self) {
        // A session that one peer has sent already may lack what another one was told meanwhile.
        let is_first = matches!(self.state().phase, Phase::Unread);
        if is_first && (self.node().may_be_behind() || self.node().awaits_transfer()) {
            self.node().catch_up_on(self.presented_keys()).await;
        }
        self.catch_up().await;
        let now_ms = self.node().now().mono_ms;
        self.loaded_ms.store(now_ms, Ordering::Relaxed);
        self.open_presented();
        self.settle();
    }

    /// Opens the first living session among those the client presents.
    fn open_presented(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Held { .. } | Phase::Absent) {
            return;
        }
        for candidate in self.presented.candidates(&self.app.cookie) {
            let cookie = candidate.cookie;
            let renewal = match candidate.is_outdated {
                true => Outgoing::Id,
                false => self.renewal(&cookie),
            };
            match self.open(&cookie) {
                Opened::Alive => {
                    state.cookie = renewal;
                    let origin = Found::Presented;
                    state.phase = Phase::Held { cookie, origin };
                    return;
                }
                Opened::Superseded => state.phase = Phase::Superseded,
                Opened::Unknown => {}
            }
        }
    }

    fn presented_keys(&self) -> Vec<Locator> {
        let candidates = self.presented.candidates(&self.app.cookie);
        candidates
            .map(|candidate| candidate.cookie.locator)
            .collect()
    }

    fn open(&self, cookie: &CookieValue) -> Opened {
        self.node().open(self.app.context(), cookie, self.shipping)
    }

    fn settle(&self) {
        let mut state = self.state();
        if let Phase::Unread = state.phase {
            state.phase = Phase::Absent;
        }
    }

    /// Whether a persistent cookie is due for renewal, from the session's use before this request.
    fn renewal(&self, cookie: &CookieValue) -> Outgoing {
        if !self.app.cookie.is_persistent() {
            return Outgoing::Nothing;
        }
        let now_ms = self.node().now().mono_ms;
        match self.node().read(&cookie.locator, |state| {
            lifetime::needs_renewal(state, now_ms)
        }) {
            Ok(true) => Outgoing::Id,
            Ok(false) | Err(_) => Outgoing::Nothing,
        }
    }
}
