//! The instants at which a session is looked at, told of, and dropped. Expiry is local and silent:
//! no message, no tombstone.

use super::hot::HotSession;
use crate::{
    config::Expiry,
    session::{Now, SessionState, Stamp},
};

/// The instants at which a session reaches its limits if it is not used until then, `u64::MAX` for
/// never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadlines {
    idle_ms: u64,
    absolute_ms: u64,
}

/// The verdict on a session whose time to be looked at has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    /// A request still uses it: tell the peers.
    Touch,
    /// Look again at this instant.
    Later(u64),
}

impl Deadlines {
    fn new(expiry: Expiry, created_ms: u64, last_use_ms: u64) -> Self {
        let end = |limit: Option<u64>, from_ms: u64| {
            limit.map_or(u64::MAX, |limit| from_ms.saturating_add(limit))
        };
        Self {
            idle_ms: end(expiry.idle_ms(), last_use_ms),
            absolute_ms: end(expiry.absolute_ms(), created_ms),
        }
    }

    fn first_ms(self) -> u64 {
        self.idle_ms.min(self.absolute_ms)
    }
}

impl HotSession {
    pub(crate) const fn last_use_ms(&self) -> u64 {
        if self.used_ms > self.state.accessed_ms() {
            self.used_ms
        } else {
            self.state.accessed_ms()
        }
    }

    /// Returns whether a request may still find the session.
    pub(crate) fn is_open(&self, now: Now) -> bool {
        let deadlines = self.deadlines();
        let is_fresh = || match self.expiry().idle_ms() {
            Some(idle) => now.mono_ms < deadlines.idle_ms.saturating_add(slack_ms(idle)),
            None => true,
        };
        now.mono_ms < deadlines.absolute_ms && (self.pins > 0 || is_fresh())
    }

    /// Returns whether nobody has used the session for so long that another node may have dropped its
    /// copy.
    pub(crate) fn may_be_over_elsewhere(&self, now: Now) -> bool {
        let is_old = |idle| now.mono_ms.saturating_add(slack_ms(idle)) >= self.deadlines().idle_ms;
        self.pins == 0 && self.expiry().idle_ms().is_some_and(is_old)
    }

    /// Returns the instant to look at the session, `u64::MAX` for never.
    pub(crate) fn next_check(&self) -> u64 {
        self.deadlines().first_ms()
    }

    pub(crate) fn verdict(&self, now: Now) -> Verdict {
        let deadlines = self.deadlines();
        if now.mono_ms >= deadlines.absolute_ms {
            return Verdict::Drop;
        }
        let Some(idle) = self.expiry().idle_ms() else {
            return Verdict::Later(deadlines.absolute_ms);
        };
        if now.mono_ms < deadlines.idle_ms {
            return Verdict::Later(deadlines.first_ms());
        }
        if self.pins > 0 {
            return Verdict::Touch;
        }
        let end_ms = deadlines.idle_ms.saturating_add(slack_ms(idle));
        if now.mono_ms >= end_ms {
            Verdict::Drop
        } else {
            Verdict::Later(end_ms)
        }
    }

    /// Records use here. Returns whether it is worth telling the peers.
    pub(crate) fn use_at(&mut self, now: Now) -> bool {
        self.used_ms = self.used_ms.max(now.mono_ms);
        // Without a limit use is told, too: a persistent cookie is renewed by it.
        let idle = self.expiry().idle_ms().unwrap_or(u64::MAX);
        let quiet = now.mono_ms.saturating_sub(self.state.accessed_ms());
        let worth = quiet > 0 && quiet >= touch_interval_ms(idle);
        if worth {
            self.state.touch(now);
            self.touched = true;
        }
        worth
    }

    /// Records that a client has come back to the session. Returns whether that is news for the
    /// peers.
    pub(crate) fn confirm(&mut self, now: Now) -> bool {
        let is_news = !self.state.is_confirmed();
        if is_news {
            self.state.confirm(now);
            self.touched = true;
        }
        is_news
    }

    /// Returns the instant from which on the copy is not offered to peers.
    pub(crate) fn stale_ms(&self) -> u64 {
        stale_ms(&self.state, self.unconfirmed_ms)
    }

    /// Returns the limits that hold for the session now.
    pub(crate) fn expiry(&self) -> Expiry {
        limits_at(
            self.state.expiry(),
            self.state.access(),
            self.unconfirmed_ms,
        )
    }

    fn deadlines(&self) -> Deadlines {
        let created_ms = self.state.created_ms();
        Deadlines::new(self.expiry(), created_ms, self.last_use_ms())
    }
}

/// Returns the instant at which a copy is past its limit, from which on it is neither offered to
/// peers nor taken from them as new.
pub(crate) fn stale_ms(state: &SessionState, unconfirmed_ms: u64) -> u64 {
    let expiry = limits_at(state.expiry(), state.access(), unconfirmed_ms);
    end_ms(expiry, state.created_ms(), state.accessed_ms())
}

/// Returns the limits that hold for a session as of its last access: an unconfirmed one has an idle
/// limit of the node.
pub(crate) fn limits_at(expiry: Expiry, access: Stamp, unconfirmed_ms: u64) -> Expiry {
    if access.is_of_visit() || unconfirmed_ms == u64::MAX {
        return expiry;
    }
    let idle_ms = expiry.idle_ms().unwrap_or(u64::MAX).min(unconfirmed_ms);
    Expiry::from_millis(Some(idle_ms), expiry.absolute_ms())
}

/// Returns the instant at which a session reaches the first of its limits, if it is not used until
/// then.
pub(crate) fn end_ms(expiry: Expiry, created_ms: u64, accessed_ms: u64) -> u64 {
    Deadlines::new(expiry, created_ms, accessed_ms).first_ms()
}

/// Returns whether a node drops a session with these limits that nobody has used since.
#[cfg(any(test, feature = "durable"))]
pub(crate) fn is_over(expiry: Expiry, created_ms: u64, accessed_ms: u64, now: Now) -> bool {
    let deadlines = Deadlines::new(expiry, created_ms, accessed_ms);
    let kept_ms = expiry.idle_ms().map_or(0, slack_ms);
    now.mono_ms
        >= deadlines
            .absolute_ms
            .min(deadlines.idle_ms.saturating_add(kept_ms))
}

/// Returns how often nodes tell each other of use at most: a twentieth of the limit, 60 s at most.
const fn touch_interval_ms(idle_ms: u64) -> u64 {
    let twentieth = idle_ms / 20;
    if twentieth < 60_000 {
        twentieth
    } else {
        60_000
    }
}

/// Returns how much longer than its limit a copy is kept: use elsewhere may not have been told yet,
/// plus two seconds for links and sweeps.
pub(crate) const fn slack_ms(idle_ms: u64) -> u64 {
    touch_interval_ms(idle_ms) + 2_000
}
