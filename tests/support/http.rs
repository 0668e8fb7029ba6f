//! One node without sockets, and clients that talk to a layer on it as a server would.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a failed step should end the test"
)]

use std::{convert::Infallible, time::Duration};

use http::{
    HeaderMap, Request, Response,
    header::{COOKIE, SET_COOKIE},
};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, CookieKey, Session, SessionSlot,
};

/// A layer on a node of its own.
pub(crate) async fn layer() -> ClusterSessionLayer {
    ClusterSessionLayer::from_cluster(&Cluster::start(ClusterConfig::standalone()).await.unwrap())
}

/// The layer with each kind of seal, none included.
pub(crate) fn sealed_in_all_ways(layer: &ClusterSessionLayer) -> [ClusterSessionLayer; 3] {
    [
        layer.clone(),
        layer.clone().with_signed(key(1)),
        layer.clone().with_private(key(1)),
    ]
}

/// Keys of different numbers differ.
pub(crate) fn key(number: u8) -> CookieKey {
    CookieKey::from(&[number; 64])
}

/// Sends a request with these cookies; `handler` gets the loaded session, its result is the body.
pub(crate) async fn visit<T>(
    layer: &ClusterSessionLayer,
    cookies: impl Cookies,
    handler: impl AsyncFnOnce(Session) -> T,
) -> Response<T> {
    visit_at(layer, "/", cookies, handler).await
}

/// As [`visit`], of this path.
pub(crate) async fn visit_at<T>(
    layer: &ClusterSessionLayer,
    path: &str,
    cookies: impl Cookies,
    handler: impl AsyncFnOnce(Session) -> T,
) -> Response<T> {
    let mut handler = Some(handler);
    let service = service_fn(|request: Request<()>| {
        let handler = handler.take().expect("one request");
        async move {
            let session = slot(&request).load().await;
            Ok::<_, Infallible>(Response::new(handler(session).await))
        }
    });
    let mut request = request(cookies);
    *request.uri_mut() = path.parse().unwrap();
    let answer = layer.layer(service).oneshot(request).await;
    answer.unwrap_or_else(|never| match never {})
}

/// Starts a session with `name` = `value`, and comes back to it once, as browsers do. Returns its
/// cookie and its id.
pub(crate) async fn start(layer: &ClusterSessionLayer, name: &str, value: u64) -> (String, String) {
    let response = visit(layer, (), async |session| {
        session.insert(name, value).unwrap();
        session.id().unwrap()
    })
    .await;
    let cookie = cookie(&response).unwrap();
    visit(layer, &cookie, async |_| ()).await;
    (cookie, response.into_body())
}

/// The value of `name` in the session that `cookies` open.
pub(crate) async fn value(
    layer: &ClusterSessionLayer,
    cookies: impl Cookies,
    name: &str,
) -> Option<u64> {
    let response = visit(layer, cookies, async |session| session.get(name).unwrap()).await;
    response.into_body()
}

pub(crate) fn slot<B>(request: &Request<B>) -> SessionSlot {
    request.extensions().get::<SessionSlot>().cloned().unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "as in `visit`")]
pub(crate) fn request(cookies: impl Cookies) -> Request<()> {
    let mut request = Request::new(());
    cookies.add_to(request.headers_mut());
    request
}

/// `name=value` of the cookie that a response sets, `None` when it sets none.
pub(crate) fn cookie<B>(response: &Response<B>) -> Option<String> {
    let field = set_cookie(response)?;
    let pair = field.split(';').next().unwrap();
    Some(pair.to_owned())
}

/// The whole `Set-Cookie` field. There must not be two.
pub(crate) fn set_cookie<B>(response: &Response<B>) -> Option<String> {
    let mut fields = response.headers().get_all(SET_COOKIE).iter();
    let field = fields.next()?.to_str().unwrap().to_owned();
    assert_eq!(fields.next(), None, "two cookies");
    Some(field)
}

/// Lets virtual time pass, with all timers that are due in it. Needs `start_paused`.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// `Cookie` fields: none, one, or several.
pub(crate) trait Cookies {
    fn add_to(&self, headers: &mut HeaderMap);
}

impl Cookies for () {
    fn add_to(&self, _headers: &mut HeaderMap) {}
}

impl Cookies for &str {
    fn add_to(&self, headers: &mut HeaderMap) {
        headers.append(COOKIE, self.parse().unwrap());
    }
}

impl Cookies for &String {
    fn add_to(&self, headers: &mut HeaderMap) {
        self.as_str().add_to(headers);
    }
}

impl Cookies for &[String] {
    fn add_to(&self, headers: &mut HeaderMap) {
        self.iter().for_each(|field| field.add_to(headers));
    }
}
