//! The language between nodes: frames, the hello, messages and their limits.
//!
//! All of it is read by one [`Reader`](bytes::Reader) and written by one [`Writer`](bytes::Writer).
//! What came from a peer is an error or what an honest node says; a later rank need not check it
//! again.

mod attributes;
mod bytes;
mod error;
pub(crate) mod frame;
pub(crate) mod hello;
mod item;
mod limits;
pub(crate) mod message;
mod metadata;
mod order;
pub(crate) mod packed_session;
mod peers;
mod position;
#[cfg(any(test, feature = "durable"))]
pub(crate) mod saved;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    error::Malformed,
    frame::{FrameCodec, FrameError},
    hello::{Confirm, Greeting, Hello, PROTOCOL, Refusal},
    limits::{DecodeLimits, MAX_DIGEST_GROUPS, MAX_ORIGINS, MAX_SECRETS},
    message::Message,
    peers::{MAX_TOLD_PEERS, PeerList},
    position::Position,
};
