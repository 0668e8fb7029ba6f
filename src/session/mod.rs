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
    attribute::{Content, Count, Counter, MAX_NAME_LENGTH, Register, WrongKind, counts_are_sorted},
    id::{CookieValue, SecretHash, SessionKey, SessionSecret},
    item::{
        CreatedMs, Delta, Item, PackedHead, PackedSession, PackedSummary, SessionSize, Tombstone,
    },
    mutant::Mutant,
    secrets::{Access, SecretSet, SecretState},
    stamp::{BootId, GcHorizon, KEPT_ORIGINS, Now, Origin, Stamp, Tag, Vector},
    state::{MAX_CONTEXT_LENGTH, REGISTER_OVERHEAD, SessionMeta, SessionParts, SessionState},
    token::{Token, TokenKey},
    version::{destroyed_version, live_version},
};
pub use self::{
    error::SessionError,
    id::{InvalidRoute, Route},
};
