//! Events that an application can watch: members, the state transfer, sessions.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    cluster::Readiness,
    replica::{Change, ChangeKind},
};

/// A stream of [`Event`]s, from [`Cluster::events`](crate::Cluster::events).
///
/// Each stream gets every event from its creation on.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// Waits for the next event. Returns `None` once the cluster's last handle and last request are
    /// gone.
    ///
    /// A reader that falls 1024 events behind gets [`Event::Missed`] instead of the lost ones.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::new("node1").listen("127.0.0.1:0")).await?;
    /// let mut events = cluster.events();
    /// cluster.ready().await;
    /// drop(cluster);
    /// // All that happened from `events()` on, and then the end.
    /// while let Some(event) = events.recv().await {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// An event in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The state of a member changed.
    Member(MemberEvent),
    /// This node dropped sessions that the others may have destroyed.
    ///
    /// It was cut off for longer than destroyed sessions are remembered, and the member that it met
    /// then does not have them.
    #[non_exhaustive]
    DroppedOutdated {
        /// The number of sessions that were dropped.
        sessions: usize,
    },
    /// This node asks a member for all sessions.
    #[non_exhaustive]
    TransferStarted {
        /// The member's node name.
        from: Arc<str>,
    },
    /// All sessions of one member have arrived.
    #[non_exhaustive]
    TransferFinished {
        /// The member's node name.
        from: Arc<str>,
        /// Sessions received, by the transfer or meanwhile with current changes.
        sessions: u64,
        /// The bytes of them on the link.
        bytes: u64,
        /// The time it took.
        duration: Duration,
    },
    /// The state transfer is over, one way or another.
    Ready(Readiness),
    /// This process stood still for so long, stopped or without a CPU.
    Stalled(Duration),
    /// A session changed.
    Session(SessionEvent),
    /// The reader was too slow, and lost this many events.
    Missed(u64),
}

/// A change in the state of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberEvent {
    /// The member's node name.
    pub name: Arc<str>,
    /// The member's address: the configured one where there is one.
    pub address: Arc<str>,
    /// The kind of change.
    pub kind: MemberEventKind,
}

/// The kind of change in the state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberEventKind {
    /// A link to it is up.
    Up,
    /// Its link broke. It is being dialled again.
    Suspect,
    /// Nothing was heard of it for [`down_after`](crate::ClusterConfig::down_after). It is being
    /// dialled again.
    Down,
    /// It said goodbye.
    Left,
    /// It missed [`ack_timeout`](crate::ClusterConfig::ack_timeout), or too many changes: requests
    /// do not wait for it.
    Lagging,
    /// It has what it lacked: requests wait for it again.
    CaughtUp,
}

/// An event in the life of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEvent {
    /// The session's public id, as [`Session::id`](crate::Session::id) returns it.
    pub id: String,
    /// The context the session belongs to, empty by default. That of a [map](crate::Cluster::map) is
    /// `map:` and its name.
    pub context: Arc<str>,
    /// Whether another node made the change. Such changes are told only with
    /// [`notify_listeners_on_replication`](crate::ClusterConfig::notify_listeners_on_replication).
    pub replicated: bool,
    /// The kind of event.
    pub kind: SessionEventKind,
}

/// The kind of event in the life of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// It came to be.
    Created,
    /// It was destroyed.
    Destroyed,
    /// It reached a limit of its expiry. Each node tells that of its own copy.
    Expired,
    /// It got a new secret by [`Session::cycle_id`](crate::Session::cycle_id), so the client has a
    /// new cookie.
    IdCycled,
    /// A client presented an id that [`Session::cycle_id`](crate::Session::cycle_id) replaced more
    /// than a minute ago. It opened nothing.
    ///
    /// Its browser has had a newer one since then, so this may be somebody else with a copy of the
    /// older one, or a browser that never got the response with the newer one. This node tells of
    /// what is presented to it alone, each time.
    ReplacedIdPresented,
    /// A client presented the session's public id with a secret that the session never had, or has
    /// forgotten. It opened nothing.
    ///
    /// Public ids are in logs, so somebody may be trying them. This node tells of what is presented
    /// to it alone, each time.
    ForgedIdPresented,
    /// An attribute or counter was written or removed.
    #[non_exhaustive]
    AttributeChanged {
        /// The attribute's name.
        name: Arc<str>,
    },
}

/// The sender of all events.
#[derive(Debug)]
pub(super) struct EventHub(broadcast::Sender<Event>);

impl EventHub {
    pub(super) fn new() -> Self {
        // A full channel drops its oldest event, and slow readers are told how many they missed.
        Self(broadcast::channel(CAPACITY).0)
    }

    pub(super) fn subscribe(&self) -> Events {
        Events(self.0.subscribe())
    }

    pub(super) fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(super) fn send(&self, event: Event) {
        // It fails only when nobody listens.
        let _ = self.0.send(event);
    }
}

impl SessionEvent {
    pub(super) fn new(change: Change, replicated: bool) -> Self {
        Self {
            id: change.key.public_id(change.route.as_ref()),
            context: change.context,
            replicated,
            kind: match change.kind {
                ChangeKind::Created => SessionEventKind::Created,
                ChangeKind::Destroyed => SessionEventKind::Destroyed,
                ChangeKind::Expired => SessionEventKind::Expired,
                ChangeKind::IdCycled => SessionEventKind::IdCycled,
                ChangeKind::ReplacedIdPresented => SessionEventKind::ReplacedIdPresented,
                ChangeKind::ForgedIdPresented => SessionEventKind::ForgedIdPresented,
                ChangeKind::AttributeChanged(name) => SessionEventKind::AttributeChanged { name },
            },
        }
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_reader_is_told_how_much_it_missed() {
        let hub = EventHub::new();
        assert!(!hub.is_watched());
        let mut events = hub.subscribe();
        assert!(hub.is_watched());
        for _ in 0..CAPACITY + 3 {
            hub.send(Event::Ready(Readiness::Alone));
        }
        assert_eq!(events.recv().await, Some(Event::Missed(3)));
        assert_eq!(events.recv().await, Some(Event::Ready(Readiness::Alone)));
    }

    #[tokio::test]
    async fn stream_ends_with_the_cluster() {
        let hub = EventHub::new();
        let mut events = hub.subscribe();
        drop(hub);
        assert_eq!(events.recv().await, None);
    }
}
