//! Files of certificates that cannot be used.

use std::{io, path::Path};

use rustls::{CertificateError, Error, pki_types::pem, server::VerifierBuilderError};

use crate::config::StartError;

/// The reason why a file cannot be used, as the end of a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableFile {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("is no PEM file: {0}")]
    NotPem(#[source] pem::Error),
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    #[error("holds no private key: {0}")]
    NoPrivateKey(#[source] pem::Error),
    #[error("holds no authority: {0}")]
    NoAuthority(#[source] Error),
    #[error("is not the key of the certificate: {0}")]
    OtherKey(#[source] Error),
    #[error("has a `tls_name` beside it that is neither a DNS name nor an IP address")]
    NoName,
    #[error("{0}")]
    NoVerifier(#[source] VerifierBuilderError),
    #[error("{0}")]
    Rustls(#[source] Error),
    #[error("has expired; renew it")]
    Expired(#[source] Error),
    #[error("does not come from the authority given as `ca`")]
    OtherAuthority(#[source] Error),
    #[error("limits its uses; it must allow both server and client authentication")]
    LimitedUse(#[source] Error),
    #[error("is not for the name given as `tls_name`")]
    OtherName(#[source] Error),
    #[error("cannot be used: {0}")]
    Rejected(#[source] Error),
}

impl UnusableFile {
    pub(super) fn at(self, path: &Path) -> StartError {
        StartError::Tls {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }

    /// Sorts the error that peers would see of a certificate.
    pub(super) fn rejected(error: Error) -> Self {
        match &error {
            expired if has_expired(expired) => Self::Expired(error),
            // Authorities of the same name differ in what they sign with.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::OtherAuthority(error),
            Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => Self::LimitedUse(error),
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName(error),
            _ => Self::Rejected(error),
        }
    }
}

pub(super) fn has_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}
