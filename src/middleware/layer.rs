//! The layer and its options.

use std::sync::Arc;

use tower_layer::Layer;

#[cfg(any(feature = "signed", feature = "private"))]
use super::cookie::seal::{CookieKeys, Sealer};
use super::{
    cookie::SameSite,
    filter::FilterError,
    layer_config::LayerConfig,
    layer_error::LayerError,
    layer_options::{LayerOptions, SessionLimit},
    service::ClusterSessionService,
    sessions::Sessions,
    transport::Transport,
};
use crate::{
    config::{Ack, AtLimit, ClusterConfig, Consistency, Expiry, StartError},
    node::{Claim, Cluster, CookieUse},
    replica::LimitClaim,
    session::{SessionMeta, TokenKey},
};

/// A layer that gives the requests of the services it wraps a [`SessionSlot`](crate::SessionSlot).
///
/// It is cheap to clone. Put it around the whole app: axum's [`Router::layer`] covers the routes
/// added before it, nested ones included.
///
/// | option | default |
/// |---|---|
/// | cookie | `__Host-id; Secure; HttpOnly; Path=/; SameSite=Lax`, until the browser closes |
/// | seal of the cookie | none: neither signed nor private |
/// | expiry | 30 minutes idle |
/// | responses that looked for a session | `Vary: Cookie`, `Cache-Control: private, no-cache` |
/// | acknowledgements | [`Ack::All`]: of every live peer |
/// | consistency | [`Consistency::Eventual`] |
/// | filter | none |
/// | limits of sessions | none |
/// | context | none |
///
/// ```
/// use std::time::Duration;
/// use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer, Expiry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let default = ClusterSessionLayer::try_new(ClusterConfig::standalone())?;
///
/// let shop = ClusterSessionLayer::from_cluster(default.cluster())
///     .with_context("shop")
///     .with_expiry(Expiry::idle(Duration::from_secs(600)))
///     .with_filter(r".*\.(gif|js|jpg|png|html?|css|txt)")?;
/// shop.check()?;
/// # Ok(())
/// # }
/// ```
///
/// [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer
#[derive(Clone, Debug)]
pub struct ClusterSessionLayer {
    cluster: Cluster,
    options: Arc<LayerOptions>,
}

impl ClusterSessionLayer {
    /// Starts a node of a cluster and makes a layer of it.
    ///
    /// It is a shorthand for tests and short programs. [`Cluster::start`] and
    /// [`from_cluster`](Self::from_cluster) are the recommended way. The node is reached with
    /// [`cluster`](Self::cluster).
    ///
    /// # Panics
    ///
    /// When the node cannot start, as [`try_new`](Self::try_new) would tell.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = ClusterSessionLayer::new(ClusterConfig::standalone());
    /// assert!(layer.cluster().is_ready());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(config: ClusterConfig) -> Self {
        match Self::try_new(config) {
            Ok(layer) => layer,
            Err(error) => panic!("the session cluster cannot start: {error}"),
        }
    }

    /// Starts a node of a cluster and makes a layer of it, where nothing can be awaited.
    ///
    /// Otherwise [`Cluster::start`] and [`from_cluster`](Self::from_cluster) are the recommended
    /// way. The node is reached with [`cluster`](Self::cluster).
    ///
    /// # Errors
    ///
    /// [`StartError`] as of [`Cluster::start`], when the configuration cannot work, the address
    /// cannot be bound, a file of certificates cannot be used, or there is no tokio runtime. An
    /// absent peer is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?;
    /// assert!(layer.cluster().is_ready());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_new(config: ClusterConfig) -> Result<Self, StartError> {
        Cluster::start_now(config).map(|cluster| Self::from_cluster(&cluster))
    }

    /// Makes a layer for the sessions of a node that runs, as [`Cluster::start`] has started it:
    /// the recommended way.
    ///
    /// Several layers can share a node, each with a [context](Self::with_context) of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_cluster(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            options: Arc::default(),
        }
    }

    /// Sets all options at once, in place of those set before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, LayerOptions};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let options: LayerOptions = serde_json::from_str(r#"{ "ack": "none" }"#)?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_options(options);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_options(mut self, options: LayerOptions) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// Sets the cookie's name.
    ///
    /// Default: `__Host-id`, with a context `__Host-id-<context>`. The `__Host-` prefix has
    /// browsers refuse such a cookie from a sibling domain or over plain HTTP; a name without it
    /// gives that up.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_name("__Host-shop");
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.options().cookie.name = Some(name.into());
        self
    }

    /// Sets whether the cookie is for HTTPS only.
    ///
    /// Default: `true`, which the default name requires.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_name("shop")
    ///     .with_secure(false);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_secure(mut self, secure: bool) -> Self {
        self.options().cookie.secure = secure;
        self
    }

    /// Sets whether the cookie is kept from scripts.
    ///
    /// Default: `true`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_http_only(false);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_http_only(mut self, http_only: bool) -> Self {
        self.options().cookie.http_only = http_only;
        self
    }

    /// Sets which requests that other sites start carry the cookie.
    ///
    /// Default: [`SameSite::Lax`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::SameSite;
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_same_site(SameSite::Strict);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.options().cookie.same_site = same_site;
        self
    }

    /// Sets whether the cookie is kept apart for each site that embeds the app: `Partitioned`.
    ///
    /// Default: `false`. An app in another site's frame needs it where browsers block cookies of
    /// third parties. It requires [`SameSite::None`] and `Secure`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// use tower_cluster_sessions::SameSite;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?
    ///     .with_same_site(SameSite::None)
    ///     .with_partitioned(true);
    /// layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.options().cookie.partitioned = partitioned;
        self
    }

    /// Sets the domain that may see the cookie, subdomains included.
    ///
    /// Default: none, this host alone. The default name requires that.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_name("__Secure-shop")
    ///     .with_domain("example.com");
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.options().cookie.domain = Some(domain.into());
        self
    }

    /// Sets the path that the cookie is sent for.
    ///
    /// Default: `/`, which the default name requires.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_name("__Secure-shop")
    ///     .with_path("/shop");
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.options().cookie.path = path.into();
        self
    }

    /// Sets the limits of life of sessions that are created under this layer.
    ///
    /// Default: 30 minutes idle, no limit of age. A limit of zero is an error.
    /// [`Session::set_expiry`](crate::Session::set_expiry) changes it for one session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_cluster_sessions::{Expiry, Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_expiry(Expiry::idle(Duration::from_secs(10 * 60)));
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.options().expiry = expiry;
        self
    }

    /// Lets the cookie outlive the browser.
    ///
    /// Default: the cookie ends with the browser.
    /// [`Session::set_persistent`](crate::Session::set_persistent) changes it for one session.
    ///
    /// This adds `Max-Age` and `Expires`: the session's limit of age, but 400 days at most, as
    /// browsers have it. The idle limit is not in it, because a stream that uses the session for
    /// longer cannot renew the cookie. A cookie whose session has ended opens nothing. The cookie is
    /// sent again when a tenth of 400 days is used.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_persistent_cookie();
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_persistent_cookie(mut self) -> Self {
        self.options().cookie.persistent = true;
        self
    }

    /// Lets the cookie work over plain HTTP: drops `Secure`, and `__Host-` from the name.
    ///
    /// It logs a warning, because whoever listens on the line can then take over sessions.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).insecure_for_development();
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn insecure_for_development(mut self) -> Self {
        crate::log::warn!("session cookies without `Secure`: for development only");
        self.options().cookie.development = true;
        self
    }

    /// Signs the session cookie with the first of `keys`, and accepts cookies that any of them
    /// signed.
    ///
    /// Default: not signed. It needs the feature `signed`. A cookie of another key than the first
    /// is sent again, signed with the first. A later call replaces an earlier one.
    ///
    /// What it adds: a node refuses a cookie that the app did not make before it looks for the
    /// session, here or at peers. What it does not add: the value is 256 random bits as it is, so
    /// nobody guesses another's, and whoever steals a signed cookie has the session as well.
    ///
    /// The cookie grows from 43 to 86 characters. A [route](ClusterConfig::route) follows the
    /// signature, unsigned, for balancers, and is ignored on reading. The cookie of
    /// [`Consistency::ReadYourWrites`] has a signature and a key of its own.
    ///
    /// Give all nodes the same keys. A cookie without a signature, or of another key, is an unknown
    /// id: its client has no session, and gets a new one with the first write. So it is for all
    /// clients when signing is turned on.
    ///
    /// [`check`](Self::check) tells when there is no key, or `with_private` was called as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// use tower_cluster_sessions::CookieKey;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (file, old_file) = ([0xA5; 64], [0x5A; 64]);
    /// // 64 random bytes each, as `openssl rand -out cookie.key 64` makes them.
    /// let (key, old_key) = (CookieKey::try_from(&file[..])?, CookieKey::try_from(&old_file[..])?);
    ///
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?
    ///     .with_signed([key, old_key]);
    /// layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "signed")]
    #[must_use]
    pub fn with_signed(mut self, keys: impl Into<CookieKeys>) -> Self {
        let sealer = Sealer::signed(keys.into());
        self.options().cookie.seal.choose(sealer);
        self
    }

    /// Encrypts the session cookie with the first of `keys`, and accepts cookies that any of them
    /// encrypted.
    ///
    /// Default: not encrypted. It needs the feature `private`. A cookie of another key than the
    /// first is sent again, encrypted with the first. A later call replaces an earlier one.
    ///
    /// What it adds: a cookie that the app did not make is refused as a signed one is, and whoever
    /// sees the cookie does not learn the session's [public id](crate::Session::id), whose first
    /// digits logs show. What it does not add: whoever steals the cookie has the session.
    ///
    /// The cookie grows from 43 to 95 characters. A [route](ClusterConfig::route) follows it in
    /// plain text.
    ///
    /// Keys, the cookies of other keys, and what [`check`](Self::check) tells are as for
    /// `with_signed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// use tower_cluster_sessions::CookieKey;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Good for a single node: after a restart no cookie opens anything.
    /// let key = CookieKey::generate();
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?.with_private(key);
    /// layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "private")]
    #[must_use]
    pub fn with_private(mut self, keys: impl Into<CookieKeys>) -> Self {
        let sealer = Sealer::private(keys.into());
        self.options().cookie.seal.choose(sealer);
        self
    }

    /// Limits how many sessions may have the same value under a name, for example how many devices a
    /// user may be logged in on.
    ///
    /// Default: no limit. The name needs [`ClusterConfig::index`] on each node that has the layer. It
    /// holds for all sessions of the context, also for those that are written outside requests. A
    /// limit is set for the life of the node, and all layers of the context must agree.
    ///
    /// With [`AtLimit::EndOldest`] the session that got the value first is destroyed when one more
    /// gets it, before the response leaves. With [`AtLimit::Refuse`] the write fails with
    /// [`SessionError::LimitReached`](crate::SessionError::LimitReached), and the session is as it
    /// was.
    ///
    /// On one node it is exact. Nodes know of each other's sessions a little later, so two logins at
    /// once on two nodes may both succeed. Within a tenth of a second after the nodes know of both, it is
    /// exact again: those beyond the limit are destroyed, the same on all nodes. They are the oldest
    /// with `EndOldest`, and the latest with `Refuse`. After a cut of the network many may go.
    ///
    /// A session gets the value later than all that its node knows to have it. Only between sessions
    /// of nodes that did not know of each other the nodes' clocks decide.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_cluster_sessions::{AtLimit, Changes, Cluster, ClusterConfig, ClusterSessionLayer};
    ///
    /// let config = ClusterConfig::standalone().index("user_id");
    /// let cluster = Cluster::start(config).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_limit("user_id", 2, AtLimit::EndOldest);
    ///
    /// let sessions = layer.sessions()?;
    /// let mut login = Changes::new();
    /// login.insert("user_id", 7)?;
    /// let logins = [(); 3].map(|()| sessions.create(&login));
    /// assert!(logins.iter().all(Result::is_ok));
    /// assert_eq!(sessions.find("user_id", &7).await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_limit(mut self, name: impl Into<String>, most: usize, at_limit: AtLimit) -> Self {
        let name = name.into();
        self.options().limits.push(SessionLimit {
            name,
            most,
            at_limit,
        });
        self
    }

    /// Adds a pattern of paths whose requests do not replicate attribute writes.
    ///
    /// Default: none; repeated calls add. Writes of a request whose whole path matches `pattern`
    /// are replicated with the session's next commit. Such requests do not count as use either.
    /// Creating, destroying and cycling are replicated as always.
    ///
    /// The pattern is a regular expression in the syntax of the `regex` crate. It is matched
    /// against the path as the client sent it: undecoded, without query, inside `nest` with the
    /// prefix. `;` does not separate patterns.
    ///
    /// # Errors
    ///
    /// When the pattern is malformed, too large, or uses Java syntax that matching in linear time
    /// does not have (look-around, back-references, possessive quantifiers). The error shows where.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?
    ///     .with_filter(r".*\.(gif|js|jpg|png|html?|css|txt)")?
    ///     .with_filter("/health")?;
    /// let error = layer.with_filter(r".*\.(gif|js").unwrap_err();
    /// assert_eq!(error.position(), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_filter(mut self, pattern: &str) -> Result<Self, FilterError> {
        self.options().filter.add(pattern)?;
        Ok(self)
    }

    /// Names the app whose sessions these are, when several share a cluster.
    ///
    /// Default: no context, itself distinct from all named ones. Sessions of different contexts
    /// never mix. The name is 1 to 64 characters that can be part of a cookie's name. A cluster has
    /// 64 contexts at most.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_context("shop");
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.options().context = Some(context.into().into());
        self
    }

    /// Sets the acknowledgements that a response waits for.
    ///
    /// Default: [`Ack::All`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::Ack;
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_ack(Ack::One);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_ack(mut self, ack: Ack) -> Self {
        self.options().ack = ack;
        self
    }

    /// Sets whether a client that goes from node to node reads what it has written, also with
    /// [`Ack::None`] and while a peer lags.
    ///
    /// Default: [`Consistency::Eventual`], not necessarily.
    ///
    /// With [`Consistency::ReadYourWrites`] each response that changes the session sets a second
    /// cookie, called like the session's with `-seen` behind. By it any node knows which writes it
    /// must have. If it lacks some, loading the session waits for them, in all for
    /// [`read_your_writes_timeout`](ClusterConfig::read_your_writes_timeout) at most. Otherwise it
    /// costs the check of a signature.
    ///
    /// Say the same on all nodes, and give all the same [`secret`](ClusterConfig::secret) or
    /// [`consistency_key`](ClusterConfig::consistency_key).
    ///
    /// Writes of [filtered](Self::with_filter) requests, those made after the response's head, and
    /// those of requests that run at the same time on another node are not part of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, Consistency};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let key = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    /// let cluster = Cluster::start(ClusterConfig::standalone().consistency_key(key)).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_consistency(Consistency::ReadYourWrites);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.options().consistency = consistency;
        self
    }

    /// Sets how clients present the value that opens their session: by the cookie, by a header field,
    /// or by either.
    ///
    /// Default: [`Transport::cookie`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, Transport};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster)
    ///     .with_transport(Transport::bearer("x-session").or_cookie());
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.options().transport = transport;
        self
    }

    /// Sets whether responses of requests that looked for a session say what caches may do.
    ///
    /// Default: `true`. Such a response gets `Vary: Cookie` beside what the app set. If the client
    /// had a session and the app set no `Cache-Control`, it gets `private, no-cache`. Without them a
    /// shared cache may give one user's page to another. Turn it off for an app that sets its own on
    /// all such pages.
    ///
    /// A response that sets the cookie has `Cache-Control: no-store` either way, in place of the
    /// app's.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_cache_headers(false);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_cache_headers(mut self, cache_headers: bool) -> Self {
        self.options().cache_headers = cache_headers;
        self
    }

    /// Binds sessions to what their clients call themselves: an id that comes with another `User-Agent`
    /// opens nothing, and [is told of](crate::SessionEventKind::ForgedIdPresented). Off by default.
    ///
    /// Whoever copies a cookie then has to copy that field as well, which is no secret. So it hinders
    /// those who know no more than the cookie. Digits, dots and underscores of the field do not count,
    /// so that an update of a browser changes nothing; another browser or system does. Sessions from
    /// before it was turned on or off are found no more.
    ///
    /// Nothing is kept of the field: it is part of what the secret's hash is made of. For sessions
    /// outside requests there is
    /// [`CookieValue::bound_to_user_agent`](crate::CookieValue::bound_to_user_agent).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_user_agent_binding(true);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_user_agent_binding(mut self, user_agent_binding: bool) -> Self {
        self.options().user_agent_binding = user_agent_binding;
        self
    }

    /// Has the route at the end of a client's id follow to the node that answers, as Tomcat's
    /// `JvmRouteBinderValve` does. Off by default.
    ///
    /// A balancer that sticks by the [route](crate::ClusterConfig::route) sends a client whose node is
    /// down to another one. With this that node's responses bring the same id with its own route, and
    /// the balancer stays there, also when the first node is back. Without it the route is for life,
    /// and the client goes home. [`Session::id`](crate::Session::id) keeps the first route, and the
    /// session is the same: Tomcat gives it another id, which requests under way do not know.
    ///
    /// Use it behind such a balancer only. One that takes turns would have each response set the cookie
    /// anew.
    ///
    /// # Errors
    ///
    /// [`LayerError::NoRoute`] from [`check`](Self::check) if the node has no route.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = ClusterConfig::standalone().route("node1");
    /// let layer = ClusterSessionLayer::new(config).with_route_following(true);
    /// # layer.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_route_following(mut self, route_following: bool) -> Self {
        self.options().route_following = route_following;
        self
    }

    /// Returns the node that this layer's sessions live on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = ClusterSessionLayer::try_new(ClusterConfig::standalone())?;
    /// layer.cluster().leave().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Checks the options as [`Layer::layer`] does, and reserves the cookies' names for the
    /// context.
    ///
    /// # Errors
    ///
    /// When browsers would drop the cookie, a name cannot be sent, a limit of the expiry is zero,
    /// another context of the cluster has a cookie's name, a key is missing, or the cookie is to be
    /// sealed in two ways.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_name("no good");
    /// assert!(layer.check().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn check(&self) -> Result<(), LayerError> {
        self.config().map(drop)
    }

    /// Returns the sessions of this layer's context, for use outside requests, with the layer's
    /// expiry. Cookie values are read and written in the layer's form, signed or encrypted if it is
    /// set so.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let layer = ClusterSessionLayer::from_cluster(&cluster).with_context("shop");
    /// let sessions = layer.sessions()?;
    /// assert_eq!(sessions.context(), "shop");
    /// # Ok(())
    /// # }
    /// ```
    pub fn sessions(&self) -> Result<Sessions, LayerError> {
        self.config().map(Sessions::new)
    }

    fn options(&mut self) -> &mut LayerOptions {
        Arc::make_mut(&mut self.options)
    }

    fn config(&self) -> Result<LayerConfig, LayerError> {
        let config = self.unclaimed_config()?;
        let (cookie, context) = (&config.cookie, &config.meta.context);
        self.claim(cookie.name(), CookieUse::Id, context)?;
        if let Some(header) = &config.header {
            let claim = config
                .node()
                .claim_header(header.request().as_str(), context);
            if let Claim::Taken { by } = claim {
                return Err(LayerError::HeaderTaken {
                    name: header.request().to_string(),
                    other: by.as_ref().to_owned(),
                });
            }
        }
        if config.token_key.is_some() {
            self.claim(cookie.token_name(), CookieUse::Token, context)?;
            config.node().enable_read_your_writes();
        }
        for SessionLimit {
            name,
            most,
            at_limit,
        } in &self.options.limits
        {
            let replica = config.node().replica();
            match replica.limit(context, name, *most, *at_limit) {
                LimitClaim::New | LimitClaim::Granted => {}
                LimitClaim::NotIndexed => {
                    let name = name.clone();
                    return Err(LayerError::LimitNotIndexed { name });
                }
                LimitClaim::Differs => {
                    return Err(LayerError::LimitDiffers {
                        name: name.clone(),
                        context: context.as_ref().to_owned(),
                    });
                }
            }
        }
        Ok(config)
    }

    /// Checks the options, but not whether another layer has the name of the cookie.
    pub(super) fn unclaimed_config(&self) -> Result<LayerConfig, LayerError> {
        let options = &self.options;
        let mut cookie = options.check()?;
        let context = options.context.clone().unwrap_or_else(|| "".into());
        let node = self.cluster.node();
        let route = node.settings().route.clone();
        if options.route_following {
            cookie.follow(route.clone().ok_or(LayerError::NoRoute)?);
        }
        Ok(LayerConfig {
            cluster: self.cluster.clone(),
            cookie,
            header: options.transport.check()?,
            meta: Arc::new(SessionMeta {
                context,
                route,
                expiry: options.expiry,
            }),
            ack: options.ack,
            token_key: self.token_key()?,
            filter: options.filter.clone(),
            cache_headers: options.cache_headers,
            user_agent_binding: options.user_agent_binding,
        })
    }

    fn token_key(&self) -> Result<Option<TokenKey>, LayerError> {
        match self.options.consistency {
            Consistency::Eventual => Ok(None),
            Consistency::ReadYourWrites => {
                let keys = &self.cluster.node().settings().consistency_keys;
                let key = TokenKey::new(keys).ok_or(LayerError::NoConsistencyKey)?;
                Ok(Some(key))
            }
        }
    }

    fn claim(&self, name: &str, used: CookieUse, context: &Arc<str>) -> Result<(), LayerError> {
        match self.cluster.node().claim_cookie(name, used, context) {
            Claim::New | Claim::Granted => Ok(()),
            Claim::Taken { by } => Err(LayerError::NameTaken {
                name: name.to_owned(),
                other: by.as_ref().to_owned(),
            }),
            Claim::TooManyContexts => Err(LayerError::TooManyContexts),
        }
    }
}

/// Wraps a service.
///
/// # Panics
///
/// `layer` panics when [`check`](ClusterSessionLayer::check) fails.
impl Cluster {
    /// Returns the sessions of a context, for use outside requests; `""` is the default context.
    ///
    /// It opens cookie values that are not sealed. For those of a layer that signs or encrypts them,
    /// and for its expiry, take [`ClusterSessionLayer::sessions`].
    ///
    /// # Panics
    ///
    /// For a context that [`with_context`](ClusterSessionLayer::with_context) would not take.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let sessions = cluster.sessions("shop");
    /// assert!(sessions.open("zVgsCmrkLjvtoeYNl05I7A").await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn sessions(&self, context: &str) -> Sessions {
        match self.sessions_of(context) {
            Ok(sessions) => sessions,
            Err(error) => panic!("no sessions: {error}"),
        }
    }

    /// Returns the same for a context that somebody else has named: a client, or a peer.
    pub(crate) fn sessions_of(&self, context: &str) -> Result<Sessions, LayerError> {
        let layer = ClusterSessionLayer::from_cluster(self);
        let layer = match context {
            "" => layer,
            context => layer.with_context(context),
        };
        layer.unclaimed_config().map(Sessions::new)
    }
}

impl<S> Layer<S> for ClusterSessionLayer {
    type Service = ClusterSessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        match self.config() {
            Ok(config) => ClusterSessionService::new(inner, Arc::new(config)),
            Err(error) => panic!("invalid session layer: {error}"),
        }
    }
}
