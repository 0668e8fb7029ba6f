//! The language between nodes: frames, the hello, messages and their limits.

pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod message;

pub(crate) use self::{
    frame::{FrameCodec, FrameError, Piece, pieces},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal, negotiate},
    message::{DecodeLimits, Malformed, Message},
};
