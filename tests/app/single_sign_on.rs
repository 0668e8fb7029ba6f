//! One login and one logout for several contexts, on two nodes.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body, to_bytes},
    middleware::from_extractor,
    routing::get,
};
use http::{
    Request, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use tower::ServiceExt as _;
use tower_cluster_sessions::{
    Changes, ClusterConfig, ClusterSessionLayer, Event, Expiry, Session, SessionError,
    SessionEventKind, SingleSignOn, test_util::TestCluster,
};

use crate::http_support::{minutes, pass};

/// Two contexts, `shop` and `forum`, whose handlers say who the visitor is and keep a note.
fn app(cluster: &TestCluster, node: usize) -> Router {
    let layer = || ClusterSessionLayer::from_cluster(cluster.cluster(node));
    let expiry = Expiry::idle(minutes(30));
    let context = |name| {
        Router::new()
            .route("/", get(greet))
            .route("/login/{user}", get(log_in))
            .route("/logout", get(log_out))
            .route("/note/{note}", get(write))
            .route("/note", get(read))
            .route("/end", get(async |session: Session| session.destroy()))
            .layer(from_extractor::<SingleSignOn>())
            // Visitors come without a sign-on, too.
            .route("/plain/{note}", get(write))
            .layer(layer().with_context(name).with_expiry(expiry))
    };
    Router::new()
        .nest("/shop", context("shop"))
        .nest("/forum", context("forum"))
        .layer(
            layer()
                .with_context(SingleSignOn::CONTEXT)
                .with_expiry(expiry),
        )
}

type Path = axum::extract::Path<String>;

async fn greet(sign_on: SingleSignOn) -> Result<String, SessionError> {
    Ok(sign_on.user()?.unwrap_or_else(|| "nobody".to_owned()))
}

async fn log_in(sign_on: SingleSignOn, Path { 0: user }: Path) -> Result<(), SessionError> {
    sign_on.sign_on(user).await
}

async fn log_out(sign_on: SingleSignOn) -> Result<(), SessionError> {
    sign_on.sign_off().await
}

async fn write(session: Session, Path { 0: note }: Path) -> Result<(), SessionError> {
    session.insert("note", note)
}

async fn read(session: Session) -> Result<String, SessionError> {
    Ok(session.get("note")?.unwrap_or_default())
}

/// A browser with its cookies.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    async fn status(&mut self, app: &Router, path: &str) -> (StatusCode, String) {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        let request = Request::get(path).header(COOKIE, cookies);
        let request = request.body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("infallible");
        for field in response.headers().get_all(SET_COOKIE) {
            let field = field.to_str().expect("text");
            let pair = field.split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("name and value");
            match field.contains("Max-Age=0") {
                true => drop(self.0.remove(name)),
                false => drop(self.0.insert(name.to_owned(), value.to_owned())),
            }
        }
        let status = response.status();
        let body = to_bytes(response.into_body(), 1000).await.expect("short");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Gets a page, which must be fine.
    async fn get(&mut self, app: &Router, path: &str) -> String {
        let (status, body) = self.status(app, path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
}

async fn start() -> (TestCluster, [Router; 2]) {
    let indexed = |config: ClusterConfig| config.index(SingleSignOn::ATTRIBUTE);
    let cluster = TestCluster::start_with(2, indexed).await;
    let apps = [0, 1].map(|node| app(&cluster, node));
    (cluster, apps)
}

#[tokio::test(start_paused = true)]
async fn who_signs_on_at_one_context_is_known_at_all_and_after_a_node_died() {
    let (mut cluster, apps) = start().await;
    let mut browser = Browser::default();
    assert_eq!(browser.get(&apps[0], "/forum").await, "nobody");
    browser.get(&apps[0], "/shop/login/alice").await;
    for (app, path) in apps.iter().zip(["/forum", "/shop"]) {
        assert_eq!(browser.get(app, path).await, "alice");
    }
    browser.get(&apps[0], "/forum/note/1").await;
    drop(apps);
    cluster.kill(0);
    let survivor = app(&cluster, 1);
    assert_eq!(browser.get(&survivor, "/forum").await, "alice");
    assert_eq!(browser.get(&survivor, "/forum/note").await, "1");

    browser.get(&survivor, "/shop/logout").await;
    cluster.restart(0).await;
    for node in 0..2 {
        let app = app(&cluster, node);
        assert_eq!(browser.get(&app, "/forum").await, "nobody");
        assert_eq!(browser.get(&app, "/forum/note").await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn sign_off_ends_the_sessions_of_all_contexts_on_all_nodes_and_of_nobody_else() {
    let (cluster, apps) = start().await;
    let (mut alice, mut bob) = (Browser::default(), Browser::default());
    for (browser, user) in [(&mut alice, "alice"), (&mut bob, "bob")] {
        browser.get(&apps[0], &format!("/shop/login/{user}")).await;
        browser.get(&apps[1], "/forum").await;
    }
    assert_eq!(cluster.cluster(1).session_count(), 6);
    let thief = alice.clone();
    alice.get(&apps[1], "/forum/logout").await;
    for node in 0..2 {
        assert_eq!(cluster.cluster(node).session_count(), 3, "node{node}");
    }
    // The other contexts have had no occasion to take theirs away.
    assert_eq!(alice.0.keys().collect::<Vec<_>>(), ["__Host-id-shop"]);
    for mut browser in [alice, thief] {
        assert_eq!(browser.get(&apps[0], "/shop").await, "nobody");
    }
    assert_eq!(bob.get(&apps[0], "/forum").await, "bob");
}

#[tokio::test(start_paused = true)]
async fn sign_off_beside_a_cut_reaches_all_sessions_after_it() {
    let (cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    cluster.cut();
    // One session is known to the other node alone.
    browser.get(&apps[1], "/forum/note/2").await;
    let mut other_side = browser.clone();
    browser.get(&apps[0], "/shop/logout").await;
    assert_eq!(
        other_side.get(&apps[1], "/forum").await,
        "alice",
        "it cannot know"
    );
    cluster.heal();
    cluster.converged().await;
    for app in &apps {
        assert_eq!(other_side.get(app, "/forum").await, "nobody");
        assert_eq!(other_side.get(app, "/forum/note").await, "");
    }
    assert_eq!(cluster.cluster(1).session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn use_of_any_context_keeps_the_sign_on_and_idleness_of_one_ends_no_other() {
    let (cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    browser.get(&apps[0], "/shop/note/1").await;
    browser.get(&apps[1], "/forum/note/2").await;
    for _ in 0..4 {
        pass(minutes(20)).await;
        assert_eq!(browser.get(&apps[1], "/forum").await, "alice");
    }
    assert_eq!(
        cluster.cluster(0).session_count(),
        2,
        "that of the shop is over"
    );
    assert_eq!(browser.get(&apps[0], "/shop").await, "alice");
    assert_eq!(browser.get(&apps[0], "/shop/note").await, "");
    assert_eq!(browser.get(&apps[0], "/forum/note").await, "2");

    browser.get(&apps[0], "/shop/end").await;
    assert_eq!(browser.get(&apps[0], "/forum/note").await, "2");
    assert_eq!(browser.get(&apps[0], "/shop").await, "alice");
}

#[tokio::test(start_paused = true)]
async fn session_of_a_sign_on_that_has_ended_ends_when_it_is_loaded() {
    let (cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    browser.get(&apps[0], "/shop/note/1").await;
    let sign_ons = cluster.cluster(1).sessions(SingleSignOn::CONTEXT);
    let ended = sign_ons.destroy_where("user", &"alice").await;
    assert_eq!(ended.expect("a text").sessions, 1);
    assert_eq!(browser.get(&apps[0], "/shop").await, "nobody");
    assert_eq!(browser.get(&apps[1], "/shop/note").await, "");
    assert_eq!(cluster.cluster(0).session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_user_in_the_same_browser_gets_nothing_of_the_first() {
    let (_cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    browser.get(&apps[0], "/shop/note/1").await;
    browser.get(&apps[1], "/forum/note/2").await;
    let before = browser.clone();
    browser.get(&apps[1], "/shop/login/bob").await;
    for path in ["/shop/note", "/forum/note"] {
        assert_eq!(browser.get(&apps[0], path).await, "", "{path}");
    }
    assert_eq!(browser.get(&apps[0], "/forum").await, "bob");

    // The cookies of the contexts alone, beside another user's sign-on.
    let mut mixed = before;
    let sign_on = browser.0["__Host-id-sign-on"].clone();
    mixed.0.insert("__Host-id-sign-on".to_owned(), sign_on);
    assert_eq!(mixed.get(&apps[0], "/forum/note").await, "");
}

#[tokio::test(start_paused = true)]
async fn cookies_from_before_a_sign_on_open_nothing_after_it() {
    let (cluster, apps) = start().await;
    let mut events = cluster.cluster(0).events();
    let mut victim = Browser::default();
    victim.get(&apps[0], "/shop/plain/cart").await;
    victim.get(&apps[0], "/forum/plain/draft").await;
    let mut planted = victim.clone();
    victim.get(&apps[0], "/shop/login/alice").await;
    assert_eq!(victim.get(&apps[0], "/forum").await, "alice");
    // What they had done as guests stays theirs.
    assert_eq!(victim.get(&apps[0], "/shop/note").await, "cart");
    assert_eq!(victim.get(&apps[0], "/forum/note").await, "draft");
    for path in ["/shop/note", "/forum/note"] {
        assert_eq!(planted.get(&apps[0], path).await, "", "{path}");
    }

    // To sign on again replaces the cookie of the sign-on. A copy of it is noticed.
    let mut stolen = victim.clone();
    victim.get(&apps[0], "/forum/login/alice").await;
    assert_eq!(victim.get(&apps[0], "/shop/note").await, "cart");
    pass(minutes(2)).await;
    stolen.0.retain(|name, _| name == "__Host-id-sign-on");
    assert_eq!(stolen.get(&apps[0], "/shop").await, "nobody");
    let noticed = loop {
        match events.recv().await.expect("the cluster runs") {
            Event::Session(event) if event.kind == SessionEventKind::ReplacedIdPresented => {
                break event;
            }
            _ => {}
        }
    };
    assert_eq!(&*noticed.context, SingleSignOn::CONTEXT);
}

#[tokio::test(start_paused = true)]
async fn straggler_of_a_sign_on_loses_nothing() {
    let (_cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    browser.get(&apps[0], "/forum/note/1").await;
    let mut late = browser.clone();
    browser.get(&apps[0], "/shop/login/alice").await;
    assert_eq!(
        late.get(&apps[0], "/forum").await,
        "nobody",
        "its cookie was replaced"
    );
    assert_eq!(browser.get(&apps[0], "/forum/note").await, "1");

    let mut first = browser.clone();
    let mut second = browser.clone();
    assert_eq!(first.get(&apps[0], "/shop").await, "alice");
    assert_eq!(second.get(&apps[1], "/shop").await, "alice");
}

#[tokio::test(start_paused = true)]
async fn public_id_of_a_sign_on_signs_nobody_off() {
    let (cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    let sign_ons = cluster.cluster(0).sessions(SingleSignOn::CONTEXT);
    let page = sign_ons.page(None, 10).await;
    let id = &page.sessions[0].id;
    // It has the form of a cookie, with a secret that is made up.
    let made_up = sign_ons.create(&Changes::new()).expect("there is room").1;
    let forged = format!("{id}{}", &made_up.expose()[22..]);
    let mut thief = Browser::default();
    thief.0.insert("__Host-id-sign-on".to_owned(), forged);
    assert_eq!(thief.get(&apps[0], "/shop").await, "nobody");
    thief.get(&apps[0], "/shop/logout").await;
    assert_eq!(browser.get(&apps[1], "/shop").await, "alice");
}

#[tokio::test(start_paused = true)]
async fn sign_on_without_its_layers_says_which_are_missing() {
    let cluster = TestCluster::start(1).await;
    let route = || Router::new().route("/", get(greet));
    let layer = || ClusterSessionLayer::from_cluster(cluster.cluster(0));
    let sign_ons = layer().with_context(SingleSignOn::CONTEXT);
    for app in [
        route(),
        route().layer(sign_ons.clone()),
        route().layer(layer()),
    ] {
        let (status, _) = Browser::default().status(&app, "/").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    let app = route().layer(layer()).layer(sign_ons);
    assert_eq!(Browser::default().get(&app, "/").await, "nobody");
}

/// The app's other pages may be static, or the visitor reads for long.
#[tokio::test(start_paused = true)]
async fn visitor_who_pauses_right_after_the_sign_on_stays_signed_on() {
    let (_cluster, apps) = start().await;
    let mut browser = Browser::default();
    browser.get(&apps[0], "/shop/login/alice").await;
    browser.get(&apps[0], "/forum/note/1").await;
    pass(minutes(20)).await;
    assert_eq!(browser.get(&apps[1], "/shop").await, "alice");
    assert_eq!(browser.get(&apps[1], "/forum/note").await, "1");
}
