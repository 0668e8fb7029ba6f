//! What all tasks and requests of one node share.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::log::info;

#[cfg(feature = "axum")]
use super::availability::Unready;
use super::{
    availability::Availability,
    clock::Clock,
    cookie_names::{Claim, CookieUse},
    disk::Disk,
    env::Env,
    events::{Event, MemberEvent, MemberEventKind, SessionEvent},
    monitor::Monitor,
    net::{Network, tls::LinkSecurity},
    peers::Peers,
    requests::Requests,
};
use crate::{
    cluster::AckWait,
    config::{Ack, PeerAddress, Settings},
    replica::{Change, Replica},
    session::{BootId, Now},
    wire::{DecodeLimits, Hello, PROTOCOL, Position},
};

/// What all tasks and requests of one node share. Tasks hold it, never a
/// [`Cluster`](super::Cluster). Each group of fields belongs to the file or folder of its type.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) settings: Settings,
    pub(super) env: Env,
    pub(super) clock: Clock,
    pub(super) replica: Replica,
    pub(super) availability: Availability,
    pub(super) peers: Peers,
    pub(super) requests: Requests,
    pub(super) net: Network,
    pub(super) disk: Disk,
    pub(super) monitor: Monitor,
}

impl Node {
    pub(super) fn new(
        settings: Settings,
        security: LinkSecurity,
        boot: BootId,
        env: Env,
        local_address: Option<SocketAddr>,
        disk: Disk,
    ) -> Self {
        let clock = Clock::new(Arc::clone(&env.system));
        let now = clock.now();
        let hello = Hello {
            min_version: *PROTOCOL.start(),
            max_version: *PROTOCOL.end(),
            cluster: settings.cluster.to_string(),
            node: settings.node.to_string(),
            boot,
            advertise: local_address.and_then(|local| advertised(&settings, local)),
            exchanges_peers: settings.peer_exchange,
        };
        Self {
            replica: Replica::new(boot, settings.limits.clone(), &settings.shape, now)
                .index_by(&settings.indexes),
            availability: Availability::new(&settings, now),
            peers: Peers::new(boot, &settings),
            requests: Requests::new(settings.ack_timeout, now),
            net: Network::new(hello, security, local_address),
            disk,
            monitor: Monitor::new(&settings, now),
            clock,
            env,
            settings,
        }
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Reads both clocks, in the one place that reads them.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Returns why requests should not be sent here, if so.
    #[cfg(feature = "axum")]
    pub(crate) fn unready(&self) -> Option<Unready> {
        self.availability.unready()
    }

    /// Returns whether the node is about to stop.
    #[cfg(feature = "status")]
    pub(crate) fn is_stopping(&self) -> bool {
        let unready = self.unready();
        matches!(unready, Some(Unready::Draining | Unready::Leaving))
    }

    /// Returns random bytes.
    #[cfg(feature = "status")]
    pub(crate) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        self.env.random()
    }

    /// Returns whether the state transfer is still under way, so that an unknown key is asked for.
    pub(crate) fn awaits_transfer(&self) -> bool {
        self.availability.awaits_transfer()
    }

    /// Returns whether sessions are still created here: not once the node is leaving.
    pub(crate) fn may_create(&self) -> bool {
        self.availability.may_create()
    }

    /// Returns whether links are made, by dials of either side.
    pub(crate) fn makes_links(&self) -> bool {
        self.availability.makes_links()
    }

    /// Waits until peers hold the log up to `position`. The output is the number of peers that do;
    /// it is 0 at once when there is nothing to wait for.
    pub(crate) fn acknowledged(&self, position: Option<Position>, ack: Ack) -> AckWait {
        if position.is_some() {
            self.disk.expect();
        }
        if position.is_some() && ack != Ack::None {
            self.peers.expect_acks(self.now());
        }
        self.peers.acks.wait(position, ack)
    }

    /// Claims a cookie name for a context, once for all layers of this node.
    pub(crate) fn claim_cookie(&self, name: &str, used: CookieUse, context: &Arc<str>) -> Claim {
        let claim = self.requests.cookie_names.claim(name, used, context);
        if claim == Claim::New && used == CookieUse::Id {
            let shown = if context.is_empty() {
                "the default one"
            } else {
                &**context
            };
            info!(
                node = %self.settings.node, %context, cookie = name,
                "Register context [{shown}] with session cookie [{name}]"
            );
        }
        claim
    }

    /// Claims the name of a header field for a context, once for all layers of this node.
    pub(crate) fn claim_header(&self, name: &str, context: &Arc<str>) -> Claim {
        // No cookie has such a name.
        let name = format!("{name}:");
        self.claim_cookie(&name, CookieUse::Header, context)
    }

    /// Lets every link's writer look at the log, which has grown.
    pub(crate) fn wake_links(&self) {
        self.peers.wake_writers();
    }

    /// Returns whether anybody listens to session events.
    pub(crate) fn wants_session_events(&self) -> bool {
        self.monitor.events.is_watched()
    }

    /// Tells listeners of something that happened to the cluster, and keeps it for a while.
    pub(super) fn tell(&self, event: Event) {
        self.monitor.event_log.add(event.clone(), self.now());
        self.monitor.events.send(event);
    }

    pub(super) fn tell_member(&self, kind: MemberEventKind, name: Arc<str>, address: Arc<str>) {
        self.tell(Event::Member(MemberEvent {
            name,
            address,
            kind,
        }));
    }

    /// Tells listeners of something that happened to a session by a request of this node.
    pub(crate) fn publish(&self, change: Change) {
        self.publish_session(change, false);
    }

    pub(super) fn publish_session(&self, change: Change, replicated: bool) {
        if self.wants_session_events() {
            let told = SessionEvent::new(change, replicated);
            self.monitor.events.send(Event::Session(told));
        }
    }

    /// Returns what messages of peers are checked against. Names merge from several nodes, each
    /// within its limits.
    pub(super) fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits::new(&self.settings.limits, &self.settings.shape)
    }
}

/// Returns the address by which peers that have this node on their lists recognise it.
fn advertised(settings: &Settings, local: SocketAddr) -> Option<String> {
    if settings.advertise.is_some() {
        return settings.advertise.clone();
    }
    let listen = settings.listen.as_ref()?;
    let peer = PeerAddress {
        host: match listen.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => return None,
            Ok(_) | Err(_) => listen.host.clone(),
        },
        port: local.port(),
    };
    Some(peer.to_string())
}
