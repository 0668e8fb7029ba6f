//! How links come to be: listening, dialling, the handshake, and who is let in.

pub(super) mod accept;
pub(super) mod admission;
pub(super) mod allowlist;
pub(super) mod dial;
pub(super) mod handshake;
pub(super) mod tls;
pub(crate) mod transport;
