//! What a secret proves a node with: an Ed25519 key that all who know the secret can derive.
//!
//! The key is presented as it is, without a certificate (RFC 7250), and pinned exactly: the other
//! end must sign with the same key, or one of another secret on the list. Both ends may have the
//! same key, since TLS 1.3 signs another text as server than as client.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SigningKey},
};
use zeroize::Zeroizing;

use super::{
    proof::Proof,
    provider::{any_eddsa_type, default_provider},
};
use crate::config::ClusterSecret;

/// Makes what proves and checks that a node knows one of the secrets, of which there is one at
/// least.
pub(super) fn proof(secrets: &[ClusterSecret], cluster: &str) -> Result<Proof, Error> {
    let keys: Vec<Arc<dyn SigningKey>> = secrets
        .iter()
        .map(|secret| signing_key(&secret.derive("links", cluster)))
        .collect::<Result<_, _>>()?;
    let accepted: Vec<_> = keys.iter().filter_map(public_key).collect();
    let own = keys.into_iter().next().zip(accepted.first());
    let (key, public) = own.ok_or_else(|| Error::General("no secret".to_owned()))?;
    let public = CertificateDer::from(public.as_ref().to_vec());
    let own = Arc::new(CertifiedKey::new(vec![public], key));
    let pinned = Arc::new(Pinned {
        accepted,
        algorithms: default_provider().signature_verification_algorithms,
    });
    Ok(Proof {
        own_as_client: Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&own))),
        own_as_server: Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)),
        of_servers: Arc::clone(&pinned) as _,
        of_clients: pinned,
    })
}

/// Makes the Ed25519 key whose seed is `seed`.
fn signing_key(seed: &ClusterSecret) -> Result<Arc<dyn SigningKey>, Error> {
    let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_HEAD.len() + ClusterSecret::LENGTH));
    der.extend_from_slice(&PKCS8_HEAD);
    der.extend_from_slice(seed.bytes());
    any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))
}

fn public_key(key: &Arc<dyn SigningKey>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    key.public_key().map(SubjectPublicKeyInfoDer::into_owned)
}

/// Takes exactly the keys of the secrets.
#[derive(Debug)]
struct Pinned {
    accepted: Vec<SubjectPublicKeyInfoDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, public: &CertificateDer<'_>) -> Result<(), Error> {
        if self
            .accepted
            .iter()
            .any(|key| key.as_ref() == public.as_ref())
        {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        public: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let public = SubjectPublicKeyInfoDer::from(public.as_ref());
        verify_tls13_signature_with_raw_key(message, &public, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// What a private Ed25519 key in PKCS #8 begins with, before its seed (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
