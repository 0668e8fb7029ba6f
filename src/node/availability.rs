//! How far a node has come between its start and its end.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    cluster::{Join, Readiness, millis},
    session::Now,
};

/// Whether a node is joining, ready, draining or leaving.
#[derive(Debug)]
pub(super) struct Availability {
    join: Mutex<Join>,
    /// The state transfer is under way.
    is_joining: AtomicBool,
    readiness: watch::Sender<Option<Readiness>>,
    is_draining: AtomicBool,
    leaving: watch::Sender<LeaveProgress>,
}

/// How far a node has come with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaveProgress {
    No,
    Started,
    Done,
}

impl Availability {
    pub(super) fn new(transfer_timeout: Duration, now: Now) -> Self {
        Self {
            join: Mutex::new(Join::new(millis(transfer_timeout), now)),
            is_joining: AtomicBool::new(true),
            readiness: watch::Sender::new(None),
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
        self.readiness.borrow().is_some()
            && self.may_create()
            && !self.is_draining.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn may_create(&self) -> bool {
        *self.leaving.borrow() == LeaveProgress::No
    }

    /// Begins to leave. Returns whether nobody has done so before.
    pub(super) fn begin_leaving(&self) -> bool {
        self.leaving.send_if_modified(|leaving| {
            let is_first = *leaving == LeaveProgress::No;
            if is_first {
                *leaving = LeaveProgress::Started;
            }
            is_first
        })
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
