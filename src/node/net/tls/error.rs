//! Why a stream could not be protected, in words that name the fix.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecureError {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("the connection was closed before it was encrypted")]
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
    #[error("its certificate comes from an authority that is not in the file given as `ca`")]
    OtherAuthority,
    #[error(
        "its certificate is not for the host it was dialled by; list it by a name in its \
        certificate with `peer`, or set `tls_name` to the name in it ({0})"
    )]
    OtherName(#[source] rustls::Error),
    #[error("its certificate has expired; renew it")]
    Expired,
    #[error("it does not name the protocol of this crate (ALPN), so it is no node")]
    OtherProtocol,
    #[error("no certificate can be for the host `{0}`")]
    Host(String),
    #[error("{0}")]
    Tls(#[source] rustls::Error),
}

impl SecureError {
    /// Returns whether an error of a stream is one of TLS.
    pub(crate) fn is_behind(error: &io::Error) -> bool {
        let inner = error.get_ref();
        inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
    }

    /// Returns whether one end does not take what the other proves itself with.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::OtherSecret
            | Self::RefusedByPeer(_)
            | Self::OtherKind
            | Self::OtherAuthority
            | Self::OtherName(_)
            | Self::Expired => true,
            Self::Io(_)
            | Self::Closed
            | Self::NotTls
            | Self::OtherProtocol
            | Self::Host(_)
            | Self::Tls(_) => false,
        }
    }

    /// Returns whether the other end waits to be told why it is refused.
    pub(super) const fn is_told(&self) -> bool {
        matches!(
            self,
            Self::OtherSecret
                | Self::OtherAuthority
                | Self::Expired
                | Self::OtherKind
                | Self::Tls(_)
        )
    }

    /// Finds what is behind an error of a TLS stream.
    pub(crate) fn explain(error: io::Error) -> Self {
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
            E::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::OtherAuthority,
            E::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Expired,
            E::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName(error),
            E::PeerIncompatible(
                PeerIncompatible::IncorrectCertificateTypeExtension
                | PeerIncompatible::UnsolicitedCertificateTypeExtension,
            ) => Self::OtherKind,
            other => Self::Tls(other),
        }
    }
}
