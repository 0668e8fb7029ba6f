//! The protection of links.

use std::fmt;

use super::{
    address::{ListenAddress, PeerAddress},
    cluster::ClusterConfig,
    discovery::DiscoverySource,
    error::ConfigError,
    key::ClusterSecret,
    secret::SecretSource,
    tls_files::TlsFiles,
};

/// The protection of the links of a node, after all checks that need no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// There is none.
    Plaintext {
        /// Whether links may also go where others than this machine can listen.
        anywhere: bool,
    },
    /// Whoever knows one of these belongs to the cluster. The first is presented.
    Secrets(Vec<ClusterSecret>),
    /// Whoever has a certificate of this authority, under the right name, belongs to the cluster.
    Certificates(Certificates),
}

impl Security {
    /// Wipes the secrets, once what proves them has been made.
    pub(crate) fn forget_secrets(&mut self) {
        if let Self::Secrets(secrets) = self {
            secrets.clear();
        }
    }

    /// Returns the kind of protection, as the settings name it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Plaintext { .. } => "plaintext",
            Self::Secrets(_) => "secret",
            Self::Certificates(_) => "tls",
        }
    }

    /// Returns whether whoever has a link has proven to be a member, by whichever address it was
    /// dialled. Certificates without a common name are for the hosts on the list.
    pub(crate) const fn proves_each_member(&self) -> bool {
        match self {
            Self::Plaintext { .. } => false,
            Self::Secrets(_) => true,
            Self::Certificates(certificates) => certificates.name.is_some(),
        }
    }

    /// Returns whether links may leave this machine.
    pub(crate) const fn allows_anywhere(&self) -> bool {
        match self {
            Self::Plaintext { anywhere } => *anywhere,
            Self::Secrets(_) | Self::Certificates(_) => true,
        }
    }
}

/// Files in PEM form, and the name that all nodes share, if they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificates {
    pub(crate) files: TlsFiles,
    pub(crate) name: Option<String>,
}

impl ClusterConfig {
    pub(super) fn security(
        &self,
        listen: Option<&ListenAddress>,
        peers: &[PeerAddress],
        discover: &[DiscoverySource],
    ) -> Result<Security, ConfigError> {
        let named = [
            ("secret", !self.secrets.is_empty()),
            ("tls", self.tls.is_some()),
            ("insecure_plaintext", self.insecure_plaintext),
        ];
        let mut chosen = named.iter().filter(|(_, chosen)| *chosen);
        if let (Some((one, _)), Some((other, _))) = (chosen.next(), chosen.next()) {
            return Err(ConfigError::conflict(
                one,
                format!(
                    "`{one}` and `{other}` exclude each other: links are protected in one way; \
                     remove one of them"
                ),
            ));
        }
        if self.tls.is_none() && self.tls_name.is_some() {
            return Err(ConfigError::missing(
                "tls",
                "`tls_name` is the name in certificates; give them with `tls`, or remove it",
            ));
        }
        if let Some(files) = &self.tls {
            let has_hosts = !peers.is_empty() || !discover.is_empty();
            if self.tls_name.is_none() && listen.is_some() && !has_hosts {
                // Others have a certificate of the same authority, too.
                return Err(ConfigError::missing(
                    "tls_name",
                    "a node that listens with `tls` and lists no `peer` must know the name in the \
                     certificates of those that dial it; set `tls_name`, or list them with `peer`",
                ));
            }
            if self.tls_name.is_none() && discover.iter().any(DiscoverySource::has_many_hosts) {
                return Err(ConfigError::missing(
                    "tls_name",
                    "the hosts that `srv:` finds have no common name; set `tls_name` to the one in \
                     all certificates",
                ));
            }
            return Ok(Security::Certificates(Certificates {
                files: files.clone(),
                name: self.tls_name.clone(),
            }));
        }
        if !self.secrets.is_empty() {
            return SecretSource::read_all(&self.secrets).map(Security::Secrets);
        }
        if !self.insecure_plaintext {
            refuse_plaintext(listen, peers, discover)?;
        }
        Ok(Security::Plaintext {
            anywhere: self.insecure_plaintext,
        })
    }
}

fn refuse_plaintext(
    listen: Option<&ListenAddress>,
    peers: &[PeerAddress],
    discover: &[DiscoverySource],
) -> Result<(), ConfigError> {
    if let Some(listen) = listen.filter(|listen| !listen.is_loopback()) {
        return Err(plaintext("listen", listen));
    }
    if let Some(peer) = peers.iter().find(|peer| !peer.is_loopback()) {
        return Err(plaintext("peer", peer));
    }
    match discover.iter().find(|source| source.leads_out()) {
        Some(source) => Err(plaintext("discover", source)),
        None => Ok(()),
    }
}

/// Returns the error of an address that sessions would cross an open network to.
pub(super) fn plaintext(setting: &'static str, address: &impl fmt::Display) -> ConfigError {
    let message = format!(
        "{setting} address `{address}` is not loopback, and links are not encrypted; give all \
         nodes the same `secret` (`openssl rand -hex 32` makes one) or `tls` certificates, or call \
         `insecure_plaintext()` if nobody else can reach this network"
    );
    ConfigError::insecure(setting, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";

    fn node() -> ClusterConfig {
        ClusterConfig::new("node1").listen("127.0.0.1:4100")
    }

    fn refused(config: &ClusterConfig, words: &[&str]) {
        let text = config.settings().expect_err(words[0]).to_string();
        for word in words {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }

    #[test]
    fn plaintext_off_loopback_must_be_asked_for() {
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "node2:1"] {
            for (setting, config) in [
                ("listen", node().listen(address)),
                ("peer", node().peer(address)),
                ("discover", node().discover(format!("dns:{address}"))),
            ] {
                refused(
                    &config,
                    &[setting, address, "`secret`", "`insecure_plaintext()`"],
                );
                for allowed in [
                    config.clone().insecure_plaintext(),
                    config.clone().secret(SECRET),
                    config.tls("c", "k", "ca").tls_name("n"),
                ] {
                    let settings = allowed.settings().expect("allowed");
                    assert!(settings.security.allows_anywhere());
                }
            }
        }
        let settings = node().settings().expect("loopback");
        assert_eq!(settings.security, Security::Plaintext { anywhere: false });
    }

    #[test]
    fn secrets_can_be_wiped_and_links_stay_protected() {
        let settings = node().secret(SECRET).settings().expect("valid");
        let mut security = settings.security;
        security.forget_secrets();
        assert_eq!(security, Security::Secrets(Vec::new()));
        assert!(security.allows_anywhere());
    }

    #[test]
    fn links_are_protected_in_one_way_only() {
        let tls = node().tls("c", "k", "ca").tls_name("n");
        refused(&tls.clone().secret(SECRET), &["`secret`", "`tls`"]);
        refused(
            &tls.clone().insecure_plaintext(),
            &["`tls`", "`insecure_plaintext`"],
        );
        let secret = node().secret(SECRET);
        refused(
            &secret.insecure_plaintext(),
            &["`secret`", "`insecure_plaintext`"],
        );
    }

    #[test]
    fn a_listener_without_peers_must_know_which_name_to_expect() {
        refused(&node().tls("c", "k", "ca"), &["`tls_name`", "`peer`"]);
        refused(&node().tls_name("n"), &["`tls_name`", "`tls`"]);
        let listed = node().tls("c", "k", "ca").peer("node2:1");
        assert!(listed.settings().is_ok());
    }

    #[test]
    fn secrets_make_the_key_of_consistency_unless_it_has_its_own() {
        let keys = |config: ClusterConfig| config.settings().expect("valid").consistency_keys;
        assert!(keys(node()).is_empty());
        let derived = keys(node().secret(SECRET));
        assert_eq!(derived.len(), 1);
        assert_ne!(derived, keys(node().secret(SECRET).cluster("other")));
        let own = keys(node().secret(SECRET).consistency_key(SECRET));
        assert_eq!(own.len(), 1);
        assert_ne!(own, derived);
    }
}
