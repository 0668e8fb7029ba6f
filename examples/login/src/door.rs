//! How the sessions of tower-sessions come from the cluster: one of the two ways.
//!
//! The rest of the app does not know which, but for [`Door::public_id`].

use std::time::Duration;

use axum::Router;
use axum_login::{
    AuthManager, AuthManagerLayerBuilder,
    tower_sessions::{self, SessionManagerLayer, cookie::time},
};
use clap::ValueEnum;
use tower::layer::layer_fn;
use tower_cluster_sessions::{Cluster, ClusterSessionLayer, Expiry};
use tower_sessions_cluster::core_0_14::{ClusterStore, SessionLayer};

use crate::{app::Scheme, users::Users};

/// Which way is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoorKind {
    /// `ClusterStore` below tower-sessions' own layer
    Store,
    /// `SessionLayer` in the place of tower-sessions' own layer
    #[default]
    Layer,
}

/// What gives requests their session.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Store(ClusterStore, Scheme),
    Layer(ClusterSessionLayer),
}

impl Door {
    pub(crate) fn new(kind: DoorKind, cluster: &Cluster, scheme: Scheme) -> Self {
        match kind {
            DoorKind::Store => Self::Store(ClusterStore::new(cluster), scheme),
            DoorKind::Layer => {
                let layer = ClusterSessionLayer::from_cluster(cluster)
                    .with_expiry(Expiry::idle(IDLE_LIMIT).or_absolute(AGE_LIMIT));
                Self::Layer(match scheme {
                    Scheme::Https => layer,
                    Scheme::Http => layer.insecure_for_development(),
                })
            }
        }
    }

    /// Puts the layers of sessions and of axum-login around an app.
    pub(crate) fn around(&self, app: Router, users: Users) -> Router {
        match self {
            Self::Store(store, scheme) => {
                let idle = time::Duration::seconds(IDLE_LIMIT.as_secs().cast_signed());
                let sessions = SessionManagerLayer::new(store.clone())
                    .with_secure(*scheme == Scheme::Https)
                    .with_same_site(cookie::SameSite::Lax)
                    .with_expiry(tower_sessions::Expiry::OnInactivity(idle))
                    // Else only writing would be use.
                    .with_always_save(true);
                app.layer(AuthManagerLayerBuilder::new(users, sessions).build())
            }
            Self::Layer(layer) => app
                .layer(layer_fn(move |inner| {
                    AuthManager::new(inner, users.clone(), "axum-login.data")
                }))
                .layer(SessionLayer::new(layer.clone())),
        }
    }

    /// Returns the public id of the cluster's session behind one of tower-sessions, if it is one.
    pub(crate) async fn public_id(&self, session: &tower_sessions::Session) -> Option<String> {
        let id = session.id()?;
        match self {
            Self::Store(store, _) => store.open(&id).await?.id(),
            Self::Layer(_) => Some(id.to_string()),
        }
    }
}

/// After so much time without a request a login ends.
const IDLE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// After so much time it ends also when it is used: what was stolen is not for ever.
const AGE_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);
