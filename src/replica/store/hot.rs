//! Hot sessions, and the tombstones of destroyed ones.

use std::sync::Arc;

use super::index::Place;
use crate::replica::{
    change::{Change, ChangeKind},
    log::{Log, Record},
};
use crate::{
    session::{Mutant, Now, Origin, SessionKey, SessionMeta, SessionState, Stamp, Tombstone},
    wire::Position,
};

/// A session in fields that are quick to change, and what only this node knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HotSession {
    pub(crate) state: SessionState,
    /// Who this node is when it writes this session.
    pub(crate) own: Origin,
    /// Our stamp in the session at the last record appended for it.
    pub(crate) logged: Stamp,
    /// The latest of our stamps that another origin has beaten, or that we forgot.
    pub(crate) lost: Stamp,
    /// Our last write in the session.
    pub(crate) written: Stamp,
    /// The last record of a write, for those who wait.
    pub(crate) position: Option<Position>,
    /// Writes since the last record that go out with the next commit.
    pub(crate) dirty: bool,
    /// Use since the last record that peers should hear of.
    pub(crate) touched: bool,
    /// How many requests and handles use the session now.
    pub(crate) pins: u32,
    /// Monotonic milliseconds of the last use here, told to peers coalesced.
    pub(crate) used_ms: u64,
    /// Monotonic milliseconds of the last change here, by us or by a peer.
    pub(crate) changed_ms: u64,
    /// Bytes of memory, as they were counted last.
    pub(crate) memory: usize,
    /// The idle limit of this node as long as the session is unconfirmed.
    pub(crate) unconfirmed_ms: u64,
    /// What the index has of the session, one place for each path.
    pub(super) places: Box<[Place]>,
}

/// A tombstone, and what only this node knows of it.
#[derive(Debug)]
pub(crate) struct TombstoneEntry {
    pub(crate) tombstone: Tombstone,
    pub(crate) position: Option<Position>,
    pub(crate) dirty: bool,
}

/// The time at which a request's writes and use go out: with the request, or with the session's
/// next commit (filtered requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replicate {
    Now,
    Deferred,
}

impl HotSession {
    /// Returns a session that this node takes in as `own` and has not written yet.
    pub(crate) fn new(state: SessionState, own: Origin, unconfirmed_ms: u64, now_ms: u64) -> Self {
        Self {
            unconfirmed_ms,
            memory: memory(&state),
            own,
            logged: Stamp::ZERO,
            lost: Stamp::ZERO,
            written: Stamp::ZERO,
            position: None,
            dirty: false,
            touched: false,
            pins: 0,
            used_ms: state.accessed_ms(),
            changed_ms: now_ms,
            places: Box::default(),
            state,
        }
    }

    /// Counts the bytes of memory again.
    pub(crate) fn measure(&mut self) {
        self.memory = memory(&self.state) + size_of_val(&*self.places);
    }

    /// Notes what the index has of the session from now on.
    pub(super) fn set_places(&mut self, places: Box<[Place]>) {
        self.memory += size_of_val(&*places);
        self.places = places;
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn version(&self, key: &SessionKey) -> u64 {
        let version = self.state.version(key);
        if Mutant::InstantInVersion.is_on() {
            return version ^ self.state.accessed_ms();
        }
        version
    }

    /// Returns whether another origin has beaten one of our writes after `since`, so that a delta
    /// from there would claim what it does not hold.
    pub(crate) fn claims_beaten_writes(&self, since: Stamp) -> bool {
        self.lost > since && !Mutant::ClaimBeatenWrites.is_on()
    }

    /// Drops one pin. Returns whether use worth telling was noted, which changes the session.
    pub(crate) fn unpin(&mut self, replicate: Replicate, now: Now) -> bool {
        self.pins = self.pins.saturating_sub(1);
        replicate == Replicate::Now && self.use_at(now)
    }

    /// Appends a record of what has not been committed, if anything. Returns the position whose
    /// acknowledgement covers every change made here, if there was any.
    pub(crate) fn commit(&mut self, key: &SessionKey, log: &Log, now: Now) -> Option<Position> {
        if self.dirty || self.touched {
            let position = log.append(Record {
                key: *key,
                prev: self.logged,
                touch: self.touched,
                at_ms: now.mono_ms,
            });
            self.logged = self.state.vector().of(self.own);
            if self.dirty {
                self.position = Some(position);
            }
            self.dirty = false;
            self.touched = false;
        }
        self.position
    }

    /// Returns whether nothing has happened to the session for so long that it had better be
    /// packed.
    pub(crate) fn is_idle(&self, now: Now) -> bool {
        let last_ms = self.last_use_ms().max(self.changed_ms);
        now.mono_ms.saturating_sub(last_ms) >= IDLE_MS
    }

    pub(crate) fn change(&self, key: &SessionKey, kind: ChangeKind) -> Change {
        Change::of(key, self.state.meta(), kind)
    }
}

impl Change {
    pub(crate) fn of(key: &SessionKey, meta: &SessionMeta, kind: ChangeKind) -> Self {
        Self {
            key: *key,
            context: Arc::clone(&meta.context),
            route: meta.route.clone(),
            kind,
        }
    }
}

/// Returns the bytes of memory of a hot session, with its place in the queue of idle ones.
pub(crate) fn memory(state: &SessionState) -> usize {
    const BESIDE: usize = size_of::<HotSession>() - size_of::<SessionState>();
    // The queue grows by doubling.
    const QUEUED: usize = size_of::<(u64, SessionKey)>() / 2 * 3;
    state.memory() + BESIDE + QUEUED
}

/// The time within which the delta of a change arrives, as a rule. Most rounds of repair leave the
/// session out until it is over.
pub(crate) const UNDER_WAY_MS: u64 = 1000;
/// The time for which a session stays hot after its last use. A cold session does not know when it
/// changed, so it must not be less than that of a change under way.
pub(crate) const IDLE_MS: u64 = UNDER_WAY_MS;
