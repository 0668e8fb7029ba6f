//! The SRV records of a service, which the operating system's resolver does not tell.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use hickory_resolver::{TokioResolver, config::LookupIpStrategy, proto::rr::RData};
use tokio::time::timeout;

use crate::config::Found;

/// A service by its name, such as `_links._tcp.sessions`.
pub(super) struct Services {
    name: String,
    /// Made with the first question, and anew after each that failed: the name servers of a machine
    /// may change.
    resolver: Option<TokioResolver>,
}

impl Services {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            resolver: None,
        }
    }

    /// Looks up the hosts and ports of the service, and the addresses of the hosts.
    ///
    /// # Errors
    ///
    /// When the name server fails, or there is no such service. A host that cannot be looked up is
    /// left out, unless none can.
    pub(super) async fn look_up(&mut self) -> Found {
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => resolver()?,
        };
        let found = timeout(TIMEOUT, addresses(&resolver, &self.name)).await;
        let found = found.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "the name server did not answer in time",
            )
        })??;
        self.resolver = Some(resolver);
        Ok(found)
    }
}

/// Returns a resolver for the name servers of this machine.
fn resolver() -> Result<TokioResolver, Box<dyn std::error::Error + Send + Sync>> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Each answer is to be a new one.
    options.cache_size = 0;
    Ok(builder.build()?)
}

async fn addresses(resolver: &TokioResolver, service: &str) -> Found {
    let answer = resolver.srv_lookup(service).await?;
    let hosts = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(host) => Some(host),
            _ => None,
        });
    let looked_up = join_all(hosts.map(async |host| {
        let found = resolver.lookup_ip(host.target.clone()).await?;
        let found = found.iter().map(|ip| SocketAddr::new(ip, host.port));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(found.collect::<Vec<_>>())
    }))
    .await;
    let mut addresses = Vec::new();
    let mut failure = None;
    for found in looked_up {
        match found {
            Ok(found) => addresses.extend(found),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok(addresses),
    }
}

/// As for other names: a second more than resolvers commonly give a dead name server.
const TIMEOUT: Duration = Duration::from_secs(6);
