//! What requests do to sessions: the store's operations with clock, randomness, log and events.

use std::sync::Arc;

use super::Node;
use crate::{
    replica::{Opened, Shipping, Writer},
    session::{Birth, CookieValue, Locator, Secret, SessionError, SessionState},
};

impl Node {
    /// Looks a presented id up; `Alive` counts as in use until [`Node::release`].
    pub(crate) fn open(&self, _context: &str, _cookie: &CookieValue) -> Opened {
        todo!()
    }

    /// Creates a session, in use until [`Node::release`], to be shipped by [`Node::commit`].
    pub(crate) fn create(&self, _birth: Arc<Birth>) -> Result<CookieValue, SessionError> {
        todo!()
    }

    pub(crate) fn read<R>(
        &self,
        _key: &Locator,
        _read: impl FnOnce(&SessionState) -> R,
    ) -> Result<R, SessionError> {
        todo!()
    }

    pub(crate) fn write<R>(
        &self,
        _key: &Locator,
        _shipping: Shipping,
        _write: impl FnOnce(&mut Writer<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        todo!()
    }

    /// Replaces the secret; the old one is dead at once, here, and everywhere once committed.
    pub(crate) fn cycle(&self, _key: &Locator) -> Result<Secret, SessionError> {
        todo!()
    }

    /// `Err(Destroyed)` when somebody else was first.
    pub(crate) fn destroy(&self, _key: &Locator) -> Result<(), SessionError> {
        todo!()
    }

    /// Ships the session's changes. Returns the log position to wait for, 0 for none.
    pub(crate) fn commit(&self, _key: &Locator) -> u64 {
        todo!()
    }

    pub(crate) fn release(&self, _key: &Locator) {
        todo!()
    }
}
