//! What goes wrong, as pages.

use axum::{
    body::HttpBody as _,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use axum_login::tower_sessions;
use tower_cluster_sessions::SessionError;

use crate::{
    page,
    users::{Users, UsersError},
};

/// Why a handler has no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("nobody is logged in")]
    NotLoggedIn,
    #[error(transparent)]
    Login(#[from] axum_login::Error<Users>),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("there are no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    TowerSession(#[from] tower_sessions::session::Error),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotLoggedIn => return StatusCode::UNAUTHORIZED.into_response(),
            Self::Session(error) => error.status(),
            Self::Login(_) | Self::Users(_) | Self::Random(_) | Self::TowerSession(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        tracing::error!(error = %self, "no page");
        status.into_response()
    }
}

/// Puts a page into responses that are an error and nothing else, whichever layer they are of.
pub(crate) async fn with_page(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || !response.body().is_end_stream() {
        return response;
    }
    let (head, _) = response.into_parts();
    let mut response = page::failure(status).into_response();
    *response.status_mut() = status;
    for (name, value) in &head.headers {
        if name != CONTENT_TYPE && name != http::header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}
