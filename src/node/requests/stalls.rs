//! Whether this process was stopped, and what that has left to be done.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    cluster::{Recovery, StallDetector},
    session::Now,
};

/// The last stall of the process, if it is not made good yet.
#[derive(Debug)]
pub(crate) struct Stalls {
    pub(super) detector: StallDetector,
    /// Whether there is a recovery, for the path of every request.
    is_behind: AtomicBool,
    /// Taken before any other lock.
    recovery: Mutex<Option<Recovery>>,
    links_changed: Notify,
}

impl Stalls {
    pub(super) fn new(ack_timeout: Duration, now: Now) -> Self {
        Self {
            detector: StallDetector::new(ack_timeout, now),
            is_behind: AtomicBool::new(false),
            recovery: Mutex::default(),
            links_changed: Notify::new(),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    pub(super) fn recovery(&self) -> MutexGuard<'_, Option<Recovery>> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a recovery, or ends it with `None`. Call it with the recovery locked.
    pub(super) fn set(&self, locked: &mut Option<Recovery>, recovery: Option<Recovery>) {
        self.is_behind.store(recovery.is_some(), Ordering::Release);
        *locked = recovery;
    }

    /// Tells those who wait for links that some have changed.
    pub(crate) fn links_changed(&self) {
        if self.is_behind() {
            self.links_changed.notify_waiters();
        }
    }

    /// Returns a future of the next change of links, also if that comes before it is polled.
    pub(super) fn next_change(&self) -> Notified<'_> {
        self.links_changed.notified()
    }
}
