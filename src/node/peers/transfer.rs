//! The state transfer of a node that joins, as `cluster::Join` decides it.

use std::{sync::atomic::Ordering, time::Duration};

use crate::log::{debug, info, warn};

use super::link::PeerLink;
use crate::node::{Event, Node};
use crate::{
    cluster::{DONOR_TIMEOUT_MS, JoinLink, JoinStep, LinkId, MemberLabel, Readiness},
    replica::Link,
    session::Now,
};

impl Node {
    /// Moves the state transfer on. Cheap once it is over.
    pub(crate) fn advance_join(&self, now: Now) {
        if !self.awaits_transfer() {
            return;
        }
        let steps = {
            let mut join = self.availability.join();
            let (links, unlinked) = {
                let table = self.peers.table();
                (table.links(), table.unlinked())
            };
            let candidates: Vec<JoinLink> = links
                .iter()
                .map(|link| {
                    link.inspect(|machine| JoinLink {
                        link: link.identity.id,
                        synced: machine.is_synced(),
                        progress: machine.progress(),
                        peer: machine.peers_transfer(),
                    })
                })
                .collect();
            let steps = join.step(&candidates, unlinked, now);
            let hops = join.settled_hops();
            for link in &links {
                let told = link.update(&self.peers.acks, |machine| machine.set_settled(hops));
                if told == Some(true) {
                    link.wake_writer();
                }
            }
            steps
        };
        for step in steps {
            self.carry_out(step);
        }
        self.conclude_fetches();
    }

    /// Notes that a round asked for on a link is complete.
    pub(super) fn round_completed(&self, link: LinkId, sessions: u64, bytes: u64, now: Now) {
        let asked_ms = self.availability.join().round_completed(link);
        let Some(MemberLabel { name, address }) = self.peers.table().label(link) else {
            return;
        };
        let metrics = &self.monitor.metrics;
        metrics.repair_rounds.fetch_add(1, Ordering::Relaxed);
        let Some(asked_ms) = asked_ms else {
            debug!(member = %name, sessions, bytes, "repair round completed");
            return;
        };
        let ms = now.mono_ms.saturating_sub(asked_ms);
        metrics.transfers.record_ms(ms);
        // Part of them may have come with the live changes, before the round reached them.
        let sessions = sessions.max(self.replica.sessions() as u64);
        self.with_link(link, |link| {
            link.spans().end_transfer(sessions, bytes, || {
                info!(
                    node = %self.settings.node, member = %name, %address, sessions, bytes, ms,
                    "session state received from [{name} at {address}]: [{sessions}] sessions, \
                     [{bytes}] bytes, received in [{ms}] ms"
                );
            });
        });
        self.tell(Event::TransferFinished {
            from: name,
            sessions,
            bytes,
            duration: Duration::from_millis(ms),
        });
    }

    fn carry_out(&self, step: JoinStep) {
        match step {
            JoinStep::Ask(link) => {
                self.note_asked(link);
                self.begin_round(link);
            }
            JoinStep::Compare(link) => self.begin_round(link),
            JoinStep::GiveUp(link) => {
                let label = self.peers.table().label(link);
                if let Some(MemberLabel { name, address }) = label {
                    let log = || {
                        warn!(
                            node = %self.settings.node, member = %name, %address,
                            "no session state from [{name} at {address}] for [{}] seconds, \
                             asking another member",
                            DONOR_TIMEOUT_MS / 1000
                        );
                    };
                    self.with_link(link, |link| link.spans().give_transfer_up(log));
                }
            }
            JoinStep::Ready(readiness) => {
                self.announce(readiness);
                self.tell_ready();
            }
            JoinStep::Over => {
                self.availability.note_awaited(self.awaited_now());
                self.availability.end_transfer();
                self.watch_exclusion();
                self.tell_ready();
            }
        }
    }

    fn tell_ready(&self) {
        if !self.availability.tells_ready() {
            return;
        }
        for link in self.peers.live().iter() {
            link.update(&self.peers.acks, Link::set_ready);
            link.wake_writer();
        }
    }

    fn begin_round(&self, id: LinkId) {
        self.with_link(id, |link| {
            link.update(&self.peers.acks, |machine| machine.begin_round());
            link.wake_writer();
        });
    }

    /// Does something with a link, if it is still there.
    fn with_link(&self, id: LinkId, act: impl FnOnce(&PeerLink)) {
        let links = self.peers.live();
        if let Some(link) = links.iter().find(|link| link.identity.id == id) {
            act(link);
        }
    }

    fn note_asked(&self, donor: LinkId) {
        let Some(MemberLabel { name, address }) = self.peers.table().label(donor) else {
            return;
        };
        let seconds = self.settings.transfer_timeout.as_secs_f64();
        self.with_link(donor, |link| {
            link.spans().begin_transfer(|| {
                info!(
                    node = %self.settings.node, member = %name, %address,
                    "requesting session state from [{name} at {address}]; this operation will time \
                     out if no session state has been received within [{seconds}] seconds"
                );
            });
        });
        self.tell(Event::TransferStarted { from: name });
    }

    fn announce(&self, readiness: Readiness) {
        let sessions = self.replica.sessions();
        let node = &self.settings.node;
        let awaited = self.awaited_now();
        match readiness {
            Readiness::Synced => {
                info!(%node, sessions, "ready with [{sessions}] sessions, {awaited}");
            }
            Readiness::Alone => info!(%node, "ready, no other member can be asked for sessions"),
            Readiness::TimedOut => warn!(
                %node, sessions,
                "no complete session state has been received within [{}] seconds, going on with \
                 [{sessions}] sessions, {awaited}; check the links to the other members or raise \
                 `transfer_timeout`",
                self.settings.transfer_timeout.as_secs_f64()
            ),
            Readiness::Refused => warn!(
                %node,
                "no member has let this node in within [{}] seconds; it is not ready",
                self.settings.transfer_timeout.as_secs_f64()
            ),
        }
        self.availability.note_awaited(awaited);
        self.availability.announce(readiness);
        self.tell(Event::Ready(readiness));
    }
}
