//! Where the addresses come from that a node dials.

use std::{fmt, net::SocketAddr, sync::Arc};

use crate::config::PeerAddress;

/// What brings addresses of members: an entry of the list, a discovery, or another member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A peer that the operator has listed.
    Listed(PeerAddress),
    /// A discovery.
    Discovered(Discovered),
    /// A peer that another one has told of.
    Told(PeerAddress),
}

/// One of the discoveries of a node, which tell of several members each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Discovered {
    /// Which of them it is.
    pub(crate) number: usize,
    /// As it is shown.
    pub(crate) text: Arc<str>,
    /// The name that all its addresses have, which certificates are then for.
    pub(crate) name: Option<PeerAddress>,
}

impl Source {
    /// Returns the host that the certificate of whoever listens at `at` must be for.
    pub(crate) fn host(&self, at: SocketAddr) -> String {
        match self.name() {
            Some(peer) => peer.host.clone(),
            None => at.ip().to_canonical().to_string(),
        }
    }

    /// Returns the name or address that stands for all addresses.
    pub(crate) const fn name(&self) -> Option<&PeerAddress> {
        match self {
            Self::Listed(peer) | Self::Told(peer) => Some(peer),
            Self::Discovered(discovered) => discovered.name.as_ref(),
        }
    }

    /// Returns whether the operator expects members there: a node that starts looks for them.
    pub(crate) const fn is_configured(&self) -> bool {
        matches!(self, Self::Listed(_) | Self::Discovered(_))
    }

    /// Returns whether the operator has named this very address.
    pub(super) const fn is_listed(&self) -> bool {
        matches!(self, Self::Listed(_))
    }

    /// Returns whether what it tells changes with the members, and may be wrong for a while.
    pub(super) const fn is_discovery(&self) -> bool {
        matches!(self, Self::Discovered(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(peer) | Self::Told(peer) => peer.fmt(f),
            Self::Discovered(discovered) => f.write_str(&discovered.text),
        }
    }
}
