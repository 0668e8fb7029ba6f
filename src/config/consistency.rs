//! The consistency that a client sees which goes from node to node.

use serde::{Deserialize, Serialize};

/// The consistency of what a client reads on one node after it wrote on another.
///
/// With [`Ack::All`](crate::Ack::All) and healthy peers every node has the write anyway. The choice
/// matters with [`Ack::None`](crate::Ack::None), [`Ack::One`](crate::Ack::One) and lagging peers,
/// behind a balancer that does not stick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Consistency {
    /// The client reads what the node has. The default.
    #[default]
    Eventual,
    /// The client reads what it wrote: a request waits until its node has it.
    ///
    /// A response that changes the session sets a second cookie. By that, any node knows on the
    /// next request which writes it must have. It needs a
    /// [`consistency_key`](crate::ClusterConfig::consistency_key).
    ReadYourWrites,
}
