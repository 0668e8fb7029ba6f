//! Sources and their addresses: what is dialled, and what is given up.

use std::{net::SocketAddr, sync::Arc};

use super::{MemberEntry, MemberStatus, MemberTable, Reach, Told};
use crate::{
    cluster::{link::MemberLink, source::Source},
    config::PeerAddress,
    session::Now,
};

impl<L: MemberLink> MemberTable<L> {
    /// Takes a source in. Returns whether it is new. A node of this address that dialled us before
    /// keeps its link.
    pub(crate) fn add(&mut self, source: &Source) -> bool {
        if self.entries.iter().any(|e| e.is_of(source)) {
            return false;
        }
        let address: Arc<str> = source.to_string().into();
        match self.position(|e| e.source.is_none() && e.address == address) {
            Some(at) => self.entries[at].source = Some(source.clone()),
            None => self
                .entries
                .push(MemberEntry::new(Some(source.clone()), address)),
        }
        true
    }

    /// Notes all addresses that a source has now. Others that it had stay as long as members are
    /// there, or may be back. Returns the addresses to be dialled.
    pub(crate) fn resolve(
        &mut self,
        source: &Source,
        found: &[SocketAddr],
        now: Now,
    ) -> Vec<SocketAddr> {
        if self.entries.iter().any(|e| e.is_of(source)) {
            for at in found.iter().take(MAX_ADDRESSES) {
                self.add_address(source, *at, found);
            }
        }
        let linked = self.linked_boots();
        let forget_after_ms = self.forget_after_ms;
        let is_over = |entry: &MemberEntry<L>| {
            let is_told = entry.at.is_some_and(|at| found.contains(&at));
            let is_linked = entry.boot.is_some_and(|boot| linked.contains(&boot));
            let may_be_back = source.is_discovery()
                && entry.boot.is_some()
                && entry.status != MemberStatus::Left
                && !is_linked
                && !entry.is_forgotten(forget_after_ms, now.mono_ms);
            let is_nobody_known = entry.at.is_none() && found.is_empty();
            entry.is_of(source) && entry.is_gone() && !is_told && !may_be_back && !is_nobody_known
        };
        self.entries.retain(|entry| !is_over(entry));
        if found.is_empty() && source.is_discovery() {
            self.note_nobody(source);
        }
        let addresses: Vec<SocketAddr> = self.of(source).filter_map(|entry| entry.at).collect();
        self.label_all(source);
        addresses
    }

    /// Notes that a discovery knows of nobody.
    fn note_nobody(&mut self, source: &Source) {
        match self.at(source, None) {
            Some(at) => self.entries[at].reach = Reach::Unreachable,
            None if self.of(source).next().is_some() => {}
            None => {
                let text = source.to_string().into();
                let mut entry = MemberEntry::new(Some(source.clone()), text);
                entry.reach = Reach::Unreachable;
                self.entries.push(entry);
            }
        }
    }

    fn add_address(&mut self, source: &Source, at: SocketAddr, found: &[SocketAddr]) {
        if self.at(source, Some(at)).is_some() {
            return;
        }
        // What is known of a member stays when its only address changes. The addresses of a
        // discovery are those of different members.
        let free = self.position(|e| match e.at {
            _ if !e.is_of(source) => false,
            None => found.len() == 1 || e.is_gone(),
            Some(old) => !source.is_discovery() && e.is_gone() && !found.contains(&old),
        });
        let free = free.unwrap_or_else(|| {
            let text = at.to_string().into();
            let entry = MemberEntry::new(Some(source.clone()), text);
            self.entries.push(entry);
            self.entries.len() - 1
        });
        let entry = &mut self.entries[free];
        entry.at = Some(at);
        entry.reach = Reach::Untried;
        if entry.status == MemberStatus::Myself {
            entry.status = MemberStatus::Unreached;
        }
    }

    /// Shows a name that has one address as it is written, and the addresses of others.
    pub(super) fn label_all(&mut self, source: &Source) {
        let is_alone = self.of(source).count() == 1 && !source.is_discovery();
        for entry in self.entries.iter_mut().filter(|e| e.is_of(source)) {
            entry.address = match entry.at {
                Some(at) if !is_alone => at.to_string().into(),
                Some(_) | None => source.to_string().into(),
            };
        }
    }

    /// Returns whether an address is dialled already, for whatever reason.
    pub(crate) fn dials(&self, peer: &PeerAddress) -> bool {
        let at = peer.socket_address();
        self.entries.iter().any(|entry| {
            entry.source.is_some()
                && ((at.is_some() && entry.at == at)
                    || entry.source.as_ref().and_then(Source::name) == Some(peer))
        })
    }

    /// Returns how it stands with an address that another member has told of.
    pub(crate) fn told(&self, source: &Source, now: Now) -> Told {
        let mut told = Told::Nobody;
        for entry in self.of(source) {
            told = told.max(match entry.boot {
                _ if entry.status == MemberStatus::Myself || entry.reach == Reach::Foreign => {
                    Told::Wrong
                }
                Some(boot) if self.is_linked(boot) => Told::Here,
                Some(_) if entry.is_forgotten(self.forget_after_ms, now.mono_ms) => Told::Gone,
                Some(_) => Told::Here,
                None => Told::Nobody,
            });
        }
        told
    }

    /// Gives a source up. Members that have a link keep it.
    pub(crate) fn give_up(&mut self, source: &Source) {
        self.entries
            .retain(|e| !e.is_of(source) || e.live().is_some());
        for entry in self.entries.iter_mut().filter(|e| e.is_of(source)) {
            entry.source = None;
            entry.at = None;
        }
    }

    /// Returns how many addresses come from discoveries.
    pub(crate) fn discovered(&self) -> usize {
        let is_discovered = |entry: &&MemberEntry<L>| {
            entry.at.is_some() && entry.source.as_ref().is_some_and(Source::is_discovery)
        };
        self.entries.iter().filter(is_discovered).count()
    }
}

/// Addresses of one name.
const MAX_ADDRESSES: usize = 256;
