//! Certificates, keys and authorities from files, checked before anybody depends on them.

use std::{io::Read as _, path::Path, sync::Arc, time::Duration};

use rustls::{
    CommonState, Error, RootCertStore,
    client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    proof::{Proof, Tls},
    provider::provider,
    unusable_file::{UnusableFile, has_expired},
};
use crate::config::{Certificates, StartError, TlsFiles, open_regular, warn_if_too_open};

/// The contents of the files when they were read last.
pub(super) struct Loaded {
    pub(super) tls: Tls,
    /// The name in all nodes' certificates.
    pub(super) name: Option<ServerName<'static>>,
    /// Their hashes, to notice changes by.
    pub(super) digests: [Digest; 3],
    chain: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    of_clients: Arc<dyn ClientCertVerifier>,
}

/// The time for which the certificate is good, with all that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiration {
    /// For more than [`NEAR_DAYS`].
    Far,
    /// For so many whole days.
    Near { days: u64 },
    /// It is not any more.
    Over,
}

impl Loaded {
    /// Reads and checks the files: what is returned can prove this node to others of the authority.
    ///
    /// # Errors
    ///
    /// [`StartError::Tls`] naming the file.
    pub(super) fn read(given: &Certificates, now: UnixTime) -> Result<Self, StartError> {
        let TlsFiles { cert, key, ca } = &given.files;
        let contents = PemFiles::read(&given.files)?;
        let digests = contents.digests();
        let PemFiles([cert_pem, key_pem, ca_pem]) = &contents;
        let chain = certificates(cert, cert_pem)?;
        let roots = Arc::new(roots(ca, ca_pem)?);
        let private = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| UnusableFile::NoPrivateKey(error).at(key))?;
        let own = CertifiedKey::from_der(chain.clone(), private, &provider())
            .map_err(|error| UnusableFile::OtherKey(error).at(key))?;
        let name = given
            .name
            .as_deref()
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|_| UnusableFile::NoName.at(cert))?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let of_servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
                .build()
                .map_err(|error| UnusableFile::NoVerifier(error).at(ca))?;
        let of_clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
                // Who has none need not learn whose certificate would do.
                .clear_root_hint_subjects()
                .build()
                .map_err(|error| UnusableFile::NoVerifier(error).at(ca))?;
        let tls = Tls::new(Proof {
            own_as_client: Arc::clone(&own) as _,
            own_as_server: own,
            of_servers,
            of_clients: Arc::clone(&of_clients),
        })
        .map_err(|error| UnusableFile::Rustls(error).at(ca))?;
        let loaded = Self {
            tls,
            name,
            digests,
            chain,
            roots,
            of_clients,
        };
        loaded
            .verify(now)
            .map_err(|error| UnusableFile::rejected(error).at(cert))?;
        warn_if_too_open(key);
        Ok(loaded)
    }

    pub(super) fn expiration(&self, now: UnixTime) -> Expiration {
        let is_over = |seconds: u64| {
            let then = Duration::from_secs(now.as_secs().saturating_add(seconds));
            let outcome = self.verify(UnixTime::since_unix_epoch(then));
            outcome.is_err_and(|error| has_expired(&error))
        };
        if is_over(0) {
            return Expiration::Over;
        }
        match (0..NEAR_DAYS).find(|days| is_over((days + 1) * DAY)) {
            Some(days) => Expiration::Near { days },
            None => Expiration::Far,
        }
    }

    /// Returns for how long, and `at_most`, a peer's certificate is good with all that it depends on.
    pub(super) fn good_for(&self, chain: &PeerChain, at_most: Duration, now: UnixTime) -> Duration {
        let Some((own, between)) = chain.0.split_first() else {
            return at_most;
        };
        let is_good = |seconds: u64| {
            let then = Duration::from_secs(now.as_secs().saturating_add(seconds));
            let then = UnixTime::since_unix_epoch(then);
            self.of_clients
                .verify_client_cert(own, between, then)
                .is_ok()
        };
        if is_good(at_most.as_secs()) {
            return at_most;
        }
        let (mut good, mut over) = (0, at_most.as_secs());
        while over - good > 1 {
            let middle = good.midpoint(over);
            match is_good(middle) {
                true => good = middle,
                false => over = middle,
            }
        }
        Duration::from_secs(good)
    }

    /// Checks this node's own certificate as peers will, dialled and dialling.
    fn verify(&self, now: UnixTime) -> Result<(), Error> {
        let (own, between) = self
            .chain
            .split_first()
            .ok_or(Error::NoCertificatesPresented)?;
        self.of_clients.verify_client_cert(own, between, now)?;
        let own = ParsedCertificate::try_from(own)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, between, now, algorithms)?;
        match &self.name {
            Some(name) => verify_server_name(&own, name),
            None => Ok(()),
        }
    }
}

/// What a peer has proven itself with: its certificate, and those between it and its authority.
/// Empty where there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerChain(Vec<CertificateDer<'static>>);

impl PeerChain {
    pub(super) fn of(connection: &CommonState) -> Self {
        let presented = connection.peer_certificates().unwrap_or_default();
        Self(
            presented
                .iter()
                .map(|one| one.clone().into_owned())
                .collect(),
        )
    }
}

type Digest = [u8; 32];

/// The bytes of certificate, key and authority, wiped when dropped.
pub(super) struct PemFiles([Zeroizing<Vec<u8>>; 3]);

impl PemFiles {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, StartError> {
        let read = |path: &Path| {
            let mut bytes = Zeroizing::new(Vec::new());
            let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
            match read {
                Ok(_) => Ok(bytes),
                Err(error) => Err(UnusableFile::Unreadable(error).at(path)),
            }
        };
        Ok(Self([
            read(&files.cert)?,
            read(&files.key)?,
            read(&files.ca)?,
        ]))
    }

    pub(super) fn digests(&self) -> [Digest; 3] {
        let digest = |bytes: &Zeroizing<Vec<u8>>| Sha256::digest(&**bytes).into();
        self.0.each_ref().map(digest)
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(UnusableFile::NoCertificate.at(path)),
        Ok(found) => Ok(found),
        Err(error) => Err(UnusableFile::NotPem(error).at(path)),
    }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| UnusableFile::NoAuthority(error).at(path))?;
    }
    Ok(roots)
}

/// From how many days before its end on a certificate is logged.
const NEAR_DAYS: u64 = 14;
const DAY: u64 = 24 * 60 * 60;
