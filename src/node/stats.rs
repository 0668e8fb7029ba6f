//! Figures and states for an operator or a metrics crate.

use std::sync::{Arc, atomic::Ordering};

use serde::Serialize;

use super::{Node, disk_stats::DiskStats, peers::link::PeerLink};
use crate::{
    cluster::{MemberRow, MemberStatus, Readiness},
    replica::{Flow, PeersTransfer},
    session::Now,
    wire::Position,
};

/// One node's figures, from [`Cluster::stats`](crate::Cluster::stats).
///
/// Counts are since the start of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The node's name.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// The first characters of the random id of this run of the process.
    pub boot: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// Whether requests should be sent here, as [`Cluster::is_ready`](crate::Cluster::is_ready).
    pub ready: bool,
    /// How the state transfer has ended; `None` as long as it has not.
    ///
    /// It is [`Readiness::Refused`] also later, as long as peers are there and another node of this
    /// one's name has taken its place among them.
    pub readiness: Option<Readiness>,
    /// Sessions held.
    pub sessions: usize,
    /// Sessions that may be held, as [`max_sessions`](crate::ClusterConfig::max_sessions) says.
    pub max_sessions: usize,
    /// Bytes of memory that the sessions take: what was asked of the allocator, which uses more.
    pub session_bytes: usize,
    /// Bytes that they may take, as [`max_bytes`](crate::ClusterConfig::max_bytes) says.
    pub max_bytes: usize,
    /// Destroyed sessions that are remembered, so that they stay destroyed. A node that never had a
    /// link remembers none.
    pub tombstones: usize,
    /// Bytes of memory that they take.
    pub tombstone_bytes: usize,
    /// Bytes that they may take, as
    /// [`max_tombstone_bytes`](crate::ClusterConfig::max_tombstone_bytes) says.
    pub max_tombstone_bytes: usize,
    /// How long they are remembered at most, in milliseconds, because this node or one of its peers
    /// has no room for more; `None` when there is room for all. It is a minute at least.
    pub tombstone_retention_ms: Option<u64>,
    /// Destroyed sessions that were forgotten before that, because there was no room even for a
    /// minute's.
    pub tombstones_lost: u64,
    /// Records of this node's log so far: commits, and use that peers were told of.
    pub log_head: u64,
    /// Connections refused, by this node or by the other side.
    pub refused: u64,
    /// Links closed because the peer sent what it must not send.
    pub violations: u64,
    /// Messages with sessions far beyond the limits of this node, which were not merged: twice of
    /// each, but one and a half times `max_bytes`.
    pub over_limit: u64,
    /// Sessions that were not created, and writes that were refused, because there was no room
    /// ([`SessionError::Full`](crate::SessionError::Full)).
    pub full: u64,
    /// Sessions of clients that had not come back, which have made room for others, as
    /// [`unconfirmed_timeout`](crate::ClusterConfig::unconfirmed_timeout) says.
    pub evicted: u64,
    /// Writes that were refused, because the session would have been too large
    /// ([`SessionError::TooLarge`](crate::SessionError::TooLarge)).
    pub too_large: u64,
    /// Questions for single sessions that peers were asked, while the state transfer was under way
    /// or for what a client had written elsewhere.
    pub lookups: u64,
    /// Requests served without what their client had written elsewhere, because nobody had it
    /// within [`read_your_writes_timeout`](crate::ClusterConfig::read_your_writes_timeout).
    ///
    /// It stays 0 with [`Consistency::Eventual`](crate::Consistency::Eventual), which does not
    /// look.
    pub stale_reads: u64,
    /// Panics in this crate's own tasks, each of which is a defect. The task was begun again, or its
    /// link made anew.
    pub task_panics: u64,
    /// The data directory, `None` when sessions are in memory alone.
    pub disk: Option<DiskStats>,
    /// The other members.
    pub members: Vec<Member>,
}

/// Another node of the cluster, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Member {
    /// The node name, `None` as long as the member was never reached.
    pub name: Option<String>,
    /// The address: the configured one, or the one it advertises, or the one it dialled from.
    pub address: String,
    /// The state of the member.
    pub state: MemberState,
    /// Records of this node's log that the member has not acknowledged.
    pub acked_lag: u64,
    /// Bytes sent to the member for repair that it has not merged. What waits in the log is not
    /// counted.
    pub queued_bytes: u64,
    /// Bytes sent to the member.
    pub sent_bytes: u64,
    /// Bytes received from the member.
    pub received_bytes: u64,
    /// For how many milliseconds both nodes have held the same sessions, `None` while they differ.
    ///
    /// The member tells what it holds with each heartbeat, so a change that is under way then makes
    /// them differ for a moment. Under load they differ most of the time.
    pub equal_for_ms: Option<u64>,
    /// How many milliseconds ago both held the same, on the present link.
    pub last_equal_ms: Option<u64>,
    /// How many milliseconds ago a round of comparing ended, on the present link. What differs for
    /// longer than a moment is found and repaired by it.
    pub last_round_ms: Option<u64>,
    /// What has come of the member's sessions, while this node asks for all of them.
    pub receiving: Option<Transfer>,
    /// What has left for the member, while it asks for all sessions.
    pub sending: Option<Transfer>,
}

/// A state transfer that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Transfer {
    /// Sessions so far. Those that the receiver has already do not travel.
    pub sessions: u64,
    /// Bytes of them so far.
    pub bytes: u64,
    /// Milliseconds since its beginning.
    pub elapsed_ms: u64,
}

/// The state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MemberState {
    /// Linked, and requests wait for it.
    Up,
    /// Linked, but it missed `ack_timeout` or too many changes. Requests do not wait for it until
    /// it has caught up.
    Lagging,
    /// Linked, and one of the two nodes is still receiving its sessions. Requests wait for it.
    Syncing,
    /// Its link broke less than `down_after` ago.
    Suspect,
    /// Nothing was heard of it for `down_after`, or it was never reached.
    Down,
    /// It said goodbye.
    Left,
    /// It is there, and it or this node refuses the other: another secret or cluster, or a node of
    /// that name is linked already.
    Refused,
}

impl MemberState {
    /// Returns whether requests wait for a member in this state.
    pub(super) const fn is_waited_for(self) -> bool {
        match self {
            Self::Up | Self::Syncing => true,
            Self::Lagging | Self::Suspect | Self::Down | Self::Left | Self::Refused => false,
        }
    }
}

impl Node {
    pub(super) fn stats(&self) -> Stats {
        let now = self.now();
        let boot = self.replica.boot().to_string();
        let tombstones = self.replica.tombstone_use();
        let counters = &self.monitor.counters;
        Stats {
            node: self.settings.node.to_string(),
            cluster: self.settings.cluster.to_string(),
            boot: boot.chars().take(SHORT_BOOT).collect(),
            uptime_ms: now.mono_ms.saturating_sub(self.monitor.started_ms),
            ready: self.availability.is_ready(),
            readiness: self.availability.readiness(),
            sessions: self.replica.sessions(),
            max_sessions: self.settings.limits.max_sessions,
            session_bytes: self.replica.session_bytes(),
            max_bytes: self.settings.limits.max_bytes,
            tombstones: self.replica.tombstones(),
            tombstone_bytes: tombstones.bytes,
            max_tombstone_bytes: self.settings.limits.max_tombstone_bytes,
            tombstone_retention_ms: tombstones.retention_ms,
            tombstones_lost: tombstones.lost,
            log_head: Position::number(self.replica.head()),
            refused: counters.refused.load(Ordering::Relaxed),
            violations: counters.violations.load(Ordering::Relaxed),
            over_limit: counters.over_limit.load(Ordering::Relaxed),
            full: counters.full.load(Ordering::Relaxed),
            evicted: self.replica.evicted(),
            too_large: counters.too_large.load(Ordering::Relaxed),
            lookups: counters.lookups.load(Ordering::Relaxed),
            stale_reads: counters.stale_reads.load(Ordering::Relaxed),
            task_panics: counters.task_panics.load(Ordering::Relaxed),
            disk: self.disk.stats(&self.replica),
            members: self.member_list_at(now),
        }
    }

    pub(super) fn member_list(&self) -> Vec<Member> {
        self.member_list_at(self.now())
    }

    fn member_list_at(&self, now: Now) -> Vec<Member> {
        let rows = self.peers.table().rows();
        rows.into_iter().map(|row| self.member(row, now)).collect()
    }

    fn member(&self, row: MemberRow<Arc<PeerLink>>, now: Now) -> Member {
        let transferring = self.awaits_transfer();
        let figures = row.link.as_ref().map(|link| {
            link.inspect(|machine| {
                let state = if machine.is_lagging() {
                    MemberState::Lagging
                } else if machine.peers_transfer() != PeersTransfer::Over
                    || (transferring && !machine.is_synced())
                {
                    MemberState::Syncing
                } else {
                    MemberState::Up
                };
                (state, machine.gauges(&self.replica))
            })
        });
        let (linked, gauges) = figures.unzip();
        let gauges = gauges.unwrap_or_default();
        let transfer = |flow: Flow| Transfer {
            sessions: flow.sessions,
            bytes: flow.bytes,
            elapsed_ms: now.mono_ms.saturating_sub(flow.began_ms),
        };
        Member {
            name: row.name.map(|name| name.to_string()),
            address: row.address.to_string(),
            state: match row.status {
                MemberStatus::Left => MemberState::Left,
                MemberStatus::Up => linked.unwrap_or(MemberState::Suspect),
                MemberStatus::Suspect { .. } => MemberState::Suspect,
                MemberStatus::Refused => MemberState::Refused,
                MemberStatus::Unreached | MemberStatus::Down | MemberStatus::Myself => {
                    MemberState::Down
                }
            },
            acked_lag: gauges.acked_lag,
            queued_bytes: gauges.queued_bytes,
            sent_bytes: row.traffic.sent,
            received_bytes: row.traffic.received,
            equal_for_ms: gauges.agreement.equal_for_ms(now),
            last_equal_ms: gauges.agreement.last_equal_ms(now),
            last_round_ms: gauges.agreement.last_round_ms(now),
            receiving: gauges
                .receiving
                .filter(|_| transferring)
                .map(|flow| Transfer {
                    // What was in the peer's log has come as changes, which no round counts.
                    sessions: flow.sessions.max(self.replica.sessions() as u64),
                    ..transfer(flow)
                }),
            sending: gauges.sending.map(transfer),
        }
    }
}

const SHORT_BOOT: usize = 8;
