//! Tasks that live as long as the node, whatever happens in them.

use std::{panic::AssertUnwindSafe, sync::atomic::Ordering};

use futures_util::FutureExt as _;

use super::Node;
use crate::log::error;

impl Node {
    /// Runs a part of a task, and counts its panic as a defect. Returns `None` after one.
    ///
    /// What a task shares with others stays usable: locks ignore poison.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub(super) async fn guarded<T>(&self, task: &str, work: impl Future<Output = T>) -> Option<T> {
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        if outcome.is_err() {
            self.note_panic(task);
        }
        outcome.ok()
    }

    /// Counts and logs that a task panicked.
    pub(super) fn note_panic(&self, task: &str) {
        let panics = &self.monitor.counters.task_panics;
        panics.fetch_add(1, Ordering::Relaxed);
        if self.monitor.panic_log.may_log(self.now()) {
            error!(
                node = %self.settings.node, task,
                "the task [{task}] panicked, which is a defect of this crate; the node goes on"
            );
        }
    }
}
