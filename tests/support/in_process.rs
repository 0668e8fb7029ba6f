//! What the tests with nodes in this process share.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod http;
pub(crate) mod pair;
pub(crate) mod proxy;
pub(crate) mod stopwatch;
