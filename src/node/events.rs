//! What an application can watch: members, the state transfer, sessions.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    cluster::Readiness,
    replica::{Change, ChangeKind},
};

/// A stream of [`Event`]s, from [`Cluster::events`](crate::Cluster::events). Each stream gets every
/// event from its creation on.
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
    pub async fn recv(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Something happened in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link to the member is up.
    #[non_exhaustive]
    MemberUp {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
    },
    /// The link to the member broke. It is being dialled again.
    #[non_exhaustive]
    MemberSuspect {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
    },
    /// Nothing was heard of the member for `down_after`. It is being dialled again.
    #[non_exhaustive]
    MemberDown {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
    },
    /// This node was cut off for longer than destroyed sessions are remembered, and has dropped
    /// what it held to take over a peer's sessions.
    #[non_exhaustive]
    StartedEmpty {
        /// How many sessions were dropped.
        sessions: usize,
    },
    /// The member said goodbye.
    #[non_exhaustive]
    MemberLeft {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
    },
    /// The member missed `ack_timeout`, or too many changes: requests do not wait for it.
    #[non_exhaustive]
    MemberLagging {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
    },
    /// The member has what it lacked: requests wait for it again.
    #[non_exhaustive]
    MemberCaughtUp {
        /// The member's node name.
        name: Arc<str>,
        /// Its address: the configured one where there is one.
        address: Arc<str>,
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
        /// Sessions received, by the transfer or meanwhile with the live changes.
        sessions: u64,
        /// Their bytes on the link.
        bytes: u64,
        /// How long it took.
        duration: Duration,
    },
    /// The state transfer is over, one way or another.
    Ready(Readiness),
    /// A session changed.
    Session(SessionEvent),
    /// The reader was too slow, and this many events are lost to it.
    Missed(u64),
}

/// Something happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEvent {
    /// The session, as [`Session::id`](crate::Session::id) shows it.
    pub id: String,
    /// The context the session belongs to, empty by default.
    pub context: Arc<str>,
    /// Whether another node made the change. Such changes are told only with
    /// [`notify_listeners_on_replication`](crate::ClusterConfig::notify_listeners_on_replication).
    pub replicated: bool,
    /// What happened.
    pub kind: SessionEventKind,
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEventKind {
    /// It came to be.
    Created,
    /// It was destroyed.
    Destroyed,
    /// It reached a limit of its expiry. Each node tells that of its own copy.
    Expired,
    /// It got a new secret, so the client has a new cookie.
    IdChanged,
    /// An attribute or counter was written or removed.
    #[non_exhaustive]
    AttributeChanged {
        /// The attribute's name.
        name: Arc<str>,
    },
}

/// Where events enter.
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
                ChangeKind::IdChanged => SessionEventKind::IdChanged,
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
