//! The table of members: those at the addresses that sources bring, and nodes that dialled us.
//!
//! An entry is found by boot id, then by the address dialled or advertised, then by name. So a node
//! that restarts takes its old place, and a node known by two addresses is one member. A source has
//! an entry for each of its addresses.
//!
//! Listed peers are never forgotten. Of an address that a discovery does not tell any more, and of a
//! node that only dialled us, the entry goes when nobody was there for `forget_after`.

mod entry;
mod sources;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, mem, net::SocketAddr, sync::Arc};

use self::entry::MemberEntry;
pub(crate) use self::entry::{MemberLabel, MemberRow, MemberStatus, Reach, Told};
use super::{
    link::{LinkId, LinkIdentity, MemberLink},
    source::Source,
    tie_break::{Existing, stays},
};
use crate::{
    config::PeerAddress,
    session::{BootId, Mutant, Now},
    wire::Refusal,
};

/// The members as one node knows them, with their links.
#[derive(Debug)]
pub(crate) struct MemberTable<L> {
    own: BootId,
    /// A link that was silent for longer may be replaced.
    silent_after_ms: u64,
    /// For how long a member that is gone is looked for where no source tells of it any more.
    forget_after_ms: u64,
    entries: Vec<MemberEntry<L>>,
}

/// A link that hello has been completed for.
#[derive(Debug)]
pub(crate) struct Newcomer<'a, L> {
    pub(crate) link: L,
    /// What it was dialled for, if it was.
    pub(crate) dialled: Option<&'a Source>,
    pub(crate) advertised: Option<&'a str>,
    pub(crate) remote: SocketAddr,
}

/// What became of the table with a new link.
#[derive(Debug)]
pub(crate) struct Admitted<L> {
    pub(crate) address: Arc<str>,
    /// Links that must be closed now.
    pub(crate) replaced: Vec<L>,
    /// Earlier runs of the member's process, which are over.
    pub(crate) outlived: Vec<BootId>,
    /// Whether the member was not up before.
    pub(crate) is_news: bool,
    /// Whether the member has had a link before.
    pub(crate) is_known: bool,
}

/// What [`MemberTable::remove`] found.
#[derive(Debug)]
pub(crate) enum Removal<L> {
    NotListed,
    /// The peer was listed. Its links must be closed.
    Removed {
        links: Vec<L>,
        boots: Vec<BootId>,
    },
}

impl<L: MemberLink> MemberTable<L> {
    pub(crate) const fn new(own: BootId, silent_after_ms: u64, forget_after_ms: u64) -> Self {
        Self {
            own,
            silent_after_ms,
            forget_after_ms,
            entries: Vec::new(),
        }
    }

    /// Takes a source out, with all its addresses.
    pub(crate) fn remove(&mut self, source: &Source) -> Removal<L> {
        let removed: Vec<_> = self.entries.extract_if(.., |e| e.is_of(source)).collect();
        match removed.is_empty() {
            true => Removal::NotListed,
            false => Removal::Removed {
                boots: removed.iter().filter_map(|e| e.boot).collect(),
                links: removed.into_iter().filter_map(|e| e.link).collect(),
            },
        }
    }

    /// Checks whether a node of this name and boot may have a link at all.
    ///
    /// # Errors
    ///
    /// [`Refusal::NameTaken`] while another node of that name is there.
    pub(crate) fn check(&self, name: &str, boot: BootId, now: Now) -> Result<(), Refusal> {
        let is_twin = |entry: &MemberEntry<L>| {
            entry.name.as_deref() == Some(name)
                && entry.live().is_some_and(|link| {
                    link.identity().boot != boot && !link.is_silent_for(self.silent_after_ms, now)
                })
        };
        if self.entries.iter().any(is_twin) {
            return Err(Refusal::NameTaken {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Takes a link in, unless the pair has one that stays.
    ///
    /// # Errors
    ///
    /// Why the new link must be closed. The table is as good as unchanged.
    pub(crate) fn admit(
        &mut self,
        newcomer: Newcomer<'_, L>,
        now: Now,
    ) -> Result<Admitted<L>, Refusal> {
        let Newcomer {
            link,
            dialled,
            advertised,
            remote,
        } = newcomer;
        let identity = link.identity().clone();
        self.check(&identity.name, identity.boot, now)?;
        if let Some(existing) = self.live_of(identity.boot) {
            let existing = Existing {
                dialler: existing.identity().dialler,
                may_go: existing.is_silent_for(self.silent_after_ms, now) || existing.is_expiring(),
            };
            if stays(existing, identity.dialler, self.own.cmp(&identity.boot)) {
                self.learn(dialled, remote, &identity);
                return Err(Refusal::Duplicate);
            }
        }
        let mut replaced = Vec::new();
        let mut outlived = Vec::new();
        let mut was_up = false;
        let mut is_known = false;
        for entry in &mut self.entries {
            let is_same = entry.boot == Some(identity.boot);
            if !is_same && entry.name.as_ref() != Some(&identity.name) {
                continue;
            }
            is_known = true;
            outlived.extend(entry.boot.filter(|_| !is_same));
            if let Some(old) = entry.drop_link() {
                was_up |= is_same && entry.status == MemberStatus::Up;
                replaced.push(old);
            }
        }
        let at = self.place(&identity, dialled, advertised, remote)?;
        let contact = advertised
            .and_then(|advertised| advertised.parse().ok())
            .or_else(|| dialled.map(|_| PeerAddress::of(remote)));
        self.take_name(&identity);
        let entry = &mut self.entries[at];
        replaced.extend(entry.drop_link());
        entry.name = Some(Arc::clone(&identity.name));
        entry.boot = Some(identity.boot);
        entry.status = MemberStatus::Up;
        entry.reach = Reach::Untried;
        entry.contact = contact;
        entry.link = Some(link);
        let address = Arc::clone(&entry.address);
        self.note_lost(identity.boot, None);
        Ok(Admitted {
            address,
            replaced,
            outlived,
            is_news: !was_up,
            is_known,
        })
    }

    /// Notes that a link ended. Returns its member if that makes it suspect.
    pub(crate) fn close(&mut self, link: LinkId) -> Option<MemberLabel> {
        let at = self.position(|e| e.has(link))?;
        let entry = &mut self.entries[at];
        let heard_ms = entry.drop_link()?.heard_ms();
        if let Some(boot) = entry.boot {
            self.note_lost(boot, Some(heard_ms));
        }
        let entry = &mut self.entries[at];
        if entry.status != MemberStatus::Up {
            return None;
        }
        entry.status = MemberStatus::Suspect { heard_ms };
        entry.label()
    }

    /// Notes that the member at the other end of a link said goodbye.
    pub(crate) fn leave(&mut self, link: LinkId) -> Option<MemberLabel> {
        let entry = self.entries.iter_mut().find(|e| e.has(link))?;
        entry.status = MemberStatus::Left;
        entry.reach = Reach::Unreachable;
        entry.label()
    }

    /// Notes when a node was heard last that has no link now, at all its addresses.
    fn note_lost(&mut self, boot: BootId, lost_ms: Option<u64>) {
        for entry in self.entries.iter_mut().filter(|e| e.boot == Some(boot)) {
            entry.lost_ms = lost_ms;
        }
    }

    /// Notes which members are down by now, and returns them. Forgets nodes that only dialled us and
    /// are gone for long.
    pub(crate) fn sweep(&mut self, down_after_ms: u64, now: Now) -> Vec<MemberLabel> {
        let mut down = Vec::new();
        let forget_after_ms = self.forget_after_ms;
        for entry in &mut self.entries {
            if let MemberStatus::Suspect { heard_ms } = entry.status
                && heard_ms.saturating_add(down_after_ms) <= now.mono_ms
            {
                entry.status = MemberStatus::Down;
                down.extend(entry.label());
            }
        }
        self.entries.retain(|entry| {
            let is_nobodys = entry.boot.is_none() && entry.link.is_none();
            entry.source.is_some()
                || !(is_nobodys || entry.is_forgotten(forget_after_ms, now.mono_ms))
        });
        down
    }

    /// Notes that a full dial of an address failed, and what it has found. Without an address, none
    /// has been found at all.
    pub(crate) fn dial_failed(&mut self, source: &Source, at: Option<SocketAddr>, found: Reach) {
        if let Some(at) = self.at(source, at) {
            self.entries[at].reach = found;
        }
    }

    /// Notes that an address is this node's own. Returns whether that is news.
    pub(crate) fn is_myself(&mut self, source: &Source, at: SocketAddr) -> bool {
        self.at(source, Some(at)).is_some_and(|at| {
            let entry = &mut self.entries[at];
            mem::replace(&mut entry.status, MemberStatus::Myself) != MemberStatus::Myself
        })
    }

    /// Returns the link that makes dialling this address needless.
    pub(crate) fn link_to(&self, source: &Source, at: SocketAddr) -> Option<L> {
        let entry = &self.entries[self.at(source, Some(at))?];
        let link = entry.live().or_else(|| self.live_of(entry.boot?));
        link.cloned()
    }

    /// Returns the member at the other end of a link.
    pub(crate) fn label(&self, link: LinkId) -> Option<MemberLabel> {
        self.entries.iter().find(|e| e.has(link))?.label()
    }

    /// Returns whether a member was last met in this boot. One that restarted is another.
    pub(crate) fn knows(&self, boot: BootId) -> bool {
        self.entries.iter().any(|entry| entry.boot == Some(boot))
    }

    /// Returns all links that are not over.
    pub(crate) fn links(&self) -> Vec<L> {
        self.entries
            .iter()
            .filter_map(MemberEntry::live)
            .cloned()
            .collect()
    }

    /// Returns the members that have lost their link, and may be back at any moment.
    pub(crate) fn missed(&self) -> Vec<MemberLabel> {
        if Mutant::LeaveBehind.is_on() {
            return Vec::new();
        }
        let missed = self.entries.iter().filter(|entry| {
            let was_there = matches!(
                entry.status,
                MemberStatus::Up | MemberStatus::Suspect { .. }
            );
            let is_linked = entry.boot.is_some_and(|boot| self.live_of(boot).is_some());
            was_there && !matches!(entry.reach, Reach::Unreachable | Reach::Foreign) && !is_linked
        });
        missed.filter_map(MemberEntry::label).collect()
    }

    /// Returns whom the operator expects: the peers on the list, the names of discoveries, and the
    /// addresses that those without a name have told.
    pub(crate) fn peers(&self) -> Vec<PeerAddress> {
        let mut peers = Vec::new();
        for entry in self.entries.iter().filter(|e| e.is_configured()) {
            let name = entry.source.as_ref().and_then(Source::name).cloned();
            if let Some(peer) = name.or_else(|| entry.at.map(PeerAddress::of))
                && !peers.contains(&peer)
            {
                peers.push(peer);
            }
        }
        peers
    }

    /// Returns the members with a link, and where others can dial them, as far as it is known.
    pub(crate) fn contacts(&self) -> impl Iterator<Item = (BootId, &PeerAddress)> {
        let live = self.entries.iter().filter(|e| e.live().is_some());
        live.filter_map(|entry| Some((entry.boot?, entry.contact.as_ref()?)))
    }

    /// Notes that the member at the other end of a link says at which port it listens. It counts
    /// where nothing better is known.
    pub(crate) fn listens_at(&mut self, link: LinkId, address: SocketAddr) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.has(link)) {
            entry
                .contact
                .get_or_insert_with(|| PeerAddress::of(address));
        }
    }

    /// Returns whether the node of this boot is this one, or has a link.
    pub(crate) fn is_linked(&self, boot: BootId) -> bool {
        boot == self.own || self.live_of(boot).is_some()
    }

    /// Returns whether nobody listens at this address of a name because the name's members listen at
    /// addresses of the other IP version: never here, and there one has been met.
    pub(crate) fn is_spare(&self, source: &Source, at: SocketAddr) -> bool {
        let has_met = |v4: bool| {
            self.of(source)
                .any(|entry| entry.boot.is_some() && entry.at.is_some_and(|at| at.is_ipv4() == v4))
        };
        let entry = self.at(source, Some(at)).map(|at| &self.entries[at]);
        entry.is_some_and(|entry| entry.reach == Reach::Unreachable)
            && !has_met(at.is_ipv4())
            && has_met(!at.is_ipv4())
    }

    /// Returns the best reason to believe that somebody is there whom the operator expects, and to
    /// whom there is no link; `None` if all have one, or are this node or of another cluster.
    ///
    /// After a link has ended, its member must be dialled once more before anybody may conclude that
    /// nobody is there.
    pub(crate) fn unlinked(&self) -> Option<Reach> {
        self.expected().map(|entry| entry.reach).max()
    }

    /// Returns the addresses, as they are shown, of those whom [`Self::unlinked`] is about.
    pub(crate) fn unlinked_addresses(&self) -> Vec<Arc<str>> {
        let expected = self.expected();
        expected.map(|entry| Arc::clone(&entry.address)).collect()
    }

    fn expected(&self) -> impl Iterator<Item = &MemberEntry<L>> {
        let linked = self.linked_boots();
        self.entries.iter().filter(move |entry| {
            entry.is_configured()
                && entry.status != MemberStatus::Myself
                && entry.reach != Reach::Foreign
                && entry.live().is_none()
                && !entry.boot.is_some_and(|boot| linked.contains(&boot))
                && !self.is_of_spare_address(entry)
        })
    }

    /// Returns why configured peers refuse this node, if none of them has a link to it.
    pub(crate) fn exclusion(&self) -> Option<Reach> {
        let is_refused = |reach: &Reach| matches!(reach, Reach::Refused | Reach::Replaced);
        let configured = self.entries.iter().filter(|e| e.is_configured());
        let refused = configured.map(|e| e.reach).filter(is_refused).max();
        refused.filter(|_| self.entries.iter().all(|e| e.live().is_none()))
    }

    /// Returns the members, each once, without this node.
    pub(crate) fn rows(&self) -> Vec<MemberRow<L>> {
        let is_alias = |at: usize, entry: &MemberEntry<L>| {
            let is_same = |other: &MemberEntry<L>| entry.boot.is_some() && other.boot == entry.boot;
            entry.live().is_none()
                && (self.entries[..at].iter().any(is_same)
                    || self
                        .entries
                        .iter()
                        .any(|e| is_same(e) && e.live().is_some()))
        };
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(at, entry)| {
                entry.status != MemberStatus::Myself
                    && entry.reach != Reach::Foreign
                    && !entry.is_hearsay()
                    && !is_alias(*at, entry)
                    && !self.is_of_spare_address(entry)
            })
            .map(|(_, entry)| entry.row())
            .collect()
    }

    /// Finds the entry of a link's member, or makes one. Entries that turn out to be the same member
    /// and have no source are merged into it.
    fn place(
        &mut self,
        link: &LinkIdentity,
        dialled: Option<&Source>,
        advertised: Option<&str>,
        remote: SocketAddr,
    ) -> Result<usize, Refusal> {
        self.learn(dialled, remote, link);
        let found = dialled
            .and_then(|source| self.at(source, Some(remote)))
            .or_else(|| self.position(|e| e.boot == Some(link.boot)))
            .or_else(|| self.advertised(advertised?))
            .or_else(|| self.position(|e| e.name.as_ref() == Some(&link.name)));
        if let Some(at) = found {
            return Ok(at);
        }
        if self.unlisted() >= MAX_UNLISTED {
            let gone = self.position(|e| e.source.is_none() && e.live().is_none());
            self.entries.remove(gone.ok_or(Refusal::NotListed)?);
        }
        let address = advertised.map_or_else(|| remote.to_string().into(), Arc::from);
        self.entries.push(MemberEntry::new(None, address));
        Ok(self.entries.len() - 1)
    }

    /// Finds the entry of a source that has no link by what a node calls itself. A name of several
    /// addresses does not tell which of them it is.
    fn advertised(&self, advertised: &str) -> Option<usize> {
        let peer: PeerAddress = advertised.parse().ok()?;
        let at = peer.socket_address();
        let sources = [Source::Listed(peer.clone()), Source::Told(peer)];
        let is_alone = sources.each_ref().map(|s| self.of(s).count() == 1);
        self.position(|e| {
            let mut alone = sources.iter().zip(is_alone);
            let is_it = alone.any(|(source, is_alone)| e.is_of(source) && is_alone)
                || (at.is_some() && e.at == at);
            is_it && e.source.is_some() && e.live().is_none()
        })
    }

    /// Takes a node's name from entries of its former selves: whoever answers there next says who it
    /// is.
    fn take_name(&mut self, link: &LinkIdentity) {
        for entry in &mut self.entries {
            if entry.name.as_ref() == Some(&link.name) && entry.boot != Some(link.boot) {
                entry.name = None;
                entry.boot = None;
                entry.status = MemberStatus::Down;
            }
        }
    }

    /// Returns how an address is shown.
    pub(crate) fn shown(&self, source: &Source, at: SocketAddr) -> Arc<str> {
        let entry = self.at(source, Some(at)).map(|at| &self.entries[at]);
        entry.map_or_else(
            || source.to_string().into(),
            |entry| Arc::clone(&entry.address),
        )
    }

    /// Returns which node has answered last at an address that was dialled.
    pub(crate) fn boot_at(&self, source: &Source, at: SocketAddr) -> Option<BootId> {
        self.entries[self.at(source, Some(at))?].boot
    }

    /// Notes who answered at an address that was dialled.
    fn learn(&mut self, dialled: Option<&Source>, remote: SocketAddr, link: &LinkIdentity) {
        let Some(at) = dialled.and_then(|source| self.at(source, Some(remote))) else {
            return;
        };
        if self.entries[at].live().is_some() {
            return;
        }
        let is_same = |e: &MemberEntry<L>| {
            (e.source.is_none() || (e.source.as_ref() == dialled && e.at.is_none()))
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
        entry.reach = Reach::Untried;
        if let Some((_, same)) = merged {
            entry.status = same.status;
            entry.link = same.link;
            entry.lost_ms = same.lost_ms;
            entry.contact = same.contact;
            entry.traffic = entry.traffic.plus(same.traffic);
        }
        if let Some(source) = dialled {
            self.label_all(source);
        }
    }

    fn at(&self, source: &Source, at: Option<SocketAddr>) -> Option<usize> {
        self.position(|e| e.is_of(source) && e.at == at)
    }

    fn of(&self, source: &Source) -> impl Iterator<Item = &MemberEntry<L>> {
        self.entries.iter().filter(move |entry| entry.is_of(source))
    }

    fn is_of_spare_address(&self, entry: &MemberEntry<L>) -> bool {
        let source = entry.source.as_ref().zip(entry.at);
        source.is_some_and(|(source, at)| self.is_spare(source, at))
    }

    fn position(&self, is_it: impl Fn(&MemberEntry<L>) -> bool) -> Option<usize> {
        self.entries.iter().position(is_it)
    }

    fn linked_boots(&self) -> BTreeSet<BootId> {
        let live = self.entries.iter().filter_map(MemberEntry::live);
        live.map(|link| link.identity().boot).collect()
    }

    fn live_of(&self, boot: BootId) -> Option<&L> {
        let mut live = self.entries.iter().filter_map(MemberEntry::live);
        live.find(|link| link.identity().boot == boot)
    }

    fn unlisted(&self) -> usize {
        self.entries.iter().filter(|e| e.source.is_none()).count()
    }
}

/// Members that nobody configured, which in a cluster with one seed are all but that; beyond it one
/// that is gone makes room.
const MAX_UNLISTED: usize = 256;
