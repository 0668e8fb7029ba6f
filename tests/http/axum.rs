//! In an axum app: extractors, routing, other people's layers.
#![cfg(feature = "axum")]

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use tower_cluster_sessions::{
    Attribute, ClusterConfig, ClusterSessionLayer, MissingLayer, Session, SessionError,
    SessionSlot, Typed,
};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, services::ServeDir};

use crate::http_support::*;

async fn hit(session: Session) -> Result<String, SessionError> {
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)?;
    Ok(hits.to_string())
}

async fn plain() -> &'static str {
    "plain"
}

async fn send(app: &Router, method: Method, path: &str, cookies: &str) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::COOKIE, cookies)
        .body(Body::empty())
        .expect("a request");
    let answer = app.clone().oneshot(request).await;
    answer.unwrap_or_else(|never| match never {})
}

async fn read(app: &Router, path: &str, cookies: &str) -> Response {
    send(app, Method::GET, path, cookies).await
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 16).await;
    String::from_utf8(bytes.expect("a short body").to_vec()).expect("text")
}

fn is_untouched(response: &Response) -> bool {
    set_cookie(response).is_none()
}

#[tokio::test]
async fn hits_are_counted() {
    let layer = ClusterSessionLayer::new(ClusterConfig::standalone());
    let app = Router::new().route("/", get(hit)).layer(layer);
    let first = read(&app, "/", "").await;
    let cookie = cookie(&first).unwrap();
    assert_eq!(text(first).await, "1");
    for expected in 2..5 {
        let response = read(&app, "/", &cookie).await;
        assert!(is_untouched(&response));
        assert_eq!(text(response).await, expected.to_string());
    }
}

#[tokio::test]
async fn missing_layer_is_a_bare_500_for_the_client_and_a_reason_with_the_path_for_the_app() {
    async fn told(session: Result<Session, MissingLayer>) -> String {
        session.expect_err("no layer is around").to_string()
    }
    async fn guard(session: Session, request: Request<Body>, next: Next) -> Response {
        drop(session);
        next.run(request).await
    }
    let optional = async |session: Option<Session>| session.is_some().to_string();
    let typed = async |theme: Option<Typed<Theme>>| theme.is_some().to_string();
    let guarded = Router::new()
        .route("/", get(plain))
        .layer(layer().await)
        .layer(from_fn(guard));
    for app in [
        Router::new().route("/", get(hit)),
        Router::new().route("/", get(optional)),
        Router::new().route("/", get(typed)),
        guarded,
    ] {
        let response = read(&app, "/", "").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text(response).await, "");
    }
    let app = Router::new().nest("/shop", Router::new().route("/cart", get(told)));
    let reason = text(read(&app, "/shop/cart", "").await).await;
    for part in [
        "/shop/cart",
        "`.layer(ClusterSessionLayer::new(config))`",
        "the later one is outside",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn option_is_none_without_a_live_session() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let (gone, _) = start(&layer, "a", 1).await;
    visit(&layer, &gone, async |session| session.destroy().unwrap()).await;
    let (old, _) = start(&layer, "a", 1).await;
    visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    let handler = async |session: Option<Session>| session.is_some().to_string();
    let app = Router::new().route("/", get(handler)).layer(layer);
    for (cookies, expected) in [
        ("", "false"),
        ("__Host-id=junk", "false"),
        (&gone, "false"),
        (&old, "false"),
        (&cookie, "true"),
    ] {
        let response = read(&app, "/", cookies).await;
        assert!(is_untouched(&response));
        assert_eq!(text(response).await, expected, "{cookies}");
    }
}

#[tokio::test]
async fn typed_option_is_none_without_a_live_session() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let handler = async |theme: Option<Typed<Theme>>| match theme {
        None => "no session".to_owned(),
        Some(theme) => match theme.take().unwrap() {
            None => "no theme".to_owned(),
            Some(Theme(theme)) => theme,
        },
    };
    visit(&layer, &cookie, async |session| {
        let theme = Typed::<Theme>::new(session);
        theme.insert(&Theme("dark".to_owned())).unwrap();
    })
    .await;
    let app = Router::new().route("/", get(handler)).layer(layer);
    for (cookies, expected) in [("", "no session"), (&cookie, "dark"), (&cookie, "no theme")] {
        assert_eq!(text(read(&app, "/", cookies).await).await, expected);
    }
}

#[derive(Serialize, Deserialize)]
struct Theme(String);

impl Attribute for Theme {
    const NAME: &'static str = "theme";
}

#[tokio::test]
async fn typed_and_slot_are_extractors_too() {
    async fn handler(slot: SessionSlot, theme: Typed<Theme>) -> Result<String, SessionError> {
        theme.insert(&Theme("dark".into()))?;
        let stored: Option<String> = slot.load().await.get("theme")?;
        Ok(stored.unwrap_or_default())
    }

    let app = Router::new().route("/", get(handler)).layer(layer().await);
    assert_eq!(text(read(&app, "/", "").await).await, "dark");
}

#[tokio::test]
async fn errors_answer_as_documented() {
    async fn too_large(session: Session) -> Result<(), SessionError> {
        session.insert("large", "x".repeat(1000))
    }
    async fn wrong_kind(session: Session) -> Result<(), SessionError> {
        session.increment("a", 1)?;
        session.insert("a", 1)
    }

    let config = ClusterConfig::standalone()
        .max_session_bytes(500)
        .max_sessions(1);
    let layer = ClusterSessionLayer::new(config);
    let app = Router::new()
        .route("/", get(hit))
        .route("/large", get(too_large))
        .route("/kind", get(wrong_kind))
        .layer(layer);
    let cookie = cookie(&read(&app, "/", "").await).unwrap();
    for (path, cookies, expected) in [
        ("/", "", StatusCode::SERVICE_UNAVAILABLE),
        ("/large", cookie.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        ("/kind", cookie.as_str(), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let response = read(&app, path, cookies).await;
        assert_eq!(response.status(), expected, "{path}");
        let says_when = response.headers().contains_key(header::RETRY_AFTER);
        assert_eq!(
            says_when,
            expected == StatusCode::SERVICE_UNAVAILABLE,
            "{path}"
        );
    }
}

#[tokio::test]
async fn nest_merge_fallback_files_head_options_and_cors_touch_nothing_by_themselves() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "hits", 1).await;
    let before = layer.cluster().stats();
    let app = Router::new()
        .route("/plain", get(plain))
        .nest("/nested", Router::new().route("/plain", get(plain)))
        .merge(Router::new().route("/merged", get(plain)))
        .nest_service("/files", ServeDir::new("src"))
        .fallback(plain)
        .layer(layer.clone())
        .layer(CorsLayer::permissive());
    for (method, path) in [
        (Method::GET, "/plain"),
        (Method::GET, "/nested/plain"),
        (Method::GET, "/merged"),
        (Method::GET, "/files/lib.rs"),
        (Method::GET, "/nowhere"),
        (Method::HEAD, "/plain"),
        (Method::OPTIONS, "/plain"),
        (Method::POST, "/plain"),
    ] {
        for cookies in ["", &cookie, "__Host-id=junk"] {
            let response = send(&app, method.clone(), path, cookies).await;
            assert!(is_untouched(&response), "{method} {path}");
        }
    }
    let after = layer.cluster().stats();
    assert_eq!(after.sessions, before.sessions);
    assert_eq!(after.log_head, before.log_head);
}

#[tokio::test]
async fn sessions_work_wherever_the_handler_sits() {
    let layer = layer().await;
    let app = Router::new()
        .route("/", get(hit))
        .nest("/nested", Router::new().route("/hit", get(hit)))
        .merge(Router::new().route("/merged", get(hit)))
        .fallback(hit)
        .layer(layer.clone());
    let routed = Router::new()
        .route("/", get(hit))
        .route_layer(layer.clone());
    let cookie = cookie(&read(&app, "/", "").await).unwrap();
    for (at, path) in ["/nested/hit", "/merged", "/nowhere"].iter().enumerate() {
        let response = read(&app, path, &cookie).await;
        assert_eq!(text(response).await, (at + 2).to_string(), "{path}");
    }
    let response = read(&routed, "/", &cookie).await;
    assert_eq!(text(response).await, "5");
    let head = send(&app, Method::HEAD, "/", &cookie).await;
    assert!(
        head.status().is_success(),
        "a handler that writes writes for HEAD, too"
    );
    assert_eq!(text(read(&app, "/", &cookie).await).await, "7");
}

#[tokio::test]
async fn filter_sees_the_original_path_inside_nest() {
    let layer = layer().await.with_filter("/nested/static/.*").unwrap();
    let inner = Router::new()
        .route("/static/x", get(hit))
        .route("/other", get(hit))
        .layer(layer.clone());
    let app = Router::new().nest("/nested", inner);
    let (cookie, _) = start(&layer, "a", 1).await;
    for (path, commits) in [("/nested/static/x", 0), ("/nested/other", 1)] {
        let before = layer.cluster().stats().log_head;
        assert!(read(&app, path, &cookie).await.status().is_success());
        assert_eq!(layer.cluster().stats().log_head - before, commits, "{path}");
    }
}

#[tokio::test]
async fn caught_panic_keeps_what_was_written() {
    async fn fails(session: Session) {
        session.insert("a", 2).expect("room");
        panic!("as handlers do");
    }

    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let app = Router::new()
        .route("/", get(fails))
        .layer(layer.clone())
        .layer(CatchPanicLayer::new());
    let before = layer.cluster().stats().log_head;
    assert_eq!(read(&app, "/", &cookie).await.status(), 500);
    assert_eq!(layer.cluster().stats().log_head, before + 1);
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
}

#[tokio::test]
async fn streamed_body_writes_after_the_head() {
    async fn stream(session: Session) -> Body {
        Body::from_stream(futures_util::stream::once(async move {
            session.insert("a", 2).map(|()| "written")
        }))
    }

    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let app = Router::new().route("/", get(stream)).layer(layer.clone());
    let response = read(&app, "/", &cookie).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    let before = layer.cluster().stats().log_head;
    assert_eq!(text(response).await, "written");
    assert_eq!(layer.cluster().stats().log_head, before + 1);
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
}
