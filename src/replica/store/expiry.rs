//! When a session is looked at, told of, and dropped. Local and silent: no message, no tombstone.

use super::hot::HotSession;
use crate::{
    config::Expiry,
    session::{Now, SessionState},
};

/// What to do with a session whose time to be looked at has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum Verdict {
    Drop,
    /// A request still uses it: tell the peers.
    Touch,
    /// Look again at this instant.
    Later(u64),
}

impl HotSession {
    pub(in crate::replica) const fn last_use_ms(&self) -> u64 {
        if self.used_ms > self.state.accessed_ms() {
            self.used_ms
        } else {
            self.state.accessed_ms()
        }
    }

    /// Whether a request may still find the session.
    pub(in crate::replica) fn is_open(&self, now: Now) -> bool {
        let expiry = self.state.expiry();
        !is_too_old(&self.state, now)
            && expiry.idle_ms().is_none_or(|idle| {
                self.pins > 0 || now.mono_ms < self.last_use_ms() + idle + slack_ms(idle)
            })
    }

    /// The instant to look at the session, `u64::MAX` for never.
    pub(in crate::replica) fn next_check(&self) -> u64 {
        let expiry = self.state.expiry();
        let absolute = absolute_end(&self.state, expiry);
        let idle = expiry
            .idle_ms()
            .map_or(u64::MAX, |idle| self.last_use_ms().saturating_add(idle));
        absolute.min(idle)
    }

    pub(in crate::replica) fn verdict(&self, now: Now) -> Verdict {
        let expiry = self.state.expiry();
        let in_use = self.pins > 0;
        let too_old = is_too_old(&self.state, now);
        if too_old && !in_use {
            return Verdict::Drop;
        }
        let Some(idle) = expiry.idle_ms() else {
            return Verdict::Later(self.soon(now, too_old));
        };
        let idle_at = self.last_use_ms().saturating_add(idle);
        if now.mono_ms < idle_at {
            return Verdict::Later(self.soon(now, too_old).min(idle_at));
        }
        if in_use {
            return Verdict::Touch;
        }
        let end = idle_at.saturating_add(slack_ms(idle));
        if now.mono_ms >= end {
            Verdict::Drop
        } else {
            Verdict::Later(end)
        }
    }

    /// A session too old but in use is looked at every second until it is released.
    fn soon(&self, now: Now, too_old: bool) -> u64 {
        if too_old {
            now.mono_ms + 1000
        } else {
            absolute_end(&self.state, self.state.expiry())
        }
    }

    /// Records use here; whether it is worth telling the peers.
    pub(in crate::replica) fn use_at(&mut self, now: Now) -> bool {
        self.used_ms = self.used_ms.max(now.mono_ms);
        let Some(idle) = self.state.expiry().idle_ms() else {
            return false;
        };
        let quiet = now.mono_ms.saturating_sub(self.state.accessed_ms());
        let worth = quiet > 0 && quiet >= touch_interval_ms(idle);
        if worth {
            self.state.touch(now);
            self.touched = true;
        }
        worth
    }
}

/// From its idle limit on a copy is neither offered to peers nor taken from them as new.
pub(in crate::replica) fn is_stale(state: &SessionState, now: Now) -> bool {
    now.mono_ms >= stale_ms(state)
}

/// The instant of that limit.
pub(in crate::replica) fn stale_ms(state: &SessionState) -> u64 {
    end_ms(state.expiry(), state.created_ms(), state.accessed_ms())
}

/// The instant at which a session reaches one of its limits, if it is not used until then.
pub(in crate::replica) fn end_ms(expiry: Expiry, created_ms: u64, accessed_ms: u64) -> u64 {
    let end = |limit: Option<u64>, from_ms: u64| {
        limit.map_or(u64::MAX, |limit| from_ms.saturating_add(limit))
    };
    let idle = end(expiry.idle_ms(), accessed_ms);
    idle.min(end(expiry.absolute_ms(), created_ms))
}

fn is_too_old(state: &SessionState, now: Now) -> bool {
    now.mono_ms >= absolute_end(state, state.expiry())
}

fn absolute_end(state: &SessionState, expiry: Expiry) -> u64 {
    expiry
        .absolute_ms()
        .map_or(u64::MAX, |limit| state.created_ms().saturating_add(limit))
}

/// Nodes tell each other of use at most this often: a twentieth of the limit, 60 s at most.
const fn touch_interval_ms(idle_ms: u64) -> u64 {
    let twentieth = idle_ms / 20;
    if twentieth < 60_000 {
        twentieth
    } else {
        60_000
    }
}

/// How much longer than its limit a copy is kept: use elsewhere may not have been told yet, plus
/// two seconds for links and sweeps.
const fn slack_ms(idle_ms: u64) -> u64 {
    touch_interval_ms(idle_ms) + 2_000
}
