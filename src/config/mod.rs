//! What a user configures, checked once at start.

mod ack;
mod expiry;
mod limits;

pub(crate) use self::limits::{Limits, Shape};
pub use self::{ack::Ack, expiry::Expiry};
