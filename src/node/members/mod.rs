//! The table of members: configured peers, which are never forgotten, and nodes that dialled us.
//!
//! An entry is found by boot id, then by the address dialled or advertised, then by name, so that a
//! node that restarts takes its old place, and a node known by two addresses is one member.

mod entry;
mod tie;

#[cfg(test)]
mod tests;

use std::{mem, net::SocketAddr, sync::Arc, time::Duration};

pub(super) use self::entry::{MemberLabel, MemberRow, MemberStatus};
use self::{entry::MemberEntry, tie::stays};
use super::peers::link::{LinkId, PeerLink};
use crate::{
    config::PeerAddress,
    session::{BootId, Now},
    wire::Refusal,
};

#[derive(Debug)]
pub(super) struct Members {
    own: BootId,
    /// A link that was silent for longer may be replaced.
    silent_after: Duration,
    entries: Vec<MemberEntry>,
}

/// A link that hello has been completed for.
#[derive(Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) link: Arc<PeerLink>,
    /// The configured peer that was dialled.
    pub(super) dialled: Option<&'a PeerAddress>,
    pub(super) advertised: Option<&'a str>,
    pub(super) remote: SocketAddr,
}

/// What [`Members::admit`] did.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) address: Arc<str>,
    /// Links that must be closed now.
    pub(super) replaced: Vec<Arc<PeerLink>>,
    /// Whether the member was not up before.
    pub(super) is_news: bool,
}

impl Members {
    pub(super) const fn new(own: BootId, silent_after: Duration) -> Self {
        Self {
            own,
            silent_after,
            entries: Vec::new(),
        }
    }

    /// Whether the peer was new. A node of this address that dialled us before keeps its link.
    pub(super) fn add(&mut self, peer: &PeerAddress) -> bool {
        if self.configured(peer).is_some() {
            return false;
        }
        let address: Arc<str> = peer.to_string().into();
        match self.entries.iter().position(|e| e.address == address) {
            Some(at) => self.entries[at].configured = Some(peer.clone()),
            None => self.entries.push(MemberEntry::new(
                Some(peer.clone()),
                address,
                MemberStatus::Unreached,
            )),
        }
        true
    }

    /// Whether the peer was there, and its link, which must be closed.
    pub(super) fn remove(&mut self, peer: &PeerAddress) -> Option<Option<Arc<PeerLink>>> {
        let at = self.configured(peer)?;
        Some(self.entries.remove(at).link)
    }

    /// Whether a node of this name and boot may have a link at all.
    ///
    /// # Errors
    ///
    /// [`Refusal::DuplicateName`] while another node of that name is there.
    pub(super) fn check(&self, name: &str, boot: BootId, now: Now) -> Result<(), Refusal> {
        let is_twin = |entry: &MemberEntry| {
            entry.name.as_deref() == Some(name)
                && entry.live().is_some_and(|link| {
                    link.boot != boot && !link.is_silent_for(self.silent_after, now)
                })
        };
        if self.entries.iter().any(is_twin) {
            return Err(Refusal::DuplicateName {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Takes a link in, unless the pair has one that stays.
    pub(super) fn admit(&mut self, newcomer: Newcomer<'_>, now: Now) -> Result<Admitted, Refusal> {
        let Newcomer {
            link,
            dialled,
            advertised,
            remote,
        } = newcomer;
        self.check(&link.name, link.boot, now)?;
        if let Some(existing) = self.live_of(link.boot)
            && stays(
                existing.dialler,
                link.dialler,
                self.own < link.boot,
                existing.is_silent_for(self.silent_after, now),
            )
        {
            self.learn(dialled, &link);
            return Err(Refusal::Duplicate);
        }
        let mut replaced = Vec::new();
        let mut was_up = false;
        for entry in &mut self.entries {
            let is_same = entry.boot == Some(link.boot);
            if (is_same || entry.name.as_ref() == Some(&link.name))
                && let Some(old) = entry.drop_link()
            {
                was_up |= is_same && entry.standing == MemberStatus::Up;
                replaced.push(old);
            }
        }
        let at = self.place(&link, dialled, advertised, remote)?;
        let entry = &mut self.entries[at];
        replaced.extend(entry.drop_link());
        entry.name = Some(Arc::clone(&link.name));
        entry.boot = Some(link.boot);
        entry.standing = MemberStatus::Up;
        entry.tried = true;
        entry.link = Some(link);
        Ok(Admitted {
            address: Arc::clone(&entry.address),
            replaced,
            is_news: !was_up,
        })
    }

    /// Notes that a link ended. `Some` when that makes its member suspect.
    pub(super) fn close(&mut self, link: LinkId) -> Option<MemberLabel> {
        let entry = self.entries.iter_mut().find(|e| e.has(link))?;
        let heard_ms = entry.drop_link()?.heard_ms();
        if entry.standing != MemberStatus::Up {
            return None;
        }
        entry.standing = MemberStatus::Suspect { heard_ms };
        // A node that still needs this member's sessions must dial it once more before it may
        // conclude that nobody is there.
        entry.tried = false;
        entry.label()
    }

    /// Notes that the member at the other end of a link said goodbye.
    pub(super) fn leave(&mut self, link: LinkId) -> Option<MemberLabel> {
        let entry = self.entries.iter_mut().find(|e| e.has(link))?;
        entry.standing = MemberStatus::Left;
        entry.label()
    }

    /// Notes which members are down by now.
    pub(super) fn sweep(&mut self, down_after_ms: u64, now: Now) -> Vec<MemberLabel> {
        let mut down = Vec::new();
        for entry in &mut self.entries {
            if let MemberStatus::Suspect { heard_ms } = entry.standing
                && heard_ms.saturating_add(down_after_ms) <= now.mono_ms
            {
                entry.standing = MemberStatus::Down;
                down.extend(entry.label());
            }
        }
        down
    }

    /// A full dial of a configured peer failed.
    pub(super) fn dial_failed(&mut self, peer: &PeerAddress) {
        if let Some(at) = self.configured(peer) {
            self.entries[at].tried = true;
        }
    }

    /// A configured address is this node's own. Whether that is news.
    pub(super) fn is_myself(&mut self, peer: &PeerAddress) -> bool {
        self.configured(peer).is_some_and(|at| {
            let entry = &mut self.entries[at];
            entry.tried = true;
            mem::replace(&mut entry.standing, MemberStatus::Myself) != MemberStatus::Myself
        })
    }

    /// The link that makes dialling this peer needless.
    pub(super) fn link_to(&self, peer: &PeerAddress) -> Option<Arc<PeerLink>> {
        let entry = &self.entries[self.configured(peer)?];
        let link = entry.live().or_else(|| self.live_of(entry.boot?));
        link.cloned()
    }

    pub(super) fn label(&self, link: LinkId) -> Option<MemberLabel> {
        self.entries.iter().find(|e| e.has(link))?.label()
    }

    pub(super) fn links(&self) -> Vec<Arc<PeerLink>> {
        self.entries
            .iter()
            .filter_map(MemberEntry::live)
            .cloned()
            .collect()
    }

    pub(super) fn peers(&self) -> Vec<PeerAddress> {
        let configured = self.entries.iter().map(|e| &e.configured);
        configured.flatten().cloned().collect()
    }

    /// Whether every configured peer has a link or has failed a full dial.
    pub(super) fn all_tried(&self) -> bool {
        let is_tried = |e: &MemberEntry| e.configured.is_none() || e.tried || e.live().is_some();
        self.entries.iter().all(is_tried)
    }

    /// The members, each once, without this node.
    pub(super) fn rows(&self) -> Vec<MemberRow> {
        let is_alias = |at: usize, entry: &MemberEntry| {
            let is_same = |other: &MemberEntry| entry.boot.is_some() && other.boot == entry.boot;
            entry.live().is_none()
                && (self.entries[..at].iter().any(is_same)
                    || self
                        .entries
                        .iter()
                        .any(|e| is_same(e) && e.live().is_some()))
        };
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(at, entry)| entry.standing != MemberStatus::Myself && !is_alias(*at, entry))
            .map(|(_, entry)| entry.row())
            .collect()
    }

    /// Where the member of a link belongs, made if need be. Entries that turn out to be the same
    /// member and were not configured are merged into it.
    fn place(
        &mut self,
        link: &PeerLink,
        dialled: Option<&PeerAddress>,
        advertised: Option<&str>,
        remote: SocketAddr,
    ) -> Result<usize, Refusal> {
        self.learn(dialled, link);
        let found = dialled
            .and_then(|peer| self.configured(peer))
            .or_else(|| self.position(|e| e.boot == Some(link.boot)))
            .or_else(|| {
                let peer = advertised?.parse().ok()?;
                self.position(|e| e.configured.as_ref() == Some(&peer) && e.live().is_none())
            })
            .or_else(|| self.position(|e| e.name.as_ref() == Some(&link.name)));
        if let Some(at) = found {
            return Ok(at);
        }
        if self.position(|e| e.configured.is_none()).is_some() && self.unlisted() >= MAX_UNLISTED {
            let gone = self.position(|e| e.configured.is_none() && e.live().is_none());
            self.entries.remove(gone.ok_or(Refusal::NotListed)?);
        }
        let address = advertised.map_or_else(|| remote.to_string().into(), Arc::from);
        self.entries
            .push(MemberEntry::new(None, address, MemberStatus::Unreached));
        Ok(self.entries.len() - 1)
    }

    /// A configured address was dialled and this is who answered.
    fn learn(&mut self, dialled: Option<&PeerAddress>, link: &PeerLink) {
        let Some(at) = dialled.and_then(|peer| self.configured(peer)) else {
            return;
        };
        if self.entries[at].live().is_some() {
            return;
        }
        let is_same = |e: &MemberEntry| {
            e.configured.is_none()
                && (e.boot == Some(link.boot) || e.name.as_ref() == Some(&link.name))
        };
        let merged = self
            .position(is_same)
            .map(|same| (same, self.entries.remove(same)));
        let at = match &merged {
            Some((same, _)) if *same < at => at - 1,
            _ => at,
        };
        let entry = &mut self.entries[at];
        entry.drop_link();
        entry.name = Some(Arc::clone(&link.name));
        entry.boot = Some(link.boot);
        entry.tried = true;
        if let Some((_, same)) = merged {
            entry.standing = same.standing;
            entry.link = same.link;
            entry.sent = entry.sent.saturating_add(same.sent);
            entry.received = entry.received.saturating_add(same.received);
        }
    }

    fn configured(&self, peer: &PeerAddress) -> Option<usize> {
        self.position(|e| e.configured.as_ref() == Some(peer))
    }

    fn position(&self, is_it: impl Fn(&MemberEntry) -> bool) -> Option<usize> {
        self.entries.iter().position(is_it)
    }

    /// Whether a member was last met in this boot. One that restarted is another.
    pub(super) fn knows(&self, boot: BootId) -> bool {
        self.entries.iter().any(|entry| entry.boot == Some(boot))
    }

    fn live_of(&self, boot: BootId) -> Option<&Arc<PeerLink>> {
        let mut live = self.entries.iter().filter_map(MemberEntry::live);
        live.find(|link| link.boot == boot)
    }

    fn unlisted(&self) -> usize {
        self.entries
            .iter()
            .filter(|e| e.configured.is_none())
            .count()
    }
}

/// Members that nobody configured; beyond it one that is gone makes room.
const MAX_UNLISTED: usize = 64;
