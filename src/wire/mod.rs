//! The language between nodes: frames, the hello, messages and their limits.

mod attributes;
pub(crate) mod frame;
pub(crate) mod hello;
mod item;
pub(crate) mod message;
mod packed;
mod scale;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    frame::{FrameCodec, FrameError},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal},
    item::{MAX_ORIGINS, MAX_SECRETS},
    message::{DecodeLimits, Malformed, Message},
};
