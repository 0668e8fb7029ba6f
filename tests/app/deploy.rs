//! Rolling deploys: two versions of an app serve the same sessions for a while.

use std::convert::Infallible;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use tower_cluster_sessions::{
    Attribute, ClusterSessionLayer, Readiness, SessionError, Typed, test_util::TestCluster,
};

use crate::{
    app_support::layer_on,
    http_support::{cookie, start, value, visit},
};

/// What the old version stores.
#[derive(Serialize, Deserialize)]
struct OldTheme(String);

impl Attribute for OldTheme {
    const NAME: &'static str = "theme";
}

/// What the new version stores, under the same name.
#[derive(Serialize, Deserialize)]
struct NewTheme {
    name: String,
    dark: bool,
}

impl Attribute for NewTheme {
    const NAME: &'static str = "theme";
}

/// What only the new version knows.
#[derive(Default, Serialize, Deserialize)]
struct Cart(Vec<String>);

impl Attribute for Cart {
    const NAME: &'static str = "cart";
}

fn old_version(layer: ClusterSessionLayer) -> Router {
    async fn read(theme: Typed<OldTheme>) -> Result<String, SessionError> {
        Ok(theme.get()?.map_or_else(String::new, |theme| theme.0))
    }
    async fn write(theme: Typed<OldTheme>) -> Result<(), SessionError> {
        theme.insert(&OldTheme("dark".to_owned()))
    }
    Router::new()
        .route("/theme", get(read).post(write))
        .layer(layer)
}

fn new_version(layer: ClusterSessionLayer) -> Router {
    async fn strict(theme: Typed<NewTheme>) -> Result<String, SessionError> {
        Ok(theme.get()?.map_or_else(String::new, |theme| theme.name))
    }
    /// As a version should that is deployed beside one with another type.
    async fn lenient(theme: Typed<NewTheme>, old: Typed<OldTheme>) -> Result<String, SessionError> {
        match theme.get() {
            Ok(theme) => Ok(theme.map_or_else(String::new, |theme| theme.name)),
            Err(SessionError::Decode { .. }) => {
                Ok(old.get()?.map_or_else(String::new, |old| old.0))
            }
            Err(error) => Err(error),
        }
    }
    async fn write(theme: Typed<NewTheme>) -> Result<(), SessionError> {
        theme.insert(&NewTheme {
            name: "dark".to_owned(),
            dark: true,
        })
    }
    async fn cart(cart: Typed<Cart>) -> Result<(), SessionError> {
        let add = |cart: Option<Cart>| {
            let mut cart = cart.unwrap_or_default();
            cart.0.push("book".to_owned());
            cart
        };
        cart.update(add).map(drop)
    }
    Router::new()
        .route("/theme", get(lenient).post(write))
        .route("/strict", get(strict))
        .route("/cart", get(cart))
        .layer(layer)
}

async fn send(app: &Router, method: &str, path: &str, cookies: &str) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::COOKIE, cookies)
        .body(Body::empty());
    let answer: Result<_, Infallible> = app.clone().oneshot(request.expect("valid")).await;
    answer.unwrap_or_else(|never| match never {})
}

async fn read(app: &Router, path: &str, cookies: &str) -> String {
    let response = send(app, "GET", path, cookies).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let bytes = to_bytes(response.into_body(), 1 << 16).await;
    String::from_utf8(bytes.expect("a short body").to_vec()).expect("text")
}

#[tokio::test(start_paused = true)]
async fn value_of_another_versions_type_is_an_error_and_stays_readable_for_the_version_that_knows_it()
 {
    let cluster = TestCluster::start(2).await;
    let old = old_version(layer_on(&cluster, 0));
    let new = new_version(layer_on(&cluster, 1));
    let written = send(&old, "POST", "/theme", "").await;
    let cookie = cookie(&written).expect("a session");

    let strict = send(&new, "GET", "/strict", &cookie).await;
    assert_eq!(strict.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(read(&new, "/theme", &cookie).await, "dark");
    assert_eq!(read(&old, "/theme", &cookie).await, "dark", "untouched");

    send(&new, "POST", "/theme", &cookie).await;
    assert_eq!(read(&new, "/strict", &cookie).await, "dark");
    let older = send(&old, "GET", "/theme", &cookie).await;
    assert_eq!(older.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(read(&new, "/strict", &cookie).await, "dark", "untouched");
}

#[tokio::test(start_paused = true)]
async fn attribute_that_only_the_new_version_knows_survives_the_old_ones_writes() {
    let cluster = TestCluster::start(2).await;
    let old = old_version(layer_on(&cluster, 0));
    let new = new_version(layer_on(&cluster, 1));
    let cookie = cookie(&send(&new, "GET", "/cart", "").await).expect("a session");
    for _ in 0..3 {
        send(&old, "POST", "/theme", &cookie).await;
        send(&new, "GET", "/cart", &cookie).await;
    }
    for node in 0..2 {
        let layer = layer_on(&cluster, node);
        let cart = visit(&layer, &cookie, async |session| {
            let cart: Option<Vec<String>> = session.get("cart").unwrap();
            cart.unwrap_or_default().len()
        });
        assert_eq!(cart.await.into_body(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn node_without_an_apps_layer_holds_its_sessions_and_passes_them_on() {
    let mut cluster = TestCluster::start(2).await;
    // The new version, on the second node, has a new app.
    let (cookie, _) = start(&layer_on(&cluster, 1).with_context("shop"), "a", 1).await;
    assert_eq!(cluster.cluster(0).session_count(), 1);
    cluster.kill(1);
    assert_eq!(cluster.restart(1).await, Readiness::Synced);
    let again = layer_on(&cluster, 1).with_context("shop");
    assert_eq!(value(&again, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn node_by_node_deploy_loses_no_hit() {
    let mut cluster = TestCluster::start(3).await;
    let (cookie, id) = start(&layer_on(&cluster, 0), "hits", 1).await;
    let mut hits = 1;
    for node in 0..3 {
        cluster.cluster(node).drain();
        cluster.cluster(node).leave().await;
        for other in (0..3).filter(|other| *other != node) {
            hits += 1;
            assert_eq!(hit(&cluster, other, &cookie).await, (hits, id.clone()));
        }
        assert_eq!(cluster.restart(node).await, Readiness::Synced);
        hits += 1;
        assert_eq!(hit(&cluster, node, &cookie).await, (hits, id.clone()));
    }
}

async fn hit(cluster: &TestCluster, node: usize, cookie: &String) -> (u64, String) {
    let layer = layer_on(cluster, node);
    let response = visit(&layer, cookie, async |session| {
        let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1);
        (hits.expect("room"), session.id().expect("it lives"))
    });
    response.await.into_body()
}
