//! Real balancers in front of two nodes.
#![cfg(unix)]

mod apache;
mod haproxy;
mod limits;
mod nginx;
#[path = "../support/mod.rs"]
mod support;
