//! Session ids: the key that finds a session, the secret that opens it, the cookie that carries
//! both, and the route that makes a balancer stick.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A session's key for life, 16 random bytes. It is uniform, so it is its own hash. It finds a
/// session but opens nothing, so it is no credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey([u8; 16]);

impl SessionKey {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the first 32 bits, which choose the shard.
    pub(crate) const fn prefix(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Returns the first 64 bits.
    pub(crate) const fn first_bits(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// Returns what [`Session::id`](crate::Session::id) shows: the key, and the route behind a dot.
    pub(crate) fn public_id(&self, route: Option<&Route>) -> String {
        Route::append(route, URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Returns the key in a public id, whatever route follows it.
    pub(crate) fn from_public_id(id: &str) -> Option<Self> {
        let key = id.split('.').next()?;
        let mut bytes = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(key, &mut bytes) {
            Ok(16) => Some(Self(bytes)),
            _ => None,
        }
    }
}

/// Orders keys by their bytes, compared as one number.
impl Ord for SessionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for SessionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Shows eight hex digits: enough to follow a session through a log, too few to name it.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.prefix())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

/// The half of the cookie that opens a session, 16 random bytes. Only the client knows it.
#[derive(Clone)]
pub(crate) struct SessionSecret {
    bytes: [u8; 16],
    /// Its hash where more than the bytes must be the same.
    bound: Option<SecretHash>,
}

impl SessionSecret {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { bytes, bound: None }
    }

    /// Returns what stands in the place of a secret that nobody knows.
    pub(crate) const fn of_hash(hash: SecretHash) -> Self {
        Self {
            bytes: [0; 16],
            bound: Some(hash),
        }
    }

    pub(crate) fn hash(&self) -> SecretHash {
        let unbound = || SecretHash::of(Sha256::new_with_prefix(self.bytes));
        self.bound.unwrap_or_else(unbound)
    }

    /// Returns the secret as one that opens a session only together with this user agent. Digits and
    /// what stands between them are left out, since they change with each update of a browser.
    pub(crate) fn bound_to(&self, user_agent: &[u8]) -> Self {
        let mut digest = Sha256::new_with_prefix(self.bytes);
        // Not the hash of a secret alone, whatever follows.
        digest.update([0]);
        let is_version = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
        for word in user_agent.split(is_version) {
            digest.update(word);
        }
        Self {
            bytes: self.bytes,
            bound: Some(SecretHash::of(digest)),
        }
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(_)")
    }
}

/// The first 16 bytes of a secret's SHA-256: all that nodes keep and send of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretHash([u8; 16]);

impl SecretHash {
    fn of(digest: Sha256) -> Self {
        let digest = digest.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Self(hash)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Compares in a time that does not tell where two hashes differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let (one, other) = (u128::from_ne_bytes(self.0), u128::from_ne_bytes(other.0));
        one.ct_eq(&other).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(_)")
    }
}

/// The value of a session's cookie, unsealed: a credential that opens the session, and that `Debug`
/// does not show.
///
/// It is 43 characters of base64url over a session key, which finds the session and is in its public
/// id, and a secret, which opens it. A route may follow behind a dot, and is ignored.
#[derive(Clone, Debug)]
pub struct CookieValue {
    pub(crate) key: SessionKey,
    pub(crate) secret: SessionSecret,
}

impl CookieValue {
    /// Returns the value of a session key and a secret, for ids that come from elsewhere.
    ///
    /// Both must be uniform and unforeseeable: random bytes, or a hash of such. What is taken from
    /// a text that a client chooses is no secret.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::CookieValue;
    ///
    /// # let random = |byte| [byte; 16];
    /// let cookie = CookieValue::new(random(1), random(2));
    /// assert_eq!(cookie.expose().len(), 43);
    /// ```
    #[must_use]
    pub const fn new(key: [u8; 16], secret: [u8; 16]) -> Self {
        Self {
            key: SessionKey(key),
            secret: SessionSecret::from_bytes(secret),
        }
    }

    /// Returns the value as one that opens a session only together with this `User-Agent`: what a
    /// layer [`with_user_agent_binding`](crate::ClusterSessionLayer::with_user_agent_binding) makes of
    /// it. Its text is the same.
    ///
    /// Digits, dots and underscores are left out, so that an update of a browser changes nothing. An
    /// absent field is an empty one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Changes, Cluster, ClusterConfig, CookieValue};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let sessions = cluster.sessions("");
    /// let cookie = CookieValue::new([1; 16], [2; 16]);
    /// let bound = cookie.clone().bound_to_user_agent("Browser/1.0");
    /// sessions.create_with(&bound, &Changes::new()).await?;
    ///
    /// let updated = cookie.clone().bound_to_user_agent("Browser/2.0");
    /// assert!(sessions.open_with(&updated).await.is_some());
    /// let other = cookie.bound_to_user_agent("curl/8.0");
    /// assert!(sessions.open_with(&other).await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn bound_to_user_agent(self, user_agent: &str) -> Self {
        self.bound_to(user_agent.as_bytes())
    }

    pub(crate) fn bound_to(mut self, user_agent: &[u8]) -> Self {
        self.secret = self.secret.bound_to(user_agent);
        self
    }

    /// Returns the value as text, which opens the session: tell nobody but its client.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::CookieValue;
    ///
    /// let cookie = CookieValue::new([1; 16], [2; 16]);
    /// let read = CookieValue::parse(&cookie.expose()).expect("its own form");
    /// assert_eq!(read.expose(), cookie.expose());
    /// assert!(!format!("{cookie:?}").contains(&cookie.expose()));
    /// ```
    #[must_use]
    pub fn expose(&self) -> String {
        self.format(None)
    }

    /// Characters before the route.
    pub(crate) const LENGTH: usize = 43;

    /// Reads a cookie's value, `None` for anything this crate did not write.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::CookieValue;
    ///
    /// assert!(CookieValue::parse("zVgsCmrkLjvtoeYNl05I7A").is_none(), "a public id is no credential");
    /// ```
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        // Without a route there is nothing to look for.
        let encoded = match value.len() {
            Self::LENGTH => value,
            _ => Route::strip(value),
        };
        if encoded.len() != Self::LENGTH {
            return None;
        }
        let mut bytes = [0; 32];
        if URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) != Ok(32) {
            return None;
        }
        let (mut key, mut secret) = ([0; 16], [0; 16]);
        key.copy_from_slice(&bytes[..16]);
        secret.copy_from_slice(&bytes[16..]);
        Some(Self {
            key: SessionKey(key),
            secret: SessionSecret::from_bytes(secret),
        })
    }

    pub(crate) fn format(&self, route: Option<&Route>) -> String {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.key.0);
        bytes[16..].copy_from_slice(&self.secret.bytes);
        let mut value = String::with_capacity(Self::LENGTH + 1 + Route::MAX_LENGTH);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut value);
        Route::append(route, value)
    }
}

/// The node's name in session ids, behind a dot, for balancers that stick by it: Tomcat's
/// `jvmRoute`. 1 to 32 characters of `A-Z a-z 0-9 _ -`.
///
/// A session keeps the route of the node that created it, also after that node died, so its id never
/// changes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route(Arc<str>);

impl Route {
    pub(crate) const MAX_LENGTH: usize = 32;

    /// Appends the route to an id.
    pub(crate) fn append(route: Option<&Self>, mut id: String) -> String {
        if let Some(route) = route {
            id.push('.');
            id.push_str(route.as_str());
        }
        id
    }

    /// Returns what is before the route, whatever route it is.
    pub(crate) fn strip(id: &str) -> &str {
        id.split_once('.').map_or(id, |(id, _route)| id)
    }

    /// Returns what stands where a route does.
    pub(crate) fn of(id: &str) -> Option<&str> {
        id.split_once('.').map(|(_id, route)| route)
    }

    /// Returns the route as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error of a text that is no [`Route`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {0:?} must be 1 to 32 characters of A-Z, a-z, 0-9, `_` and `-`")]
pub(crate) struct InvalidRoute(String);

impl FromStr for Route {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > Self::MAX_LENGTH || !text.bytes().all(allowed) {
            return Err(InvalidRoute(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CookieValue {
        CookieValue {
            key: SessionKey::from_bytes([0xA5; 16]),
            secret: SessionSecret::from_bytes([0x5A; 16]),
        }
    }

    #[test]
    fn cookie_value_round_trips_with_and_without_route() {
        let route: Route = "node1".parse().expect("valid");
        for route in [None, Some(&route)] {
            let text = sample().format(route);
            let parsed = CookieValue::parse(&text).expect("own format");
            assert_eq!(parsed.key, sample().key);
            assert_eq!(parsed.secret.hash(), sample().secret.hash());
        }
        assert_eq!(sample().format(None).len(), CookieValue::LENGTH);
    }

    #[test]
    fn foreign_cookie_values_are_refused() {
        let good = sample().format(None);
        for bad in [
            "",
            ".",
            "x",
            &good[1..],
            &format!("{good}A"),
            &good.replace('p', "+"),
            &format!("{}é", &good[2..]),
        ] {
            assert!(CookieValue::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn public_id_leads_back_to_the_key_but_holds_no_secret() {
        let id = sample().key.public_id(Some(&"r".parse().expect("valid")));
        assert_eq!(SessionKey::from_public_id(&id), Some(sample().key));
        assert!(CookieValue::parse(&id).is_none());
    }

    #[test]
    fn secrets_and_keys_do_not_show_in_debug_output() {
        let shown = format!("{:?} {:?}", sample(), sample().secret.hash());
        assert!(!shown.contains(&sample().format(None)));
        assert_eq!(shown.matches('_').count(), 2, "{shown}");
    }

    #[test]
    fn route_is_checked() {
        assert!("tomcat1".parse::<Route>().is_ok());
        for bad in ["", "a.b", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<Route>().is_err(), "{bad:?}");
        }
    }
}
