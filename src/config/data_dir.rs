//! What of a node is kept on disk, and how.

use std::{path::PathBuf, time::Duration};

use super::{
    cluster::ClusterConfig,
    error::ConfigError,
    key::{ClusterSecret, KeyProblem, KeyText},
    security::Security,
    sync::Sync,
};

/// The settings of a data directory, after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskSettings {
    pub(crate) path: PathBuf,
    pub(crate) sync: Sync,
    /// The first seals, all open. There may be none.
    pub(crate) keys: Vec<ClusterSecret>,
}

impl ClusterConfig {
    /// Sets the directory in which this node keeps its sessions, so that they outlive a stop of all
    /// nodes.
    ///
    /// Default: none, sessions are in memory alone. The directory is made if it is not there, and
    /// may be read by this process's user alone. It belongs to one node: each has its own, on a disk
    /// of its own where it can be. A second process that opens it is an error, and so is a
    /// directory of another cluster, or one that holds something else.
    ///
    /// [`Cluster::start`](crate::Cluster::start) reads it before the node listens. A node that
    /// comes back then gets from its peers what it missed. When the disk is full or fails, the node
    /// goes on from memory, and says so in [`Stats::disk`](crate::Stats::disk).
    ///
    /// With a [`secret`](Self::secret) or a [`data_key`](Self::data_key), all that is written is
    /// encrypted. Without either, attribute values lie there in plain text, and a warning says so.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .data_dir("/var/lib/shop/sessions");
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "data_dir": "/var/lib/shop/sessions"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Sets when changes are on disk.
    ///
    /// Default: [`Sync::Every`] 100 ms. A shorter time writes more often, and loses less when all
    /// nodes stop at once. It may be a millisecond to a minute. [`Sync::BeforeResponse`] loses nothing
    /// that was acknowledged, and each response that changes a session waits for the disk.
    ///
    /// In a configuration file it is a time, such as `100ms`, or `response`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{ClusterConfig, Sync};
    ///
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .data_dir("/var/lib/shop/sessions")
    ///     .sync(Sync::BeforeResponse);
    /// # let from_file: ClusterConfig = serde_json::from_str(r#"{"node": "node1",
    /// #     "listen": "127.0.0.1:4100", "data_dir": "/var/lib/shop/sessions", "sync": "response"}"#)?;
    /// # assert_eq!(config, from_file);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = Some(sync);
        self
    }

    /// Adds a key for what is on disk: 32 random bytes as 64 hex digits or as base64.
    ///
    /// Default: none, the [`secret`](Self::secret) does that. A node without a secret, whose links
    /// [`tls`](Self::tls) protects, encrypts its directory with this. It is for this node alone;
    /// others may have other keys. `openssl rand -hex 32` makes one. Its text is never shown.
    ///
    /// Of several keys, the first encrypts and all decrypt, and secrets decrypt as well. What
    /// another one than the first has encrypted is written anew once the node runs. So a key can be
    /// changed: start with the new one in front of the old, and leave the old one out once the log
    /// says that all is encrypted by the first.
    ///
    /// In a configuration file it is one of `data_keys`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ClusterConfig;
    /// let key = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    /// let config = ClusterConfig::new("node1").listen("127.0.0.1:4100")
    ///     .data_dir("/var/lib/shop/sessions")
    ///     .data_key(key);
    /// assert!(!format!("{config:?}").contains(key));
    /// # let json = format!(r#"{{"node": "node1", "listen": "127.0.0.1:4100",
    /// #     "data_dir": "/var/lib/shop/sessions", "data_keys": ["{key}"]}}"#);
    /// # assert_eq!(config, serde_json::from_str(&json)?);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn data_key(mut self, key: impl Into<String>) -> Self {
        self.data_keys.push(KeyText::new(key));
        self
    }

    /// Checks what is set for the disk; `None` when sessions are in memory alone.
    pub(super) fn disk(&self, security: &Security) -> Result<Option<DiskSettings>, ConfigError> {
        let Some(path) = &self.data_dir else {
            let alone = if self.sync.is_some() {
                "sync"
            } else if !self.data_keys.is_empty() {
                "data_key"
            } else {
                return Ok(None);
            };
            let message = format!(
                "`{alone}` is about the files of `data_dir`, which is not set; set it, or remove \
                 `{alone}`"
            );
            return Err(ConfigError::missing("data_dir", message));
        };
        if path.as_os_str().is_empty() {
            return Err(ConfigError::invalid(
                "data_dir",
                "`data_dir` is empty; give it the path of a directory, or leave it out",
            ));
        }
        let sync = self.sync.unwrap_or_default();
        if let Sync::Every(interval) = sync
            && !(SHORTEST..=LONGEST).contains(&interval)
        {
            let message = format!(
                "`sync` is every {} ms but must be every 1 ms to 60000 ms, or before the response",
                interval.as_millis()
            );
            return Err(ConfigError::invalid("sync", message));
        }
        let mut keys = Vec::new();
        for text in &self.data_keys {
            keys.push(text.parse().map_err(unusable_key)?);
        }
        if let Security::Secrets(secrets) = security {
            keys.extend(secrets.iter().cloned());
        }
        Ok(Some(DiskSettings {
            path: path.clone(),
            sync,
            keys: distinct(keys.iter().map(|key| key.derive(PURPOSE, &self.cluster))),
        }))
    }
}

fn unusable_key(problem: KeyProblem) -> ConfigError {
    let message = format!("a `data_key` {problem}; make one with `openssl rand -hex 32`");
    ConfigError::new("data_key", problem.kind(), message)
}

fn distinct(keys: impl Iterator<Item = ClusterSecret>) -> Vec<ClusterSecret> {
    let mut distinct = Vec::new();
    for key in keys {
        if !distinct.contains(&key) {
            distinct.push(key);
        }
    }
    distinct
}

/// What the keys of a directory are derived for.
const PURPOSE: &str = "disk";
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigErrorKind;

    const KEY: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    const OTHER: &str = "ac2fe5559fd3b7ff9703f9d8fe1270930156038453e20f3f10b465cc85833c9a";

    fn node() -> ClusterConfig {
        ClusterConfig::new("node1").listen("127.0.0.1:4100")
    }

    fn disk(config: &ClusterConfig) -> Option<DiskSettings> {
        config.settings().expect("valid").disk
    }

    fn refused(config: &ClusterConfig, setting: &str, words: &[&str]) -> ConfigErrorKind {
        let error = config.settings().expect_err(setting);
        assert_eq!(error.setting(), setting, "{error}");
        for word in words {
            assert!(
                error.to_string().contains(word),
                "{word} is not in: {error}"
            );
        }
        error.kind()
    }

    #[test]
    fn without_a_directory_nothing_is_on_disk_and_nothing_else_may_be_set() {
        assert_eq!(disk(&node()), None);
        for (config, word) in [
            (node().sync(Sync::BeforeResponse), "`sync`"),
            (node().data_key(KEY), "`data_key`"),
        ] {
            let kind = refused(&config, "data_dir", &[word, "set it"]);
            assert_eq!(kind, ConfigErrorKind::Missing);
        }
    }

    #[test]
    fn directory_is_written_every_tenth_of_a_second_unless_set_otherwise() {
        let settings = disk(&node().data_dir("d")).expect("a directory");
        assert_eq!(settings.path, PathBuf::from("d"));
        assert_eq!(settings.sync, Sync::Every(Duration::from_millis(100)));
        let other = node().data_dir("d").sync(Sync::BeforeResponse);
        let settings = disk(&other).expect("a directory");
        assert_eq!(settings.sync, Sync::BeforeResponse);
    }

    #[test]
    fn directory_has_a_path_and_an_interval_that_can_be_kept() {
        refused(&node().data_dir(""), "data_dir", &["empty", "path"]);
        for interval in [Duration::ZERO, LONGEST + SHORTEST, Duration::MAX] {
            let config = node().data_dir("d").sync(Sync::Every(interval));
            refused(&config, "sync", &["1 ms to 60000 ms"]);
        }
    }

    #[test]
    fn data_keys_come_first_and_secrets_open_as_well() {
        let keys = |config: ClusterConfig| disk(&config.data_dir("d")).expect("set").keys;
        assert_eq!(keys(node()), []);
        let secret = keys(node().secret(KEY));
        let data_key = keys(node().data_key(OTHER));
        let both = keys(node().secret(KEY).data_key(OTHER));
        assert_eq!(both, [&data_key[..], &secret[..]].concat());
        // What a secret has sealed can be opened once links are protected by certificates.
        assert_eq!(keys(node().data_key(KEY)), secret);
        assert_eq!(keys(node().secret(KEY).data_key(KEY)), secret);
        assert_ne!(keys(node().secret(KEY).cluster("other")), secret);
    }

    #[test]
    fn data_key_must_be_random_and_is_not_shown() {
        let weak = "00".repeat(32);
        let config = node().data_dir("d").data_key(weak.clone());
        let kind = refused(&config, "data_key", &["guessed", "openssl"]);
        assert_eq!(kind, ConfigErrorKind::Insecure);
        assert!(!format!("{config:?}").contains(&weak));
        let config = node().data_dir("d").data_key("short");
        refused(&config, "data_key", &["32 bytes"]);
    }
}
