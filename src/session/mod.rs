//! The words of the crate: what a session is, how two copies of it merge, and what travels between
//! nodes. Pure: no clock, no randomness, no I/O; `Now` and random bytes are arguments.
//!
//! A session is a join-semilattice. Its key never changes, everything else in it is a register, a
//! counter or an absorbing mark, so copies can meet in any order and end equal.

mod attribute;
mod error;
mod id;
mod item;
#[cfg(test)]
mod laws;
mod merge;
mod mutant;
mod secrets;
mod stamp;
mod state;
mod token;
mod version;

pub(crate) use self::{
    attribute::{Content, Count, Counter, MAX_NAME_LENGTH, Slot, WrongKind, counts_are_sorted},
    id::{CookieValue, Locator, Secret, SecretHash},
    item::{AtRest, CreatedMs, Delta, Extent, Item, Tombstone},
    mutant::Mutant,
    secrets::{Presented, SecretState, Secrets},
    stamp::{BootId, Horizon, KEPT_ORIGINS, Now, Origin, Stamp, Tag, Vector},
    state::{Birth, MAX_CONTEXT_LENGTH, SLOT_OVERHEAD, SessionParts, SessionState},
    token::{Token, TokenKey},
    version::{destroyed_version, live_version},
};
pub use self::{
    error::SessionError,
    id::{InvalidRoute, Route},
};
