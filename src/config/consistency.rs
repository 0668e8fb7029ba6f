//! What a client that goes from node to node is sure to read.

use serde::{Deserialize, Serialize};

/// Whether a request waits until its node has what the same client has written elsewhere.
///
/// With [`Ack::All`](crate::Ack::All) and healthy peers every node has it anyway. It matters with
/// [`Ack::None`](crate::Ack::None), [`Ack::One`](crate::Ack::One) and lagging peers, behind a
/// balancer that does not stick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Consistency {
    /// It reads what the node has. The default.
    #[default]
    Eventual,
    /// A response that changes the session tells the client so in a second cookie, by which any
    /// node knows on the next request what it has to have. Needs
    /// [`consistency_key`](crate::ClusterConfig::consistency_key).
    ReadYourWrites,
}
