//! Joining: all sessions in bulk from one donor, then a round with every other link.
//!
//! [`Join`] decides, `Node::advance_join` carries it out, on every tick and whenever a link or a
//! round changes.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Event, Node, clock::millis, peers::link::LinkId};
use crate::session::Now;

/// How the state transfer of a node that started has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Readiness {
    /// The node has every session that its peers had.
    Synced,
    /// There was nobody to ask: no peer is configured, or none answered a full dial.
    Alone,
    /// The transfer took longer than `transfer_timeout`. It goes on, and meanwhile sessions that
    /// are not here yet are asked for one by one.
    TimedOut,
}

/// Whom to ask for sessions, and whether all have come.
#[derive(Debug)]
pub(super) struct Join {
    started_ms: u64,
    timeout_ms: u64,
    /// Rounds asked for on live links, and since when.
    begun: BTreeMap<LinkId, u64>,
    donor: Option<Donor>,
    /// One donor has given everything it had.
    donated: bool,
    timed_out: bool,
    over: bool,
}

#[derive(Debug)]
struct Donor {
    link: LinkId,
    /// How far its round has come, and since when.
    progress: u64,
    since_ms: u64,
}

/// A live link as far as joining is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinLink {
    pub(super) link: LinkId,
    /// A round asked for is complete, and what the peer had at the start has been applied.
    pub(super) synced: bool,
    /// Grows with everything a round brings.
    pub(super) progress: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinStep {
    /// Ask this link for everything, as the donor.
    Ask(LinkId),
    /// Complete a round with this link, too.
    Compare(LinkId),
    /// The donor gives nothing; another one is asked.
    Stalled(LinkId),
    /// Tell those who wait. With [`Readiness::TimedOut`] the transfer goes on.
    Ready(Readiness),
    /// Nothing is asked for any more.
    Over,
}

impl Join {
    pub(super) fn new(timeout: Duration, now: Now) -> Self {
        Self {
            started_ms: now.mono_ms,
            timeout_ms: millis(timeout),
            begun: BTreeMap::new(),
            donor: None,
            donated: false,
            timed_out: false,
            over: false,
        }
    }

    /// What to do now. `all_tried`: every configured peer has a link or has failed a full dial.
    pub(super) fn step(&mut self, links: &[JoinLink], all_tried: bool, now: Now) -> Vec<JoinStep> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        self.begun
            .retain(|begun, _| links.iter().any(|link| link.link == *begun));
        self.watch_donor(links, now, &mut steps);
        if self.donated {
            for link in links {
                if self.begin(link.link, now) {
                    steps.push(JoinStep::Compare(link.link));
                }
            }
        } else if self.donor.is_none() {
            self.choose_donor(links, now, &mut steps);
        }
        if all_tried && (links.is_empty() || (self.donated && links.iter().all(|l| l.synced))) {
            self.over = true;
            let alone = links.is_empty() && !self.donated;
            if !self.timed_out {
                steps.push(JoinStep::Ready(if alone {
                    Readiness::Alone
                } else {
                    Readiness::Synced
                }));
            }
            steps.push(JoinStep::Over);
        } else if !self.timed_out && now.mono_ms.saturating_sub(self.started_ms) >= self.timeout_ms
        {
            self.timed_out = true;
            steps.push(JoinStep::Ready(Readiness::TimedOut));
        }
        steps
    }

    /// When the round with a link was asked for, and whether the link is the donor.
    pub(super) fn round(&self, link: LinkId) -> Option<(u64, bool)> {
        let since_ms = *self.begun.get(&link)?;
        Some((
            since_ms,
            self.donor.as_ref().is_some_and(|d| d.link == link),
        ))
    }

    fn watch_donor(&mut self, links: &[JoinLink], now: Now, steps: &mut Vec<JoinStep>) {
        let Some(donor) = &mut self.donor else {
            return;
        };
        let Some(link) = links.iter().find(|link| link.link == donor.link) else {
            self.donor = None;
            return;
        };
        if link.synced {
            self.donated = true;
        } else if link.progress != donor.progress {
            donor.progress = link.progress;
            donor.since_ms = now.mono_ms;
        } else if now.mono_ms.saturating_sub(donor.since_ms) >= STALL_MS
            && links
                .iter()
                .any(|other| !self.begun.contains_key(&other.link))
        {
            steps.push(JoinStep::Stalled(donor.link));
            self.donor = None;
        }
    }

    /// The first link that was not asked yet; one that was and has settled after all will do.
    fn choose_donor(&mut self, links: &[JoinLink], now: Now, steps: &mut Vec<JoinStep>) {
        if links
            .iter()
            .any(|link| link.synced && self.begun.contains_key(&link.link))
        {
            self.donated = true;
            return;
        }
        let mut fresh = links.iter();
        let Some(link) = fresh.find(|link| !self.begun.contains_key(&link.link)) else {
            return;
        };
        self.begin(link.link, now);
        self.donor = Some(Donor {
            link: link.link,
            progress: link.progress,
            since_ms: now.mono_ms,
        });
        steps.push(JoinStep::Ask(link.link));
    }

    fn begin(&mut self, link: LinkId, now: Now) -> bool {
        let is_new = !self.begun.contains_key(&link);
        self.begun.entry(link).or_insert(now.mono_ms);
        is_new
    }
}

impl Node {
    /// Moves the state transfer on. Cheap once it is over.
    pub(super) fn advance_join(&self, now: Now) {
        if !self.awaits_transfer() {
            return;
        }
        let steps = {
            let mut join = self.join();
            let (links, all_tried) = {
                let members = self.members();
                (members.links(), members.all_tried())
            };
            let candidates: Vec<JoinLink> = links
                .iter()
                .map(|link| {
                    link.inspect(|machine| JoinLink {
                        link: link.id,
                        synced: machine.is_synced(),
                        progress: machine.progress(),
                    })
                })
                .collect();
            join.step(&candidates, all_tried, now)
        };
        for step in steps {
            self.carry_out(step);
        }
        self.conclude_fetches();
    }

    /// A round asked for on a link is complete.
    pub(super) fn round_completed(&self, link: LinkId, sessions: u64, bytes: u64, now: Now) {
        let round = self.join().round(link);
        let Some(label) = self.members().label(link) else {
            return;
        };
        let Some((since_ms, true)) = round else {
            tracing::debug!(member = %label.name, sessions, bytes, "repair round completed");
            return;
        };
        let ms = now.mono_ms.saturating_sub(since_ms);
        // Part of them may have come with the live changes, before the round reached them.
        let sessions = sessions.max(self.replica.sessions() as u64);
        info!(
            node = %self.settings.node, member = %label.name, address = %label.address, sessions, bytes, ms,
            "session state received from [{} at {}]: [{sessions}] sessions, [{bytes}] bytes, \
             received in [{ms}] ms",
            label.name, label.address
        );
        self.events.send(Event::TransferFinished {
            from: label.name,
            sessions,
            bytes,
            duration: Duration::from_millis(ms),
        });
    }

    fn carry_out(&self, step: JoinStep) {
        match step {
            JoinStep::Ask(link) => {
                self.begin_round(link);
                let Some(label) = self.members().label(link) else {
                    return;
                };
                let seconds = self.settings.transfer_timeout.as_secs_f64();
                info!(
                    node = %self.settings.node, member = %label.name, address = %label.address,
                    "requesting session state from [{} at {}]; this operation will time out if no \
                     session state has been received within [{seconds}] seconds",
                    label.name, label.address
                );
                self.events
                    .send(Event::TransferStarted { from: label.name });
            }
            JoinStep::Compare(link) => self.begin_round(link),
            JoinStep::Stalled(link) => {
                if let Some(label) = self.members().label(link) {
                    warn!(
                        node = %self.settings.node, member = %label.name, address = %label.address,
                        "no session state from [{} at {}] for [{}] seconds, asking another member",
                        label.name, label.address, STALL_MS / 1000
                    );
                }
            }
            JoinStep::Ready(readiness) => self.announce(readiness),
            JoinStep::Over => {
                self.transferring.store(false, Ordering::Release);
                for link in self.live_links().iter() {
                    link.update(&self.acks, |machine| machine.set_ready(true));
                    link.wake_writer();
                }
            }
        }
    }

    fn begin_round(&self, id: LinkId) {
        for link in self.live_links().iter().filter(|link| link.id == id) {
            link.update(&self.acks, |machine| machine.begin_round());
            link.wake_writer();
        }
    }

    fn announce(&self, readiness: Readiness) {
        let sessions = self.replica.sessions();
        let node = &self.settings.node;
        match readiness {
            Readiness::Synced => info!(%node, sessions, "ready with [{sessions}] sessions"),
            Readiness::Alone => info!(%node, "ready, no other member can be asked for sessions"),
            Readiness::TimedOut => warn!(
                %node, sessions,
                "no complete session state has been received within [{}] seconds, going on with \
                 [{sessions}] sessions; check the links to the other members or raise \
                 `transfer_timeout`",
                self.settings.transfer_timeout.as_secs_f64()
            ),
        }
        self.readiness.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(readiness);
            is_first
        });
        self.events.send(Event::Ready(readiness));
    }
}

/// A donor that gives nothing for this long is stuck.
const STALL_MS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    const fn link(id: u64, synced: bool, progress: u64) -> JoinLink {
        JoinLink {
            link: LinkId(id),
            synced,
            progress,
        }
    }

    fn join() -> Join {
        Join::new(Duration::from_secs(60), at(0))
    }

    #[test]
    fn node_without_peers_is_alone_at_once() {
        let mut join = join();
        let steps = join.step(&[], true, at(0));
        assert_eq!(steps, [JoinStep::Ready(Readiness::Alone), JoinStep::Over]);
        assert_eq!(join.step(&[link(1, false, 0)], true, at(1)), []);
    }

    #[test]
    fn node_waits_until_every_peer_was_dialled() {
        let mut join = join();
        assert_eq!(join.step(&[], false, at(0)), []);
        let one = [link(1, false, 0)];
        assert_eq!(join.step(&one, false, at(1)), [JoinStep::Ask(LinkId(1))]);
        let one = [link(1, true, 9)];
        assert_eq!(join.step(&one, false, at(2)), []);
        let steps = join.step(&one, true, at(3));
        assert_eq!(steps, [JoinStep::Ready(Readiness::Synced), JoinStep::Over]);
    }

    #[test]
    fn other_links_follow_the_donor() {
        let mut join = join();
        let links = [link(1, false, 0), link(2, false, 0)];
        assert_eq!(join.step(&links, true, at(0)), [JoinStep::Ask(LinkId(1))]);
        assert_eq!(join.step(&links, true, at(1)), []);
        let links = [link(1, true, 9), link(2, false, 0)];
        assert_eq!(
            join.step(&links, true, at(2)),
            [JoinStep::Compare(LinkId(2))]
        );
        let links = [link(1, true, 9), link(2, true, 0)];
        let steps = join.step(&links, true, at(3));
        assert_eq!(steps, [JoinStep::Ready(Readiness::Synced), JoinStep::Over]);
    }

    #[test]
    fn donor_that_closes_is_replaced() {
        let mut join = join();
        let links = [link(1, false, 0), link(2, false, 0)];
        assert_eq!(join.step(&links, true, at(0)), [JoinStep::Ask(LinkId(1))]);
        let steps = join.step(&links[1..], true, at(1));
        assert_eq!(steps, [JoinStep::Ask(LinkId(2))]);
    }

    #[test]
    fn only_donor_that_comes_back_is_asked_anew() {
        let mut join = join();
        assert_eq!(
            join.step(&[link(1, false, 0)], true, at(0)),
            [JoinStep::Ask(LinkId(1))]
        );
        assert_eq!(join.step(&[], false, at(1)), []);
        assert_eq!(
            join.step(&[link(2, false, 0)], true, at(2)),
            [JoinStep::Ask(LinkId(2))]
        );
    }

    #[test]
    fn donor_that_stalls_is_replaced_if_there_is_another() {
        let mut join = join();
        let mut links = vec![link(1, false, 0)];
        assert_eq!(join.step(&links, true, at(0)), [JoinStep::Ask(LinkId(1))]);
        assert_eq!(join.step(&links, true, at(STALL_MS)), []);
        links.push(link(2, false, 0));
        assert_eq!(
            join.step(&links, true, at(STALL_MS)),
            [JoinStep::Stalled(LinkId(1)), JoinStep::Ask(LinkId(2))]
        );
    }

    #[test]
    fn donor_that_sends_is_not_replaced_however_long_it_takes() {
        let mut join = join();
        let slow = |progress| [link(1, false, progress), link(2, false, 0)];
        assert_eq!(join.step(&slow(0), true, at(0)), [JoinStep::Ask(LinkId(1))]);
        for second in 1..50 {
            let steps = join.step(&slow(second), true, at(second * 1000));
            assert_eq!(steps, []);
        }
    }

    #[test]
    fn transfer_goes_on_after_the_time_is_over() {
        let mut join = join();
        let links = [link(1, false, 0)];
        assert_eq!(join.step(&links, true, at(0)), [JoinStep::Ask(LinkId(1))]);
        let steps = join.step(&links, true, at(60_000));
        assert_eq!(steps, [JoinStep::Ready(Readiness::TimedOut)]);
        let links = [link(1, true, 9)];
        assert_eq!(join.step(&links, true, at(70_000)), [JoinStep::Over]);
    }
}
