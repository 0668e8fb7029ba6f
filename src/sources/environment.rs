//! A configuration in the environment.

use std::ffi::OsString;

use super::{
    text::Text,
    tree::{Entry, Node, Table},
};
use crate::config::{ClusterConfig, ConfigError};

/// The variables behind a prefix.
#[derive(Default)]
pub(super) struct Variables(Vec<Variable>);

struct Variable {
    /// The whole name.
    name: String,
    /// The name without the prefix, in small letters.
    setting: String,
    text: String,
}

/// A variable that holds a secret or says where one is.
pub(super) enum SecretVariable {
    Value(String),
    File(String),
    Env(String),
}

impl Variables {
    pub(super) fn of(
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut found = Vec::new();
        for (name, text) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            let setting = name[prefix.len()..].to_ascii_lowercase();
            if text.is_empty() || is_of_kubernetes(&setting) {
                continue;
            }
            let Ok(text) = text.into_string() else {
                let message = format!("the variable {name} is not UTF-8; write it in UTF-8");
                return Err(ConfigError::invalid(setting, message));
            };
            found.push(Variable {
                name: name.to_owned(),
                setting,
                text,
            });
        }
        // The order of the environment is nobody's choice.
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(found))
    }

    /// Puts the variables into the tree, in place of what is there. Returns those of secrets, which
    /// also go in place of the secrets that are there.
    pub(super) fn set_in(self, tree: &mut Table<'_>) -> Vec<SecretVariable> {
        let mut secrets = Vec::new();
        for Variable {
            name,
            setting,
            text,
        } in self.0
        {
            secrets.push(match &*setting {
                "secret" => SecretVariable::Value(text),
                "secret_file" => SecretVariable::File(text),
                "secret_env" => SecretVariable::Env(text),
                _ => {
                    let (tables, setting) = path(&setting);
                    let entry = Entry {
                        place: name.clone(),
                        node: Node::Text(Text::new(text)),
                    };
                    tree.at(tables, &name).set(setting.to_owned(), entry);
                    continue;
                }
            });
        }
        if !secrets.is_empty() {
            tree.take("secrets");
        }
        secrets
    }
}

impl SecretVariable {
    pub(super) fn add_to(self, config: ClusterConfig) -> ClusterConfig {
        match self {
            Self::Value(secret) => config.secret(secret),
            Self::File(path) => config.secret_file(path),
            Self::Env(variable) => config.secret_env(variable),
        }
    }
}

/// Returns the tables that a setting is in, and its name there.
fn path(setting: &str) -> (&'static [&'static str], &str) {
    const TABLES: [(&str, &[&str]); 3] = [
        ("layer_cookie_", &["layer", "cookie"]),
        ("layer_expiry_", &["layer", "expiry"]),
        ("layer_", &["layer"]),
    ];
    if let "tls_cert" | "tls_key" | "tls_ca" = setting {
        return (&["tls"], &setting["tls_".len()..]);
    }
    TABLES
        .iter()
        .find_map(|(start, tables)| Some((*tables, setting.strip_prefix(start)?)))
        .unwrap_or((&[], setting))
}

/// Returns whether Kubernetes sets such a variable for each service, here one called like the
/// prefix.
fn is_of_kubernetes(setting: &str) -> bool {
    setting == "port"
        || ["service_host", "service_port", "port_"]
            .iter()
            .any(|start| setting.starts_with(start))
}
