//! Requests that wait for acknowledgements, polled only when they are woken.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{
    Commit, OPTIONS, World,
    cable::{End, ends_of},
};
use crate::{
    cluster::{AckWait, MemberLink as _},
    config::Ack,
    replica::LinkAcks,
    session::{Access, Item},
};

/// A request that waits for its commit.
pub(super) struct SimWait {
    pub(super) commit: Commit,
    ack: Ack,
    wait: AckWait,
    flag: Arc<Flag>,
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
        let (mut holding, mut missing) = (0, 0);
        for (cable, end, own) in ends_of(&self.cables, node) {
            let peer = cable.nodes[1 - end];
            let is_dead = self.nodes[peer].replica.boot() != own.handle.identity().boot;
            holding += usize::from(is_dead || self.holds(peer, &wait.commit));
            missing +=
                usize::from(self.awaited(own).is_some_and(|acks| {
                    acks.counted && acks.base < position && acks.acked < position
                }));
        }
        self.check(holders <= holding, || {
            format!("{holders} peers are said to hold a write, {holding} may")
        });
        self.check(wait.ack == Ack::One || missing == 0, || {
            "a request did not wait for all peers".to_owned()
        });
    }

    /// Returns what an end's peer has acknowledged: by the link itself once it is open, before that by
    /// the one that it has replaced, if it opens in time.
    fn awaited(&self, own: &End) -> Option<LinkAcks> {
        let link = own.machine.link();
        if link.is_open() {
            return Some(link.acks());
        }
        let is_late = self.mono_ms - own.made_ms >= OPTIONS.ack_timeout_ms;
        own.inherited.filter(|_| !is_late)
    }

    /// Returns whether a node holds what another one has committed, or something later.
    pub(super) fn holds(&self, node: usize, commit: &Commit) -> bool {
        let key = &self.sessions[commit.session].key;
        match self.nodes[node].replica.full(key, self.now(node)) {
            Item::Full(state) => match commit.upto {
                _ if commit.destroyed => false,
                _ if commit.logged_out.is_some() => !self.is_open(node, commit),
                // A short-lived session may have ended here and come from a third node.
                Some(upto) => state.covers(upto) || self.plan.ends_sessions(),
                None => true,
            },
            Item::Absent => commit.logged_out.is_some() || self.plan.ends_sessions(),
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
        let access = replica.read(key, |state| state.secrets().presented(&secret, now));
        access.is_ok_and(|access| access == Access::Alive)
    }
}
