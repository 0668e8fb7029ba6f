//! Leaving in order: flush, say goodbye, close.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tracing::{info, warn};

use super::Node;
use crate::config::Ack;

/// How far a node has come with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaveProgress {
    No,
    Started,
    Done,
}

impl Node {
    /// Leaves once, however often it is called, and returns when that is done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting, not leaving.
    pub(super) async fn leave(self: &Arc<Self>) {
        let mut progress = self.leaving.subscribe();
        let is_first = self.leaving.send_if_modified(|leaving| {
            let is_first = *leaving == LeaveProgress::No;
            if is_first {
                *leaving = LeaveProgress::Started;
            }
            is_first
        });
        if is_first {
            // Joined by everybody who waits for `Done`.
            tokio::spawn(Arc::clone(self).leave_cluster());
        }
        // The sender lives in `self`, so there is no other end.
        let _ = progress
            .wait_for(|leaving| *leaving == LeaveProgress::Done)
            .await;
    }

    /// Ends all links at once, without a flush or a goodbye, as if the process were killed.
    #[cfg(feature = "test-util")]
    pub(crate) fn kill(&self) {
        self.network.cancel();
        for link in self.live_links().iter() {
            link.close(&self.acks);
        }
    }

    /// Waits until a node that died has given its port up.
    #[cfg(feature = "test-util")]
    pub(crate) async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn leave_cluster(self: Arc<Self>) {
        info!(node = %self.settings.node, "Cluster is about to be left");
        if self.settings.destroy_sessions_on_leave {
            self.destroy_all();
        }
        let flushed = self.acknowledged(self.replica.head(), Ack::All);
        if timeout(self.settings.leave_timeout, flushed).await.is_err() {
            warn!(
                node = %self.settings.node,
                "not all members have acknowledged all changes within `leave_timeout` ([{}] ms)",
                self.settings.leave_timeout.as_millis()
            );
        }
        let links = self.live_links();
        for link in links.iter() {
            link.update(&self.acks, crate::replica::Link::leave);
            link.wake_writer();
        }
        let closed = async {
            for link in links.iter() {
                link.closed().await;
            }
        };
        if timeout(GOODBYE, closed).await.is_err() {
            warn!(node = %self.settings.node, "closing links that do not take the goodbye");
        }
        self.network.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        info!(node = %self.settings.node, "Cluster left");
        self.leaving.send_replace(LeaveProgress::Done);
    }

    fn destroy_all(&self) {
        let keys = self.replica.select(|_| true);
        let count = keys.len();
        for key in keys {
            // An error means that another request was quicker.
            if self.destroy(&key).is_ok() {
                self.commit(&key);
            }
        }
        self.wake_links();
        info!(node = %self.settings.node, "destroyed [{count}] sessions");
    }
}

/// Beyond it a peer that does not take the goodbye is cut off.
const GOODBYE: Duration = Duration::from_secs(2);
