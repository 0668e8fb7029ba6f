//! Of whom peers are told, and which of them know it.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use crate::{
    config::PeerAddress,
    session::{BootId, Now},
};

/// What one link tells and hears of other members.
#[derive(Debug)]
pub(crate) struct LinkExchange {
    remote: SocketAddr,
    /// Whether the peer wants to be told.
    wants_peers: bool,
    /// Which contacts it was told last, and when.
    told: Mutex<Option<(u64, u64)>>,
}

impl LinkExchange {
    pub(super) const fn new(remote: SocketAddr, wants_peers: bool) -> Self {
        Self {
            remote,
            wants_peers,
            told: Mutex::new(None),
        }
    }

    pub(super) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) const fn wants_peers(&self) -> bool {
        self.wants_peers
    }

    /// Returns whether the peer is to be told these contacts now: not what it knows, and not too
    /// often.
    pub(super) fn is_due(&self, version: u64, now: Now) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|(known, told_ms)| {
            known != version && now.mono_ms >= told_ms.saturating_add(INTERVAL_MS)
        });
        if is_due {
            *told = Some((version, now.mono_ms));
        }
        is_due
    }
}

/// The linked members that others can be told of, and how often they have changed.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    version: u64,
    known: Vec<(BootId, PeerAddress)>,
}

impl Contacts {
    pub(super) fn set(&mut self, known: Vec<(BootId, PeerAddress)>) {
        if self.known != known {
            self.version += 1;
            self.known = known;
        }
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn known(&self) -> &[(BootId, PeerAddress)] {
        &self.known
    }
}

/// A peer is told what has changed so often at most.
const INTERVAL_MS: u64 = 1_000;
