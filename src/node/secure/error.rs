//! Why a stream could not be protected, in words that name the fix.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecureError {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("the connection was closed before it was encrypted; something else may listen there")]
    Closed,
    #[error(
        "what came is not TLS; make sure that the address is that of a node, and that both nodes \
         have the same `secret`, or both have `tls`"
    )]
    NotTls,
    #[error("it does not know a secret of this node; give both the same `secret`")]
    OtherSecret,
    #[error(
        "it did not take what this node proves itself with ({0:?}); give both nodes the same \
         `secret`, or `tls` certificates of the same authority under names that the other expects"
    )]
    RefusedByPeer(AlertDescription),
    #[error("one of the two nodes has a `secret` and the other `tls`; give both the same")]
    OtherKind,
    #[error(
        "its certificate is not for `tls_name`, nor for a host on the list of peers; set \
         `tls_name` to the name in it, or list the node by that name with `peer`"
    )]
    NameNotListed,
    #[error("no certificate can be for the host `{0}`")]
    Host(String),
    #[error("{0}")]
    Tls(#[source] rustls::Error),
}

impl SecureError {
    /// What is behind an error of a TLS stream.
    pub(super) fn explain(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.downcast::<rustls::Error>() {
            Ok(tls) => Self::from_tls(tls),
            Err(error) => Self::Io(error),
        }
    }

    fn from_tls(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::RefusedByPeer(alert),
            E::InvalidMessage(_) | E::DecryptError => Self::NotTls,
            E::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
                Self::OtherSecret
            }
            E::PeerIncompatible(
                PeerIncompatible::IncorrectCertificateTypeExtension
                | PeerIncompatible::UnsolicitedCertificateTypeExtension,
            ) => Self::OtherKind,
            other => Self::Tls(other),
        }
    }
}
