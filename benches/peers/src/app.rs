//! The pages, with the sessions that the program has chosen as `crate::tower_sessions`.

use axum::{Router, http::StatusCode, routing::get};

use crate::{
    BoxError,
    fill::fill,
    pages::{NO_ID, PADDING, PLAIN, sentences},
    served,
    tower_sessions::{Session, SessionManagerLayer, SessionStore},
};

pub(crate) async fn serve<S>(http: &str, layer: SessionManagerLayer<S>) -> Result<(), BoxError>
where
    S: SessionStore + Clone,
{
    let app = Router::new()
        .route("/plain", get(|| async { PLAIN }))
        .route("/hit", get(hit))
        .route("/peek", get(peek))
        .route("/padded", get(padded))
        .layer(layer);
    let fills = fill(app.clone());
    served::serve("tower-sessions", http, app.merge(fills)).await
}

async fn hit(session: Session) -> Result<String, StatusCode> {
    let hits = count(&session).await? + 1;
    session.insert(HITS, hits).await.map_err(|_| FAILED)?;
    Ok(page(hits, &session))
}

async fn padded(session: Session) -> Result<String, StatusCode> {
    let padding = "x".repeat(PADDING);
    session
        .insert("padding", padding)
        .await
        .map_err(|_| FAILED)?;
    hit(session).await
}

async fn peek(session: Session) -> Result<String, StatusCode> {
    Ok(page(count(&session).await?, &session))
}

async fn count(session: &Session) -> Result<u64, StatusCode> {
    let hits = session.get(HITS).await.map_err(|_| FAILED)?;
    Ok(hits.unwrap_or(0))
}

fn page(hits: u64, session: &Session) -> String {
    let id = session.id().map(|id| id.to_string());
    sentences(hits, id.as_deref().unwrap_or(NO_ID))
}

const HITS: &str = "hits";
const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
