//! What becomes of links: taken in, watched, ended; and what everybody is told of it.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use tracing::{debug, info, warn};

use super::{
    link::{Dialler, LinkId, PeerLink},
    link_task::Ended,
};
use crate::node::{
    Event, MemberEventKind, Node,
    clock::millis,
    members::{MemberLabel, Members, Newcomer},
};
use crate::{
    config::PeerAddress,
    replica::{Link, LinkEvent, LinkOptions, Observer},
    session::Now,
    wire::{Hello, Refusal},
};

/// A link in the table of members. Dropping it takes the link out.
#[derive(Debug)]
pub(in crate::node) struct Registered {
    pub(in crate::node) node: Arc<Node>,
    pub(in crate::node) link: Arc<PeerLink>,
    pub(in crate::node) ended: Ended,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.node.link_ended(&self.link, &self.ended);
    }
}

/// Where a handshake happened.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) enum Established<'a> {
    Dialled {
        peer: &'a PeerAddress,
        remote: SocketAddr,
    },
    Accepted {
        remote: SocketAddr,
    },
}

impl Node {
    /// What this node makes of another's hello. Links that exist already do not matter here.
    pub(in crate::node) fn judge(&self, theirs: &Hello) -> Result<(), Refusal> {
        self.hello.judge(theirs)?;
        self.members().check(&theirs.node, theirs.boot, self.now())
    }

    /// Makes the link of a completed handshake, unless the pair has one that stays.
    pub(in crate::node) fn admit(
        self: &Arc<Self>,
        theirs: &Hello,
        origin: Established<'_>,
    ) -> Result<Registered, Refusal> {
        let version = self.hello.judge(theirs)?;
        let now = self.now();
        self.notice_stall(now);
        let (dialler, dialled, remote) = match origin {
            Established::Dialled { peer, remote } => (Dialler::Us, Some(peer), remote),
            Established::Accepted { remote } => (Dialler::Them, None, remote),
        };
        let link = Arc::new(self.make_link(theirs, dialler, now));
        let admitted = {
            let mut members = self.members();
            let newcomer = Newcomer {
                link: Arc::clone(&link),
                dialled,
                advertised: theirs.advertise.as_deref(),
                remote,
            };
            let admitted = members.admit(newcomer, now)?;
            self.refresh_links(&members);
            admitted
        };
        for old in admitted.replaced {
            old.yield_to(&self.acks, link.id);
        }
        let registered = Registered {
            node: Arc::clone(self),
            link: Arc::clone(&link),
            ended: Ended::Stopped,
        };
        // The link was made before it could be found: what happened in between is told now.
        let ready = !self.awaits_transfer();
        link.update(&self.acks, |state| state.set_ready(ready));
        if admitted.is_news {
            let MemberLabel { name, address } = MemberLabel {
                name: Arc::clone(&link.name),
                address: admitted.address,
            };
            info!(
                node = %self.settings.node, member = %name, %address, %remote, version,
                "Replication member added: [{name} at {address}]"
            );
            self.events.send_member(MemberEventKind::Up, name, address);
        }
        self.fetch_from(&link);
        self.advance_join(now);
        Ok(registered)
    }

    /// Notes what a link decided. Whether the peer said goodbye.
    pub(in crate::node) fn handle_events(
        &self,
        link: &PeerLink,
        events: Vec<LinkEvent>,
        now: Now,
    ) -> bool {
        let mut left = false;
        let mut moved = false;
        for event in events {
            match event {
                // The board has been told under the link's lock. The first of them opens the link.
                LinkEvent::Acks => self.stalls.links_changed(),
                LinkEvent::Answered(key, question) => {
                    self.fetch_answered(&key, question, link.id);
                }
                LinkEvent::RoundCompleted { sessions, bytes } => {
                    self.round_completed(link.id, sessions, bytes, now);
                    moved = true;
                }
                LinkEvent::Lagging => self.note_lagging(link.id),
                LinkEvent::CaughtUp => self.note_caught_up(link.id),
                LinkEvent::StartedEmpty { sessions } => {
                    warn!(
                        node = %self.settings.node,
                        sessions,
                        "this node was cut off for longer than destroyed sessions are \
                         remembered: its [{sessions}] sessions were dropped and are asked for anew"
                    );
                    self.events.send(Event::StartedEmpty { sessions });
                }
                LinkEvent::OverLimit(what) => self.note_over_limit(link, what, now),
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

    /// Everything that happens because time passes.
    pub(in crate::node) fn tick(&self, now: Now) {
        self.watch_stalls(now);
        let mut observer = Observer::new(self.wants_session_events());
        self.replica.sweep(now, &mut observer);
        for change in observer.into_changes() {
            self.publish(change);
        }
        for link in self.live_links().iter() {
            if link.is_silent_for(self.settings.down_after, now) {
                link.close(&self.acks);
                continue;
            }
            link.expect_opening(&self.acks, self.settings.ack_timeout, now);
            if let Some(events) = link.update(&self.acks, |state| state.tick(&self.replica, now)) {
                self.handle_events(link, events, now);
                link.wake_writer();
            }
        }
        let down = self.members().sweep(millis(self.settings.down_after), now);
        for MemberLabel { name, address } in down {
            warn!(
                node = %self.settings.node, member = %name, %address,
                "member disappeared: [{name} at {address}], nothing was heard of it for [{}] ms",
                self.settings.down_after.as_millis()
            );
            self.events
                .send_member(MemberEventKind::Down, name, address);
        }
        self.advance_join(now);
    }

    /// Keeps the list for commits in step with the table. Call it with the table locked.
    pub(in crate::node) fn refresh_links(&self, members: &Members) {
        *self.links.write().unwrap_or_else(PoisonError::into_inner) = members.links().into();
        self.stalls.links_changed();
    }

    /// Takes a peer off the list and ends its link. Whether it was there.
    pub(in crate::node) fn forget_peer(&self, peer: &PeerAddress) -> bool {
        let removed = {
            let mut members = self.members();
            let removed = members.remove(peer);
            self.refresh_links(&members);
            removed
        };
        if let Some(Some(link)) = &removed {
            link.close(&self.acks);
        }
        removed.is_some()
    }

    fn make_link(&self, theirs: &Hello, dialler: Dialler, now: Now) -> PeerLink {
        let options = LinkOptions {
            ack_timeout_ms: millis(self.settings.ack_timeout),
            heartbeat_ms: millis(self.settings.heartbeat_interval),
            notify_listeners_on_replication: self.settings.notify_listeners_on_replication,
        };
        let state = Link::new(&self.replica, theirs.boot, options, now);
        let id = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let label = (Arc::from(theirs.node.as_str()), theirs.boot);
        PeerLink::new(id, label, dialler, state, now)
    }

    fn link_ended(&self, link: &PeerLink, ended: &Ended) {
        self.notice_stall(self.now());
        link.close(&self.acks);
        let suspect = {
            let mut members = self.members();
            let suspect = members.close(link.id);
            self.refresh_links(&members);
            suspect
        };
        self.fetch_closed(link.id);
        if matches!(ended, Ended::Violation(_)) {
            self.counters.violations.fetch_add(1, Ordering::Relaxed);
            warn!(
                node = %self.settings.node, member = %link.name,
                "closed the link to [{}]: {ended}", link.name
            );
        }
        let Some(MemberLabel { name, address }) = suspect else {
            debug!(member = %link.name, "link closed: {ended}");
            return;
        };
        if !self.may_create() || self.network.is_cancelled() {
            return;
        }
        warn!(
            node = %self.settings.node, member = %name, %address,
            "member suspect: [{name} at {address}], {ended}"
        );
        self.events
            .send_member(MemberEventKind::Suspect, name, address);
    }

    fn note_left(&self, link: &PeerLink) {
        if let Some(MemberLabel { name, address }) = self.members().leave(link.id) {
            info!(
                node = %self.settings.node, member = %name, %address,
                "member left: [{name} at {address}]"
            );
            self.events
                .send_member(MemberEventKind::Left, name, address);
        }
        link.close(&self.acks);
    }

    fn note_lagging(&self, link: LinkId) {
        if let Some(MemberLabel { name, address }) = self.members().label(link) {
            warn!(
                node = %self.settings.node, member = %name, %address,
                "member lagging: [{name} at {address}], requests do not wait for it until it has \
                 caught up"
            );
            self.events
                .send_member(MemberEventKind::Lagging, name, address);
        }
    }

    fn note_over_limit(&self, link: &PeerLink, what: &str, now: Now) {
        self.counters.over_limit.fetch_add(1, Ordering::Relaxed);
        if self.over_limit_log.may_log(now) {
            warn!(
                node = %self.settings.node, member = %link.name,
                "over limit: [{}] sends more {what} than twice what this node may hold, which is \
                 not merged; limits must be the same on all nodes",
                link.name
            );
        }
    }

    fn note_caught_up(&self, link: LinkId) {
        if let Some(MemberLabel { name, address }) = self.members().label(link) {
            info!(
                node = %self.settings.node, member = %name, %address,
                "member caught up: [{name} at {address}]"
            );
            self.events
                .send_member(MemberEventKind::CaughtUp, name, address);
        }
    }
}
