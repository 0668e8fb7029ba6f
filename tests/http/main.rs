//! The HTTP face, in this process: what a visitor's requests find and what they change.

mod attacks;
mod axum;
mod caches;
mod consistency;
mod cookies;
mod expiry;
mod filter;
mod header;
#[path = "../support/http.rs"]
mod http_support;
mod metrics;
mod probes;
mod route;
mod rules;
mod sealed;
mod session;
mod status;
mod stolen;
mod user_agent;
