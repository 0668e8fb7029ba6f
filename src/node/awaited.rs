//! Whom a node that starts waits for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Node;
use crate::cluster::MemberLink as _;

/// The peers that a node waits for when it starts, or has waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Awaited {
    /// The names of the peers with which it is linked.
    pub linked: Vec<String>,
    /// Where it expects others and has no link: addresses, and discoveries that have not told of
    /// anybody.
    pub missing: Vec<String>,
    /// With how many it must be linked, which is
    /// [`ClusterConfig::min_peers`](crate::ClusterConfig::min_peers).
    pub min_peers: usize,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (linked, missing) = (self.linked.join(", "), self.missing.join(", "));
        write!(f, "linked with [{linked}]")?;
        if self.min_peers > 0 {
            write!(f, ", which must be [{}] at least", self.min_peers)?;
        }
        if !missing.is_empty() {
            write!(f, ", no link with [{missing}]")?;
        }
        Ok(())
    }
}

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
