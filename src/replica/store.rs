//! The sessions of a node in locked shards.

use std::sync::Arc;

use super::change::Change;
use crate::{
    config::Expiry,
    session::{Birth, Locator, Now, Secret, SecretHash, SessionError, SessionState, Tag},
};

#[derive(Debug)]
pub(crate) struct Store {}

/// What became of the session id a request presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Alive, and from now on counted as in use until [`Store::release`].
    Alive,
    /// The secret was replaced less than a minute ago.
    Superseded,
    /// Not held here, destroyed, of another context, or with a wrong secret. `held` tells whether
    /// the locator is known (then no peer needs to be asked).
    Unknown { held: bool },
}

/// Whether a write goes out with its request, or waits for the session's next commit (filtered
/// requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shipping {
    Now,
    Later,
}

impl Store {
    pub(crate) fn open(
        &self,
        _context: &str,
        _key: &Locator,
        _secret: &Secret,
        _now: Now,
    ) -> Opened {
        todo!()
    }

    /// Records use (in memory; commit ships it if it is worth telling).
    pub(crate) fn touch(&self, _key: &Locator, _now: Now) {
        todo!()
    }

    /// One holder less: a request or handle that opened or created the session is done.
    pub(crate) fn release(&self, _key: &Locator, _now: Now) {
        todo!()
    }

    /// Creates a session, in use until released.
    pub(crate) fn create(
        &self,
        _birth: Arc<Birth>,
        _key: Locator,
        _secret: SecretHash,
        _now: Now,
    ) -> Result<(), SessionError> {
        todo!()
    }

    /// `Err(Destroyed)` when the session is no longer there.
    pub(crate) fn read<R>(
        &self,
        _key: &Locator,
        _read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        todo!()
    }

    /// Runs `write` under the shard's lock: keep it short and do not use the store inside.
    pub(crate) fn write<R>(
        &self,
        _key: &Locator,
        _shipping: Shipping,
        _now: Now,
        _write: impl FnOnce(&mut Writer<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        todo!()
    }

    /// Whether it was there to be destroyed.
    pub(crate) fn destroy(&self, _key: &Locator, _now: Now) -> Option<Change> {
        todo!()
    }

    /// Keys of live sessions for which `pick` holds.
    pub(crate) fn select(&self, _pick: impl FnMut(&SessionState) -> bool) -> Vec<Locator> {
        todo!()
    }

    /// Live sessions held.
    pub(crate) fn sessions(&self) -> usize {
        todo!()
    }

    /// Remembered destroyed sessions.
    pub(crate) fn tombstones(&self) -> usize {
        todo!()
    }
}

/// A session open for writing. Each change takes a stamp of its own; limits are checked before
/// anything changes.
pub(crate) struct Writer<'a> {
    _state: &'a mut SessionState,
}

impl Writer<'_> {
    pub(crate) fn state(&self) -> &SessionState {
        todo!()
    }

    /// The tag of a register, for compare-and-set; `None` for a name never used.
    pub(crate) fn tag(&self, _name: &str) -> Option<Tag> {
        todo!()
    }

    pub(crate) fn set(&mut self, _name: &str, _value: Arc<[u8]>) -> Result<(), SessionError> {
        todo!()
    }

    /// Removes an attribute or counter; whether it was there.
    pub(crate) fn remove(&mut self, _name: &str) -> Result<bool, SessionError> {
        todo!()
    }

    /// The counter's new value.
    pub(crate) fn add(&mut self, _name: &str, _by: i64) -> Result<i64, SessionError> {
        todo!()
    }

    pub(crate) fn set_expiry(&mut self, _expiry: Expiry) -> Result<(), SessionError> {
        todo!()
    }

    /// Makes `secret` the only one that opens the session.
    pub(crate) fn cycle(&mut self, _secret: SecretHash) -> Result<(), SessionError> {
        todo!()
    }
}
