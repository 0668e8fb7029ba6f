//! Members tell each other of members, as `cluster::PeerExchange` decides it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, MutexGuard, PoisonError},
};

use crate::log::debug;
use tokio_util::sync::DropGuard;

use super::{Peers, contacts::Contacts, link::PeerLink};
use crate::{
    cluster::{PeerExchange, Source},
    node::{Node, net::resolve},
    session::Now,
    wire::{MAX_TOLD_PEERS, PeerList},
};

impl Peers {
    /// Locks what members have told. Taken before the table.
    pub(in crate::node) fn exchange(&self) -> MutexGuard<'_, PeerExchange<DropGuard>> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which members others can be told of now. Who does not want to be told of others is not
    /// told of either.
    fn contacts(&self) -> MutexGuard<'_, Contacts> {
        let live = self.live();
        let willing = live.iter().filter(|link| link.exchange.wants_peers());
        let willing: BTreeSet<_> = willing.map(|link| link.identity.boot).collect();
        let mut known: Vec<_> = {
            let table = self.table();
            let known = table.contacts().filter(|(boot, _)| willing.contains(boot));
            known.map(|(boot, at)| (boot, at.clone())).collect()
        };
        known.sort_unstable_by_key(|(boot, _)| *boot);
        let mut contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.set(known);
        contacts
    }
}

impl Node {
    /// Takes in of whom a member has told.
    pub(super) fn hear_of_peers(&self, link: &PeerLink, told: PeerList) {
        if !self.settings.peer_exchange {
            return;
        }
        let (id, remote) = (link.identity.id, link.exchange.remote());
        if let Some(port) = told.port {
            let address = SocketAddr::new(remote.ip(), port);
            self.peers.table().listens_at(id, address);
        }
        self.peers.exchange().hear(id, remote.ip(), told.linked);
    }

    /// Tells members of others, and dials those that it was told of.
    pub(in crate::node) fn exchange_peers(self: &Arc<Self>, now: Now) {
        if !self.settings.peer_exchange || !self.makes_links() {
            return;
        }
        self.tell_of_peers(now);
        let mut exchange = self.peers.exchange();
        let mut table = self.peers.table();
        exchange.step(&mut table, now, |address| {
            debug!(%address, "a member has told of [{address}]");
            let stop = self.net.shutdown.child_token();
            let (node, source) = (Arc::clone(self), Source::Told(address.clone()));
            let guard = stop.clone().drop_guard();
            let keep = resolve::keep(node, address.clone(), source, stop);
            self.net.tasks.spawn(keep);
            guard
        });
    }

    fn tell_of_peers(&self, now: Now) {
        let contacts = self.peers.contacts();
        let port = self.net.local_address.map(|local| local.port());
        for link in self.peers.live().iter() {
            if !link.exchange.wants_peers() || !link.exchange.is_due(contacts.version(), now) {
                continue;
            }
            let others = contacts.known().iter();
            let others = others.filter(|(boot, _)| *boot != link.identity.boot);
            let list = PeerList {
                port,
                linked: others.take(MAX_TOLD_PEERS).cloned().collect(),
            };
            link.update(&self.peers.acks, |machine| machine.tell_peers(list));
            link.wake_writer();
        }
    }
}
