//! The runtime: clock, tasks, sockets, members. The only I/O of the crate.
//!
//! [`Cluster`] is the user's handle and owns the tasks; they share one [`Node`]. Everything between
//! bytes and sessions is decided in `replica`, everything about who is linked to whom in `members`
//! and `join`; the files around them carry bytes and time to these decisions.

mod acks;
mod clock;
mod cluster;
mod cookie_names;
mod env;
mod events;
mod fetch;
mod join;
mod leave;
mod log_throttle;
mod members;
pub(crate) mod net;
mod peers;
mod rate_limit;
mod requests;
mod stall;
mod stats;
mod unresponsive;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

#[cfg(test)]
pub(crate) use self::env::{Random, TimeOfDay};
use self::{
    acks::AckTracker,
    clock::Clock,
    cookie_names::CookieNames,
    events::{EventHub, SessionEvent as Told},
    fetch::PendingFetches,
    join::Join,
    leave::LeaveProgress,
    log_throttle::LogThrottle,
    members::Members,
    net::{admission::Admission, allowlist::Allowlist},
    peers::link::PeerLink,
    stall::StallDetector,
    stats::Counters,
};
pub(crate) use self::{
    acks::AckWait,
    cookie_names::{Claim, CookieUse},
    env::Env,
    net::tls::LinkSecurity,
};
pub use self::{
    cluster::Cluster,
    events::{Event, Events, SessionEvent, SessionEventKind},
    join::Readiness,
    stats::{Member, MemberState, Stats},
};
use crate::{
    config::{Ack, PeerAddr, Settings},
    replica::{Change, Replica},
    session::{BootId, Now},
    wire::{DecodeLimits, Hello, PROTOCOL, message::Position},
};

/// What all tasks and requests of one node share. Tasks hold it, never a [`Cluster`].
#[derive(Debug)]
pub(crate) struct Node {
    settings: Settings,
    hello: Hello,
    clock: Clock,
    replica: Replica,
    acks: Arc<AckTracker>,
    /// Who is linked. Taken after `join`, before any link's own lock.
    members: Mutex<Members>,
    /// The live links of `members`, for the path of every commit.
    links: RwLock<Arc<[Arc<PeerLink>]>>,
    join: Mutex<Join>,
    /// The state transfer is under way.
    transferring: AtomicBool,
    readiness: watch::Sender<Option<Readiness>>,
    draining: AtomicBool,
    leaving: watch::Sender<LeaveProgress>,
    events: EventHub,
    fetches: PendingFetches,
    stalls: StallDetector,
    cookies: CookieNames,
    counters: Counters,
    /// Lines about strangers, and about nodes that do not fit.
    refusal_log: LogThrottle,
    misfit_log: LogThrottle,
    over_limit_log: LogThrottle,
    /// Who may be a stranger at the door.
    admission: Arc<Admission>,
    guard: LinkSecurity,
    allowlist: Allowlist,
    next_link: AtomicU64,
    local_addr: Option<SocketAddr>,
    env: Env,
    /// Ends listener, dialling and links.
    network: CancellationToken,
    /// All tasks that end with `network`.
    tasks: TaskTracker,
}

impl Node {
    fn new(
        settings: Settings,
        guard: LinkSecurity,
        boot: BootId,
        env: Env,
        local_addr: Option<SocketAddr>,
    ) -> Self {
        let clock = Clock::new(Arc::clone(&env.time_of_day));
        let now = clock.now();
        let hello = Hello {
            min_version: *PROTOCOL.start(),
            max_version: *PROTOCOL.end(),
            cluster: settings.cluster.to_string(),
            node: settings.node.to_string(),
            boot,
            advertise: local_addr.and_then(|local| advertised(&settings, local)),
        };
        let silent_after = MIN_SILENCE.max(2 * settings.heartbeat_interval);
        let mut members = Members::new(boot, silent_after);
        for peer in &settings.peers {
            members.add(peer);
        }
        Self {
            hello,
            guard,
            admission: Arc::default(),
            allowlist: Allowlist::default(),
            replica: Replica::new(boot, settings.limits.clone(), &settings.shape, now),
            acks: Arc::default(),
            members: Mutex::new(members),
            links: RwLock::new(Arc::new([])),
            join: Mutex::new(Join::new(settings.transfer_timeout, now)),
            transferring: AtomicBool::new(true),
            readiness: watch::Sender::new(None),
            draining: AtomicBool::new(false),
            leaving: watch::Sender::new(LeaveProgress::No),
            events: EventHub::new(),
            fetches: PendingFetches::default(),
            stalls: StallDetector::new(settings.ack_timeout, now),
            cookies: CookieNames::default(),
            counters: Counters::default(),
            refusal_log: LogThrottle::default(),
            misfit_log: LogThrottle::default(),
            over_limit_log: LogThrottle::default(),
            next_link: AtomicU64::new(0),
            local_addr,
            env,
            network: CancellationToken::new(),
            tasks: TaskTracker::new(),
            clock,
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Both clocks, read in the one place that reads them.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Whether the state transfer is still under way, so that an unknown id is asked for.
    pub(crate) fn awaits_transfer(&self) -> bool {
        self.transferring.load(Ordering::Acquire)
    }

    /// Whether sessions are still created here: not once the node is leaving.
    pub(crate) fn may_create(&self) -> bool {
        *self.leaving.borrow() == LeaveProgress::No
    }

    /// Waits until peers hold the log up to `position`. The output is the number of peers that do;
    /// it is 0 at once when there is nothing to wait for.
    pub(crate) fn acknowledged(&self, position: Position, ack: Ack) -> AckWait {
        self.acks.wait(position, ack)
    }

    /// Claims a cookie name for a context, once for all layers of this node.
    pub(crate) fn claim_cookie(&self, name: &str, used: CookieUse, context: &Arc<str>) -> Claim {
        let claim = self.cookies.claim(name, used, context);
        if claim == Claim::New && used == CookieUse::Id {
            info!(
                node = %self.settings.node, %context, cookie = name,
                "Register context [{context}] with session cookie [{name}]"
            );
        }
        claim
    }

    /// The log has grown: every link's writer looks at it.
    pub(crate) fn wake_links(&self) {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        for link in links.iter() {
            link.wake_writer();
        }
    }

    /// Whether anybody listens to session events.
    pub(crate) fn wants_session_events(&self) -> bool {
        self.events.is_watched()
    }

    /// Tells listeners of something that happened to a session by a request of this node.
    pub(crate) fn publish(&self, change: Change) {
        self.publish_session(change, false);
    }

    fn publish_session(&self, change: Change, replicated: bool) {
        if self.events.is_watched() {
            let told = Told::new(change, replicated);
            self.events.send(Event::Session(told));
        }
    }

    fn is_ready(&self) -> bool {
        self.readiness.borrow().is_some()
            && self.may_create()
            && !self.draining.load(Ordering::Relaxed)
    }

    fn live_links(&self) -> Arc<[Arc<PeerLink>]> {
        Arc::clone(&self.links.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self) -> MutexGuard<'_, Join> {
        self.join.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits::new(&self.settings.limits, &self.settings.shape)
    }
}

/// The address by which peers that have this node on their lists recognise it.
fn advertised(settings: &Settings, local: SocketAddr) -> Option<String> {
    if settings.advertise.is_some() {
        return settings.advertise.clone();
    }
    let listen = settings.listen.as_ref()?;
    let peer = PeerAddr {
        host: match listen.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => return None,
            Ok(_) | Err(_) => listen.host.clone(),
        },
        port: local.port(),
    };
    Some(peer.to_string())
}

/// The least silence after which a link may be replaced.
const MIN_SILENCE: Duration = Duration::from_secs(1);
