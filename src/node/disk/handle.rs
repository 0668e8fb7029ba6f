//! What requests and tasks know of the disk.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    cluster::AckTracker, config::Sync, node::disk_stats::DiskStats, replica::Replica, session::Now,
    wire::Position,
};

/// The data directory of a running node, if it has one. The thread that writes it is woken by this,
/// and tells what it does.
#[derive(Debug, Default)]
pub(in crate::node) struct Disk(Option<Writing>);

/// What is told to the thread that writes, and by it.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) sync: Sync,
    /// Guards whether the thread is to write what is left and end. Held while the thread falls asleep,
    /// so that it does not sleep through a call.
    is_ending: Mutex<bool>,
    called: Condvar,
    /// A response waits for what has not been written.
    is_awaited: AtomicBool,
    has_ended: watch::Sender<bool>,
    pub(super) figures: Figures,
}

/// What the thread has done.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) is_failing: AtomicBool,
    pub(super) failures: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    /// Records that another key than the first one has sealed.
    pub(super) old_records: AtomicUsize,
}

/// Why the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It is time, or a response waits.
    Write,
    /// The node ends.
    End,
}

impl Disk {
    pub(super) fn new(sync: Sync) -> Self {
        Self(Some(Writing {
            sync,
            is_ending: Mutex::new(false),
            called: Condvar::new(),
            is_awaited: AtomicBool::new(false),
            has_ended: watch::Sender::new(false),
            figures: Figures::default(),
        }))
    }

    pub(super) const fn writing(&self) -> Option<&Writing> {
        self.0.as_ref()
    }

    /// Notes that a response waits for all that has changed up to now, if responses do that.
    pub(in crate::node) fn expect(&self) {
        if let Some(writing) = &self.0
            && writing.sync == Sync::BeforeResponse
            && !writing.is_awaited.swap(true, Ordering::AcqRel)
        {
            drop(writing.is_ending());
            writing.called.notify_one();
        }
    }

    /// Lets time pass for responses that wait for the disk.
    pub(in crate::node) fn tick(
        &self,
        acks: &AckTracker,
        head: Option<Position>,
        ack_timeout_ms: u64,
        now: Now,
    ) {
        if self.0.is_some() {
            acks.tick_disk(head, ack_timeout_ms, now).wake();
        }
    }

    /// Has what is left written, and the directory closed, without waiting for it.
    pub(in crate::node) fn end(&self) {
        if let Some(writing) = &self.0 {
            *writing.is_ending() = true;
            writing.called.notify_one();
        }
    }

    /// Waits until another process can have the directory.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(in crate::node) async fn ended(&self) {
        if let Some(writing) = &self.0 {
            let mut has_ended = writing.has_ended.subscribe();
            // The sender is here.
            let _ = has_ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// Returns the figures of the disk, `None` when sessions are in memory alone.
    pub(in crate::node) fn stats(&self, replica: &Replica) -> Option<DiskStats> {
        let Figures {
            is_failing,
            failures,
            writes,
            written_bytes,
            disk_bytes,
            old_records,
        } = &self.0.as_ref()?.figures;
        Some(DiskStats {
            unsaved: replica.unsaved(),
            failing: is_failing.load(Ordering::Relaxed),
            failures: failures.load(Ordering::Relaxed),
            writes: writes.load(Ordering::Relaxed),
            written_bytes: written_bytes.load(Ordering::Relaxed),
            bytes: disk_bytes.load(Ordering::Relaxed),
            old_records: old_records.load(Ordering::Relaxed),
        })
    }
}

impl Writing {
    /// Sleeps until something is to be done, for so long at most.
    pub(super) fn sleep(&self, longest: Duration) -> Call {
        let is_called = |is_ending: &bool| *is_ending || self.is_awaited.load(Ordering::Acquire);
        let (is_ending, _) = self
            .called
            .wait_timeout_while(self.is_ending(), longest, |is_ending| !is_called(is_ending))
            .unwrap_or_else(PoisonError::into_inner);
        match *is_ending {
            true => Call::End,
            false => Call::Write,
        }
    }

    /// Sleeps for so long, unless the node ends.
    pub(super) fn pause(&self, time: Duration) -> Call {
        let (is_ending, _) = self
            .called
            .wait_timeout_while(self.is_ending(), time, |is_ending| !*is_ending)
            .unwrap_or_else(PoisonError::into_inner);
        match *is_ending {
            true => Call::End,
            false => Call::Write,
        }
    }

    /// Begins a write: who waits from now on may wait for the next one.
    pub(super) fn begin(&self) {
        self.is_awaited.store(false, Ordering::Release);
    }

    /// Tells that the directory is closed.
    pub(super) fn tell_end(&self) {
        self.has_ended.send_replace(true);
    }

    fn is_ending(&self) -> MutexGuard<'_, bool> {
        self.is_ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
