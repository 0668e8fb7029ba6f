//! What happens to sessions beyond a limit of their number.

use serde::Deserialize;

/// The choice of what happens when one session more gets a value than may have it:
/// [`ClusterSessionLayer::with_limit`](crate::ClusterSessionLayer::with_limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AtLimit {
    /// The session that got the value first is destroyed: the oldest login ends.
    EndOldest,
    /// The write fails with [`SessionError::LimitReached`](crate::SessionError::LimitReached), and
    /// the others go on.
    Refuse,
}
