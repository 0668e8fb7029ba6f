//! How a request comes to its session.

use futures_util::future::join_all;

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
        if self.node().may_be_behind() {
            self.node().catch_up_on(self.presented_keys()).await;
        }
        self.catch_up().await;
        let missing = self.open_presented();
        if missing.is_empty() || !self.node().awaits_transfer() {
            self.settle();
            return;
        }
        join_all(missing.into_iter().map(|key| self.node().fetch(key))).await;
        self.open_presented();
        self.settle();
    }

    /// Opens the first living session among those the client presents. Returns the ones that are
    /// not held here, which is nothing when one was found.
    fn open_presented(&self) -> Vec<Locator> {
        let mut state = self.state();
        let mut missing = Vec::new();
        if matches!(state.phase, Phase::Held { .. } | Phase::Absent) {
            return missing;
        }
        for cookie in self.presented.candidates(&self.app.cookie) {
            let renewal = self.renewal(&cookie);
            match self.open(&cookie) {
                Opened::Alive => {
                    state.cookie = renewal;
                    let origin = Found::Presented;
                    state.phase = Phase::Held { cookie, origin };
                    return Vec::new();
                }
                Opened::Superseded => state.phase = Phase::Superseded,
                Opened::Unknown { held: false } => missing.push(cookie.locator),
                Opened::Unknown { held: true } => {}
            }
        }
        missing
    }

    fn presented_keys(&self) -> Vec<Locator> {
        let candidates = self.presented.candidates(&self.app.cookie);
        candidates.map(|cookie| cookie.locator).collect()
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
