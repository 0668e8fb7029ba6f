//! The language between nodes: frames, the hello, messages and their limits.

mod attributes;
mod bytes;
mod error;
pub(crate) mod frame;
pub(crate) mod hello;
mod item;
mod limits;
pub(crate) mod message;
mod metadata;
pub(crate) mod packed_session;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    error::Malformed,
    frame::{FrameCodec, FrameError},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal},
    limits::{DecodeLimits, MAX_ORIGINS, MAX_SECRETS},
    message::Message,
};
