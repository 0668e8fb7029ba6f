//! A WebSocket that ends with the session.

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{
        HeaderMap, StatusCode,
        header::{HOST, ORIGIN},
    },
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tower_cluster_sessions::Session;

use crate::{app::App, users::AuthSession};

/// Opens the WebSocket, also for those who are not logged in: a browser tells its script how a
/// WebSocket was closed, and not why it was refused.
pub(crate) async fn connect(
    State(app): State<App>,
    auth: AuthSession,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_of_this_site(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    // A handle of its own, which does not count as use: a page that is left open is no reason to
    // stay logged in.
    let session = match (&auth.user, app.door.public_id(&auth.session).await) {
        (Some(_), Some(id)) => app.sessions.open(&id).await,
        _ => None,
    };
    upgrade.on_upgrade(async move |mut socket| {
        let reason = match session {
            Some(session) => serve(&app, &session, &mut socket).await,
            None => Some(ENDED),
        };
        if let Some((code, reason)) = reason {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            if let Err(error) = socket.send(Message::Close(Some(frame))).await {
                tracing::debug!(%error, "the client has gone before it was told so");
            }
        }
    })
}

/// Talks until the session ends, the node stops or the client goes. Returns what the client is told.
async fn serve(
    app: &App,
    session: &Session,
    socket: &mut WebSocket,
) -> Option<(u16, &'static str)> {
    let hello = json!({ "node": app.cluster.node_name() }).to_string();
    let talk = async {
        socket.send(Message::text(hello)).await.ok()?;
        // The client has nothing to say, but that it goes.
        while let Some(Ok(_)) = socket.recv().await {}
        None
    };
    tokio::select! {
        gone = talk => gone,
        () = session.ended() => Some(ENDED),
        () = app.stopping.cancelled() => Some(STOPPING),
    }
}

/// Browsers open WebSockets for pages of other sites, too, and send the cookies of the same site.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name)?.to_str().ok();
    match text(ORIGIN) {
        Some(origin) => origin.split_once("://").map(|(_, host)| host) == text(HOST),
        // It is no browser.
        None => true,
    }
}

/// Of the codes for apps. `live.js` knows it.
const ENDED: (u16, &str) = (4401, "the session has ended");
/// "Service restart".
const STOPPING: (u16, &str) = (1012, "the node stops");
