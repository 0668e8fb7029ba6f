//! Errors of operations on a session.

use crate::config::ZERO_LIMIT;

/// The reason why a session could not be read or changed.
///
/// The session is as it was before the call.
///
/// In an axum handler `?` turns it into a response: 503 for [`Full`](Self::Full),
/// [`Leaving`](Self::Leaving) and [`Busy`](Self::Busy), 413 for [`TooLarge`](Self::TooLarge), 409
/// for [`Destroyed`](Self::Destroyed) and [`Superseded`](Self::Superseded), 403 for
/// [`LimitReached`](Self::LimitReached), else 500. The body of a
/// 409 asks to load the page again, the others are the status in words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The node holds as many sessions, or bytes of them, as it may.
    ///
    /// Existing sessions work on, but for writes that would make them larger when it is bytes. Raise
    /// [`max_sessions`](crate::ClusterConfig::max_sessions) or
    /// [`max_bytes`](crate::ClusterConfig::max_bytes), or shorten the idle limit.
    #[error(
        "no room for more sessions: raise `max_sessions` or `max_bytes`, or shorten the idle limit"
    )]
    Full,
    /// The node has left the cluster or is leaving it.
    ///
    /// Existing sessions work on; new ones are not created here.
    #[error("this node is leaving the cluster and creates no sessions")]
    Leaving,
    /// Clients present more ids that this node does not know, to have their sessions destroyed,
    /// than it passes on to other nodes: 1000 a second.
    ///
    /// Most of them are made up when there are so many. What this node knows was destroyed; try again
    /// for the rest.
    #[error("too many unknown sessions are to be destroyed: try again")]
    Busy,
    /// The write would take the session past its limit of bytes or attributes.
    #[error("session too large: {what} would be {would_be}, the limit is {limit}")]
    #[non_exhaustive]
    TooLarge {
        /// The unit of the limit: `bytes`, `attributes` or `attribute names`.
        what: &'static str,
        /// The amount after the write.
        would_be: usize,
        /// The limit, from the cluster's configuration.
        limit: usize,
    },
    /// Another request or node destroyed the session after this request loaded it, or it has
    /// reached its limit of age since.
    ///
    /// Answer with a page that says so and has a link to go on; the client's next request has no
    /// session.
    #[error("the session was destroyed by another request, or has reached its limit of age")]
    Destroyed,
    /// The request came with an id that [`cycle_id`](crate::Session::cycle_id) replaced less than a
    /// minute ago.
    ///
    /// Reads are empty and writes fail, so that a request that was late neither sees nor starts
    /// another session. A login or logout is not held up: `cycle_id` and
    /// [`destroy`](crate::Session::destroy) let go of the id.
    ///
    /// Answer with a page that asks to load it again: the browser has the new cookie by then, unless
    /// that response was lost.
    #[error("the session id was replaced by another request")]
    Superseded,
    /// The id that a session was to be created with is that of another one, which lives or was
    /// destroyed.
    #[error("there is a session of this id, or was one: create it with another id")]
    Taken,
    /// The response head has left, so no cookie can be set any more.
    ///
    /// A session can no longer be created or change its id. Load and write it before the body is
    /// streamed.
    #[error("the response head was sent: create sessions and change ids before streaming")]
    HeadersSent,
    /// The stored value is of another type, as in a rolling deploy. It is left as it was.
    ///
    /// The error shows nothing of the value.
    #[error(
        "attribute {name:?} could not be decoded as `{expected}`: its JSON is of another type, at \
         line {line} column {column}"
    )]
    #[non_exhaustive]
    Decode {
        /// The attribute's name.
        name: Box<str>,
        /// The type that was asked for, as [`type_name`](std::any::type_name) has it.
        expected: &'static str,
        /// The line in the stored JSON, from 1 on.
        line: usize,
        /// The column in the stored JSON, from 1 on.
        column: usize,
    },
    /// The value cannot be written as JSON from which it would come back equal.
    ///
    /// The error shows nothing of the value.
    #[error("attribute {name:?} could not be encoded: {why}")]
    #[non_exhaustive]
    Encode {
        /// The attribute's name.
        name: Box<str>,
        /// What JSON cannot hold of it.
        why: &'static str,
    },
    /// One name was used as a counter and as an attribute.
    #[error("{name:?} is {}: use one name in one way", if *.is_counter { "a counter" } else { "an attribute" })]
    #[non_exhaustive]
    WrongKind {
        /// The name.
        name: Box<str>,
        /// Whether the session holds a counter under this name.
        is_counter: bool,
    },
    /// A limit of the expiry is zero.
    #[error("{}", ZERO_LIMIT)]
    ZeroLimit,
    /// A [map](crate::ReplicatedMap) of the app is to get an expiry.
    #[error("a map of the app never ends: leave `set_expiry` out of its changes")]
    NeverEnds,
    /// Sessions are to be found by a name that is not indexed.
    ///
    /// Add it with [`ClusterConfig::index`](crate::ClusterConfig::index), on each node that finds
    /// sessions by it.
    #[error("sessions cannot be found by {name:?}: add `index({name:?})` to the `ClusterConfig`")]
    #[non_exhaustive]
    NotIndexed {
        /// The name.
        name: Box<str>,
    },
    /// As many sessions have the value as may: a
    /// [limit](crate::ClusterSessionLayer::with_limit) with
    /// [`AtLimit::Refuse`](crate::AtLimit::Refuse).
    ///
    /// Tell the user to log out elsewhere, or offer to
    /// [do so](crate::Sessions::destroy_where_except).
    #[error("{limit} sessions have the same {name:?} already: end one of them first")]
    #[non_exhaustive]
    LimitReached {
        /// The name, as it is indexed.
        name: Box<str>,
        /// How many sessions may have one value.
        limit: usize,
    },
    /// The session's stamps are used up, which takes a clock that runs wild. Destroy the session.
    #[error("the session has used up its stamps: a clock in the cluster is far in the future")]
    Exhausted,
    /// The name is empty or longer than 255 bytes.
    #[error("attribute name {name:?} must be 1 to 255 bytes long")]
    #[non_exhaustive]
    InvalidName {
        /// The name.
        name: Box<str>,
    },
}

impl SessionError {
    /// Fails with [`TooLarge`](Self::TooLarge) if a session would pass a limit.
    pub(crate) fn unless_within(
        what: &'static str,
        would_be: usize,
        limit: usize,
    ) -> Result<(), Self> {
        if would_be <= limit {
            return Ok(());
        }
        Err(Self::TooLarge {
            what,
            would_be,
            limit,
        })
    }
}
