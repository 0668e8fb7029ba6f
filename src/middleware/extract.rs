//! Extractors for axum handlers.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    session::Session,
    single_sign_on::SingleSignOn,
    slot::{SessionSlot, requested_path},
    typed::Typed,
};
use crate::session::SessionError;

/// The rejection of the extractors: no session layer is around whoever uses the session.
///
/// The answer is a bare 500, because it is the app that lacks something. The log says what, and for
/// which path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no session layer around what uses the session at {path}: add \
     `.layer(ClusterSessionLayer::new(config))` to the router after the route, the `nest` that \
     holds it, and the layer that uses the session, such as a guard; of two `.layer()` calls the \
     later one is outside"
)]
#[non_exhaustive]
pub struct MissingLayer {
    path: Box<str>,
}

impl MissingLayer {
    fn at(parts: &Parts) -> Self {
        Self {
            path: requested_path(&parts.extensions, &parts.uri).into(),
        }
    }
}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        crate::log::error!(path = &*self.path, "{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The rejection of [`SingleSignOn`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignOnRejection {
    /// It takes two session layers around the handler, and one is not there. The answer is a bare 500.
    #[error(
        "single sign-on at {path} needs two session layers around it: one \
         `with_context(SingleSignOn::CONTEXT)`, and inside it one of the app's own context"
    )]
    #[non_exhaustive]
    MissingLayer {
        /// The path that was asked for.
        path: Box<str>,
    },
    /// The sign-on and the session could not be brought in step.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl IntoResponse for SignOnRejection {
    fn into_response(self) -> Response {
        match self {
            Self::MissingLayer { ref path } => {
                crate::log::error!(path = &**path, "{self}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::Session(error) => error.into_response(),
        }
    }
}

/// Loads the sign-on, as [`SingleSignOn::load`].
impl<S: Sync> FromRequestParts<S> for SingleSignOn {
    type Rejection = SignOnRejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, SignOnRejection> {
        let loaded = Self::load(&parts.extensions).await?;
        loaded.ok_or_else(|| SignOnRejection::MissingLayer {
            path: requested_path(&parts.extensions, &parts.uri).into(),
        })
    }
}

/// Loads the session, as [`SessionSlot::load`].
///
/// With layers of several contexts it is that of the innermost.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingLayer> {
        match parts.extensions.get::<SessionSlot>() {
            Some(slot) => Ok(slot.load().await),
            None => Err(MissingLayer::at(parts)),
        }
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

/// Gives `None` when the request has no live session, as for [`Session`]. With a session, the
/// attribute may still lack a value.
impl<S: Sync, T> OptionalFromRequestParts<S> for Typed<T> {
    type Rejection = MissingLayer;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, MissingLayer> {
        let session = <Session as OptionalFromRequestParts<S>>::from_request_parts(parts, state);
        Ok(session.await?.map(Self::new))
    }
}

/// Gives the slot itself, for handlers that may not need the session.
impl<S: Sync> FromRequestParts<S> for SessionSlot {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingLayer> {
        let slot = parts.extensions.get::<Self>().cloned();
        slot.ok_or_else(|| MissingLayer::at(parts))
    }
}
