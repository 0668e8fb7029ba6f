//! Requests that wait for acknowledgements, polled only when they are woken.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{Commit, OPTIONS, World, cable::ends_of, disk::Disks, node::Contact};
use crate::{
    cluster::{AckWait, MemberLink as _},
    config::Ack,
    session::{Access, BootId, Item},
    wire::Position,
};

/// A request that waits for its commit.
pub(super) struct SimWait {
    pub(super) commit: Commit,
    ack: Ack,
    wait: AckWait,
    flag: Arc<Flag>,
    began_ms: u64,
    /// Who was waited for then.
    awaited: Vec<(usize, BootId)>,
}

/// Notes that a wait was woken.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// Waits for what was just committed.
    pub(super) fn wait_for(&mut self, commit: Commit) {
        let ack = match self.random.below(4) {
            0 => Ack::One,
            1 if self.plan.disks != Disks::None => Ack::None,
            _ => Ack::All,
        };
        let node = commit.node;
        let links = self.nodes[node].table.links();
        for link in links {
            self.update(node, link.id(), |link| link.expect_acks(true));
        }
        self.waits.push(SimWait {
            ack,
            wait: self.nodes[node].acks.wait(commit.position, ack),
            began_ms: self.mono_ms,
            awaited: self.awaited(node),
            commit,
            flag: Arc::new(Flag(AtomicBool::new(true))),
        });
        self.check_waits(node);
    }

    /// Looks at what those requests of a node got that were woken.
    pub(super) fn check_waits(&mut self, node: usize) {
        let mut at = 0;
        while at < self.waits.len() {
            let wait = &mut self.waits[at];
            if wait.commit.node != node || !wait.flag.0.swap(false, Ordering::Relaxed) {
                at += 1;
                continue;
            }
            let waker = Waker::from(Arc::clone(&wait.flag));
            let polled = Pin::new(&mut wait.wait).poll(&mut Context::from_waker(&waker));
            let Poll::Ready(holders) = polled else {
                at += 1;
                continue;
            };
            let wait = self.waits.swap_remove(at);
            self.check_wait(&wait, holders);
        }
    }

    /// Checks that so many peers hold the commit, and that none is left that was to be waited for.
    fn check_wait(&mut self, wait: &SimWait, holders: usize) {
        let Commit { node, position, .. } = wait.commit;
        let is_dead =
            |(peer, contact): (&usize, &Contact)| self.nodes[*peer].replica.boot() != contact.boot;
        let contacts = &self.nodes[node].contacts;
        let holding = contacts
            .iter()
            .filter(|contact| is_dead(*contact) || self.holds(*contact.0, &wait.commit))
            .count();
        let ends = ends_of(&self.cables, node);
        let missing = ends.filter(|(_, _, own)| {
            let acks = own.machine.link().acks();
            acks.counted && acks.base < position && acks.acked < position
        });
        let missing = missing.count();
        let forgotten = wait.awaited.iter().find(|(peer, boot)| {
            self.is_waited_for(wait, *peer, *boot) && !self.holds(*peer, &wait.commit)
        });
        let forgotten = forgotten.copied();
        self.check(holders <= holding, || {
            format!("{holders} peers are said to hold a write, {holding} may")
        });
        self.check_saved(&wait.commit, wait.ack);
        self.check(wait.ack != Ack::All || missing == 0, || {
            "a request did not wait for all peers".to_owned()
        });
        self.check(wait.ack != Ack::All || forgotten.is_none(), || {
            format!("a request did not wait for {forgotten:?}, to which it had lost its link")
        });
    }

    /// Returns the peers that requests of a node wait for: those with an open link, and those that
    /// had one a moment ago.
    fn awaited(&self, node: usize) -> Vec<(usize, BootId)> {
        let contacts = self.nodes[node].contacts.iter();
        let is_awaited = |(_, contact): &(&usize, &Contact)| match contact.lost_ms {
            Some(lost_ms) => contact.was_counted && !self.is_over(lost_ms),
            None => ends_of(&self.cables, node).any(|(_, _, own)| {
                let link = own.machine.link();
                own.handle.identity().boot == contact.boot && link.acks().counted
            }),
        };
        let awaited = contacts.filter(is_awaited);
        awaited
            .map(|(peer, contact)| (*peer, contact.boot))
            .collect()
    }

    /// Returns whether a request may not go on without a peer that it began to wait for.
    fn is_waited_for(&self, wait: &SimWait, peer: usize, boot: BootId) -> bool {
        let own = &self.nodes[wait.commit.node];
        let Some(contact) = own.contacts.get(&peer) else {
            return false;
        };
        let behind = Position::number(own.replica.head()) - Position::number(wait.commit.position);
        let has_left_log = behind >= self.plan.log_records as u64;
        let is_same = contact.boot == boot && self.nodes[peer].replica.boot() == boot;
        let has_lagged = contact.lagged_ms >= wait.began_ms;
        // A request that a skip has released may look only after the link was lost again.
        let has_skipped = contact.skipped_ms >= wait.began_ms
            || ends_of(&self.cables, wait.commit.node).any(|(_, _, own)| {
                own.handle.identity().boot == boot && own.machine.link().has_skipped()
            });
        let is_lost = contact.lost_ms.is_some_and(|lost_ms| self.is_over(lost_ms));
        let has_given_up = has_lagged || has_skipped || has_left_log;
        is_same && !has_given_up && !is_lost && !self.is_over(wait.began_ms)
    }

    /// Returns whether `ack_timeout` has passed since then.
    const fn is_over(&self, since_ms: u64) -> bool {
        self.mono_ms - since_ms >= OPTIONS.ack_timeout_ms
    }

    /// Returns whether a node holds what another one has committed, or something later.
    pub(super) fn holds(&self, node: usize, commit: &Commit) -> bool {
        let key = &self.sessions[commit.session].key;
        match self.held_of(node, key) {
            Item::Full(state) => match commit.upto {
                _ if commit.destroyed => false,
                _ if commit.logged_out.is_some() => !self.is_open(node, commit),
                // A short-lived session may have ended here and come from a third node.
                Some(upto) => state.covers(upto) || self.plan.ends_sessions(),
                None => true,
            },
            Item::Absent => {
                let known = &self.sessions[commit.session];
                let is_forgotten = known.is_forgotten
                    || (known.was_destroyed && self.plan.disks != Disks::None)
                    || (commit.destroyed && self.plan.forgets_destroyed());
                commit.logged_out.is_some() || self.plan.ends_sessions() || is_forgotten
            }
            _ => true,
        }
    }

    /// Returns whether the secret with which a client has logged out opens its session on a node.
    pub(super) fn is_open(&self, node: usize, commit: &Commit) -> bool {
        let Some(secret) = commit.logged_out else {
            return false;
        };
        let key = &self.sessions[commit.session].key;
        let now = self.now(node);
        let replica = &self.nodes[node].replica;
        let is_open = replica.read(key, |state| {
            let access = state.secrets().presented(&secret, now);
            !state.meta().is_of_map() && access == Access::Alive
        });
        is_open.unwrap_or(false)
    }
}
