//! The language between nodes: frames, the hello, messages and their limits.

mod item;
pub(crate) mod message;

pub(crate) use self::{
    item::{MAX_CONTEXT, MAX_NAME},
    message::{DecodeLimits, Malformed, Message},
};
