//! Requests that ask peers for a session.

use super::{
    World,
    cable::ends_of,
    node::{News, wake},
};
use crate::{
    cluster::{FetchReason, FetchStep, FetchTicket, LinkId, MemberLink as _, Provenance},
    session::Vector,
};

/// A request that waits for a session.
pub(super) struct SimFetch {
    pub(super) node: usize,
    session: usize,
    reason: FetchReason,
    ticket: FetchTicket,
    news: News,
    /// The news it has seen.
    seen: u64,
    /// When its turn to ask comes.
    turn_ms: Option<u64>,
    /// What peers held when it began, by their links: what must be here when it ends.
    held: Vec<(LinkId, Vector)>,
}

impl World {
    /// Lets a request ask for a session, for one reason or another.
    pub(super) fn ask(&mut self, node: usize) {
        let Some(session) = self.any_session() else {
            return;
        };
        let reason = match self.random.below(3) {
            0 => FetchReason::Token,
            1 => FetchReason::Stall,
            _ => FetchReason::Absent,
        };
        self.ask_for(node, session, reason);
    }

    /// Lets a request ask for a session for this reason, where a real node would.
    pub(super) fn ask_for(&mut self, node: usize, session: usize, reason: FetchReason) {
        let key = self.sessions[session].key;
        let own = &self.nodes[node];
        let is_here = own.replica.read(&key, |_| ()).is_ok();
        // While the transfer is under way, and the session is not here.
        if reason == FetchReason::Absent && (own.join.is_none() || is_here) {
            return;
        }
        let provenance = match is_here || reason == FetchReason::Token {
            true => Provenance::Known,
            false => Provenance::Unverified,
        };
        let held = ends_of(&self.cables, node).filter_map(|(cable, end, own)| {
            let peer = &self.nodes[cable.nodes[1 - end]].replica;
            if peer.boot() != own.handle.identity().boot {
                return None;
            }
            let vector = peer.read(&key, |state| state.vector().clone());
            Some((own.handle.id(), vector.ok()?))
        });
        let held = held.collect();
        let entered = self.nodes[node].fetches.enter(key, reason, provenance);
        let Some((ticket, news)) = entered else {
            return self.check(false, || "too many keys are waited for".to_owned());
        };
        let mut fetch = SimFetch {
            node,
            session,
            reason,
            ticket,
            seen: news.count(),
            news,
            turn_ms: None,
            held,
        };
        if !self.go_on(&mut fetch) {
            self.fetches.push(fetch);
        }
    }

    /// Lets those requests go on for which there are news, or whose turn has come.
    pub(super) fn go_on_with_fetches(&mut self) {
        let mut at = 0;
        while at < self.fetches.len() {
            let fetch = &self.fetches[at];
            let has_turn = fetch.turn_ms.is_some_and(|turn_ms| turn_ms <= self.mono_ms);
            if fetch.seen == fetch.news.count() && !has_turn {
                at += 1;
                continue;
            }
            let mut fetch = self.fetches.swap_remove(at);
            if !self.go_on(&mut fetch) {
                self.fetches.push(fetch);
                let last = self.fetches.len() - 1;
                self.fetches.swap(at, last);
                at += 1;
            }
        }
    }

    /// Takes the next steps of a request. Returns whether it is over.
    fn go_on(&mut self, fetch: &mut SimFetch) -> bool {
        let (node, key) = (fetch.node, fetch.ticket.key());
        fetch.turn_ms = None;
        loop {
            fetch.seen = fetch.news.count();
            let now = self.now(node);
            let own = &mut self.nodes[node];
            let is_here = own.replica.read(&key, |_| ()).is_ok();
            if fetch.reason == FetchReason::Absent && is_here {
                own.fetches.leave(&fetch.ticket);
                return true;
            }
            let others = own.others(now);
            let links: Vec<LinkId> = own.table.links().iter().map(|link| link.id()).collect();
            fetch
                .held
                .retain(|(link, _)| !own.fetches.is_mute(*link, now));
            let links_to_ask = links.iter().copied();
            match own
                .fetches
                .step(&mut fetch.ticket, others, links_to_ask, now)
            {
                FetchStep::Ask(question) => {
                    for link in links {
                        self.put_question(fetch, link, question);
                    }
                }
                FetchStep::Delay(wait) => {
                    fetch.turn_ms = Some(now.mono_ms + wait.as_millis() as u64);
                    return false;
                }
                FetchStep::Wait => return false,
                FetchStep::Over => {
                    self.check_fetch(fetch);
                    self.nodes[node].fetches.leave(&fetch.ticket);
                    return true;
                }
            }
        }
    }

    fn put_question(&mut self, fetch: &mut SimFetch, link: LinkId, question: u64) {
        let (node, key) = (fetch.node, fetch.ticket.key());
        let is_asked = self.update(node, link, |machine| machine.want(key, question));
        let fetches = &mut self.nodes[node].fetches;
        match is_asked {
            Some(true) => {}
            Some(false) => {
                fetch.held.retain(|(held, _)| *held != link);
                wake(fetches.not_asked(&key, question, link));
            }
            None => wake(fetches.answered(&key, question, link)),
        }
    }

    /// Asks a new link for what requests wait for.
    pub(super) fn ask_new_link(&mut self, node: usize, link: LinkId) {
        for (key, question) in self.nodes[node].fetches.link_made(link) {
            if self.update(node, link, |machine| machine.want(key, question)) == Some(false) {
                wake(self.nodes[node].fetches.not_asked(&key, question, link));
            }
        }
    }

    /// Checks that what a peer held when the request began is here, if its link is still up. A peer
    /// that is asked before it has made its own end of the link has met nobody, and remembers nothing
    /// of what it destroys until then.
    fn check_fetch(&mut self, fetch: &SimFetch) {
        let own = &self.nodes[fetch.node];
        // The answer to an earlier question is enough for a session that is not here at all.
        let is_excused = self.plan.ends_sessions() || self.plan.doubts_sessions();
        if fetch.reason == FetchReason::Absent || is_excused {
            return;
        }
        let key = self.sessions[fetch.session].key;
        let links: Vec<LinkId> = own.table.links().iter().map(|link| link.id()).collect();
        let is_missing = fetch.held.iter().any(|(link, vector)| {
            links.contains(link) && self.lacks(fetch.node, &(key, vector.clone()))
        });
        let is_full = own.replica.sessions() >= self.plan.max_sessions;
        self.check(!is_missing || is_full, || {
            "a request went on without what a peer held".to_owned()
        });
    }
}
