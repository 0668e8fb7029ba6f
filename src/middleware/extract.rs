//! Extractors for axum handlers.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use super::{session::Session, slot::SessionSlot, typed::Typed};

/// The rejection of the extractors: the route has no session layer around it.
///
/// The status is 500, because it is the app that lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no session layer around this route: add `.layer(ClusterSessionLayer::new(config))` to the \
     router, after the route or the `nest` that holds it"
)]
#[non_exhaustive]
pub struct MissingLayer;

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        crate::log::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// Loads the session, as [`SessionSlot::load`].
///
/// With layers of several contexts it is that of the innermost.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingLayer> {
        let slot = parts.extensions.get::<SessionSlot>();
        Ok(slot.ok_or(MissingLayer)?.load().await)
    }
}

/// Gives `None` when the request has no live session. A missing layer is rejected all the same.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, MissingLayer> {
        let session = <Self as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(session.is_live().then_some(session))
    }
}

impl<S: Sync, T> FromRequestParts<S> for Typed<T> {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, MissingLayer> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Self::new(session))
    }
}

/// Gives the slot itself, for handlers that may not need the session.
impl<S: Sync> FromRequestParts<S> for SessionSlot {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get::<Self>().cloned().ok_or(MissingLayer)
    }
}
