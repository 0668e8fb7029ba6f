//! The sources of a configuration outside the code: a TOML file and the environment.
//!
//! Both become one tree, each value with its place, and `serde` reads the tree. So an error names
//! the line or the variable that is at fault.

mod environment;
mod fault;
mod file;
#[cfg(feature = "server-xml")]
mod server_xml;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::{env, path::Path};

use serde::Deserialize;

#[cfg(feature = "server-xml")]
pub use self::server_xml::{LeftOut, ServerXml};
use self::{environment::Variables, fault::Fault, tree::Table};
use crate::{
    config::{ClusterConfig, ConfigError},
    middleware::LayerOptions,
};

/// The configuration of a node and the options of its layer, as an operator writes them.
///
/// The settings of [`ClusterConfig`] stand at the top of the file, those of [`LayerOptions`] in the
/// table `layer`. `examples/sessions.toml` in the package has every setting with its default.
///
/// ```toml
/// node = "node1"
/// listen = "10.0.0.1:4100"
/// peers = ["10.0.0.2:4100", "10.0.0.3:4100"]
/// secrets = [{ file = "/run/secrets/cluster-secret" }]
/// ack_timeout = "250ms"
///
/// [layer]
/// filter = ['.*\.(gif|js|jpg|png|html?|css|txt)']
/// expiry = { idle = "2h" }
/// ```
///
/// A variable of the environment is called like the setting, in capitals and behind a prefix, with
/// `_` between table and setting: `SESSIONS_ACK_TIMEOUT`, `SESSIONS_LAYER_EXPIRY_IDLE`. A list is
/// separated by commas, or written as in TOML. Secrets come by `SESSIONS_SECRET`,
/// `SESSIONS_SECRET_FILE` and `SESSIONS_SECRET_ENV`. A variable that is empty counts as not set.
/// Those that Kubernetes sets for a service called like the prefix, such as
/// `SESSIONS_SERVICE_HOST`, are left alone.
///
/// What is given in several places: a setter in code wins over the environment, the environment
/// over the file, the file over the default. A list replaces a list.
///
/// # Errors
///
/// All three functions tell the file and line or the variable, the setting, what is wrong and what
/// is expected there. A setting that does not exist is an error. Values of secrets are not shown.
/// The files of secrets and certificates are read later, when the cluster starts.
///
/// # Examples
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_cluster_sessions::{Cluster, ClusterSessionLayer, Configuration};
///
/// let configuration = Configuration::from_file_and_env("sessions.toml", "SESSIONS_")?;
/// let cluster = Cluster::start(configuration.cluster).await?;
/// let layer = ClusterSessionLayer::from_cluster(&cluster).with_options(configuration.layer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Configuration {
    /// The configuration of the node.
    pub cluster: ClusterConfig,
    /// The options of the layer.
    pub layer: LayerOptions,
}

impl Configuration {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or as said [above](Self#errors).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load(Some(path.as_ref()), Variables::default())
    }

    /// Reads the variables of the environment that begin with `prefix`, such as `SESSIONS_`.
    ///
    /// # Errors
    ///
    /// As said [above](Self#errors), and when a variable is not UTF-8.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        Self::load(None, Variables::of(prefix, env::vars_os())?)
    }

    /// Reads a TOML file and the variables that begin with `prefix`, which win.
    ///
    /// # Errors
    ///
    /// As of [`from_file`](Self::from_file) and [`from_env`](Self::from_env).
    pub fn from_file_and_env(path: impl AsRef<Path>, prefix: &str) -> Result<Self, ConfigError> {
        Self::load(Some(path.as_ref()), Variables::of(prefix, env::vars_os())?)
    }

    fn load(path: Option<&Path>, variables: Variables) -> Result<Self, ConfigError> {
        let text = path.map(file::read).transpose()?.unwrap_or_default();
        let tree = match path {
            Some(path) => file::parse(path, &text)?,
            None => Table::default(),
        };
        Self::from_tree(tree, variables)
    }

    fn from_tree(mut tree: Table<'_>, variables: Variables) -> Result<Self, ConfigError> {
        let secrets = variables.set_in(&mut tree);
        let places = tree.places();
        let layer = tree.take("layer");
        let mut cluster = ClusterConfig::deserialize(tree).map_err(Fault::into_error)?;
        for secret in secrets {
            cluster = secret.add_to(cluster);
        }
        let layer = match layer {
            Some(layer) => LayerOptions::deserialize(layer.node)
                .map_err(|fault| fault.inside("layer").at(&layer.place).into_error())?,
            None => LayerOptions::default(),
        };
        // What is wrong with the whole is told with its place, too.
        cluster
            .check_without_files()
            .map_err(|error| match places.of(error.setting()) {
                Some(place) => error.at(place),
                None => error,
            })?;
        layer.check().map_err(|error| {
            let place = places.of("layer").map(|place| format!("{place}: "));
            let place = place.unwrap_or_default();
            ConfigError::invalid("layer", format!("{place}`layer`: {error}"))
        })?;
        Ok(Self { cluster, layer })
    }
}
