//! Dialling the configured peers, for ever.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use crate::log::{debug, info, warn};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handshake::{self, HandshakeError};
use crate::node::{
    Node,
    log_throttle::LogThrottle,
    peers::{lifecycle::Established, link_task},
};
use crate::{
    cluster::{MemberLink as _, Reach},
    config::PeerAddress,
    wire::Refusal,
};

/// Keeps one peer linked until `stop`, at each address of its name. A link that a peer dialled is as
/// good as an own one.
pub(crate) async fn keep(node: Arc<Node>, peer: PeerAddress, stop: CancellationToken) {
    let resolving = again(&node, || Resolving::new(&node, &peer, &stop).run());
    until(&stop, resolving).await;
}

/// Does a part of a task again whenever it has panicked.
async fn again<F: Future<Output = ()>>(node: &Node, work: impl Fn() -> F) {
    while node.guarded("dial", work()).await.is_none() {
        sleep(LONGEST).await;
    }
}

async fn until(stop: &CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Looks up the addresses of one peer, and has each of them dialled.
struct Resolving<'a> {
    node: &'a Arc<Node>,
    peer: &'a PeerAddress,
    stop: &'a CancellationToken,
    dials: HashMap<SocketAddr, DropGuard>,
    /// Woken when an address could not be linked: there may be another one by now.
    missed: Arc<Notify>,
    backoff: Backoff,
    absent_log: LogThrottle,
}

impl<'a> Resolving<'a> {
    fn new(node: &'a Arc<Node>, peer: &'a PeerAddress, stop: &'a CancellationToken) -> Self {
        Self {
            node,
            peer,
            stop,
            dials: HashMap::new(),
            missed: Arc::default(),
            backoff: Backoff::default(),
            absent_log: LogThrottle::slowing(SOON, SELDOM),
        }
    }

    async fn run(mut self) {
        while self.node.makes_links() {
            let pause = match self.look_up().await {
                Ok(found) => {
                    self.backoff = Backoff::default();
                    self.absent_log.reset();
                    self.dial_all(&found);
                    REFRESH
                }
                Err(error) => {
                    self.note_failed(&error);
                    self.backoff.next(self.node.is_looking_for_peers())
                }
            };
            // Whichever comes first; names are looked up again in any case.
            let _elapsed = timeout(self.node.jittered(pause), self.missed.notified()).await;
        }
    }

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.node.env.transport.resolve(self.peer).await?;
        // Name servers tell them in another order each time.
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            let text = "the name has no address";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(found)
    }

    fn dial_all(&mut self, found: &[SocketAddr]) {
        let (node, tasks) = (self.node, &self.node.net.tasks);
        let ips = found.iter().map(SocketAddr::ip);
        node.net.admission.list(self.peer, ips);
        let wanted = node.peers.table().resolve(self.peer, found);
        self.dials.retain(|at, _| wanted.contains(at));
        for at in wanted {
            self.dials.entry(at).or_insert_with(|| {
                let stop = self.stop.child_token();
                let (node, peer) = (Arc::clone(node), self.peer.clone());
                let (guard, missed) = (stop.clone().drop_guard(), Arc::clone(&self.missed));
                tasks.spawn(async move {
                    let dial = || Dialling::new(Arc::clone(&node), peer.clone(), at, &missed).run();
                    until(&stop, again(&node, dial)).await;
                });
                guard
            });
        }
    }

    fn note_failed(&self, error: &io::Error) {
        let (node, address) = (self.node, self.peer);
        let now = node.now();
        let mut table = node.peers.table();
        table.dial_failed(address, None, Reach::Unreachable);
        drop(table);
        node.watch_exclusion();
        if self.absent_log.may_log(now) {
            let name = &node.settings.node;
            info!(node = %name, %address, "cannot look up [{address}], trying on: {error}");
        }
        node.advance_join(now);
    }
}

/// Keeps one address of a peer linked.
struct Dialling<'a> {
    node: Arc<Node>,
    peer: PeerAddress,
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
    /// Returns what was found at the address.
    const fn found(&self) -> Reach {
        match self {
            Self::Connect(_) => Reach::Unreachable,
            Self::Handshake(error) => error.found(),
        }
    }

    /// Returns whether the peer's machine says that nobody listens there.
    fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl<'a> Dialling<'a> {
    fn new(node: Arc<Node>, peer: PeerAddress, at: SocketAddr, missed: &'a Notify) -> Self {
        Self {
            node,
            peer,
            at,
            missed,
            backoff: Backoff::default(),
            absent_log: LogThrottle::slowing(SOON, SELDOM),
            misfit_log: LogThrottle::slowing(SOON, SELDOM),
        }
    }

    async fn run(mut self) {
        while self.node.makes_links() {
            let existing = self.node.peers.table().link_to(&self.peer, self.at);
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
                    self.note_failed(&error);
                    self.pause()
                }
            };
            sleep(self.node.jittered(pause)).await;
        }
    }

    /// Returns how long to wait before the next dial: not long while the node may yet become ready
    /// without this peer, or requests wait for it.
    fn pause(&mut self) -> Duration {
        let is_awaited =
            self.node.is_looking_for_peers() || self.node.has_just_lost(&self.peer, self.at);
        self.backoff.next(is_awaited)
    }

    async fn dial(&self) -> Dialled {
        let remote = self.at;
        let io = match self.node.env.transport.connect(remote).await {
            Ok(io) => io,
            Err(error) => return Dialled::Failed(DialError::Connect(error)),
        };
        let proof = OnceLock::new();
        let secured = async {
            let (io, chain) = self.node.net.security.dial(io, &self.peer.host).await?;
            proof.get_or_init(|| chain);
            Ok(io)
        };
        let met = handshake::dial(secured, &self.node.net.hello, |theirs| {
            let origin = Established::Dialled {
                peer: &self.peer,
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
            let first = table.is_myself(&self.peer, self.at);
            (first, table.shown(&self.peer, self.at))
        };
        if first {
            debug!(
                node = %node.settings.node, %address,
                "peer [{address}] is this node itself"
            );
        }
        node.advance_join(node.now());
    }

    fn note_failed(&self, error: &DialError) {
        let node = &self.node;
        let now = node.now();
        let (address, is_spare, has_met) = {
            let mut table = node.peers.table();
            table.dial_failed(&self.peer, Some(self.at), error.found());
            (
                table.shown(&self.peer, self.at),
                table.is_spare(&self.peer, self.at),
                table.boot_at(&self.peer, self.at).is_some(),
            )
        };
        if error.is_refused() {
            node.note_refused_dial(&self.peer, self.at);
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
        if is_spare || !log.may_log(now) {
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
        if !is_spare {
            self.missed.notify_one();
        }
    }
}

impl Node {
    fn jittered(&self, pause: Duration) -> Duration {
        let [random] = self.env.random();
        jittered(pause, random)
    }
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
    /// Returns how long to wait before the next attempt: not long while the node, or its requests,
    /// wait for this peer.
    fn next(&mut self, is_awaited: bool) -> Duration {
        let pause = self.0;
        self.0 = LONGEST.min(pause * 2);
        match is_awaited {
            true => pause.min(WHILE_LOOKING),
            false => pause,
        }
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
/// How often a name is looked up although all its addresses are linked: others may have come.
const REFRESH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_at_two_seconds() {
        let mut backoff = Backoff::default();
        let stalls: Vec<_> = (0..8).map(|_| backoff.next(false).as_millis()).collect();
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
