//! What becomes of links: taken in, watched, ended; and what everybody is told of it.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use crate::log::{debug, info, warn};

use super::{
    contacts::LinkExchange,
    ended::Ended,
    link::{Lifetime, PeerLink},
};
use crate::node::{
    Event, MemberEventKind, Node, net::tls::PeerChain, requests::sessions::DestroyedBy,
};
use crate::{
    cluster::{
        Dialler, LinkId, LinkIdentity, MemberLabel, MemberTable, Newcomer, Readiness, Removal,
        Source, millis,
    },
    config::PeerAddress,
    replica::{Link, LinkEvent, LinkOptions},
    session::Now,
    wire::{Hello, Refusal},
};

/// A link in the table of members. Dropping it takes the link out.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) node: Arc<Node>,
    pub(crate) link: Arc<PeerLink>,
    pub(crate) ended: Ended,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.node.link_ended(&self.link, &self.ended);
    }
}

/// The side on which a handshake happened, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Established<'a> {
    Dialled {
        source: &'a Source,
        remote: SocketAddr,
    },
    Accepted {
        remote: SocketAddr,
    },
}

impl Node {
    /// Judges another node's hello. Links that exist already do not matter here.
    pub(crate) fn judge(&self, theirs: &Hello) -> Result<(), Refusal> {
        self.net.hello.judge(theirs)?;
        self.peers
            .table()
            .check(&theirs.node, theirs.boot, self.now())
    }

    /// Makes the link of a completed handshake, unless the pair has one that stays.
    pub(crate) fn admit(
        self: &Arc<Self>,
        theirs: &Hello,
        origin: Established<'_>,
        chain: &PeerChain,
    ) -> Result<Registered, Refusal> {
        let version = self.net.hello.judge(theirs)?;
        let now = self.now();
        self.notice_stall(now);
        let (dialler, dialled, remote) = match origin {
            Established::Dialled { source, remote } => (Dialler::Us, Some(source), remote),
            Established::Accepted { remote } => (Dialler::Them, None, remote),
        };
        let link = Arc::new(self.make_link(theirs, dialler, remote, chain, now));
        let admitted = {
            let mut table = self.peers.table();
            let newcomer = Newcomer {
                link: Arc::clone(&link),
                dialled,
                advertised: theirs.advertise.as_deref(),
                remote,
            };
            let admitted = table.admit(newcomer, now)?;
            self.refresh_links(&table);
            admitted
        };
        for old in admitted.replaced {
            old.yield_to(&self.peers.acks, self.lost_until_ms(now));
        }
        for gone in admitted.outlived {
            self.peers.acks.forget(gone, None).wake();
        }
        let registered = Registered {
            node: Arc::clone(self),
            link: Arc::clone(&link),
            ended: Ended::Stopped,
        };
        // The link was made before it could be found: what happened in between is told now. The end
        // of the join, or the goodbye, may be told meanwhile, so they are looked for under the link's
        // lock.
        link.update(&self.peers.acks, |machine| {
            if self.availability.tells_ready() {
                machine.set_ready();
            }
            if !self.availability.makes_links() {
                machine.leave();
            }
        });
        if admitted.is_known {
            let reconnects = &self.monitor.metrics.reconnects;
            reconnects.fetch_add(1, Ordering::Relaxed);
        }
        if admitted.is_news {
            let (name, address) = (Arc::clone(&link.identity.name), admitted.address);
            info!(
                node = %self.settings.node, member = %name, %address, %remote, version,
                "Replication member added: [{name} at {address}]"
            );
            self.tell_member(MemberEventKind::Up, name, address);
        }
        self.fetch_from(&link);
        self.watch_exclusion();
        self.advance_join(now);
        Ok(registered)
    }

    /// Notes what a link decided. Returns whether the peer said goodbye.
    pub(crate) fn handle_events(&self, link: &PeerLink, events: Vec<LinkEvent>, now: Now) -> bool {
        let mut left = false;
        let mut moved = false;
        for event in events {
            match event {
                // The tracker has been told under the link's lock. The first of them opens the link.
                LinkEvent::Acks => self.requests.stalls.links_changed(),
                LinkEvent::Answered(key, question) => {
                    self.fetch_answered(&key, question, link.identity.id);
                }
                LinkEvent::RoundCompleted { sessions, bytes } => {
                    self.round_completed(link.identity.id, sessions, bytes, now);
                    moved = true;
                }
                LinkEvent::Lagging => self.note_lagging(link.identity.id),
                LinkEvent::CaughtUp => self.note_caught_up(link.identity.id),
                LinkEvent::PeersTransfer => moved = true,
                LinkEvent::DroppedOutdated { sessions } => {
                    warn!(
                        node = %self.settings.node, member = %link.identity.name, sessions,
                        "this node was cut off for longer than destroyed sessions are \
                         remembered: [{sessions}] of its sessions were dropped, because [{}] does \
                         not have them",
                        link.identity.name
                    );
                    let event = Event::DroppedOutdated { sessions };
                    self.tell(event);
                }
                LinkEvent::OverLimit(what) => self.note_over_limit(link, what, now),
                LinkEvent::Peers(told) => self.hear_of_peers(link, told),
                LinkEvent::Grew => self.wake_links(),
                LinkEvent::Destroyed(age_ms) => self.note_destroyed(DestroyedBy::Order, age_ms),
                LinkEvent::SearchOrdered => self.requests.orders.note_search(),
                LinkEvent::Reported(order) => self.requests.orders.note_report(&order),
                LinkEvent::Left => left = true,
                LinkEvent::Changed(change) => self.publish_session(change, true),
            }
        }
        if left {
            self.note_left(link);
        }
        if moved {
            self.advance_join(now);
        }
        left
    }

    /// Keeps what depends on the live links in step with the table. Call it with the table locked.
    fn refresh_links(&self, table: &MemberTable<Arc<PeerLink>>) {
        self.peers.refresh(table);
        self.requests.stalls.links_changed();
        self.requests.links_changed.notify_waiters();
    }

    /// Takes a peer off the list and ends its links. Returns whether it was listed.
    pub(crate) fn forget_peer(&self, peer: PeerAddress) -> bool {
        let source = Source::Listed(peer);
        self.net.admission.unlist(&source);
        let removal = {
            let mut table = self.peers.table();
            let removal = table.remove(&source);
            self.refresh_links(&table);
            removal
        };
        match removal {
            Removal::NotListed => false,
            Removal::Removed { links, boots } => {
                self.watch_exclusion();
                for link in links {
                    link.close(&self.peers.acks);
                }
                for boot in boots {
                    self.peers.acks.forget(boot, None).wake();
                }
                true
            }
        }
    }

    /// Notes whether any configured peer lets this node in. Call it when a link or a dial has ended,
    /// or a link was made.
    pub(crate) fn watch_exclusion(&self) {
        let exclusion = self.peers.table().exclusion();
        if !self.availability.set_exclusion(exclusion) {
            return;
        }
        let node = &self.settings.node;
        match self.availability.readiness() {
            Some(Readiness::Refused) => warn!(
                %node,
                "not ready: members are there, and none has a link with this node; the lines `no \
                 link` say why"
            ),
            _ => info!(%node, "no longer refused by all members"),
        }
    }

    /// Returns until when requests wait for a peer whose link ends now.
    pub(crate) fn lost_until_ms(&self, now: Now) -> u64 {
        now.mono_ms + millis(self.settings.ack_timeout)
    }

    /// Returns whether requests wait for a peer though it has no link.
    pub(crate) fn has_just_lost(&self, source: &Source, at: SocketAddr) -> bool {
        let boot = self.peers.table().boot_at(source, at);
        boot.is_some_and(|boot| self.peers.acks.is_lost(boot))
    }

    /// Notes that nobody listens any more where a peer was. Requests do not wait for it.
    pub(crate) fn note_refused_dial(&self, source: &Source, at: SocketAddr) {
        let boot = self.peers.table().boot_at(source, at);
        if let Some(boot) = boot {
            self.peers.acks.forget(boot, None).wake();
        }
    }

    /// Has all links made anew that this node dialled. Those that are not end at this time.
    pub(crate) fn renew_links(&self, end_ms: u64) {
        for link in self.peers.live().iter() {
            link.renew(end_ms);
        }
    }

    fn make_link(
        &self,
        theirs: &Hello,
        dialler: Dialler,
        remote: SocketAddr,
        chain: &PeerChain,
        now: Now,
    ) -> PeerLink {
        let options = LinkOptions {
            ack_timeout_ms: millis(self.settings.ack_timeout),
            heartbeat_ms: millis(self.settings.heartbeat_interval),
            notify_listeners_on_replication: self.settings.notify_listeners_on_replication,
        };
        let link = Link::new(&self.replica, theirs.boot, options, now);
        let identity = LinkIdentity {
            id: self.peers.new_id(),
            name: theirs.node.as_str().into(),
            boot: theirs.boot,
            dialler,
        };
        let [random] = self.env.random();
        let max_age = self.settings.max_link_age;
        let max_age = (self.net.security).good_for(chain, max_age, self.env.unix_time());
        let lifetime = Lifetime::new(millis(max_age), random, now);
        let exchange = LinkExchange::new(remote, theirs.exchanges_peers);
        PeerLink::new(&self.settings.node, identity, link, lifetime, exchange, now)
    }

    fn link_ended(&self, link: &PeerLink, ended: &Ended) {
        let now = self.now();
        self.notice_stall(now);
        let is_given_up = matches!(ended, Ended::Left | Ended::Violation(_));
        if is_given_up || self.net.shutdown.is_cancelled() {
            link.close(&self.peers.acks);
        } else {
            link.lose(&self.peers.acks, self.lost_until_ms(now));
        }
        let suspect = {
            let mut table = self.peers.table();
            let suspect = table.close(link.identity.id);
            self.refresh_links(&table);
            suspect
        };
        self.fetch_closed(link.identity.id);
        self.peers.exchange().close(link.identity.id);
        self.watch_exclusion();
        if matches!(ended, Ended::Violation(_)) {
            self.monitor
                .counters
                .violations
                .fetch_add(1, Ordering::Relaxed);
            warn!(
                node = %self.settings.node, member = %link.identity.name,
                "closed the link to [{}]: {ended}", link.identity.name
            );
        }
        let Some(MemberLabel { name, address }) = suspect else {
            debug!(member = %link.identity.name, "link closed: {ended}");
            return;
        };
        if !self.makes_links() || self.net.shutdown.is_cancelled() {
            return;
        }
        // One that was silent for so long counts as down at once, which is logged then.
        if !matches!(ended, Ended::Silent) {
            warn!(
                node = %self.settings.node, member = %name, %address,
                "member suspect: [{name} at {address}], {ended}"
            );
        }
        self.tell_member(MemberEventKind::Suspect, name, address);
    }

    fn note_left(&self, link: &PeerLink) {
        if let Some(MemberLabel { name, address }) = self.peers.table().leave(link.identity.id) {
            info!(
                node = %self.settings.node, member = %name, %address,
                "member left: [{name} at {address}]"
            );
            self.tell_member(MemberEventKind::Left, name, address);
        }
        link.close(&self.peers.acks);
    }

    fn note_lagging(&self, link: LinkId) {
        let timeouts = &self.monitor.metrics.ack_timeouts;
        timeouts.fetch_add(1, Ordering::Relaxed);
        if let Some(MemberLabel { name, address }) = self.peers.table().label(link) {
            warn!(
                node = %self.settings.node, member = %name, %address,
                "member lagging: [{name} at {address}], requests do not wait for it until it has \
                 caught up"
            );
            self.tell_member(MemberEventKind::Lagging, name, address);
        }
    }

    fn note_over_limit(&self, link: &PeerLink, what: &str, now: Now) {
        self.monitor
            .counters
            .over_limit
            .fetch_add(1, Ordering::Relaxed);
        if self.monitor.over_limit_log.may_log(now) {
            warn!(
                node = %self.settings.node, member = %link.identity.name,
                "over limit: [{}] sends more {what} than this node may hold, which is not \
                 merged; limits must be the same on all nodes",
                link.identity.name
            );
        }
    }

    fn note_caught_up(&self, link: LinkId) {
        if let Some(MemberLabel { name, address }) = self.peers.table().label(link) {
            info!(
                node = %self.settings.node, member = %name, %address,
                "member caught up: [{name} at {address}]"
            );
            self.tell_member(MemberEventKind::CaughtUp, name, address);
        }
    }
}
