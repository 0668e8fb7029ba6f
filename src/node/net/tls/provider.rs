//! The cryptography below TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
pub(super) use rustls::crypto::aws_lc_rs::{default_provider, sign::any_eddsa_type};
#[cfg(not(feature = "aws-lc-rs"))]
pub(super) use rustls::crypto::ring::{default_provider, sign::any_eddsa_type};

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
