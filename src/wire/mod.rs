//! The language between nodes: frames, the hello, messages and their limits.

pub(crate) mod message;

pub(crate) use self::message::{DecodeLimits, Malformed, Message};
