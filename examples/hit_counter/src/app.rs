//! The web application: what a user of the crate writes.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::map_response_with_state,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tower_cluster_sessions::{Cluster, ClusterSessionLayer, Session, SessionError, probes};
use tower_http::trace::TraceLayer;

use crate::{
    operators::Operators,
    page::{LoggedOut, NO_SESSION, Page},
};

/// Requests for files change no session that a peer must know of at once.
pub(crate) const DEFAULT_FILTER: &str = r".*\.(gif|js|jpg|png|html?|css|txt)";

/// It is a part of the program, which so runs where its sources are not.
const STYLE: &str = include_str!("../static/style.css");
/// Browsers load the style sheet and the empty icon, send the form, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
const HITS: &str = "hits";
const PADDING: &str = "padding";
const ADDITIONS: &str = "additions";

/// All routes, on the sessions of `cluster`.
pub(crate) fn app(cluster: Cluster, sessions: ClusterSessionLayer, operators: Operators) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/hit", get(hit))
        .route("/add", get(add))
        .route("/peek", get(peek))
        .route("/plain", get(plain))
        // No GET: a link or an image on a page of others must not log anybody out.
        .route("/logout", post(logout))
        .route("/cluster.json", get(cluster_json))
        .route("/metrics", get(metrics))
        .route("/static/style.css", get(style))
        .layer(sessions)
        // Behind the layer, so that these have no part in sessions.
        .merge(operators.routes(&cluster))
        .layer(TraceLayer::new_for_http())
        // Behind that one, too: a probe each second that is told "not ready" is no failure to log.
        .merge(probes(&cluster))
        .layer(map_response_with_state(cluster.clone(), add_headers))
        .with_state(cluster)
}

async fn index(
    State(cluster): State<Cluster>,
    session: Session,
) -> Result<Html<String>, SessionError> {
    let hits = count(&session)?;
    let page = Page {
        hits,
        session_id: &id_of(&session),
        node: cluster.node_name(),
        peers: &cluster.members(),
    };
    Ok(Html(page.to_string()))
}

#[derive(Debug, Deserialize)]
struct HitQuery {
    /// Bytes of padding to keep in the session, for measurements with larger ones.
    pad: Option<usize>,
}

async fn hit(
    session: Session,
    Query(HitQuery { pad }): Query<HitQuery>,
) -> Result<String, SessionError> {
    // More than any session may hold is for the session to refuse, not for the allocator.
    const MOST: usize = 16 << 20;
    if let Some(bytes) = pad {
        session.insert(PADDING, "x".repeat(bytes.min(MOST)))?;
    }
    let hits = count(&session)?;
    Ok(sentences(hits, &id_of(&session)))
}

/// Counts what no node's count replaces, whichever nodes are asked at once.
async fn add(session: Session) -> Result<String, SessionError> {
    let additions = session.increment(ADDITIONS, 1)?;
    let id = id_of(&session);
    Ok(format!(
        "You have added {additions} times.\nSession ID: {id}\n"
    ))
}

async fn peek(session: Option<Session>) -> Result<String, SessionError> {
    let (hits, id, padding, additions) = match session {
        Some(session) => (
            session.get::<u64>(HITS)?.unwrap_or(0),
            id_of(&session),
            session.get::<String>(PADDING)?.map_or(0, |text| text.len()),
            session.counter(ADDITIONS)?,
        ),
        None => (0, NO_SESSION.to_owned(), 0, 0),
    };
    let sentences = sentences(hits, &id);
    Ok(format!(
        "{sentences}The session holds {padding} bytes of padding.\n\
         You have added {additions} times.\n"
    ))
}

async fn plain() -> &'static str {
    "This text needs no session.\n"
}

/// Takes a `Session`, not an `Option`: what the visitor is logged out of may be a session that this
/// node has yet to learn of.
async fn logout(session: Session) -> Result<Html<String>, SessionError> {
    session.destroy()?;
    Ok(Html(LoggedOut.to_string()))
}

async fn cluster_json(State(cluster): State<Cluster>) -> impl IntoResponse {
    Json(cluster.stats())
}

async fn metrics(State(cluster): State<Cluster>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        cluster.prometheus(),
    )
}

fn count(session: &Session) -> Result<u64, SessionError> {
    session.update(HITS, |hits: Option<u64>| hits.unwrap_or(0) + 1)
}

fn id_of(session: &Session) -> String {
    session.id().unwrap_or_else(|| NO_SESSION.to_owned())
}

fn sentences(hits: u64, id: &str) -> String {
    format!("You have hit this page {hits} times.\nSession ID: {id}\n")
}

/// Tells which node has answered, and what browsers must not do with any answer.
async fn add_headers(State(cluster): State<Cluster>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Ok(name) = HeaderValue::from_bytes(cluster.node_name().as_bytes()) {
        headers.insert("x-served-by", name);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The page for operators has a stricter one.
    let policy = headers.entry(CONTENT_SECURITY_POLICY);
    policy.or_insert(const { HeaderValue::from_static(POLICY) });
    response
}

/// Lets the browser keep it. Otherwise each page is two requests, and a balancer that alternates
/// between two nodes sends every page to the same one.
async fn style() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, STYLE)
}
