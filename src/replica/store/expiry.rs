//! The instants at which a session is looked at, told of, and dropped. Expiry is local and silent:
//! no message, no tombstone.

use super::hot::HotSession;
use crate::{
    config::Expiry,
    session::{Now, SessionState},
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
        let is_fresh = || match self.state.expiry().idle_ms() {
            Some(idle) => now.mono_ms < deadlines.idle_ms.saturating_add(slack_ms(idle)),
            None => true,
        };
        now.mono_ms < deadlines.absolute_ms && (self.pins > 0 || is_fresh())
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
        let Some(idle) = self.state.expiry().idle_ms() else {
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
        let idle = self.state.expiry().idle_ms().unwrap_or(u64::MAX);
        let quiet = now.mono_ms.saturating_sub(self.state.accessed_ms());
        let worth = quiet > 0 && quiet >= touch_interval_ms(idle);
        if worth {
            self.state.touch(now);
            self.touched = true;
        }
        worth
    }

    fn deadlines(&self) -> Deadlines {
        let created_ms = self.state.created_ms();
        Deadlines::new(self.state.expiry(), created_ms, self.last_use_ms())
    }
}

/// Returns whether a copy is past its limit, from which on it is neither offered to peers nor taken
/// from them as new.
pub(crate) fn is_stale(state: &SessionState, now: Now) -> bool {
    now.mono_ms >= stale_ms(state)
}

/// Returns the instant of that limit.
pub(crate) fn stale_ms(state: &SessionState) -> u64 {
    end_ms(state.expiry(), state.created_ms(), state.accessed_ms())
}

/// Returns the instant at which a session reaches the first of its limits, if it is not used until
/// then.
pub(crate) fn end_ms(expiry: Expiry, created_ms: u64, accessed_ms: u64) -> u64 {
    Deadlines::new(expiry, created_ms, accessed_ms).first_ms()
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
const fn slack_ms(idle_ms: u64) -> u64 {
    touch_interval_ms(idle_ms) + 2_000
}
