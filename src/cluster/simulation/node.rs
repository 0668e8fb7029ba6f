//! One node: what it decides, and how it carries the decisions out.

use std::{cell::Cell, collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc};

use super::{
    HOUR_MS, OPTIONS, SHAPE, World, cable::SimLink, disk::Disks, leave::SimLeave, plans::Plan,
    work::SEARCHED,
};
use crate::{
    cluster::{
        AckTracker, Join, JoinLink, JoinOptions, JoinStep, LinkId, MemberTable, OtherPeers,
        PendingFetches, Readiness, Source, boot_id,
    },
    config::{Limits, PeerAddress, Shape},
    replica::{Link, LinkEvent, Observer, Replica, Sweep},
    session::{BootId, Mutant, Now, ValuePath},
    wire::Position,
};

/// What a node is made of, sockets and clocks apart.
pub(super) struct SimNode {
    pub(super) replica: Replica,
    pub(super) table: MemberTable<SimLink>,
    /// The state transfer, as long as it is under way.
    pub(super) join: Option<Join>,
    /// The transfer took too long. It goes on.
    pub(super) timed_out: bool,
    pub(super) acks: Arc<AckTracker>,
    pub(super) fetches: PendingFetches<News>,
    pub(super) skew_ms: u64,
    /// The sweep under way.
    sweep: Sweep,
    /// Versions at the last check, by session.
    pub(super) checked: Vec<Option<u64>>,
    /// The leave that is under way.
    pub(super) leave: Option<SimLeave>,
    /// The peers that have opened a link.
    pub(super) contacts: BTreeMap<usize, Contact>,
    /// Up to where its changes are on its disk.
    pub(super) saved: Option<Position>,
}

/// A peer as the checks know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact {
    pub(super) boot: BootId,
    /// Since when it has no open link.
    pub(super) lost_ms: Option<u64>,
    /// Whether requests waited for it then.
    pub(super) was_counted: bool,
    /// When it was found to lag last.
    pub(super) lagged_ms: u64,
    /// When a link that had skipped records was lost last.
    pub(super) skipped_ms: u64,
}

/// Counts the news of one session, so that who waits sees that there are some.
#[derive(Clone, Debug, Default)]
pub(super) struct News(Rc<Cell<u64>>);

impl News {
    pub(super) fn count(&self) -> u64 {
        self.0.get()
    }

    fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Wakes requests that wait for sessions.
pub(super) fn wake(news: impl IntoIterator<Item = News>) {
    for news in news {
        news.add();
    }
}

impl SimNode {
    pub(super) fn link_closed(&mut self, link: LinkId) {
        wake(self.fetches.link_closed(link));
    }

    /// Notes what becomes of an open link to a peer.
    pub(super) fn note_contact(&mut self, peer: usize, boot: BootId, event: &LinkEvent, now: Now) {
        let contact = self.contacts.entry(peer).or_insert(Contact {
            boot,
            lost_ms: None,
            was_counted: true,
            lagged_ms: 0,
            skipped_ms: 0,
        });
        match event {
            LinkEvent::Acks => (contact.boot, contact.lost_ms) = (boot, None),
            LinkEvent::Lagging => contact.lagged_ms = now.mono_ms,
            _ => {}
        }
    }

    /// Lets a tick pass, and takes the next step of the sweep.
    pub(super) fn sweep_some(&mut self, now: Now) {
        let overdue = self.replica.overdue(OPTIONS.ack_timeout_ms, now);
        self.acks.tick(overdue, now).wake();
        let timeout_ms = OPTIONS.ack_timeout_ms;
        self.acks
            .tick_disk(self.replica.head(), timeout_ms, now)
            .wake();
        self.replica.note_tick(now);
        let observer = &mut Observer::new(true);
        self.replica.sweep_some(&mut self.sweep, now, observer);
    }

    pub(super) fn others(&self, now: Now) -> OtherPeers {
        let has_links = !self.table.links().is_empty();
        let unlinked = self.table.unlinked();
        match &self.join {
            Some(join) if join.expects_others(has_links, unlinked, now) => OtherPeers::Expected,
            _ => OtherPeers::None,
        }
    }
}

/// Returns by what a node finds sessions. One of them looks at all instead, where it need not know
/// how many there are.
fn indexed(node: usize, plan: Plan) -> Vec<ValuePath> {
    let names: &[&str] = match node {
        1 if plan.limit.is_none() => &[],
        _ => &[SEARCHED, "a", "m"],
    };
    names.iter().map(|name| ValuePath::parse(name)).collect()
}

impl World {
    pub(super) fn boot(&mut self, node: usize) -> SimNode {
        self.boots += 1;
        let mut random = [self.random.byte(); 8];
        random[7] = self.boots;
        let boot = match &self.nodes.get(node) {
            Some(before) if Mutant::LoadAsOwn.is_on() && self.plan.disks != Disks::None => {
                before.replica.boot()
            }
            _ => boot_id(&name(node), random),
        };
        let shape = Shape {
            log_records: self.plan.log_records,
            ..SHAPE
        };
        let limits = Limits {
            max_sessions: self.plan.max_sessions,
            max_session_bytes: if node == 1 {
                self.plan.bytes_of_node_1
            } else {
                1_000
            },
            max_tombstone_bytes: match node {
                1 => Limits::default().max_tombstone_bytes,
                _ => self.plan.tombstones * Limits::TOMBSTONE_BYTES,
            },
            unconfirmed_ms: self.plan.unconfirmed_ms,
            ..Limits::default()
        };
        let any_skew_ms = self.random.below(3) as u64 * HOUR_MS;
        let skew_ms = self.skew_ms.unwrap_or(any_skew_ms);
        let now = self.at(skew_ms);
        let replica = Replica::new(boot, limits, &shape, now);
        let replica = replica.index_by(&indexed(node, self.plan));
        if let Some((most, at_limit)) = self.plan.limit {
            replica.limit(&self.meta.context, SEARCHED, most, at_limit);
        }
        let mut table = MemberTable::new(boot, SILENT_AFTER_MS, FORGET_AFTER_MS);
        for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
            table.add(&address(peer));
            table.resolve(&address(peer), &[socket(peer)], now);
        }
        let acks = Arc::<AckTracker>::default();
        if self.plan.disks != Disks::None && !self.is_down(node) {
            self.load(node, &replica, now);
        }
        if self.plan.disks == Disks::BeforeResponse {
            acks.await_disk();
        }
        SimNode {
            replica,
            table,
            join: Some(Join::new(JOIN_OPTIONS, now)),
            timed_out: false,
            acks,
            fetches: PendingFetches::default(),
            skew_ms,
            sweep: Sweep::default(),
            checked: Vec::new(),
            leave: None,
            contacts: BTreeMap::new(),
            saved: None,
        }
    }

    /// Moves the state transfer of a node on.
    pub(super) fn advance_join(&mut self, node: usize) {
        let now = self.now(node);
        let own = &self.nodes[node];
        if own.join.is_none() {
            return;
        }
        let unlinked = own.table.unlinked();
        let handles = own.table.links();
        let links: Vec<JoinLink> = handles
            .iter()
            .filter_map(|handle| {
                let link = self.end(handle.id())?.machine.link();
                Some(JoinLink {
                    link: handle.id(),
                    synced: link.is_synced(),
                    progress: link.progress(),
                    peer: link.peers_transfer(),
                })
            })
            .collect();
        let join = self.nodes[node].join.as_mut();
        let steps = join.map(|join| join.step(&links, unlinked, now));
        for step in steps.into_iter().flatten() {
            match step {
                JoinStep::Ask(link) | JoinStep::Compare(link) => {
                    self.update(node, link, Link::begin_round);
                }
                JoinStep::GiveUp(_) | JoinStep::Ready(Readiness::Refused) => {}
                JoinStep::Ready(Readiness::TimedOut) => {
                    self.nodes[node].timed_out = true;
                    self.tell_ready(node);
                }
                JoinStep::Ready(Readiness::Alone) => {
                    self.check(links.is_empty(), || "alone with a link".to_owned());
                }
                JoinStep::Ready(Readiness::Synced) => {}
                JoinStep::Over => {
                    self.nodes[node].join = None;
                    self.check_ready(node);
                    self.tell_ready(node);
                }
            }
        }
        if let Some(hops) = self.nodes[node].join.as_ref().map(Join::settled_hops) {
            for handle in &handles {
                self.update(node, handle.id(), |link| link.set_settled(hops));
            }
        }
        let own = &self.nodes[node];
        if own.others(now) == OtherPeers::None {
            wake(own.fetches.no_others());
        }
    }

    fn tell_ready(&mut self, node: usize) {
        for handle in self.nodes[node].table.links() {
            self.update(node, handle.id(), Link::set_ready);
        }
    }

    /// Lets a link of a node decide something, and wakes whom that releases.
    pub(super) fn update<R>(
        &mut self,
        node: usize,
        link: LinkId,
        decide: impl FnOnce(&mut Link) -> R,
    ) -> Option<R> {
        let acks = Arc::clone(&self.nodes[node].acks);
        let (result, released) = self.end(link)?.machine.update(&acks, decide)?;
        released.wake();
        self.check_waits(node);
        Some(result)
    }
}

pub(super) fn name(node: usize) -> Arc<str> {
    format!("node{node}").into()
}

pub(super) fn address(node: usize) -> Source {
    Source::Listed(PeerAddress {
        host: format!("node{node}.test"),
        port: 1,
    })
}

pub(super) fn socket(node: usize) -> SocketAddr {
    let last = u8::try_from(node).expect("few nodes");
    ([127, 0, 0, last], 1).into()
}

const JOIN_OPTIONS: JoinOptions = JoinOptions {
    timeout_ms: 5_000,
    alone_after_ms: 500,
    min_peers: 0,
};
/// Two heartbeats.
const SILENT_AFTER_MS: u64 = 1_000;
const FORGET_AFTER_MS: u64 = 60_000;
