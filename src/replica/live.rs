//! A session in use, and what is left of a destroyed one.

use std::sync::Arc;

use super::{
    change::{Change, What},
    log::{Log, Position},
    store::Shipping,
};
use crate::session::{
    Birth, Locator, Mutant, Now, Origin, SessionState, Stamp, Tombstone, live_version,
};

/// A session and what only this node knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) state: SessionState,
    /// Who this node is when it writes this session.
    pub(super) own: Origin,
    /// Our stamp in the session at the last record appended for it.
    pub(super) logged: Stamp,
    /// The latest of our stamps that another origin has beaten, or that we forgot.
    pub(super) lost: Stamp,
    /// Our last write in the session.
    pub(super) written: Stamp,
    /// The last record of a write, for those who wait.
    pub(super) position: Position,
    /// Writes since the last record that go out with the next commit.
    pub(super) dirty: bool,
    /// Use since the last record that peers should hear of.
    pub(super) touched: bool,
    /// Requests and handles that use the session now.
    pub(super) holders: u32,
    /// Monotonic milliseconds of the last use here, told to peers coalesced.
    pub(super) used_ms: u64,
    /// Monotonic milliseconds of the last change here, by us or by a peer.
    pub(super) changed_ms: u64,
}

/// A destroyed session.
#[derive(Debug)]
pub(super) struct Grave {
    pub(super) tombstone: Tombstone,
    pub(super) position: Position,
    pub(super) dirty: bool,
    /// The tick at which it is looked at again.
    pub(super) due: u64,
}

impl Live {
    /// A session that this node takes in as `own` and has not written yet.
    pub(super) const fn new(state: SessionState, own: Origin, now_ms: u64) -> Self {
        Self {
            own,
            logged: Stamp::ZERO,
            lost: Stamp::ZERO,
            written: Stamp::ZERO,
            position: 0,
            dirty: false,
            touched: false,
            holders: 0,
            used_ms: state.accessed_ms(),
            changed_ms: now_ms,
            state,
        }
    }

    pub(super) fn version(&self, key: &Locator) -> u64 {
        let version = live_version(key, self.state.vector(), self.state.access());
        if Mutant::InstantInVersion.is_on() {
            return version ^ self.state.accessed_ms();
        }
        version
    }

    /// Whether another origin has beaten one of our writes after `since`, so that a delta from there
    /// would claim what it does not hold.
    pub(super) fn claims_beaten_writes(&self, since: Stamp) -> bool {
        self.lost > since && !Mutant::ClaimBeatenWrites.is_on()
    }

    /// One holder less. Whether use worth telling was noted, which changes the session.
    pub(super) fn release(&mut self, shipping: Shipping, now: Now) -> bool {
        self.holders = self.holders.saturating_sub(1);
        shipping == Shipping::Now && self.use_at(now)
    }

    /// Appends a record of what has not been shipped, if anything. Returns the position whose
    /// acknowledgement covers every change made here, 0 for none.
    pub(super) fn commit(&mut self, key: &Locator, log: &Log, now: Now) -> Position {
        if self.dirty || self.touched {
            let position = log.append(*key, self.logged, self.touched, now);
            self.logged = self.state.vector().of(self.own);
            if self.dirty {
                self.position = position;
            }
            self.dirty = false;
            self.touched = false;
        }
        self.position
    }

    pub(super) fn change(&self, key: &Locator, what: What) -> Change {
        Change::of(key, self.state.birth(), what)
    }
}

impl Change {
    pub(super) fn of(key: &Locator, birth: &Birth, what: What) -> Self {
        Self {
            key: *key,
            context: Arc::clone(&birth.context),
            route: birth.route.clone(),
            what,
        }
    }
}
