//! HTTP sessions that survive any instance dying.

pub mod config;
mod node;
mod replica;
mod session;
mod wire;

pub use crate::{
    config::{Ack, Expiry},
    session::{Route, SessionError},
};
