//! Joining: all sessions in bulk from one donor, then a round with every other link.
//!
//! A donor must be ready itself. A peer that joins, too, may have nothing yet of what it is about to
//! receive. Only if all joining nodes that reach each other have nobody left to wait for, as at the
//! first start of a cluster, they settle with what they have. For that each tells its peers within
//! how many hops that is so.
//!
//! The node tells [`Join`] of its links on every tick, and whenever a link or a round changes, and
//! carries out what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{link::LinkId, table::Reach};
use crate::{
    replica::PeersTransfer,
    session::{Mutant, Now},
    wire::message::MAX_SETTLED_HOPS,
};

/// The outcome of the state transfer of a node that started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Readiness {
    /// The node has every session that its peers had.
    Synced,
    /// There was nobody to ask: no peer is configured, or nobody has listened at the address of any
    /// for [`alone_after`](crate::ClusterConfig::alone_after).
    Alone,
    /// The transfer took longer than `transfer_timeout`. It goes on, and meanwhile sessions that
    /// are not here yet are asked for one by one.
    TimedOut,
    /// Peers are there, and none has let this node in for `transfer_timeout`: they have another
    /// secret or cluster, or a node of its name. [`Cluster::is_ready`](crate::Cluster::is_ready) is
    /// false as long as that is so.
    Refused,
}

/// When a node that starts has waited long enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinOptions {
    pub(crate) timeout_ms: u64,
    /// How long peers that cannot be reached are looked for.
    pub(crate) alone_after_ms: u64,
    /// How many peers must be linked.
    pub(crate) min_peers: usize,
}

/// The state of one node's join: whom it asks for sessions, and whether all have come.
#[derive(Debug)]
pub(crate) struct Join {
    started_ms: u64,
    options: JoinOptions,
    /// The live links on which a round was asked for.
    begun: BTreeMap<LinkId, Begun>,
    donor: Option<Donor>,
    /// One peer has given everything it had.
    donated: bool,
    settled_hops: u8,
    timed_out: bool,
    over: bool,
}

/// A round that was asked for.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at_ms: u64,
    /// Whether the peer had all sessions itself then.
    of_ready: bool,
    is_complete: bool,
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
    /// The round asked for last is complete, and what the peer had at the start has been applied.
    pub(crate) synced: bool,
    /// Grows with everything a round brings.
    pub(crate) progress: u64,
    pub(crate) peer: PeersTransfer,
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
    /// Tell those who wait. With [`Readiness::TimedOut`] and [`Readiness::Refused`] the transfer
    /// goes on.
    Ready(Readiness),
    /// Nothing is asked for any more.
    Over,
}

impl Join {
    pub(crate) const fn new(options: JoinOptions, now: Now) -> Self {
        Self {
            started_ms: now.mono_ms,
            options,
            begun: BTreeMap::new(),
            donor: None,
            donated: false,
            settled_hops: 0,
            timed_out: false,
            over: false,
        }
    }

    /// Decides what to do now. `unlinked` is why configured peers without a link may be there all
    /// the same, `None` if all have one.
    pub(crate) fn step(
        &mut self,
        links: &[JoinLink],
        unlinked: Option<Reach>,
        now: Now,
    ) -> Vec<JoinStep> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        self.begun
            .retain(|begun, _| links.iter().any(|link| link.link == *begun));
        self.watch_donor(links, now, &mut steps);
        if self.donated || !links.iter().any(JoinLink::is_ready) {
            for link in links.iter().filter(|link| link.has_told()) {
                if self.begin(link, now) {
                    steps.push(JoinStep::Compare(link.link));
                }
            }
        } else if self.donor.is_none() {
            self.choose_donor(links, now, &mut steps);
        }
        self.settled_hops = match steps.is_empty() {
            true => self.hops_settled(links, unlinked, now),
            false => 0,
        };
        if steps.is_empty() && self.has_everything(links, unlinked, now) {
            self.over = true;
            if !self.timed_out {
                let is_alone = links.is_empty() && !self.donated;
                steps.push(JoinStep::Ready(match is_alone {
                    true => Readiness::Alone,
                    false => Readiness::Synced,
                }));
            }
            steps.push(JoinStep::Over);
        } else if !self.timed_out && self.age_ms(now) >= self.options.timeout_ms {
            self.timed_out = true;
            let is_refused =
                links.is_empty() && matches!(unlinked, Some(Reach::Refused | Reach::Replaced));
            steps.push(JoinStep::Ready(match is_refused {
                true => Readiness::Refused,
                false => Readiness::TimedOut,
            }));
        }
        steps
    }

    /// Notes that a round with a link is complete. Returns when it was asked for, if it is the one in
    /// which the donor has given everything. Later rounds with the donor are as all others.
    pub(crate) fn round_completed(&mut self, link: LinkId) -> Option<u64> {
        let begun = self.begun.get_mut(&link)?;
        let is_first = !std::mem::replace(&mut begun.is_complete, true);
        let is_donors = self.donor.as_ref().is_some_and(|donor| donor.link == link);
        (is_first && is_donors).then_some(begun.at_ms)
    }

    /// Returns within how many hops of nodes that join, this one included, nobody has anybody left
    /// to wait for. Peers are told.
    pub(crate) const fn settled_hops(&self) -> u8 {
        self.settled_hops
    }

    /// Returns whether requests wait for peers without a link: one may hold their sessions.
    pub(crate) fn expects_others(
        &self,
        has_links: bool,
        unlinked: Option<Reach>,
        now: Now,
    ) -> bool {
        match unlinked {
            _ if self.over => false,
            None => false,
            Some(Reach::Untried) => true,
            // Those that are linked are asked, and the others may never come.
            Some(_) if has_links => false,
            Some(_) => !self.is_nobody_left(unlinked, now),
        }
    }

    /// Returns how much is left of the time for which peers that cannot be reached are looked for.
    pub(crate) fn search_left_ms(&self, now: Now) -> u64 {
        self.options.alone_after_ms.saturating_sub(self.age_ms(now))
    }

    /// Returns whether nobody is left who may have more. A write may have reached one peer alone, so
    /// one donor is not enough.
    fn has_everything(&self, links: &[JoinLink], unlinked: Option<Reach>, now: Now) -> bool {
        if links.len() < self.options.min_peers {
            return false;
        }
        if links.is_empty() {
            return self.is_nobody_left(unlinked, now);
        }
        if !links.iter().any(JoinLink::is_ready) {
            return self.settled_hops == MAX_SETTLED_HOPS;
        }
        if unlinked == Some(Reach::Untried) || !self.donated {
            return false;
        }
        Mutant::ReadyAfterDonor.is_on() || self.is_synced(links)
    }

    /// Counts the hops around this node within which all nodes join, and nobody has anybody left to
    /// wait for. Zero is this node alone, not settled. A node that joins may hold nothing of what
    /// it is about to receive: its sessions are worth something only once it is ready, or if nobody
    /// is.
    fn hops_settled(&self, links: &[JoinLink], unlinked: Option<Reach>, now: Now) -> u8 {
        let is_settled =
            !links.is_empty() && self.is_nobody_left(unlinked, now) && self.is_synced(links);
        let hops = links.iter().map(|link| match link.peer {
            PeersTransfer::UnderWay { settled_hops } => Some(settled_hops),
            PeersTransfer::Unknown => Some(0),
            PeersTransfer::Over => None,
        });
        match hops.min() {
            Some(Some(hops)) if is_settled => MAX_SETTLED_HOPS.min(hops + 1),
            _ => 0,
        }
    }

    /// Returns whether there is no configured peer without a link that may be there.
    fn is_nobody_left(&self, unlinked: Option<Reach>, now: Now) -> bool {
        match unlinked {
            None | Some(Reach::Foreign) => true,
            Some(Reach::Unreachable) => self.donated || self.search_left_ms(now) == 0,
            Some(Reach::Mute | Reach::Refused | Reach::Replaced) => {
                Mutant::TakeRefusalForAbsence.is_on()
            }
            Some(Reach::Untried) => false,
        }
    }

    fn is_synced(&self, links: &[JoinLink]) -> bool {
        links.iter().all(|link| !self.is_due(link) && link.synced)
    }

    fn age_ms(&self, now: Now) -> u64 {
        now.mono_ms.saturating_sub(self.started_ms)
    }

    /// Notes how far the donor has come, or that it has to be replaced.
    fn watch_donor(&mut self, links: &[JoinLink], now: Now, steps: &mut Vec<JoinStep>) {
        let Some(donor) = &self.donor else {
            return;
        };
        let Some(link) = links.iter().find(|link| link.link == donor.link) else {
            self.donor = None;
            return;
        };
        if link.synced {
            self.donated = true;
        } else if link.progress != donor.progress {
            self.donor = Some(Donor::of(link, now));
        } else if now.mono_ms.saturating_sub(donor.since_ms) >= DONOR_TIMEOUT_MS
            && links.iter().any(|other| self.is_new_donor(other))
        {
            steps.push(JoinStep::GiveUp(donor.link));
            self.donor = None;
        }
    }

    /// Asks the first ready peer that was not asked yet. One that was asked before and has given all
    /// after all will do.
    fn choose_donor(&mut self, links: &[JoinLink], now: Now, steps: &mut Vec<JoinStep>) {
        let has_given = |link: &JoinLink| {
            let begun = self.begun.get(&link.link);
            link.synced && begun.is_some_and(|begun| begun.of_ready)
        };
        if links.iter().any(has_given) {
            self.donated = true;
            return;
        }
        let Some(link) = links.iter().find(|link| self.is_new_donor(link)) else {
            return;
        };
        self.begin(link, now);
        self.donor = Some(Donor::of(link, now));
        steps.push(JoinStep::Ask(link.link));
    }

    fn is_new_donor(&self, link: &JoinLink) -> bool {
        link.is_ready() && self.is_due(link)
    }

    /// Returns whether a round has to be asked for: for the first time, or once more, since the peer
    /// has all sessions now and had not then.
    fn is_due(&self, link: &JoinLink) -> bool {
        let begun = self.begun.get(&link.link);
        begun.is_none_or(|begun| link.is_ready() && !begun.of_ready)
    }

    /// Notes that a round is asked for, if one is due. Returns whether it is.
    fn begin(&mut self, link: &JoinLink, now: Now) -> bool {
        let is_due = self.is_due(link);
        if is_due {
            let begun = Begun {
                at_ms: now.mono_ms,
                of_ready: link.is_ready(),
                is_complete: false,
            };
            self.begun.insert(link.link, begun);
        }
        is_due
    }
}

impl Donor {
    const fn of(link: &JoinLink, now: Now) -> Self {
        Self {
            link: link.link,
            progress: link.progress,
            since_ms: now.mono_ms,
        }
    }
}

impl JoinLink {
    /// Returns whether the peer has all sessions itself.
    fn is_ready(&self) -> bool {
        match self.peer {
            PeersTransfer::Over => true,
            PeersTransfer::UnderWay { .. } => Mutant::TrustUnreadyDonor.is_on(),
            PeersTransfer::Unknown => false,
        }
    }

    fn has_told(&self) -> bool {
        self.peer != PeersTransfer::Unknown
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
            peer: PeersTransfer::Over,
        }
    }

    const fn joining(id: u64, synced: bool, settled_hops: u8) -> JoinLink {
        JoinLink {
            peer: PeersTransfer::UnderWay { settled_hops },
            ..link(id, synced, 0)
        }
    }

    fn join() -> Join {
        join_with(0)
    }

    fn join_with(min_peers: usize) -> Join {
        let options = JoinOptions {
            timeout_ms: 60_000,
            alone_after_ms: 3_000,
            min_peers,
        };
        Join::new(options, at(0))
    }

    const SYNCED: [JoinStep; 2] = [JoinStep::Ready(Readiness::Synced), JoinStep::Over];
    const ALONE: [JoinStep; 2] = [JoinStep::Ready(Readiness::Alone), JoinStep::Over];

    #[test]
    fn node_without_peers_is_alone_at_once() {
        let mut join = join();
        assert_eq!(join.step(&[], None, at(0)), ALONE);
        assert_eq!(join.step(&[link(1, false, 0)], None, at(1)), []);
    }

    #[test]
    fn peers_that_cannot_be_reached_are_looked_for_before_a_node_is_alone() {
        let mut join = join();
        assert_eq!(join.step(&[], Some(Reach::Unreachable), at(2_999)), []);
        assert!(join.expects_others(false, Some(Reach::Unreachable), at(2_999)));
        assert_eq!(join.step(&[], Some(Reach::Unreachable), at(3_000)), ALONE);
    }

    #[test]
    fn peer_that_is_there_but_makes_no_link_is_not_nobody() {
        for (reach, readiness) in [
            (Reach::Mute, Readiness::TimedOut),
            (Reach::Refused, Readiness::Refused),
            (Reach::Replaced, Readiness::Refused),
        ] {
            let mut join = join();
            assert_eq!(join.step(&[], Some(reach), at(59_999)), []);
            assert!(join.expects_others(false, Some(reach), at(59_999)));
            let steps = join.step(&[], Some(reach), at(60_000));
            assert_eq!(steps, [JoinStep::Ready(readiness)]);
            // It goes on, and gets all after all.
            assert_eq!(
                join.step(&[link(1, false, 0)], None, at(60_001)),
                [JoinStep::Ask(LinkId(1))]
            );
            let steps = join.step(&[link(1, true, 9)], None, at(60_002));
            assert_eq!(steps, [JoinStep::Over]);
        }
    }

    #[test]
    fn node_waits_until_every_peer_was_dialled() {
        const UNTRIED: Option<Reach> = Some(Reach::Untried);
        let mut join = join();
        assert_eq!(join.step(&[], UNTRIED, at(0)), []);
        let one = [link(1, false, 0)];
        assert_eq!(join.step(&one, UNTRIED, at(1)), [JoinStep::Ask(LinkId(1))]);
        let one = [link(1, true, 9)];
        assert_eq!(join.step(&one, UNTRIED, at(2)), []);
        // With the sessions of one that is ready, nobody waits for those that are not there.
        assert_eq!(join.step(&one, Some(Reach::Unreachable), at(3)), SYNCED);
    }

    #[test]
    fn other_links_follow_the_donor() {
        let mut join = join();
        let links = [link(1, false, 0), link(2, false, 0)];
        assert_eq!(join.step(&links, None, at(0)), [JoinStep::Ask(LinkId(1))]);
        assert_eq!(join.step(&links, None, at(1)), []);
        let links = [link(1, true, 9), link(2, false, 0)];
        assert_eq!(
            join.step(&links, None, at(2)),
            [JoinStep::Compare(LinkId(2))]
        );
        let links = [link(1, true, 9), link(2, true, 0)];
        assert_eq!(join.step(&links, None, at(3)), SYNCED);
    }

    #[test]
    fn later_rounds_with_the_donor_are_no_transfer() {
        let mut join = join();
        join.step(&[link(1, false, 0), link(2, false, 0)], None, at(7));
        assert_eq!(join.round_completed(LinkId(1)), Some(7));
        join.step(&[link(1, true, 9), link(2, false, 0)], None, at(8));
        assert_eq!(join.round_completed(LinkId(2)), None);
        // Repair, while others are still to be compared and afterwards.
        join.step(&[link(1, false, 9), link(2, true, 0)], None, at(9));
        assert_eq!(join.round_completed(LinkId(1)), None);
        assert_eq!(
            join.step(&[link(1, true, 9), link(2, true, 0)], None, at(10)),
            SYNCED
        );
        assert_eq!(join.round_completed(LinkId(1)), None);
    }

    #[test]
    fn donor_must_be_ready_itself() {
        let mut join = join();
        let links = [joining(1, false, 0), link(2, false, 0)];
        assert_eq!(join.step(&links, None, at(0)), [JoinStep::Ask(LinkId(2))]);
    }

    #[test]
    fn what_a_joining_peer_has_given_is_compared_again_once_it_is_ready() {
        let mut join = join();
        assert_eq!(
            join.step(&[joining(1, false, 0)], None, at(0)),
            [JoinStep::Compare(LinkId(1))]
        );
        assert_eq!(join.step(&[joining(1, true, 0)], None, at(1)), []);
        assert_eq!(
            join.step(&[link(1, true, 1)], None, at(2)),
            [JoinStep::Ask(LinkId(1))]
        );
        assert_eq!(join.step(&[link(1, false, 1)], None, at(3)), []);
        assert_eq!(join.step(&[link(1, true, 2)], None, at(4)), SYNCED);
    }

    #[test]
    fn nodes_that_join_from_each_other_settle_when_nobody_has_anybody_left_to_wait_for() {
        let mut join = join();
        join.step(&[joining(1, false, 0)], None, at(0));
        for hops in 0..MAX_SETTLED_HOPS - 1 {
            assert_eq!(join.step(&[joining(1, true, hops)], None, at(1)), []);
            assert_eq!(join.settled_hops(), hops + 1);
        }
        let links = [joining(1, true, MAX_SETTLED_HOPS - 1)];
        assert_eq!(join.step(&links, None, at(2)), SYNCED);
    }

    #[test]
    fn node_with_somebody_to_wait_for_does_not_settle_and_says_so() {
        let unlinked = [
            Reach::Untried,
            Reach::Refused,
            Reach::Mute,
            Reach::Unreachable,
        ];
        for reach in unlinked {
            let mut join = join();
            join.step(&[joining(1, false, 0)], Some(reach), at(0));
            let links = [joining(1, true, MAX_SETTLED_HOPS)];
            assert_eq!(join.step(&links, Some(reach), at(1)), []);
            assert_eq!(join.settled_hops(), 0, "{reach:?}");
        }
    }

    #[test]
    fn so_many_peers_must_be_linked_however_long_it_takes() {
        let mut join = join_with(2);
        assert_eq!(join.step(&[], None, at(10_000)), []);
        let one = [link(1, false, 0)];
        assert_eq!(
            join.step(&one, None, at(10_001)),
            [JoinStep::Ask(LinkId(1))]
        );
        let one = [link(1, true, 9)];
        let steps = join.step(&one, None, at(60_000));
        assert_eq!(steps, [JoinStep::Ready(Readiness::TimedOut)]);
        let two = [link(1, true, 9), link(2, false, 0)];
        assert_eq!(
            join.step(&two, None, at(70_000)),
            [JoinStep::Compare(LinkId(2))]
        );
        let two = [link(1, true, 9), link(2, true, 0)];
        assert_eq!(join.step(&two, None, at(70_001)), [JoinStep::Over]);
    }

    #[test]
    fn donor_that_closes_is_replaced() {
        let mut join = join();
        let links = [link(1, false, 0), link(2, false, 0)];
        assert_eq!(join.step(&links, None, at(0)), [JoinStep::Ask(LinkId(1))]);
        let steps = join.step(&links[1..], None, at(1));
        assert_eq!(steps, [JoinStep::Ask(LinkId(2))]);
    }

    #[test]
    fn only_donor_that_comes_back_is_asked_anew() {
        let mut join = join();
        assert_eq!(
            join.step(&[link(1, false, 0)], None, at(0)),
            [JoinStep::Ask(LinkId(1))]
        );
        assert_eq!(join.step(&[], Some(Reach::Untried), at(1)), []);
        assert_eq!(
            join.step(&[link(2, false, 0)], None, at(2)),
            [JoinStep::Ask(LinkId(2))]
        );
    }

    #[test]
    fn donor_that_stalls_is_replaced_if_there_is_another() {
        let mut join = join();
        let mut links = vec![link(1, false, 0)];
        assert_eq!(join.step(&links, None, at(0)), [JoinStep::Ask(LinkId(1))]);
        assert_eq!(join.step(&links, None, at(DONOR_TIMEOUT_MS)), []);
        links.push(link(2, false, 0));
        assert_eq!(
            join.step(&links, None, at(DONOR_TIMEOUT_MS)),
            [JoinStep::GiveUp(LinkId(1)), JoinStep::Ask(LinkId(2))]
        );
    }

    #[test]
    fn donor_that_sends_is_not_replaced_however_long_it_takes() {
        let mut join = join();
        let slow = |progress| [link(1, false, progress), link(2, false, 0)];
        assert_eq!(join.step(&slow(0), None, at(0)), [JoinStep::Ask(LinkId(1))]);
        for second in 1..50 {
            let steps = join.step(&slow(second), None, at(second * 1000));
            assert_eq!(steps, []);
        }
    }

    #[test]
    fn transfer_goes_on_after_the_time_is_over() {
        let mut join = join();
        let links = [link(1, false, 0)];
        assert_eq!(join.step(&links, None, at(0)), [JoinStep::Ask(LinkId(1))]);
        let steps = join.step(&links, None, at(60_000));
        assert_eq!(steps, [JoinStep::Ready(Readiness::TimedOut)]);
        let links = [link(1, true, 9)];
        assert_eq!(join.step(&links, None, at(70_000)), [JoinStep::Over]);
    }
}
