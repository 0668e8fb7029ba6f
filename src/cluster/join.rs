//! Joining: all sessions in bulk from one donor, then a round with every other link.
//!
//! The node tells [`Join`] of its links on every tick, and whenever a link or a round changes, and
//! carries out what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::link::LinkId;
use crate::session::{Mutant, Now};

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

/// The state of one node's join: whom it asks for sessions, and whether all have come.
#[derive(Debug)]
pub(crate) struct Join {
    started_ms: u64,
    timeout_ms: u64,
    /// The live links on which a round was asked for, and since when.
    begun: BTreeMap<LinkId, u64>,
    donor: Option<Donor>,
    /// One peer has given everything it had.
    donated: bool,
    timed_out: bool,
    over: bool,
}

/// The one peer that is asked at first.
#[derive(Debug)]
struct Donor {
    link: LinkId,
    /// How far its round has come, and since when.
    progress: u64,
    since_ms: u64,
}

/// A live link as far as joining is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinLink {
    pub(crate) link: LinkId,
    /// A round asked for is complete, and what the peer had at the start has been applied.
    pub(crate) synced: bool,
    /// Grows with everything a round brings.
    pub(crate) progress: u64,
}

/// What a node does next to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinStep {
    /// Ask this link for everything, as the donor.
    Ask(LinkId),
    /// Complete a round with this link, too.
    Compare(LinkId),
    /// The donor gives nothing; another one is asked.
    GiveUp(LinkId),
    /// Tell those who wait. With [`Readiness::TimedOut`] the transfer goes on.
    Ready(Readiness),
    /// Nothing is asked for any more.
    Over,
}

impl Join {
    pub(crate) const fn new(timeout_ms: u64, now: Now) -> Self {
        Self {
            started_ms: now.mono_ms,
            timeout_ms,
            begun: BTreeMap::new(),
            donor: None,
            donated: false,
            timed_out: false,
            over: false,
        }
    }

    /// Decides what to do now. `all_tried` says that every configured peer has a link or has failed a
    /// full dial.
    pub(crate) fn step(&mut self, links: &[JoinLink], all_tried: bool, now: Now) -> Vec<JoinStep> {
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
        if all_tried && self.has_everything(links) {
            self.over = true;
            if !self.timed_out {
                let is_alone = links.is_empty() && !self.donated;
                steps.push(JoinStep::Ready(match is_alone {
                    true => Readiness::Alone,
                    false => Readiness::Synced,
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

    /// Returns when the donor was asked, if this is its link.
    pub(crate) fn donor_asked_ms(&self, link: LinkId) -> Option<u64> {
        self.donor.as_ref().filter(|donor| donor.link == link)?;
        self.begun.get(&link).copied()
    }

    /// Returns whether nobody is left who may have more. A write may have reached one peer alone, so
    /// one donor is not enough.
    fn has_everything(&self, links: &[JoinLink]) -> bool {
        if Mutant::ReadyAfterDonor.is_on() {
            return links.is_empty() || self.donated;
        }
        links.is_empty() || (self.donated && links.iter().all(|link| link.synced))
    }

    /// Notes how far the donor has come, or that it has to be replaced.
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
        } else if now.mono_ms.saturating_sub(donor.since_ms) >= DONOR_TIMEOUT_MS
            && links
                .iter()
                .any(|other| !self.begun.contains_key(&other.link))
        {
            steps.push(JoinStep::GiveUp(donor.link));
            self.donor = None;
        }
    }

    /// Asks the first link that was not asked yet. One that was asked before and has given all after
    /// all will do.
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

    /// Notes that a round is asked for. Returns whether it is the first on this link.
    fn begin(&mut self, link: LinkId, now: Now) -> bool {
        let is_new = !self.begun.contains_key(&link);
        self.begun.entry(link).or_insert(now.mono_ms);
        is_new
    }
}

/// A donor that gives nothing for this long is stuck.
pub(crate) const DONOR_TIMEOUT_MS: u64 = 5_000;

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
        Join::new(60_000, at(0))
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
        assert_eq!(join.step(&links, true, at(DONOR_TIMEOUT_MS)), []);
        links.push(link(2, false, 0));
        assert_eq!(
            join.step(&links, true, at(DONOR_TIMEOUT_MS)),
            [JoinStep::GiveUp(LinkId(1)), JoinStep::Ask(LinkId(2))]
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
