//! The language between nodes: frames, the hello, messages and their limits.

mod attributes;
mod bytes;
pub(crate) mod frame;
pub(crate) mod hello;
mod item;
pub(crate) mod message;
mod metadata;
mod packed;
pub(crate) mod packed_session;
mod position;
mod relay;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    frame::{FrameCodec, FrameError},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal},
    message::{DecodeLimits, Malformed, Message},
    metadata::{MAX_ORIGINS, MAX_SECRETS},
    position::Position,
};
