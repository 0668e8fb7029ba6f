//! A visitor of an app, on one node or on several by turns.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};
use tower_cluster_sessions::{Cluster, ClusterSessionLayer, test_util::TestCluster};

use crate::{
    doors::{ClusterStore, SessionLayer},
    tower_sessions::{Session, SessionManagerLayer, cookie::Key},
};

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Store,
    Layer,
}

pub(crate) const DOORS: [Door; 2] = [Door::Store, Door::Layer];

/// One node, and two by turns.
pub(crate) const NODES: [&[usize]; 2] = [&[0], &[0, 1]];

/// How cookies are sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seal {
    None,
    Signed,
    Private,
}

/// What a handler does with its session.
pub(crate) type Handler = Arc<dyn Fn(Session) -> BoxFuture<'static, String> + Send + Sync>;

/// Puts a handler under the sessions of one node.
pub(crate) fn app(cluster: &Cluster, door: Door, seal: Seal, handler: Handler) -> Router {
    let service = service_fn(move |request: Request<Body>| {
        let session = request.extensions().get::<Session>().cloned();
        let response = handler(session.expect("a layer around"));
        async { Ok::<_, Infallible>(Response::new(Body::from(response.await))) }
    });
    let routes = Router::new().route_service("/", service);
    layered(routes, cluster, door, seal)
}

/// Puts an app under the sessions of one node.
pub(crate) fn layered(routes: Router, cluster: &Cluster, door: Door, seal: Seal) -> Router {
    let key = [7; 64];
    let store = SessionManagerLayer::new(ClusterStore::new(cluster)).with_secure(true);
    let layer = ClusterSessionLayer::from_cluster(cluster);
    match (door, seal) {
        (Door::Store, Seal::None) => routes.layer(store),
        (Door::Store, Seal::Signed) => routes.layer(store.with_signed(Key::from(&key))),
        (Door::Store, Seal::Private) => routes.layer(store.with_private(Key::from(&key))),
        (Door::Layer, Seal::None) => routes.layer(SessionLayer::new(layer)),
        (Door::Layer, seal) => {
            let key = tower_cluster_sessions::CookieKey::from(&key);
            routes.layer(SessionLayer::new(match seal {
                Seal::Signed => layer.with_signed(key),
                _ => layer.with_private(key),
            }))
        }
    }
}

/// A visitor with the cookie that the app has set.
#[derive(Clone, Debug)]
pub(crate) struct Visitor<'a> {
    cluster: &'a TestCluster,
    pub(crate) door: Door,
    pub(crate) seal: Seal,
    /// Those that are visited by turns.
    pub(crate) nodes: Vec<usize>,
    turn: usize,
    pub(crate) cookie: Option<String>,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(cluster: &'a TestCluster, door: Door, nodes: &[usize]) -> Self {
        Self {
            cluster,
            door,
            seal: Seal::None,
            nodes: nodes.to_vec(),
            turn: 0,
            cookie: None,
        }
    }

    /// Visits the next node. Returns what the handler returns.
    pub(crate) async fn visit<F>(
        &mut self,
        handler: impl Fn(Session) -> F + Send + Sync + 'static,
    ) -> String
    where
        F: Future<Output = String> + Send + 'static,
    {
        let (status, text, _) = self.answer(handler).await;
        assert_eq!(status, StatusCode::OK);
        text
    }

    /// As [`Visitor::visit`], with all of the answer.
    pub(crate) async fn answer<F>(
        &mut self,
        handler: impl Fn(Session) -> F + Send + Sync + 'static,
    ) -> (StatusCode, String, HeaderMap)
    where
        F: Future<Output = String> + Send + 'static,
    {
        let node = self.nodes[self.turn % self.nodes.len()];
        self.turn += 1;
        let handler: Handler = Arc::new(move |session| Box::pin(handler(session)));
        let app = app(self.cluster.cluster(node), self.door, self.seal, handler);
        let answer = send(app, "/", self.cookie.as_deref()).await;
        self.keep(&answer.2);
        answer
    }

    /// Keeps the cookie that a response sets, or drops the one that it removes.
    pub(crate) fn keep(&mut self, headers: &HeaderMap) {
        if let Some(field) = headers.get(SET_COOKIE) {
            let field = field.to_str().expect("text");
            let (pair, _) = field.split_once(';').expect("attributes");
            let (_, value) = pair.split_once('=').expect("name and value");
            self.cookie = (!value.is_empty()).then(|| pair.to_owned());
        }
    }
}

/// Gets a page of an app.
pub(crate) async fn send(
    app: Router,
    path: &str,
    cookie: Option<&str>,
) -> (StatusCode, String, HeaderMap) {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let request = request.body(Body::empty()).expect("a request");
    receive(app, request).await
}

/// Sends a request to an app.
pub(crate) async fn receive(
    app: Router,
    request: Request<Body>,
) -> (StatusCode, String, HeaderMap) {
    let response = app.oneshot(request).await.expect("it cannot fail");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("text");
    (head.status, text, head.headers)
}

/// Runs a test for both ways in, on one node and on two by turns.
pub(crate) async fn everywhere(test: impl AsyncFn(&TestCluster, Visitor<'_>)) {
    for door in DOORS {
        for nodes in NODES {
            let cluster = TestCluster::start(nodes.len()).await;
            test(&cluster, Visitor::new(&cluster, door, nodes)).await;
        }
    }
}

/// Shows what an operation returns, or its error.
pub(crate) fn shown<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => panic!("{error:?}"),
    }
}
