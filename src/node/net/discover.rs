//! Discoveries: lists of addresses that change while a node runs.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::log::{debug, warn};
use tokio::time::sleep;

#[cfg(feature = "srv")]
use super::srv::Services;
use super::{
    dial::{SELDOM, SOON, until},
    dials::Dials,
};
use crate::{
    cluster::{Backoff, Discovered, Reach, Source, Urgency},
    config::{AnyDiscovery, ConfigError, DiscoverySource, Found, PeerAddress},
    node::{Node, log_throttle::LogThrottle},
};

/// One discovery of a node that starts.
pub(crate) struct Discoverer {
    source: Source,
    finder: Finder,
}

/// What brings the lists.
enum Finder {
    Dns(PeerAddress),
    #[cfg(feature = "srv")]
    Srv(Box<Services>),
    Own(Box<dyn AnyDiscovery>),
}

impl Discoverer {
    /// Takes what is configured, for one node.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if another node has taken it.
    pub(crate) fn all(configured: &[DiscoverySource]) -> Result<Vec<Self>, ConfigError> {
        let numbered = configured.iter().enumerate();
        numbered
            .map(|(number, found)| Self::new(number, found))
            .collect()
    }

    fn new(number: usize, configured: &DiscoverySource) -> Result<Self, ConfigError> {
        let source = Source::Discovered(Discovered {
            number,
            text: configured.to_string().into(),
            name: configured.name().cloned(),
        });
        let finder = match configured {
            DiscoverySource::Dns(peer) => Finder::Dns(peer.clone()),
            #[cfg(feature = "srv")]
            DiscoverySource::Srv(name) => Finder::Srv(Box::new(Services::new(name))),
            DiscoverySource::Own(own) => Finder::Own(own.take()?),
        };
        Ok(Self { source, finder })
    }

    /// Returns what the table of members knows it by.
    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    /// Looks for members until the node leaves.
    pub(crate) async fn run(mut self, node: Arc<Node>) {
        let stop = node.net.shutdown.clone();
        let Self { source, finder } = &mut self;
        let mut turns = Turns {
            node: &node,
            source,
            dials: Dials::new(&node, source, &stop),
            backoff: Backoff::default(),
            failed_log: LogThrottle::slowing(SOON, SELDOM),
        };
        let work = async {
            while node.makes_links() {
                // What panics each time must not keep a thread busy.
                let turn = turns.next(finder);
                let pause = node
                    .guarded("discover", turn)
                    .await
                    .unwrap_or(AFTER_A_PANIC);
                sleep(node.jittered(pause)).await;
            }
        };
        until(&stop, work).await;
    }
}

impl Finder {
    async fn next(&mut self, node: &Node) -> Found {
        match self {
            Self::Dns(peer) => Ok(node.look_up(peer).await?),
            #[cfg(feature = "srv")]
            Self::Srv(services) => services.look_up().await,
            Self::Own(own) => own.next().await,
        }
    }

    /// Returns how long to wait after an answer. What an app brings waits by itself.
    fn pause(&self, node: &Node) -> Duration {
        let interval = node.settings.discovery_interval;
        match self {
            Self::Own(_) => return AT_LEAST,
            Self::Dns(_) => {}
            #[cfg(feature = "srv")]
            Self::Srv(_) => {}
        }
        match node.awaits_transfer() {
            true => interval.min(WHILE_JOINING),
            false => interval,
        }
    }
}

/// What a discovery has come to so far.
struct Turns<'a> {
    node: &'a Arc<Node>,
    source: &'a Source,
    dials: Dials<'a>,
    backoff: Backoff,
    failed_log: LogThrottle,
}

impl Turns<'_> {
    /// Takes in one list. Returns when the next one is to be asked for.
    async fn next(&mut self, finder: &mut Finder) -> Duration {
        match finder.next(self.node).await {
            Ok(found) => {
                let found = self.usable(found);
                debug!(source = %self.source, "found {found:?}");
                self.backoff = Backoff::default();
                self.dials.set(&found);
                self.node.advance_join(self.node.now());
                finder.pause(self.node)
            }
            Err(error) => {
                self.note_failed(&*error);
                let urgency = match self.node.is_looking_for_peers() {
                    true => Urgency::Awaited,
                    false => Urgency::Usual,
                };
                Duration::from_millis(self.backoff.next_ms(urgency))
            }
        }
    }

    /// Leaves out what nobody can be dialled at, and in plaintext what leads out of this machine.
    fn usable(&self, mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        found.retain(|at| {
            let ip = at.ip();
            at.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
        });
        found.sort_unstable();
        found.dedup();
        if self.node.settings.security.allows_anywhere() {
            return found;
        }
        let all = found.len();
        found.retain(|at| at.ip().to_canonical().is_loopback());
        let foreign = all - found.len();
        if foreign > 0 && self.failed_log.may_log(self.node.now()) {
            warn!(
                node = %self.node.settings.node, source = %self.source,
                "left out [{foreign}] addresses of [{}] that are not loopback, because links are \
                 not encrypted; set `secret` or `tls`", self.source
            );
        }
        found
    }

    fn note_failed(&self, error: &(dyn Error + Send + Sync)) {
        let (node, source) = (self.node, self.source);
        let now = node.now();
        let failures = &node.monitor.metrics.discovery_failures;
        failures.fetch_add(1, Ordering::Relaxed);
        // Nobody knows whether others are there.
        node.peers.table().dial_failed(source, None, Reach::Mute);
        if self.failed_log.may_log(now) {
            warn!(
                node = %node.settings.node, %source,
                "cannot find members by [{source}], going on with those that are known: {error}"
            );
        }
        node.advance_join(now);
    }
}

/// How often a starting node asks at least.
const WHILE_JOINING: Duration = Duration::from_millis(500);
/// Between two lists of an app that does not wait by itself.
const AT_LEAST: Duration = Duration::from_millis(100);
const AFTER_A_PANIC: Duration = Duration::from_secs(2);
