//! Whom a node that starts waits for.

use super::Node;
use crate::cluster::{Awaited, MemberLink as _};

impl Node {
    /// Returns whom the node waits for, or has waited for when its transfer ended.
    pub(super) fn awaited(&self) -> Awaited {
        match self.availability.awaited() {
            Some(awaited) if !self.awaits_transfer() => awaited,
            _ => self.awaited_now(),
        }
    }

    /// Returns with whom the node is linked at this moment, and with whom it is not.
    pub(super) fn awaited_now(&self) -> Awaited {
        let table = self.peers.table();
        let links = table.links();
        let missing = table.unlinked_addresses();
        let mut awaited = Awaited {
            linked: links
                .iter()
                .map(|link| link.identity().name.to_string())
                .collect(),
            missing: missing.iter().map(ToString::to_string).collect(),
            min_peers: self.settings.min_peers,
        };
        awaited.linked.sort_unstable();
        awaited
    }
}
