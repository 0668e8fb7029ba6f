//! Dialling the configured peers, for ever.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::log::{debug, info, warn};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    handshake::{self, HandshakeError},
    transport::BoxIo,
};
use crate::node::{
    Node,
    log_throttle::LogThrottle,
    peers::{lifecycle::Established, link_task},
};
use crate::{cluster::Reach, config::PeerAddress, wire::Refusal};

/// Keeps one peer linked until `stop`. A link that the peer dialled is as good as an own one.
pub(crate) async fn keep(node: Arc<Node>, peer: PeerAddress, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = keep_dialling(&node, &peer) => {}
    }
}

async fn keep_dialling(node: &Arc<Node>, peer: &PeerAddress) {
    loop {
        let dialling = Dialling::new(Arc::clone(node), peer.clone());
        if node.guarded("dial", dialling.run()).await.is_some() {
            return;
        }
        sleep(LONGEST).await;
    }
}

struct Dialling {
    node: Arc<Node>,
    peer: PeerAddress,
    backoff: Backoff,
    /// Lines about a peer that is not there.
    absent_log: LogThrottle,
    /// Lines about one that answers and does not fit.
    misfit_log: LogThrottle,
}

/// The outcome of one dial.
enum Dialled {
    /// A link was up for this long.
    Linked(Duration),
    /// There is a link already.
    Superfluous,
    Myself,
    Failed(DialError),
}

/// A peer could not be linked. It is dialled again.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("cannot connect: no answer within {} s", CONNECT.as_secs())]
    NoAnswer,
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl DialError {
    /// Returns what was found at the address.
    const fn found(&self) -> Reach {
        match self {
            Self::Connect(_) | Self::NoAnswer => Reach::Unreachable,
            Self::Handshake(error) => error.found(),
        }
    }

    /// Returns whether the peer's machine says that nobody listens there.
    fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if is_refusal(error))
    }
}

impl Dialling {
    fn new(node: Arc<Node>, peer: PeerAddress) -> Self {
        Self {
            node,
            peer,
            backoff: Backoff::default(),
            absent_log: LogThrottle::slowing(SOON, SELDOM),
            misfit_log: LogThrottle::slowing(SOON, SELDOM),
        }
    }

    async fn run(mut self) {
        while self.node.may_create() {
            let existing = self.node.peers.table().link_to(&self.peer);
            if let Some(link) = existing {
                self.absent_log.reset();
                self.misfit_log.reset();
                link.closed().await;
                // The link's own task needs a moment to take it off the table, and of two nodes
                // that lost each other one may be quicker to dial.
                sleep(self.jittered(SHORTEST)).await;
                continue;
            }
            let dialled = self.dial().await;
            if let Dialled::Linked(_) | Dialled::Superfluous = dialled {
                self.absent_log.reset();
                self.misfit_log.reset();
            }
            let pause = match dialled {
                Dialled::Linked(life) if life >= STABLE => {
                    self.backoff = Backoff::default();
                    continue;
                }
                Dialled::Linked(_) | Dialled::Superfluous => self.pause(),
                Dialled::Myself => {
                    self.note_myself();
                    REST
                }
                Dialled::Failed(error) => {
                    self.note_failed(&error);
                    self.pause()
                }
            };
            sleep(self.jittered(pause)).await;
        }
    }

    /// Returns how long to wait before the next dial: not long while the node may yet become ready
    /// without this peer, or requests wait for it.
    fn pause(&mut self) -> Duration {
        let pause = self.backoff.next();
        match self.node.is_looking_for_peers() || self.node.has_just_lost(&self.peer) {
            true => pause.min(WHILE_LOOKING),
            false => pause,
        }
    }

    fn jittered(&self, pause: Duration) -> Duration {
        let [random] = self.node.env.random();
        jittered(pause, random)
    }

    async fn dial(&self) -> Dialled {
        let (io, remote) = match timeout(CONNECT, self.connect()).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Dialled::Failed(DialError::Connect(error)),
            Err(_) => return Dialled::Failed(DialError::NoAnswer),
        };
        let origin = Established::Dialled {
            peer: &self.peer,
            remote,
        };
        let secured = self.node.net.security.dial(io, &self.peer.host);
        let met = handshake::dial(secured, &self.node.net.hello, |theirs| {
            self.node.admit(theirs, origin)
        })
        .await;
        match met {
            Ok((io, greeted)) => {
                self.node.net.admission.know(remote.ip());
                let since_ms = self.node.now().mono_ms;
                let run = link_task::run(greeted.verdict, io, greeted.codec, greeted.unread);
                self.node.guarded("link", run).await;
                let life_ms = self.node.now().mono_ms.saturating_sub(since_ms);
                Dialled::Linked(Duration::from_millis(life_ms))
            }
            Err(
                HandshakeError::Refused(Refusal::SameBoot)
                | HandshakeError::RefusedByPeer(Refusal::SameBoot),
            ) => Dialled::Myself,
            Err(
                HandshakeError::Refused(Refusal::Duplicate)
                | HandshakeError::RefusedByPeer(Refusal::Duplicate),
            ) => Dialled::Superfluous,
            Err(error) => Dialled::Failed(DialError::Handshake(error)),
        }
    }

    async fn connect(&self) -> io::Result<(BoxIo, SocketAddr)> {
        let transport = &self.node.env.transport;
        // Resolved anew at each dial: behind a name there may be another machine by now.
        let found = transport.resolve(&self.peer).await?;
        let ips = found.iter().map(SocketAddr::ip);
        self.node.net.admission.list(&self.peer, ips);
        let mut failure = None;
        for address in found {
            match transport.connect(address).await {
                Ok(io) => return Ok((io, address)),
                // That nobody listens is known only when all addresses say so.
                Err(error) if failure.as_ref().is_none_or(is_refusal) => failure = Some(error),
                Err(_) => {}
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        Err(failure.unwrap_or_else(none))
    }

    fn note_myself(&self) {
        let node = &self.node;
        let first = node.peers.table().is_myself(&self.peer);
        if first {
            info!(
                node = %node.settings.node, address = %self.peer,
                "peer [{}] is this node itself", self.peer
            );
        }
        node.advance_join(node.now());
    }

    fn note_failed(&self, error: &DialError) {
        let node = &self.node;
        let now = node.now();
        node.peers.table().dial_failed(&self.peer, error.found());
        if error.is_refused() {
            node.note_refused_dial(&self.peer);
        }
        node.watch_exclusion();
        if let DialError::Handshake(_) = error {
            node.monitor
                .counters
                .refused
                .fetch_add(1, Ordering::Relaxed);
        }
        let (name, address) = (&node.settings.node, &self.peer);
        // A node that starts or leaves closes without a word; what never was a node may be
        // something else.
        let is_silent = matches!(error, DialError::Handshake(error) if error.is_silence());
        let is_absent = match error {
            DialError::Handshake(_) => {
                is_silent && node.peers.table().boot_at(&self.peer).is_some()
            }
            DialError::Connect(_) | DialError::NoAnswer => true,
        };
        let log = if is_absent {
            &self.absent_log
        } else {
            &self.misfit_log
        };
        if !log.may_log(now) {
            debug!(%address, "no link to [{address}]: {error}");
        } else if is_absent {
            info!(node = %name, %address, "no link to [{address}], dialling on: {error}");
        } else {
            let hint = if is_silent {
                "; something else may listen there"
            } else {
                ""
            };
            warn!(node = %name, %address, "no link to [{address}], dialling on: {error}{hint}");
        }
        node.advance_join(now);
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Twice as long each time.
#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(SHORTEST)
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = LONGEST.min(pause * 2);
        pause
    }
}

/// Takes between half and all of `pause`: nodes that lost each other at once do not meet in step.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(random) / u32::from(u8::MAX)
}

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// The longest pause while a starting node looks for its peers, or requests wait for one.
const WHILE_LOOKING: Duration = Duration::from_millis(200);
/// A link that lived so long is dialled again at once when it breaks.
const STABLE: Duration = Duration::from_secs(1);
/// A line of a kind is followed by the next one after such a time, and later ever more seldom.
const SOON: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(600);
/// How often an address that was this node's own is tried again.
const REST: Duration = Duration::from_secs(60);
/// Connecting tries each record of a name for one second; this bounds them all.
const CONNECT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_at_two_seconds() {
        let mut backoff = Backoff::default();
        let stalls: Vec<_> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(stalls, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        assert_eq!(jittered(LONGEST, 0), LONGEST / 2);
        assert_eq!(jittered(LONGEST, u8::MAX), LONGEST);
        for random in 1..u8::MAX {
            let pause = jittered(LONGEST, random);
            assert!(LONGEST / 2 <= pause && pause <= LONGEST, "{pause:?}");
        }
    }
}
