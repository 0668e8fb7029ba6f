//! How links are protected.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    address::{ListenAddress, PeerAddress},
    cluster::ClusterConfig,
    error::ConfigError,
    key::ClusterSecret,
    secret::SecretSource,
};

/// What protects the links of a node, after all checks that need no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Nothing does.
    Plaintext {
        /// Also where others than this machine can listen.
        anywhere: bool,
    },
    /// Who knows one of these belongs to the cluster. The first is presented.
    Secrets(Vec<ClusterSecret>),
    /// Who has a certificate of this authority, under the right name, belongs to the cluster.
    Certificates(Certificates),
}

impl Security {
    /// Wipes the secrets, once what proves them has been made.
    pub(crate) fn forget_secrets(&mut self) {
        if let Self::Secrets(secrets) = self {
            secrets.clear();
        }
    }

    /// Whether links may leave this machine.
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

/// Where certificates and keys lie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl ClusterConfig {
    pub(super) fn security(
        &self,
        listen: Option<&ListenAddress>,
        peers: &[PeerAddress],
    ) -> Result<Security, ConfigError> {
        let named = [
            ("secret", !self.secrets.is_empty()),
            ("tls", self.tls.is_some()),
            ("insecure_plaintext", self.insecure_plaintext),
        ];
        let mut chosen = named.iter().filter(|(_, chosen)| *chosen);
        if let (Some((one, _)), Some((other, _))) = (chosen.next(), chosen.next()) {
            return Err(ConfigError::Contradiction(one, other));
        }
        if self.tls.is_none() && self.tls_name.is_some() {
            return Err(ConfigError::TlsNameWithoutTls);
        }
        if let Some(files) = &self.tls {
            if self.tls_name.is_none() && listen.is_some() && peers.is_empty() {
                return Err(ConfigError::TlsNameMissing);
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
            refuse_plaintext(listen, peers)?;
        }
        Ok(Security::Plaintext {
            anywhere: self.insecure_plaintext,
        })
    }
}

fn refuse_plaintext(
    listen: Option<&ListenAddress>,
    peers: &[PeerAddress],
) -> Result<(), ConfigError> {
    let plaintext = |setting, address: String| Err(ConfigError::Plaintext { setting, address });
    if let Some(listen) = listen.filter(|listen| !listen.is_loopback()) {
        return plaintext("listen", listen.to_string());
    }
    match peers.iter().find(|peer| !peer.is_loopback()) {
        Some(peer) => plaintext("peer", peer.to_string()),
        None => Ok(()),
    }
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
