//! axum-login on both ways in.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::COOKIE},
    routing::{get, post},
};
use axum_login::{
    AuthManager, AuthManagerLayerBuilder, AuthUser, AuthnBackend, AuthzBackend, login_required,
    permission_required,
};
use tokio::time::sleep;
use tower::layer::layer_fn;
use tower_cluster_sessions::{Cluster, ClusterSessionLayer, test_util::TestCluster};

use crate::{
    both::visitor::{DOORS, Door, Visitor, receive},
    doors::{ClusterStore, SessionLayer},
    tower_sessions::SessionManagerLayer,
};

#[derive(Clone, Debug)]
struct User {
    name: String,
    password: Vec<u8>,
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        &self.password
    }
}

/// Users whose password is their name.
#[derive(Clone, Debug)]
struct Users;

impl AuthnBackend for Users {
    type User = User;
    type Credentials = String;
    type Error = Infallible;

    async fn authenticate(&self, name: String) -> Result<Option<User>, Infallible> {
        self.get_user(&name).await
    }

    async fn get_user(&self, name: &String) -> Result<Option<User>, Infallible> {
        let known = ["alice", "bob"].contains(&&**name);
        Ok(known.then(|| User {
            name: name.clone(),
            password: name.clone().into_bytes(),
        }))
    }
}

impl AuthzBackend for Users {
    type Permission = &'static str;

    async fn get_user_permissions(&self, user: &User) -> Result<HashSet<&'static str>, Infallible> {
        Ok(match &*user.name {
            "alice" => HashSet::from(["admin"]),
            _ => HashSet::new(),
        })
    }
}

type AuthSession = axum_login::AuthSession<Users>;

fn app(cluster: &Cluster, door: Door) -> Router {
    let login = async |mut auth: AuthSession, name: String| match auth
        .authenticate(name)
        .await
        .expect("it cannot fail")
    {
        Some(user) => auth
            .login(&user)
            .await
            .map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::OK),
        None => StatusCode::UNAUTHORIZED,
    };
    let logout = async |mut auth: AuthSession| {
        auth.logout()
            .await
            .map_or(StatusCode::INTERNAL_SERVER_ERROR, |_| StatusCode::OK)
    };
    let name = async |auth: AuthSession| auth.user.map(|user| user.name).unwrap_or_default();
    let routes = Router::new()
        .route("/admin", get(async || "admins"))
        .route_layer(permission_required!(Users, "admin"))
        .route("/user", get(name))
        .route_layer(login_required!(Users))
        .route("/login", post(login))
        .route("/logout", post(logout));
    match door {
        Door::Store => {
            let sessions = SessionManagerLayer::new(ClusterStore::new(cluster));
            routes.layer(AuthManagerLayerBuilder::new(Users, sessions).build())
        }
        Door::Layer => {
            let layer = ClusterSessionLayer::from_cluster(cluster);
            routes
                .layer(layer_fn(|inner| {
                    AuthManager::new(inner, Users, "axum-login.data")
                }))
                .layer(SessionLayer::new(layer))
        }
    }
}

/// Sends a request, and keeps the cookie that comes back.
async fn send(
    cluster: &TestCluster,
    door: Door,
    node: usize,
    cookie: &mut Option<String>,
    request: (&str, &str, &str),
) -> (StatusCode, String) {
    let (method, path, body) = request;
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, &**cookie);
    }
    let request = request
        .body(Body::from(body.to_owned()))
        .expect("a request");
    let (status, text, headers) = receive(app(cluster.cluster(node), door), request).await;
    let mut visitor = Visitor::new(cluster, door, &[node]);
    visitor.cookie = cookie.take();
    visitor.keep(&headers);
    *cookie = visitor.cookie;
    (status, text)
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_in_on_all_nodes_until_the_logout_though_nodes_die() {
    for door in DOORS {
        let mut cluster = TestCluster::start(2).await;
        let mut cookie = None;
        let nobody = send(&cluster, door, 0, &mut cookie, ("GET", "/user", "")).await;
        assert_eq!(nobody.0, StatusCode::UNAUTHORIZED, "{door:?}");
        let wrong = send(&cluster, door, 0, &mut cookie, ("POST", "/login", "eve")).await;
        assert_eq!(wrong.0, StatusCode::UNAUTHORIZED, "{door:?}");
        let right = send(&cluster, door, 0, &mut cookie, ("POST", "/login", "alice")).await;
        assert_eq!(right.0, StatusCode::OK, "{door:?}");
        let logged_in = cookie.clone();

        cluster.kill(0);
        let user = send(&cluster, door, 1, &mut cookie, ("GET", "/user", "")).await;
        assert_eq!(user, (StatusCode::OK, "alice".to_owned()), "{door:?}");
        let admin = send(&cluster, door, 1, &mut cookie, ("GET", "/admin", "")).await;
        assert_eq!(admin, (StatusCode::OK, "admins".to_owned()), "{door:?}");
        cluster.restart(0).await;
        cluster.kill(1);
        let user = send(&cluster, door, 0, &mut cookie, ("GET", "/user", "")).await;
        assert_eq!(user.1, "alice", "{door:?}");
        cluster.restart(1).await;

        let out = send(&cluster, door, 0, &mut cookie, ("POST", "/logout", "")).await;
        assert_eq!(out.0, StatusCode::OK, "{door:?}");
        assert_eq!(cookie, None, "{door:?}");
        for node in [0, 1] {
            cookie.clone_from(&logged_in);
            let out = send(&cluster, door, node, &mut cookie, ("GET", "/user", "")).await;
            assert_eq!(out.0, StatusCode::UNAUTHORIZED, "{door:?} {node}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permissions_are_checked_on_all_nodes() {
    for door in DOORS {
        let cluster = TestCluster::start(2).await;
        let mut cookie = None;
        send(&cluster, door, 0, &mut cookie, ("POST", "/login", "bob")).await;
        for node in [1, 0] {
            let user = send(&cluster, door, node, &mut cookie, ("GET", "/user", "")).await;
            assert_eq!(user.1, "bob", "{door:?}");
            let admin = send(&cluster, door, node, &mut cookie, ("GET", "/admin", "")).await;
            assert_eq!(admin.0, StatusCode::FORBIDDEN, "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn login_gives_the_session_another_cookie() {
    for door in DOORS {
        let cluster = TestCluster::start(2).await;
        let mut visitor = Visitor::new(&cluster, door, &[0]);
        visitor
            .visit(async |s| format!("{:?}", s.insert("cart", 3).await))
            .await;
        let planted = visitor.cookie.clone();
        let mut cookie = planted.clone();
        let login = ("POST", "/login", "alice");
        assert_eq!(
            send(&cluster, door, 1, &mut cookie, login).await.0,
            StatusCode::OK
        );
        assert_ne!(cookie, planted, "{door:?}");
        visitor.cookie.clone_from(&cookie);
        let cart = visitor
            .visit(async |s| format!("{:?}", s.get::<u64>("cart").await))
            .await;
        assert_eq!(cart, "Ok(Some(3))", "{door:?}");
        let mut stale = planted;
        let user = send(&cluster, door, 0, &mut stale, ("GET", "/user", "")).await;
        assert_eq!(user.0, StatusCode::UNAUTHORIZED, "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_out_everywhere_by_an_entry_of_the_session() {
    for door in DOORS {
        let cluster = TestCluster::start(2).await;
        let mut cookies = [const { None }; 3];
        for (node, cookie, user) in [(0, 0, "alice"), (1, 1, "alice"), (0, 2, "bob")] {
            let cookie = &mut cookies[cookie];
            send(&cluster, door, node, cookie, ("POST", "/login", user)).await;
            let mut visitor = Visitor::new(&cluster, door, &[node]);
            visitor.cookie.clone_from(cookie);
            let noted = visitor
                .visit(move |s| async move { format!("{:?}", s.insert("user", user).await) });
            assert_eq!(noted.await, "Ok(())");
        }
        let destroyed = cluster
            .cluster(1)
            .sessions("")
            .destroy_where("user", &"alice")
            .await;
        assert_eq!(destroyed.expect("a text").sessions, 2, "{door:?}");
        for (cookie, expected) in cookies.iter_mut().zip(["", "", "bob"]) {
            let user = send(&cluster, door, 0, cookie, ("GET", "/user", "")).await;
            assert_eq!(user.1, expected, "{door:?}");
        }
    }
}

/// What axum-login keeps says whose session it is, so the app need not write that as well.
#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_are_found_and_ended_by_what_axum_login_keeps() {
    for door in DOORS {
        let cluster = TestCluster::start_with(2, |config| config.index(USER_ID)).await;
        let mut cookies = [const { None }; 3];
        for (node, cookie, user) in [(0, 0, "alice"), (1, 1, "alice"), (0, 2, "bob")] {
            // The one used last comes first.
            sleep(Duration::from_secs(1)).await;
            let login = ("POST", "/login", user);
            send(&cluster, door, node, &mut cookies[cookie], login).await;
        }
        cluster.converged().await;
        for node in [0, 1] {
            let sessions = cluster.cluster(node).sessions("");
            let found = sessions.find(USER_ID, &"alice").await;
            assert_eq!(found.expect("it is indexed").len(), 2, "{door:?} {node}");
        }
        let [here, elsewhere, other] = &mut cookies;
        let sessions = cluster.cluster(1).sessions("");
        let found = sessions.find(USER_ID, &"alice").await;
        let oldest = found.expect("it is indexed").pop().expect("two").id;
        let ended = sessions.destroy_where_except(USER_ID, &"alice", &oldest);
        assert_eq!(ended.await.expect("a text").sessions, 1, "{door:?}");
        for (cookie, expected) in [(here, "alice"), (elsewhere, ""), (other, "bob")] {
            let user = send(&cluster, door, 0, cookie, ("GET", "/user", "")).await;
            assert_eq!(user.1, expected, "{door:?}");
        }
    }
}

/// Where axum-login keeps the user's id.
const USER_ID: &str = "axum-login.data#/user_id";
