//! How a node finds the others without a list: names that are looked up, and what an app brings.

use std::{
    error::Error,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use super::{address::PeerAddress, error::ConfigError};

/// A source of the addresses at which the nodes of a cluster listen, such as the API of Kubernetes
/// or a registry of services.
///
/// It is a stream of lists: each says who is there now, and takes the place of the one before. A list
/// may lack nodes that live, and have addresses at which nobody or somebody else is. A member that has
/// a link keeps it whatever a list says, and one that is gone is looked for until
/// [`forget_after`](crate::ClusterConfig::forget_after). This node's own address may be among them.
///
/// `examples/kubernetes/discovery` asks Kubernetes for the addresses of a service.
///
/// # Examples
///
/// Addresses from a file that somebody else keeps up to date:
///
/// ```
/// use std::{error::Error, net::SocketAddr, path::PathBuf, time::Duration};
///
/// use tower_cluster_sessions::{ClusterConfig, Discovery};
///
/// struct Lines {
///     file: PathBuf,
///     is_first: bool,
/// }
///
/// impl Discovery for Lines {
///     async fn next(&mut self) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
///         if !std::mem::take(&mut self.is_first) {
///             tokio::time::sleep(Duration::from_secs(5)).await;
///         }
///         let text = tokio::fs::read_to_string(&self.file).await?;
///         Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
///     }
/// }
///
/// let file = "/etc/sessions/nodes".into();
/// let config = ClusterConfig::new("node1")
///     .listen("10.0.0.1:4100")
///     .discover_with(Lines { file, is_first: true })
///     .secret_file("/run/secrets/cluster-secret");
/// ```
pub trait Discovery: Send + 'static {
    /// Waits until there is something to tell, and returns all addresses that there are then.
    ///
    /// It is called again as soon as the list is taken in. So it waits by itself, for the next change
    /// or for some time; the first list it should return at once.
    ///
    /// # Errors
    ///
    /// When the addresses cannot be had at present. What was found before stays, and it is called
    /// again after a pause, of two seconds at most. A node that starts takes an error for a reason to
    /// believe that others are there, and an empty list for the word that nobody is.
    ///
    /// # Cancel safety
    ///
    /// When the node leaves, the future is dropped, and nothing is called any more.
    fn next(
        &mut self,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>>> + Send;
}

/// What [`Discovery::next`] returns.
pub(crate) type Found = Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>>;

/// A [`Discovery`] of whatever type.
pub(crate) trait AnyDiscovery: Send {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Found> + Send + '_>>;
}

impl<D: Discovery> AnyDiscovery for D {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Found> + Send + '_>> {
        Box::pin(Discovery::next(self))
    }
}

/// A discovery that an app has brought, until a node takes it. Copies of a configuration share it.
#[derive(Clone)]
pub(crate) struct OwnDiscovery(Arc<Mutex<Option<Box<dyn AnyDiscovery>>>>);

impl OwnDiscovery {
    pub(super) fn new(discovery: impl Discovery) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(discovery)))))
    }

    /// Takes it for the node that starts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if another node has taken it.
    pub(crate) fn take(&self) -> Result<Box<dyn AnyDiscovery>, ConfigError> {
        let mut discovery = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        discovery.take().ok_or_else(|| {
            ConfigError::conflict(
                "discover_with",
                "another node was started with this `discover_with`; give each configuration a \
                 discovery of its own"
                    .to_owned(),
            )
        })
    }
}

impl PartialEq for OwnDiscovery {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OwnDiscovery {}

impl fmt::Debug for OwnDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnDiscovery")
    }
}

/// A way to find members, after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiscoverySource {
    /// The addresses of a name, each with this port.
    Dns(PeerAddress),
    /// The hosts and ports of a service.
    #[cfg(feature = "srv")]
    Srv(String),
    /// Whatever the app says.
    Own(OwnDiscovery),
}

impl DiscoverySource {
    /// Reads `dns:name:port` or `srv:name`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] about `discover`.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some(("dns", address)) => PeerAddress::parse("discover", address).map(Self::Dns),
            Some(("srv", name)) => Self::service(text, name),
            _ => Err(ConfigError::invalid(
                "discover",
                format!(
                    "discover {text:?}: write `dns:name:port`, as in `dns:sessions-headless:4100`, \
                     or `srv:name`"
                ),
            )),
        }
    }

    fn service(text: &str, name: &str) -> Result<Self, ConfigError> {
        // The rules of a host name, to which a port is added for the check.
        let is_name = PeerAddress::parse("discover", &format!("{name}:1"))
            .is_ok_and(|peer| peer.socket_address().is_none());
        if !is_name {
            return Err(ConfigError::invalid(
                "discover",
                format!(
                    "discover {text:?}: write the name of the service alone, as in \
                     `srv:_links._tcp.sessions.default.svc.cluster.local`; the ports come with it"
                ),
            ));
        }
        #[cfg(feature = "srv")]
        return Ok(Self::Srv(name.to_ascii_lowercase()));
        #[cfg(not(feature = "srv"))]
        Err(ConfigError::invalid(
            "discover",
            format!("discover {text:?}: turn on the feature `srv` of this crate, or use `dns:`"),
        ))
    }

    /// Returns whether its addresses may have hosts of different names.
    pub(super) const fn has_many_hosts(&self) -> bool {
        match self {
            Self::Dns(_) | Self::Own(_) => false,
            #[cfg(feature = "srv")]
            Self::Srv(_) => true,
        }
    }

    /// Returns whether its addresses are not only those of this machine. What an app brings is looked
    /// at when it comes.
    pub(super) fn leads_out(&self) -> bool {
        match self {
            Self::Dns(peer) => !peer.is_loopback(),
            Self::Own(_) => false,
            #[cfg(feature = "srv")]
            Self::Srv(_) => true,
        }
    }

    /// Returns the name that all addresses have, if they have one.
    pub(crate) const fn name(&self) -> Option<&PeerAddress> {
        match self {
            Self::Dns(peer) => Some(peer),
            Self::Own(_) => None,
            #[cfg(feature = "srv")]
            Self::Srv(_) => None,
        }
    }
}

impl fmt::Display for DiscoverySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(peer) => write!(f, "dns:{peer}"),
            #[cfg(feature = "srv")]
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::Own(_) => f.write_str("discover_with"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_find_members_are_read_and_shown_alike() {
        let texts: &[&str] = match cfg!(feature = "srv") {
            true => &["dns:nodes:4100", "dns:[::1]:4100", "srv:_links._tcp.nodes"],
            false => &["dns:nodes:4100", "dns:[::1]:4100"],
        };
        for text in texts {
            let source = DiscoverySource::parse(text).expect(text);
            assert_eq!(source.to_string(), *text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_way_to_find_members_is_told_with_the_fix() {
        for (text, fix) in [
            ("nodes:4100", "`dns:name:port`"),
            ("mdns:nodes:4100", "`dns:name:port`"),
            ("dns:nodes", "`host:4100`"),
            ("dns:nodes:0", "port"),
            ("srv:nodes:4100", "name of the service alone"),
            ("srv:10.0.0.1", "name of the service alone"),
        ] {
            let error = DiscoverySource::parse(text).expect_err(text);
            assert_eq!(error.setting(), "discover");
            assert!(error.to_string().contains(fix), "{error}");
        }
        if cfg!(not(feature = "srv")) {
            let error = DiscoverySource::parse("srv:nodes").expect_err("the feature is off");
            assert!(error.to_string().contains("feature `srv`"), "{error}");
        }
    }
}
