//! Whom a node that starts waits for, as it tells.

use std::fmt;

use serde::{Deserialize, Serialize};

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
