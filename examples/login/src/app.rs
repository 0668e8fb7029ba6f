//! The web application: its routes, and what is around them.

use axum::{
    Router,
    extract::State,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{from_fn_with_state, map_response, map_response_with_state},
    response::Response,
    routing::{get, post},
};
use axum_login::{login_required, permission_required};
use axum_messages::MessagesManagerLayer;
use tokio_util::sync::CancellationToken;
use tower_cluster_sessions::{Cluster, Sessions};
use tower_http::{csrf::CsrfLayer, trace::TraceLayer};

use crate::{
    account, assets, devices,
    door::{Door, DoorKind},
    failure, live, login,
    remember::{self, Remember},
    users::{Permission, Users},
};

/// How browsers reach the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// For development: cookies are for everybody who sees a request.
    Http,
    Https,
}

/// What handlers have at hand. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) cluster: Cluster,
    /// The logins.
    pub(crate) sessions: Sessions,
    pub(crate) remember: Remember,
    pub(crate) door: Door,
    pub(crate) users: Users,
    /// Cancelled when the node is about to stop.
    pub(crate) stopping: CancellationToken,
}

impl App {
    pub(crate) fn new(cluster: Cluster, users: Users, door: DoorKind, scheme: Scheme) -> Self {
        Self {
            sessions: cluster.sessions(""),
            remember: Remember::new(&cluster, scheme),
            door: Door::new(door, &cluster, scheme),
            users,
            stopping: CancellationToken::new(),
            cluster,
        }
    }

    /// Returns all routes and what is around them.
    ///
    /// Forms need no token of their own: `CsrfLayer` refuses what another site has a browser send, by
    /// the fields `Sec-Fetch-Site` and `Origin`. axum-tower-sessions-csrf would not do. It takes its
    /// token from a header field alone, which a form cannot send without JavaScript, and it is for
    /// tower-sessions 0.15, where axum-login is for 0.14.
    pub(crate) fn router(self) -> Router {
        let users = Router::new()
            .route("/users", get(account::users))
            .route_layer(permission_required!(Users, Permission::READ_USERS));
        let pages = Router::new()
            .route("/", get(account::home))
            .route("/devices", get(devices::page))
            .route("/password", get(account::password_page))
            .merge(users)
            .route_layer(login_required!(Users, login_url = "/login"))
            .route("/login", get(login::page))
            .route_layer(from_fn_with_state(self.clone(), remember::resume));
        let actions = Router::new()
            .route("/login", post(login::log_in))
            .route("/logout", post(login::log_out))
            .route("/devices/end", post(devices::end))
            .route("/devices/end-others", post(devices::end_others))
            .route("/devices/end-all", post(devices::end_all))
            .route("/password", post(account::change_password));
        let sockets = Router::new().route("/live", get(live::connect));
        let app = pages
            .merge(actions)
            .merge(sockets)
            .route_layer(from_fn_with_state(self.clone(), remember::check))
            .layer(MessagesManagerLayer)
            .with_state(self.clone());
        self.door
            .around(app, self.users.clone())
            // Without a session, and kept by browsers.
            .merge(assets::routes())
            .route("/ready", get(ready).with_state(self.cluster.clone()))
            .layer(map_response(failure::with_page))
            .layer(CsrfLayer::new())
            .layer(map_response_with_state(self.cluster, add_headers))
            .layer(TraceLayer::new_for_http())
    }
}

async fn ready(State(cluster): State<Cluster>) -> (StatusCode, &'static str) {
    if cluster.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Tells which node has answered, and what browsers must not do with any answer.
async fn add_headers(State(cluster): State<Cluster>, mut response: Response) -> Response {
    const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
    let headers = response.headers_mut();
    if let Ok(name) = HeaderValue::from_bytes(cluster.node_name().as_bytes()) {
        headers.insert(SERVED_BY, name);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What a user sees stays on no disk.
    let private = HeaderValue::from_static("no-store");
    headers.entry(CACHE_CONTROL).or_insert(private);
    response
}

/// Browsers load the style sheet, the script and the empty icon, open the WebSocket, send forms, and
/// nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
