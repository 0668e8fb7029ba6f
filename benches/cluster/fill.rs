//! Sessions by the thousand without a socket: the server asks its own `/padded`.

use std::{fmt::Write as _, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{Request, StatusCode, header::SET_COOKIE},
    routing::get,
};
use serde::Deserialize;
use tower::ServiceExt as _;

use crate::clock::now;

#[derive(Debug, Deserialize)]
struct Wanted {
    sessions: usize,
    /// When all of them end, whatever happens to them.
    end_in_ms: Option<u64>,
}

/// `/fill?sessions=N`, which answers the cookies of N new sessions, a line each.
pub(crate) fn fill(app: Router) -> Router {
    Router::new()
        .route("/fill", get(make_sessions))
        .with_state(app)
}

async fn make_sessions(
    State(app): State<Router>,
    Query(wanted): Query<Wanted>,
) -> Result<String, StatusCode> {
    let mut cookies = String::new();
    let began = now();
    for _ in 0..wanted.sessions {
        let path = match wanted.end_in_ms.map(Duration::from_millis) {
            None => "/padded".to_owned(),
            Some(end) => {
                let left = end.saturating_sub(now() - began);
                format!("/ending?in_ms={}", left.as_millis())
            }
        };
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let Ok(answer) = app.clone().oneshot(request).await;
        let cookie = answer.headers().get(SET_COOKIE);
        let cookie = cookie.and_then(|field| field.to_str().ok());
        let Some((pair, _)) = cookie.and_then(|field| field.split_once(';')) else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        };
        writeln!(cookies, "{pair}").map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        // The server has one thread, and others want it too.
        tokio::task::yield_now().await;
    }
    Ok(cookies)
}
