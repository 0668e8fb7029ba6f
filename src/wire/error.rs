//! What is wrong with bytes that are no message.

/// The peer sent bytes that are no message.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);
