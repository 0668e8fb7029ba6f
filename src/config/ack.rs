//! The acknowledgements that a response waits for.

use serde::{Deserialize, Serialize};

/// The acknowledgements that a response waits for when it changed a session.
///
/// The default is [`All`](Self::All). In Tomcat's `channelSendOptions`, 8 is [`None`](Self::None)
/// and 6 is [`All`](Self::All).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ack {
    /// Nobody's.
    ///
    /// A crash right after the response may lose the change. The next request may reach a peer that
    /// has not got it yet, unless
    /// [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites) is asked for.
    None,
    /// The first peer's.
    One,
    /// Every live peer's. The default.
    ///
    /// A peer whose link broke a moment ago is one of them: the response waits until it is linked anew,
    /// for [`ack_timeout`](crate::ClusterConfig::ack_timeout) after the break at most.
    #[default]
    All,
}
