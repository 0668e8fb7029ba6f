//! Who may talk to this node, and that nobody listens in: TLS 1.3 below every link, both ends
//! proven, before a word of the protocol is said.
//!
//! There are two ways to prove who one is: a secret that all nodes share (`identity`), and
//! certificates (`certificates`). Everything else is the same for both.

mod allowance;
mod certificates;
mod error;
mod identity;
mod proof;
mod provider;
mod reload;
mod unusable_file;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    CommonState, ServerConfig,
    client::verify_server_name,
    pki_types::{ServerName, UnixTime},
    server::{Acceptor, ParsedCertificate},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

pub(crate) use self::certificates::PeerChain;
pub(crate) use self::error::SecureError;
pub(crate) use self::reload::watch;
use self::{
    allowance::Allowance,
    certificates::Loaded,
    proof::{PROTOCOL, Tls},
};
use super::transport::BoxIo;
use crate::{
    config::{Certificates, Security, Settings, StartError},
    wire::Refusal,
};

/// The protection of a node's links.
pub(crate) struct LinkSecurity(Protection);

enum Protection {
    Plaintext,
    Secret(Tls),
    Certificates {
        given: Certificates,
        /// Replaced as a whole when the files have changed.
        current: RwLock<Arc<Loaded>>,
    },
}

impl LinkSecurity {
    /// Reads what the settings name.
    ///
    /// # Errors
    ///
    /// [`StartError::Tls`] if certificates cannot be used.
    pub(crate) fn new(settings: &Settings, now: UnixTime) -> Result<Self, StartError> {
        Ok(Self(match &settings.security {
            Security::Plaintext { .. } => Protection::Plaintext,
            Security::Secrets(secrets) => {
                let proof = identity::proof(secrets, &settings.cluster);
                let tls = proof.and_then(Tls::new);
                Protection::Secret(tls.expect("derived keys suit every configuration"))
            }
            Security::Certificates(given) => {
                let loaded = Loaded::read(given, now)?;
                Protection::Certificates {
                    given: given.clone(),
                    current: RwLock::new(Arc::new(loaded)),
                }
            }
        }))
    }

    /// Returns for how long, and `at_most`, what a peer has proven itself with is good.
    pub(crate) fn good_for(&self, chain: &PeerChain, at_most: Duration, now: UnixTime) -> Duration {
        match &self.0 {
            Protection::Plaintext | Protection::Secret(_) => at_most,
            Protection::Certificates { current, .. } => read(current).good_for(chain, at_most, now),
        }
    }

    /// Returns whether a link proves who is at its other end.
    pub(crate) const fn authenticates(&self) -> bool {
        !matches!(self.0, Protection::Plaintext)
    }

    /// Protects a stream that this node has dialled to `host`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the stream up.
    pub(crate) async fn dial(
        &self,
        io: BoxIo,
        host: &str,
    ) -> Result<(BoxIo, PeerChain), SecureError> {
        let (connector, name, bytes) = match &self.0 {
            Protection::Plaintext => return Ok((io, PeerChain::default())),
            Protection::Secret(tls) => (tls.connector.clone(), any_name(), SECRET_BYTES),
            Protection::Certificates { current, .. } => {
                let loaded = read(current);
                let name = match &loaded.name {
                    Some(name) => name.clone(),
                    None => server_name(host)?,
                };
                (loaded.tls.connector.clone(), name, CERTIFICATE_BYTES)
            }
        };
        let mut stream = connector
            .connect(name, Allowance::new(io, bytes))
            .await
            .map_err(SecureError::explain)?;
        let (io, connection) = stream.get_mut();
        check_protocol(connection)?;
        io.lift();
        let chain = PeerChain::of(connection);
        Ok((Box::new(stream), chain))
    }

    /// Protects a stream that was dialled to this node. `hosts` are those of the peers it knows. Once
    /// the other end has begun, `turn` is waited for before anything that costs CPU.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the stream up.
    pub(crate) async fn accept(
        &self,
        io: BoxIo,
        hosts: impl FnOnce() -> Vec<String>,
        turn: impl Future<Output = ()>,
    ) -> Result<Accepted<BoxIo>, SecureError> {
        let (tls, names, bytes) = match &self.0 {
            Protection::Plaintext => return Ok(Accepted::plain(io)),
            Protection::Secret(tls) => (Arc::clone(&tls.server), None, SECRET_BYTES),
            Protection::Certificates { current, .. } => {
                let loaded = read(current);
                let names = match &loaded.name {
                    Some(name) => vec![name.clone()],
                    None => hosts().iter().flat_map(|host| server_name(host)).collect(),
                };
                (
                    Arc::clone(&loaded.tls.server),
                    Some(names),
                    CERTIFICATE_BYTES,
                )
            }
        };
        let mut stream = match handshake(Allowance::new(io, bytes), tls, turn).await {
            Ok(stream) => stream,
            Err((error, io)) => {
                let error = SecureError::explain(error);
                if error.is_told() {
                    linger(io).await;
                }
                return Err(error);
            }
        };
        let (io, connection) = stream.get_mut();
        check_protocol(connection)?;
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let is_named = match (names, certificate) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(names), Some(certificate)) => {
                let parsed = ParsedCertificate::try_from(certificate).map_err(SecureError::Tls)?;
                let mut names = names.iter();
                names.any(|name| verify_server_name(&parsed, name).is_ok())
            }
        };
        let mut chain = PeerChain::default();
        if is_named {
            io.lift();
            chain = PeerChain::of(connection);
        }
        Ok(Accepted {
            io: Box::new(stream),
            chain,
            refusal: (!is_named).then_some(Refusal::NotNamed),
        })
    }
}

/// A stream that was dialled to this node, and why there can be no link on it, if so. The reason is
/// told in the words of hello.
#[derive(Debug)]
pub(crate) struct Accepted<I> {
    pub(crate) io: I,
    pub(crate) chain: PeerChain,
    pub(crate) refusal: Option<Refusal>,
}

impl<I> Accepted<I> {
    pub(crate) fn plain(io: I) -> Self {
        Self {
            io,
            chain: PeerChain::default(),
            refusal: None,
        }
    }
}

/// Does the listener's part of the handshake. An error comes with the stream.
async fn handshake(
    io: Allowance,
    config: Arc<ServerConfig>,
    turn: impl Future<Output = ()>,
) -> Result<TlsStream<Allowance>, (io::Error, Allowance)> {
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), io);
    let begun = match (&mut hello).await {
        Ok(begun) => begun,
        Err(error) => {
            let io = hello.take_io();
            return Err((error, io.expect("it goes away with `begun` alone")));
        }
    };
    turn.await;
    begun.into_stream(config).into_fallible().await
}

/// Checks that both ends named the protocol that is spoken on links.
fn check_protocol(connection: &CommonState) -> Result<(), SecureError> {
    if connection.alpn_protocol() == Some(PROTOCOL) {
        Ok(())
    } else {
        Err(SecureError::OtherProtocol)
    }
}

/// Lets the other end read the alert: closing a socket that has bytes unread would take it back.
async fn linger(mut io: Allowance) {
    let mut rest = [0; 512];
    if io.shutdown().await.is_ok() {
        while matches!(io.read(&mut rest).await, Ok(1..)) {}
    }
}

/// Shows the kind of protection and nothing of what it is made of.
impl fmt::Debug for LinkSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Protection::Plaintext => "LinkSecurity(plaintext)",
            Protection::Secret(_) => "LinkSecurity(secret)",
            Protection::Certificates { .. } => "LinkSecurity(tls)",
        })
    }
}

fn read(current: &RwLock<Arc<Loaded>>) -> Arc<Loaded> {
    Arc::clone(&current.read().unwrap_or_else(PoisonError::into_inner))
}

/// Keys are pinned, so the name says nothing.
fn any_name() -> ServerName<'static> {
    ServerName::try_from("cluster").expect("a DNS name")
}

/// Makes the name to look for in a certificate. A link-local address is in there without its scope.
fn server_name(host: &str) -> Result<ServerName<'static>, SecureError> {
    let host = host
        .split_once('%')
        .map_or(host, |(address, _scope)| address);
    ServerName::try_from(host.to_owned()).map_err(|_| SecureError::Host(host.to_owned()))
}

/// What is read of an unauthenticated peer at most.
const SECRET_BYTES: u64 = 4 * 1024;
/// What is sent is kept twice at the worst, and 64 KiB is all that an unauthenticated peer may cost.
const CERTIFICATE_BYTES: u64 = 24 * 1024;
