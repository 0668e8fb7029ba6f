//! Errors of a layer's options.

use std::fmt;

use crate::config::ZERO_LIMIT;

/// The reason why a layer's options do not go together.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The name holds a character that cookie names must not have, none at all, or too many.
    #[error(
        "cookie name {name:?} must be 1 to 1024 of the characters A-Z, a-z, 0-9 and \
         !#$%&'*+-.^_`|~: choose another one with `with_name`"
    )]
    #[non_exhaustive]
    InvalidName {
        /// The cookie's name.
        name: String,
    },
    /// The context is empty, too long, or cannot be part of a cookie name.
    #[error(
        "context {context:?} must be 1 to 64 of the characters A-Z, a-z, 0-9 and !#$%&'*+-.^_`|~"
    )]
    #[non_exhaustive]
    InvalidContext {
        /// The context.
        context: String,
    },
    /// The path does not start with a slash, cannot be sent, or is so long that browsers ignore it.
    #[error(
        "cookie path {path:?} must start with `/` and be up to 1024 visible ASCII characters \
         without `;`: choose another one with `with_path`"
    )]
    #[non_exhaustive]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// The domain cannot be sent.
    #[error(
        "cookie domain {domain:?} must be a host name of up to 253 letters, digits, `-` and `.`: \
         choose another one with `with_domain`"
    )]
    #[non_exhaustive]
    InvalidDomain {
        /// The domain.
        domain: String,
    },
    /// A browser would drop a cookie with this prefix and these attributes.
    #[error(
        "cookie {name:?} has the `{prefix}` prefix, so browsers drop it {why}: \
         {fix}, or choose another name with `with_name`"
    )]
    #[non_exhaustive]
    Prefix {
        /// The cookie's name.
        name: String,
        /// The prefix of the name.
        prefix: &'static str,
        /// The rule it breaks.
        why: &'static str,
        /// The call that mends it.
        fix: &'static str,
    },
    /// A browser would drop a `SameSite=None` cookie without `Secure`.
    #[error(
        "browsers drop a cookie with `SameSite=None` but without `Secure`: \
         leave out `with_secure(false)` or `insecure_for_development()`, or choose `SameSite::Lax`"
    )]
    SameSiteNone,
    /// A browser would drop a `Partitioned` cookie without `Secure`, and not send it where it is
    /// meant for without `SameSite=None`.
    #[error(
        "a `Partitioned` cookie needs `SameSite=None` and `Secure`: add \
         `with_same_site(SameSite::None)`, and leave out `with_secure(false)` and \
         `insecure_for_development()`, or else `with_partitioned`"
    )]
    Partitioned,
    /// The expiry has a limit of zero.
    #[error("{}", ZERO_LIMIT)]
    ZeroLimit,
    /// Another context of the cluster uses a cookie of this name.
    #[error(
        "cookie {name:?} is used by context {other:?} already: give each context's layer a name of \
         its own with `with_name`, or leave the name to the layer"
    )]
    #[non_exhaustive]
    NameTaken {
        /// The cookie's name.
        name: String,
        /// The context that uses it.
        other: String,
    },
    /// No header field of this name can carry the value that opens a session.
    #[error(
        "header field {name:?} cannot carry sessions: choose a name of letters, digits and `-` that \
         means nothing else, with `Transport::header` or `Transport::bearer`"
    )]
    #[non_exhaustive]
    InvalidHeader {
        /// The field's name.
        name: String,
    },
    /// Another context of the cluster finds its sessions in this header field.
    #[error(
        "header field {name:?} carries the sessions of context {other:?} already: give each \
         context's layer one of its own with `with_transport`"
    )]
    #[non_exhaustive]
    HeaderTaken {
        /// The field's name.
        name: String,
        /// The context that uses it.
        other: String,
    },
    /// [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites) needs a cookie, which
    /// clients that present their session in a header field do not keep.
    #[error(
        "`Consistency::ReadYourWrites` needs a cookie: leave it out, or `with_transport`; with \
         `Ack::All` any node has what a client was told"
    )]
    ConsistencyWithoutCookie,
    /// [`Consistency::ReadYourWrites`](crate::Consistency::ReadYourWrites) needs a key to sign its
    /// cookie with.
    #[error(
        "`Consistency::ReadYourWrites` needs a key: make one with `openssl rand -hex 32`, and give \
         it to all nodes with `ClusterConfig::secret`, or `ClusterConfig::consistency_key`"
    )]
    NoConsistencyKey,
    /// Ids can follow only to a node that has a route.
    #[error(
        "`with_route_following` needs the route of this node: set `ClusterConfig::route` on each \
         node, to the name that the balancer has for it"
    )]
    NoRoute,
    /// A cookie is signed or private, not both.
    #[error(
        "the session cookie is to be signed and private: leave out `with_signed`, a private cookie \
         cannot be forged either"
    )]
    SignedAndPrivate,
    /// The list of keys to seal the cookie with is empty.
    #[error(
        "the session cookie is to be sealed without a key: make one with `openssl rand -out \
         cookie.key 64`, and give it to all nodes with `with_signed` or `with_private`"
    )]
    NoCookieKey,
    /// A limit of sessions lets nobody in.
    #[error("0 sessions may have the same {name:?}: give `with_limit` at least 1, or leave it out")]
    #[non_exhaustive]
    LimitOfZero {
        /// The name.
        name: String,
    },
    /// Sessions are to be limited by a name that is not indexed.
    #[error(
        "sessions cannot be limited by {name:?}: add `index({name:?})` to the `ClusterConfig`, or \
         leave `with_limit` out"
    )]
    #[non_exhaustive]
    LimitNotIndexed {
        /// The name.
        name: String,
    },
    /// Another layer of the context limits sessions by this name otherwise.
    #[error(
        "sessions of context {context:?} are limited by {name:?} already, in another way: give all \
         layers of the context the same `with_limit`"
    )]
    #[non_exhaustive]
    LimitDiffers {
        /// The name.
        name: String,
        /// The context.
        context: String,
    },
    /// A cluster serves 64 contexts at most.
    #[error("a cluster serves at most 64 contexts: share some of them")]
    TooManyContexts,
}

/// Shows the same text as `Display`, since a `main` that returns an error shows its `Debug`.
impl fmt::Debug for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
