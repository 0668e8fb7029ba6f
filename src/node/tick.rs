//! What happens because time passes.

use std::sync::{Arc, atomic::Ordering};
#[cfg(feature = "axum")]
use std::time::Duration;

use crate::log::warn;
#[cfg(feature = "axum")]
use tokio::time::sleep;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use super::{MemberEventKind, Node};
use crate::{
    cluster::{MemberLabel, MemberLink as _, TICK, millis},
    replica::{Observer, Sweep, TombstoneUse},
    session::Now,
};

/// Ticks as long as a handle of the cluster lives, also after it left: sessions still expire then.
pub(super) async fn tick(node: Arc<Node>) {
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = Sweep::default();
    #[cfg(feature = "metrics")]
    let mut publish_ms = 0;
    loop {
        // Between two steps of much work whatever else is ready has its turn, the next tick, too.
        let is_tick = tokio::select! {
            biased;
            _ = interval.tick() => true,
            () = yield_now(), if sweep.is_under_way() || node.replica.is_crowded() => false,
        };
        let work = async {
            let now = node.now();
            if is_tick {
                node.tick(now);
                #[cfg(feature = "status")]
                node.sample(now);
                #[cfg(feature = "metrics")]
                if now.mono_ms >= publish_ms {
                    publish_ms = now.mono_ms + PUBLISH_INTERVAL_MS;
                    node.publish_metrics();
                }
            }
            // What only the limits of values have left to do begins no sweep.
            if is_tick || sweep.is_under_way() {
                node.sweep_some(&mut sweep, now);
            }
            node.end_some_surplus(now);
            sweep
        };
        // A step that panics ends the sweep.
        sweep = node.guarded("tick", work).await.unwrap_or_default();
    }
}

/// A clockwork that is later than that has stopped.
#[cfg(feature = "axum")]
const LATE_MS: u64 = 10_000;
#[cfg(feature = "axum")]
const SECOND: Duration = Duration::from_secs(1);
/// How often figures are passed on.
#[cfg(feature = "metrics")]
const PUBLISH_INTERVAL_MS: u64 = 1000;

impl Node {
    /// Returns whether the node's clockwork runs. Of a process that was stopped it may have yet to go
    /// on, so it gets a second.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    #[cfg(feature = "axum")]
    pub(crate) async fn is_ticking(&self) -> bool {
        let ticked_ms = || self.monitor.ticked_ms.load(Ordering::Relaxed);
        let before_ms = ticked_ms();
        if self.now().mono_ms.saturating_sub(before_ms) < LATE_MS {
            return true;
        }
        sleep(SECOND).await;
        ticked_ms() != before_ms
    }

    /// Waits for some time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    #[cfg(feature = "status")]
    pub(crate) async fn pause(&self, time: Duration) {
        sleep(time).await;
    }

    fn tick(self: &Arc<Self>, now: Now) {
        self.monitor.ticked_ms.store(now.mono_ms, Ordering::Relaxed);
        self.watch_stalls(now);
        self.replica.note_tick(now);
        self.warn_of_tombstones(now);
        self.tick_links(now);
        self.note_down(now);
        self.exchange_peers(now);
        self.advance_join(now);
        self.give_turns(now);
        self.warn_of_limits(now);
    }

    /// Warns when four fifths of what may be held are.
    fn warn_of_limits(&self, now: Now) {
        let limits = &self.settings.limits;
        let (sessions, max_sessions) = (self.replica.sessions(), limits.max_sessions);
        let (bytes, max_bytes) = (self.replica.session_bytes(), limits.max_bytes);
        let is_near = |held: usize, most: usize| held > most - most / 5;
        if (is_near(sessions, max_sessions) || is_near(bytes, max_bytes))
            && self.monitor.nearly_full_log.may_log(now)
        {
            warn!(
                node = %self.settings.node, sessions, bytes,
                "nearly full: [{sessions}] of [{max_sessions}] sessions, [{bytes}] of \
                 [{max_bytes}] bytes"
            );
        }
    }

    fn sweep_some(&self, sweep: &mut Sweep, now: Now) {
        let mut observer = Observer::new(self.wants_session_events());
        let head = self.replica.head();
        self.replica.sweep_some(sweep, now, &mut observer);
        if self.replica.head() != head {
            self.wake_links();
        }
        self.note_ended(observer);
    }

    fn tick_links(&self, now: Now) {
        let acks = &self.peers.acks;
        let ack_timeout_ms = millis(self.settings.ack_timeout);
        acks.tick(self.replica.overdue(ack_timeout_ms, now), now)
            .wake();
        self.disk
            .tick(acks, self.replica.head(), ack_timeout_ms, now);
        for link in self.peers.live().iter() {
            if link.is_silent_for(millis(self.settings.down_after), now) || link.age(now) {
                link.lose(acks, self.lost_until_ms(now));
                continue;
            }
            let ticked = link.update(acks, |machine| {
                let events = machine.tick(&self.replica, self.peers.expects_acks(now), now);
                (events, machine.is_due(now))
            });
            let Some((events, is_due)) = ticked else {
                continue;
            };
            self.handle_events(link, events, now);
            if is_due {
                link.wake_writer();
            }
        }
    }

    fn warn_of_tombstones(&self, now: Now) {
        let TombstoneUse {
            bytes,
            retention_ms,
            lost,
        } = self.replica.tombstone_use();
        let max_bytes = self.settings.limits.max_tombstone_bytes;
        if bytes >= max_bytes / 5 * 4 && self.monitor.tombstone_log.may_log(now) {
            warn!(
                node = %self.settings.node, bytes, max_bytes, retention_ms, lost,
                "destroyed sessions take [{bytes}] of [{max_bytes}] bytes: at the limit all nodes \
                 remember them for a shorter time; raise `max_tombstone_bytes`, or find out who \
                 creates and destroys so many"
            );
        }
    }

    fn note_down(&self, now: Now) {
        let down_after = self.settings.down_after;
        let down = self.peers.table().sweep(millis(down_after), now);
        if !self.makes_links() {
            // Who leaves closes its links itself.
            return;
        }
        for MemberLabel { name, address } in down {
            warn!(
                node = %self.settings.node, member = %name, %address,
                "member disappeared: [{name} at {address}], nothing was heard of it for [{}] ms",
                down_after.as_millis()
            );
            self.tell_member(MemberEventKind::Down, name, address);
        }
    }
}
