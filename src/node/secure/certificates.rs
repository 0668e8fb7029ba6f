//! Certificates, keys and authorities from files, checked before anybody depends on them.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::{
    CertificateError, Error,
    client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Proof, RootCertStore, Tls, provider};
use crate::config::{Certificates, StartError, TlsFiles};

/// What the files held when they were read last.
pub(super) struct Loaded {
    pub(super) tls: Tls,
    /// The name in all nodes' certificates.
    pub(super) name: Option<ServerName<'static>>,
    /// Their bytes, to notice changes by.
    pub(super) bytes: [Vec<u8>; 3],
    chain: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl Loaded {
    /// Reads and checks the files: what is returned can prove this node to others of the authority.
    ///
    /// # Errors
    ///
    /// [`StartError::Tls`] naming the file.
    pub(super) fn read(given: &Certificates, now: UnixTime) -> Result<Self, StartError> {
        let TlsFiles { cert, key, ca } = &given.files;
        let bytes = contents(&given.files)?;
        let [cert_pem, key_pem, ca_pem] = &bytes;
        let chain = certificates(cert, cert_pem)?;
        let roots = Arc::new(roots(ca, ca_pem)?);
        let private = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| unusable(key, &format!("holds no private key: {error}")))?;
        let own = CertifiedKey::from_der(chain.clone(), private, &provider()).map_err(|error| {
            unusable(key, &format!("is not the key of the certificate: {error}"))
        })?;
        let name = given
            .name
            .as_deref()
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|_| unusable(cert, "`tls_name` is neither a DNS name nor an IP address"))?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let proof = |error: &dyn std::fmt::Display| unusable(ca, &error.to_string());
        let tls = Tls::new(Proof {
            own_as_client: Arc::clone(&own) as _,
            own_as_server: own,
            of_servers: WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
                .build()
                .map_err(|error| proof(&error))?,
            of_clients: WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
                // Strangers need not learn whose certificate would open.
                .clear_root_hint_subjects()
                .build()
                .map_err(|error| proof(&error))?,
        })
        .map_err(|error| proof(&error))?;
        let loaded = Self {
            tls,
            name,
            bytes,
            chain,
            roots,
        };
        loaded
            .verify(now)
            .map_err(|error| unusable(cert, &described(&error)))?;
        Ok(loaded)
    }

    /// How many whole days are left, if the certificate, or one it depends on, ends within
    /// [`NEAR_DAYS`].
    pub(super) fn ends_in_days(&self, now: UnixTime) -> Option<u64> {
        (0..NEAR_DAYS).find(|days| {
            let then = Duration::from_secs(now.as_secs() + (days + 1) * DAY);
            let outcome = self.verify(UnixTime::since_unix_epoch(then));
            outcome.is_err_and(|error| has_expired(&error))
        })
    }

    /// What peers will check of this node's own certificate.
    fn verify(&self, now: UnixTime) -> Result<(), Error> {
        let (own, between) = self
            .chain
            .split_first()
            .ok_or(Error::NoCertificatesPresented)?;
        let own = ParsedCertificate::try_from(own)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, between, now, algorithms)?;
        match &self.name {
            Some(name) => verify_server_name(&own, name),
            None => Ok(()),
        }
    }
}

/// The bytes of certificate, key and authority.
pub(super) fn contents(files: &TlsFiles) -> Result<[Vec<u8>; 3], StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| unusable(path, &format!("cannot be read: {error}")))
    };
    Ok([read(&files.cert)?, read(&files.key)?, read(&files.ca)?])
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, "holds no certificate in PEM form")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, &format!("is no PEM file: {error}"))),
    }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(path, &format!("holds no authority: {error}")))?;
    }
    Ok(roots)
}

fn unusable(path: &Path, problem: &str) -> StartError {
    StartError::Tls {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

fn described(error: &Error) -> String {
    match error {
        error if has_expired(error) => "has expired; renew it".to_owned(),
        // Authorities of the same name differ in what they sign with.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "does not come from the authority given as `ca`".to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "is not for the name given as `tls_name`".to_owned(),
        other => format!("cannot be used: {other}"),
    }
}

fn has_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

/// From how many days before its end on a certificate is logged.
const NEAR_DAYS: u64 = 14;
const DAY: u64 = 24 * 60 * 60;
