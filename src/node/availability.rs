//! How far a node has come between its start and its end.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use crate::{
    cluster::{Awaited, Join, JoinOptions, Reach, Readiness, millis},
    config::Settings,
    session::Now,
};

/// Whether a node is joining, ready, draining or leaving.
#[derive(Debug)]
pub(super) struct Availability {
    join: Mutex<Join>,
    /// The state transfer is under way.
    is_joining: AtomicBool,
    readiness: watch::Sender<Option<Readiness>>,
    /// Whom the node had waited for when its transfer ended.
    awaited: Mutex<Option<Awaited>>,
    /// The transfer must be over before requests should come, however long it takes.
    is_strict: bool,
    /// Configured peers are there, and none of them lets this node in.
    is_excluded: AtomicBool,
    is_draining: AtomicBool,
    leaving: watch::Sender<LeaveProgress>,
}

/// Why requests should not be sent to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    Leaving,
    Draining,
    /// Members are there, and none lets it in.
    Refused,
    /// The state transfer is under way.
    Joining,
}

/// How far a node has come with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaveProgress {
    No,
    /// Peers get what they lack.
    HandingOver,
    /// Links get the goodbye.
    Parting,
    Done,
}

impl Availability {
    pub(super) fn new(settings: &Settings, now: Now) -> Self {
        let options = JoinOptions {
            timeout_ms: millis(settings.transfer_timeout),
            alone_after_ms: millis(settings.alone_after),
            min_peers: settings.min_peers,
        };
        Self {
            join: Mutex::new(Join::new(options, now)),
            is_joining: AtomicBool::new(true),
            readiness: watch::Sender::new(None),
            awaited: Mutex::new(None),
            is_strict: settings.min_peers > 0,
            is_excluded: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            leaving: watch::Sender::new(LeaveProgress::No),
        }
    }

    /// Locks the decisions of the join. Taken before any other lock.
    pub(super) fn join(&self) -> MutexGuard<'_, Join> {
        self.join.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn awaits_transfer(&self) -> bool {
        self.is_joining.load(Ordering::Acquire)
    }

    pub(super) fn end_transfer(&self) {
        self.is_joining.store(false, Ordering::Release);
    }

    /// Tells those who wait for it how the transfer has ended. The first end stands.
    pub(super) fn announce(&self, readiness: Readiness) {
        self.readiness.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(readiness);
            is_first
        });
    }

    /// Notes whom the node has waited for. What is noted last stands.
    pub(super) fn note_awaited(&self, awaited: Awaited) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some(awaited);
    }

    pub(super) fn awaited(&self) -> Option<Awaited> {
        let awaited = self.awaited.lock();
        awaited.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the transfer has ended, one way or another.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(super) async fn ready(&self) -> Readiness {
        let mut readiness = self.readiness.subscribe();
        let reached = readiness.wait_for(Option::is_some).await;
        let known = reached.ok().and_then(|readiness| *readiness);
        known.unwrap_or(Readiness::TimedOut)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Returns why requests should not be sent here, if so.
    pub(super) fn unready(&self) -> Option<Unready> {
        if !self.may_create() {
            Some(Unready::Leaving)
        } else if self.is_draining.load(Ordering::Relaxed) {
            Some(Unready::Draining)
        } else if self.is_excluded.load(Ordering::Relaxed) {
            Some(Unready::Refused)
        } else if self.readiness.borrow().is_none() || (self.is_strict && self.awaits_transfer()) {
            Some(Unready::Joining)
        } else {
            None
        }
    }

    /// Returns how the transfer has ended, or that nobody lets this node in now.
    pub(super) fn readiness(&self) -> Option<Readiness> {
        match self.is_excluded.load(Ordering::Relaxed) {
            true => Some(Readiness::Refused),
            false => *self.readiness.borrow(),
        }
    }

    /// Returns whether peers may take this node for one that has all sessions: it has them, or has
    /// given up waiting.
    pub(super) fn tells_ready(&self) -> bool {
        let is_over = !self.awaits_transfer();
        is_over || (!self.is_strict && *self.readiness.borrow() == Some(Readiness::TimedOut))
    }

    /// Notes why no configured peer lets this node in, if so. Returns whether that is news.
    ///
    /// Once a node has all sessions, only one that has taken its place shuts it out: it may be the
    /// other one that is set up wrongly.
    pub(super) fn set_exclusion(&self, reach: Option<Reach>) -> bool {
        let is_excluded = match reach {
            Some(Reach::Replaced) => true,
            Some(_) => self.awaits_transfer(),
            None => false,
        };
        self.is_excluded.swap(is_excluded, Ordering::Relaxed) != is_excluded
    }

    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn may_create(&self) -> bool {
        *self.leaving.borrow() == LeaveProgress::No
    }

    /// Returns whether links are made: not once they get the goodbye.
    pub(super) fn makes_links(&self) -> bool {
        matches!(
            *self.leaving.borrow(),
            LeaveProgress::No | LeaveProgress::HandingOver
        )
    }

    /// Begins to leave. Returns whether nobody has done so before.
    pub(super) fn begin_leaving(&self) -> bool {
        self.leaving.send_if_modified(|leaving| {
            let is_first = *leaving == LeaveProgress::No;
            if is_first {
                *leaving = LeaveProgress::HandingOver;
            }
            is_first
        })
    }

    /// Notes that links get the goodbye.
    pub(super) fn part(&self) {
        self.leaving.send_replace(LeaveProgress::Parting);
    }

    /// Notes that the node has left.
    pub(super) fn end_leaving(&self) {
        self.leaving.send_replace(LeaveProgress::Done);
    }

    /// Waits until the node has left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(super) async fn left(&self) {
        let mut progress = self.leaving.subscribe();
        // The sender lives in `self`, so there is no other end.
        let _ = progress
            .wait_for(|leaving| *leaving == LeaveProgress::Done)
            .await;
    }
}
