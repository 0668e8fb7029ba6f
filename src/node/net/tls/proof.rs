//! What both ways to prove a node's identity come to: TLS 1.3 as dialler and as listener.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    version::TLS13,
};
use tokio_rustls::TlsConnector;

use super::provider::provider;

/// TLS as dialler and as listener, ready to prove and to check.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) server: Arc<ServerConfig>,
}

/// Proof of who a node is, and checks of who the other one is.
pub(super) struct Proof {
    pub(super) own_as_client: Arc<dyn ResolvesClientCert>,
    pub(super) own_as_server: Arc<dyn ResolvesServerCert>,
    pub(super) of_servers: Arc<dyn ServerCertVerifier>,
    pub(super) of_clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    pub(super) fn new(proof: Proof) -> Result<Self, rustls::Error> {
        Self::with_provider(proof, &provider())
    }

    pub(super) fn with_provider(
        proof: Proof,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(proof.of_servers)
            .with_client_cert_resolver(proof.own_as_client);
        // Each link is proven anew, and needs no name to find a certificate by.
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(proof.of_clients)
            .with_cert_resolver(proof.own_as_server);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            server: Arc::new(server),
        })
    }
}

/// So that no other protocol under the same keys can be mistaken for this one (RFC 7301). TLS itself
/// takes an end that names none.
pub(super) const PROTOCOL: &[u8] = b"tower-cluster-sessions";
