//! The language between nodes: frames, the hello, messages and their limits.

pub(crate) mod frame;
pub(crate) mod hello;
mod item;
pub(crate) mod message;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    frame::{FrameCodec, FrameError, Piece, pieces},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal, negotiate},
    item::{MAX_CONTEXT, MAX_NAME},
    message::{DecodeLimits, Malformed, Message},
};
