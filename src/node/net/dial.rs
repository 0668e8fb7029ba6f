//! Dialling addresses, for as long as somebody may be there.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use crate::log::{debug, info, warn};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::handshake::{self, HandshakeError};
use crate::node::{
    Node,
    log_throttle::LogThrottle,
    peers::{lifecycle::Established, link_task},
};
use crate::{
    cluster::{Backoff, MemberLink as _, Reach, SHORTEST_MS, Source, Urgency},
    wire::Refusal,
};

/// Dials one address of a source until `stop`. A link that a peer dialled is as good as an own one.
/// Wakes `missed` when no link could be made.
pub(super) async fn keep(
    node: Arc<Node>,
    source: Source,
    at: SocketAddr,
    missed: Arc<Notify>,
    stop: CancellationToken,
) {
    let dialling = again(&node, || {
        Dialling::new(Arc::clone(&node), source.clone(), at, &missed).run()
    });
    until(&stop, dialling).await;
}

/// Does a part of a task again whenever it has panicked.
pub(super) async fn again<F: Future<Output = ()>>(node: &Node, work: impl Fn() -> F) {
    while node.guarded("dial", work()).await.is_none() {
        sleep(AFTER_A_PANIC).await;
    }
}

pub(super) async fn until(stop: &CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Keeps one address of a peer linked.
struct Dialling<'a> {
    node: Arc<Node>,
    source: Source,
    at: SocketAddr,
    missed: &'a Notify,
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
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl DialError {
    /// Returns what was found at an address of `source`.
    fn found(&self, source: &Source) -> Reach {
        match self {
            Self::Connect(_) => Reach::Unreachable,
            Self::Handshake(error) => error.found(source),
        }
    }

    /// Returns whether the peer's machine says that nobody listens there.
    fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl<'a> Dialling<'a> {
    fn new(node: Arc<Node>, source: Source, at: SocketAddr, missed: &'a Notify) -> Self {
        Self {
            node,
            source,
            at,
            missed,
            backoff: Backoff::default(),
            absent_log: LogThrottle::slowing(SOON, SELDOM),
            misfit_log: LogThrottle::slowing(SOON, SELDOM),
        }
    }

    async fn run(mut self) {
        while self.node.makes_links() {
            let existing = self.node.peers.table().link_to(&self.source, self.at);
            if let Some(link) = existing.filter(|link| !link.is_expiring()) {
                self.absent_log.reset();
                self.misfit_log.reset();
                tokio::select! {
                    () = link.closed() => {}
                    () = link.expiring() => continue,
                }
                // The link's own task needs a moment to take it off the table, and of two nodes
                // that lost each other one may be quicker to dial.
                sleep(self.node.jittered(SHORTEST)).await;
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
                    let found = error.found(&self.source);
                    self.note_failed(&error, found);
                    match found {
                        Reach::Foreign => REST,
                        _ => self.pause(),
                    }
                }
            };
            sleep(self.node.jittered(pause)).await;
        }
    }

    /// Returns how long to wait before the next dial: not long while the node may yet become ready
    /// without this peer, or requests wait for it.
    fn pause(&mut self) -> Duration {
        let node = &self.node;
        let is_hearsay = !self.source.is_configured() && !self.has_met();
        let urgency = if node.has_just_lost(&self.source, self.at) {
            Urgency::Awaited
        } else if is_hearsay {
            Urgency::Hearsay
        } else if node.is_looking_for_peers() {
            Urgency::Awaited
        } else {
            Urgency::Usual
        };
        Duration::from_millis(self.backoff.next_ms(urgency))
    }

    fn has_met(&self) -> bool {
        let table = self.node.peers.table();
        table.boot_at(&self.source, self.at).is_some()
    }

    async fn dial(&self) -> Dialled {
        let remote = self.at;
        let io = match self.node.env.transport.connect(remote).await {
            Ok(io) => io,
            Err(error) => return Dialled::Failed(DialError::Connect(error)),
        };
        let (proof, host) = (OnceLock::new(), self.source.host(remote));
        let secured = async {
            let (io, chain) = self.node.net.security.dial(io, &host).await?;
            proof.get_or_init(|| chain);
            Ok(io)
        };
        let met = handshake::dial(secured, &self.node.net.hello, |theirs| {
            let origin = Established::Dialled {
                source: &self.source,
                remote,
            };
            let chain = proof.get().expect("set before anybody says hello");
            self.node.admit(theirs, origin, chain)
        })
        .await;
        match met {
            Ok((io, greeted)) => {
                self.node.net.admission.know(remote.ip());
                let since_ms = self.node.now().mono_ms;
                let link = Arc::clone(&greeted.verdict.link);
                let (codec, unread) = (greeted.codec, greeted.unread);
                let mut running = link_task::spawn(greeted.verdict, io, codec, unread);
                tokio::select! {
                    _ = &mut running => {}
                    () = link.expiring() => {}
                    // One that gave way is still open for a while, when another may have ended.
                    () = link.closed() => if !link.gave_way() {
                        // That it cannot be joined means that it has ended, too.
                        let _ = running.await;
                    },
                }
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

    fn note_myself(&self) {
        let node = &self.node;
        let (first, address) = {
            let mut table = node.peers.table();
            let first = table.is_myself(&self.source, self.at);
            (first, table.shown(&self.source, self.at))
        };
        if first {
            debug!(
                node = %node.settings.node, %address,
                "peer [{address}] is this node itself"
            );
        }
        node.advance_join(node.now());
    }

    fn note_failed(&self, error: &DialError, found: Reach) {
        let node = &self.node;
        let now = node.now();
        let (address, is_spare, has_met) = {
            let mut table = node.peers.table();
            table.dial_failed(&self.source, Some(self.at), found);
            (
                table.shown(&self.source, self.at),
                table.is_spare(&self.source, self.at),
                table.boot_at(&self.source, self.at).is_some(),
            )
        };
        if error.is_refused() {
            node.note_refused_dial(&self.source, self.at);
        }
        node.watch_exclusion();
        if let DialError::Handshake(_) = error {
            node.monitor
                .counters
                .refused
                .fetch_add(1, Ordering::Relaxed);
        }
        let name = &node.settings.node;
        // A node that starts or leaves closes without a word; what never was a node may be
        // something else.
        let is_silent = matches!(error, DialError::Handshake(error) if error.is_silence());
        let is_absent = match error {
            DialError::Handshake(_) => is_silent && has_met,
            DialError::Connect(_) => true,
        };
        let log = if is_absent {
            &self.absent_log
        } else {
            &self.misfit_log
        };
        // What other members tell of is no promise of this node's operator.
        let is_hearsay = !self.source.is_configured() && !has_met;
        if is_spare || is_hearsay || !log.may_log(now) {
            debug!(%address, "no link to [{address}]: {error}");
        } else if is_absent {
            info!(node = %name, %address, "no link to [{address}], dialling on: {error}");
        } else {
            let hint = if is_silent {
                "; something else may listen there"
            } else {
                ""
            };
            let source = match &self.source {
                source @ Source::Discovered(_) => format!(" of [{source}]"),
                Source::Listed(_) | Source::Told(_) => String::new(),
            };
            warn!(
                node = %name, %address,
                "no link to [{address}]{source}, dialling on: {error}{hint}"
            );
        }
        node.advance_join(now);
        if !is_spare {
            self.missed.notify_one();
        }
    }
}

impl Node {
    pub(super) fn jittered(&self, pause: Duration) -> Duration {
        let [random] = self.env.random();
        jittered(pause, random)
    }
}

/// Takes between half and all of `pause`: nodes that lost each other at once do not meet in step.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(random) / u32::from(u8::MAX)
}

const SHORTEST: Duration = Duration::from_millis(SHORTEST_MS);
const AFTER_A_PANIC: Duration = Duration::from_secs(2);
/// A link that lived so long is dialled again at once when it breaks.
const STABLE: Duration = Duration::from_secs(1);
/// A line of a kind is followed by the next one after such a time, and later ever more seldom.
pub(super) const SOON: Duration = Duration::from_secs(10);
pub(super) const SELDOM: Duration = Duration::from_secs(600);
/// How often an address is tried again that was this node's own, or that of another cluster.
const REST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_at_most_half() {
        let longest = Duration::from_secs(2);
        assert_eq!(jittered(longest, 0), longest / 2);
        assert_eq!(jittered(longest, u8::MAX), longest);
        for random in 1..u8::MAX {
            let pause = jittered(longest, random);
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?}");
        }
    }
}
