//! Style and script. They are a part of the program, which so runs where its sources are not.

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};

pub(crate) fn routes() -> Router {
    let style = async || asset("text/css", include_str!("../static/style.css"));
    let script = async || asset("text/javascript", include_str!("../static/live.js"));
    Router::new()
        .route("/static/style.css", get(style))
        .route("/static/live.js", get(script))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, text)
}
