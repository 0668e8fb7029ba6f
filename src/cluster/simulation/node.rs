//! One node: what it decides, and how it carries the decisions out.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::{HOUR_MS, SHAPE, World, cable::SimLink};
use crate::{
    cluster::{
        AckTracker, Join, JoinLink, JoinStep, LinkId, MemberTable, OtherPeers, PendingFetches,
        Readiness, boot_id,
    },
    config::{Limits, PeerAddress, Shape},
    replica::{Link, Observer, Replica, Sweep},
    session::Now,
};

/// What a node is made of, sockets and clocks apart.
pub(super) struct SimNode {
    pub(super) replica: Replica,
    pub(super) table: MemberTable<SimLink>,
    /// The state transfer, as long as it is under way.
    pub(super) join: Option<Join>,
    pub(super) acks: Arc<AckTracker>,
    pub(super) fetches: PendingFetches<News>,
    pub(super) skew_ms: u64,
    /// The sweep under way.
    sweep: Sweep,
    /// Versions at the last check, by session.
    pub(super) checked: Vec<Option<u64>>,
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

    /// Lets a tick pass, and takes the next step of the sweep.
    pub(super) fn sweep_some(&mut self, now: Now) {
        self.replica.note_tick(now);
        let observer = &mut Observer::new(true);
        self.replica.sweep_some(&mut self.sweep, now, observer);
    }

    pub(super) fn others(&self) -> OtherPeers {
        if self.join.is_some() && !self.table.all_tried() {
            OtherPeers::Expected
        } else {
            OtherPeers::None
        }
    }
}

impl World {
    pub(super) fn boot(&mut self, node: usize) -> SimNode {
        self.boots += 1;
        let mut random = [self.random.byte(); 8];
        random[7] = self.boots;
        let boot = boot_id(&name(node), random);
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
            ..Limits::default()
        };
        let skew_ms = self.random.below(3) as u64 * HOUR_MS;
        let now = self.at(skew_ms);
        let mut table = MemberTable::new(boot, SILENT_AFTER_MS);
        for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
            table.add(&address(peer));
        }
        SimNode {
            replica: Replica::new(boot, limits, &shape, now),
            table,
            join: Some(Join::new(TRANSFER_TIMEOUT_MS, now)),
            acks: Arc::default(),
            fetches: PendingFetches::default(),
            skew_ms,
            sweep: Sweep::default(),
            checked: Vec::new(),
        }
    }

    /// Moves the state transfer of a node on.
    pub(super) fn advance_join(&mut self, node: usize) {
        let now = self.now(node);
        let own = &self.nodes[node];
        if own.join.is_none() {
            return;
        }
        let all_tried = own.table.all_tried();
        let handles = own.table.links();
        let links: Vec<JoinLink> = handles
            .iter()
            .filter_map(|handle| {
                let link = self.end(handle.id())?.machine.link();
                Some(JoinLink {
                    link: handle.id(),
                    synced: link.is_synced(),
                    progress: link.progress(),
                })
            })
            .collect();
        let join = self.nodes[node].join.as_mut();
        let steps = join.map(|join| join.step(&links, all_tried, now));
        for step in steps.into_iter().flatten() {
            match step {
                JoinStep::Ask(link) | JoinStep::Compare(link) => {
                    self.update(node, link, Link::begin_round);
                }
                JoinStep::GiveUp(_) | JoinStep::Ready(Readiness::TimedOut) => {}
                JoinStep::Ready(Readiness::Alone) => {
                    self.check(links.is_empty(), || "alone with a link".to_owned());
                }
                JoinStep::Ready(Readiness::Synced) => {}
                JoinStep::Over => {
                    self.nodes[node].join = None;
                    self.check_ready(node);
                    for handle in &handles {
                        self.update(node, handle.id(), |link| link.set_ready(true));
                    }
                }
            }
        }
        let own = &self.nodes[node];
        if own.others() == OtherPeers::None {
            wake(own.fetches.no_others());
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

pub(super) fn address(node: usize) -> PeerAddress {
    PeerAddress {
        host: format!("node{node}.test"),
        port: 1,
    }
}

const TRANSFER_TIMEOUT_MS: u64 = 5_000;
/// Two heartbeats.
const SILENT_AFTER_MS: u64 = 1_000;
