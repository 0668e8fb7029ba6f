//! Leaving in order: hand over, say goodbye, close.

use std::{sync::Arc, time::Duration};

use crate::log::{info, warn};
use tokio::time::{sleep, timeout};

use super::Node;
use crate::{
    cluster::{Handover, Outstanding},
    replica::Link,
};

impl Node {
    /// Leaves once, however often it is called, and returns when that is done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting, not leaving.
    pub(super) async fn leave(self: &Arc<Self>) {
        if self.availability.begin_leaving() {
            // Joined by everybody who waits until the node has left.
            tokio::spawn(Arc::clone(self).leave_cluster());
        }
        self.availability.left().await;
    }

    /// Ends all links at once, without a flush or a goodbye, as if the process were killed.
    #[cfg(feature = "test-util")]
    pub(crate) fn kill(&self) {
        self.net.stop();
        self.disk.end();
        for link in self.peers.live().iter() {
            link.close(&self.peers.acks);
        }
    }

    /// Waits until a node that died has given its port up.
    #[cfg(feature = "test-util")]
    pub(crate) async fn stopped(&self) {
        self.net.stopped().await;
        self.disk.ended().await;
    }

    async fn leave_cluster(self: Arc<Self>) {
        // Whatever happens here, those who wait for the end learn of it.
        let _leaving = Leaving(&self);
        self.guarded("leave", self.hand_over_and_say_goodbye())
            .await;
        self.net.stop();
        self.net.stopped().await;
        self.disk.end();
        if timeout(self.settings.leave_timeout.max(SAVING), self.disk.ended())
            .await
            .is_err()
        {
            warn!(node = %self.settings.node, "left before all changes were on disk");
        }
        info!(node = %self.settings.node, "Cluster left");
    }

    async fn hand_over_and_say_goodbye(&self) {
        info!(node = %self.settings.node, "Cluster is about to be left");
        if self.settings.destroy_sessions_on_leave {
            self.destroy_all();
        }
        // What filtered requests wrote goes with the session's next commit, and there may be none.
        self.replica.commit_all(self.now());
        self.wake_links();
        let mut handover = Handover::new(self.replica.head(), !self.awaits_transfer());
        let handed_over = async {
            while !self.hand_over(&mut handover).is_empty() {
                sleep(LOOK_INTERVAL).await;
            }
        };
        if timeout(self.settings.leave_timeout, handed_over)
            .await
            .is_err()
        {
            for (name, lack) in self.hand_over(&mut handover) {
                warn!(
                    node = %self.settings.node, member = %name,
                    "left without handing everything over: member [{name}] {lack} after \
                     `leave_timeout` ([{}] ms)",
                    self.settings.leave_timeout.as_millis()
                );
            }
        }
        self.availability.part();
        let links = self.peers.live();
        for link in links.iter() {
            link.update(&self.peers.acks, Link::leave);
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
    }

    /// Goes on with what peers have yet to get. Returns the members that may lack something.
    fn hand_over(&self, handover: &mut Handover) -> Vec<(Arc<str>, Outstanding)> {
        self.peers.expect_acks(self.now());
        let (links, missed) = {
            let table = self.peers.table();
            (table.links(), table.missed())
        };
        let mut lacks: Vec<_> = missed
            .into_iter()
            .map(|member| (member.name, Outstanding::Link))
            .collect();
        for link in links {
            let identity = &link.identity;
            let upto = handover.upto();
            let arrears = || link.inspect(|machine| machine.arrears(&self.replica, upto));
            if handover.begin_round(identity.id, &arrears()) {
                link.update(&self.peers.acks, Link::begin_round);
                link.wake_writer();
            }
            // A round that was over before is not the one that has just begun.
            let lack = handover.outstanding(identity.id, &arrears());
            lacks.extend(lack.map(|lack| (Arc::clone(&identity.name), lack)));
        }
        lacks
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

/// Closes the network and tells that the node has left, when dropped.
struct Leaving<'a>(&'a Node);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.net.stop();
        self.0.disk.end();
        self.0.availability.end_leaving();
    }
}

/// How often a leaving node looks what its peers lack.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// The least time for what is not on disk yet.
const SAVING: Duration = Duration::from_secs(5);
/// Beyond it a peer that does not take the goodbye is cut off.
const GOODBYE: Duration = Duration::from_secs(2);
