//! The words of the crate: what a session is, how two copies of it merge, and what travels between
//! nodes. Pure: no clock, no randomness, no I/O. `Now` and random bytes are arguments.
//!
//! A session is a join-semilattice. Its key never changes. Everything else in it is a register, a
//! counter or an absorbing mark, so copies can meet in any order and end equal.

mod app_map;
mod attribute;
mod changes;
mod context;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod id;
mod info;
mod item;
mod json;
#[cfg(test)]
mod laws;
mod merge;
mod mutant;
mod order;
mod retention;
#[cfg(any(test, feature = "durable"))]
mod saved;
mod secrets;
mod stamp;
mod state;
mod token;
mod tombstone;
mod value_path;
mod version;

#[cfg(any(test, feature = "durable"))]
pub(crate) use self::saved::{SavedClock, SavedKey};
pub(crate) use self::{
    app_map::MAX_MAP_NAME,
    attribute::{
        Content, Count, Counter, MAX_NAME_LENGTH, Register, WrongKind, check_name,
        counts_are_sorted, register_weight,
    },
    changes::AttributeChange,
    context::{MAX_CONTEXT_LENGTH, is_of_layer, is_token},
    id::{InvalidRoute, Route, SecretHash, SessionKey, SessionSecret},
    item::{Delta, Item, PackedHead, PackedSession, PackedSummary, SessionSize},
    json::{check_json, decode_json, encode_json},
    mutant::Mutant,
    order::{
        MAX_HOPS, MAX_SEARCH_BYTES, ORDER_KEEP_MS, Order, OrderContent, OrderId, Proof, Search,
    },
    retention::Retention,
    secrets::{Access, SecretSet, SecretState},
    stamp::{BootId, GcHorizon, KEPT_ORIGINS, Now, Origin, Stamp, Tag, Vector},
    state::{CreatedMs, Life, MAX_REMOVED_BYTES, SessionMeta, SessionParts, SessionState},
    token::{Token, TokenKey},
    tombstone::Tombstone,
    value_path::{ValuePath, hash_json},
    version::{AttributesHash, destroyed_version, session_version},
};
pub use self::{changes::Changes, error::SessionError, id::CookieValue, info::SessionInfo};
