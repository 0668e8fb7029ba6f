//! Visitors who wait for a free connection to one server.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use crate::visitor::Visitor;

#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) visitor: Visitor,
    /// When the request was to be sent, where that is not at once.
    pub(crate) due: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    turns: Mutex<VecDeque<Turn>>,
    more: Notify,
    closed: AtomicBool,
}

impl Queue {
    pub(crate) fn push(&self, turn: Turn) {
        self.turns().push_back(turn);
        self.more.notify_one();
    }

    /// Waits for a turn; `None` once the queue is closed.
    pub(crate) async fn pop(&self) -> Option<Turn> {
        loop {
            let more = self.more.notified();
            if self.is_closed() {
                return None;
            }
            if let Some(turn) = self.try_pop() {
                return Some(turn);
            }
            more.await;
        }
    }

    pub(crate) fn try_pop(&self) -> Option<Turn> {
        self.turns().pop_front()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.more.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// All who still wait.
    pub(crate) fn drain(&self) -> VecDeque<Turn> {
        std::mem::take(&mut *self.turns())
    }

    fn turns(&self) -> MutexGuard<'_, VecDeque<Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
