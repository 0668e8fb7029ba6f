//! The response to the client when a handler returns a failed session operation.

use http::StatusCode;
#[cfg(feature = "axum")]
use http::{HeaderValue, header::RETRY_AFTER};

use crate::session::SessionError;

impl SessionError {
    /// Returns the status of the response to a request that this error ends, as the
    /// [type](Self) lists them.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_cluster_sessions::SessionError;
    ///
    /// assert_eq!(SessionError::Full.status(), StatusCode::SERVICE_UNAVAILABLE);
    /// ```
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Full | Self::Leaving | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Destroyed | Self::Superseded => StatusCode::CONFLICT,
            Self::LimitReached { .. } => StatusCode::FORBIDDEN,
            Self::Taken
            | Self::HeadersSent
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::WrongKind { .. }
            | Self::ZeroLimit
            | Self::NeverEnds
            | Self::Exhausted
            | Self::InvalidName { .. }
            | Self::NotIndexed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Makes a response whose body is the status in words, and for a conflict what to do: what went wrong
/// is for the log, not for the client.
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for SessionError {
    fn into_response(self) -> axum::response::Response {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            crate::log::error!(error = %self, "session operation failed");
        } else {
            crate::log::debug!(error = %self, "session operation failed");
        }
        let text = match status {
            StatusCode::CONFLICT => {
                "Your session has changed meanwhile. Please load the page again."
            }
            _ => status.canonical_reason().unwrap_or_default(),
        };
        let mut response = (status, text).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static(RETRY_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// Sessions that make room for new ones are [some seconds](crate::ClusterConfig::unconfirmed_timeout)
/// old.
#[cfg(feature = "axum")]
const RETRY_SECONDS: &str = "5";

#[cfg(all(test, feature = "axum"))]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn each_error_has_its_status_and_tells_the_client_nothing_else() {
        let decode = SessionError::Decode {
            name: "secret-name".into(),
            expected: "u8",
            line: 1,
            column: 2,
        };
        for (error, expected) in [
            (SessionError::Full, 503),
            (SessionError::Leaving, 503),
            (SessionError::Busy, 503),
            (
                SessionError::TooLarge {
                    what: "bytes",
                    would_be: 2,
                    limit: 1,
                },
                413,
            ),
            (SessionError::Destroyed, 409),
            (SessionError::Superseded, 409),
            (
                SessionError::LimitReached {
                    name: "user".into(),
                    limit: 1,
                },
                403,
            ),
            (SessionError::HeadersSent, 500),
            (SessionError::Exhausted, 500),
            (decode, 500),
        ] {
            let response = error.into_response();
            assert_eq!(response.status(), expected);
            let says_when = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(says_when, expected == 503);
        }
    }

    #[tokio::test]
    async fn a_conflict_tells_the_client_what_to_do() {
        for error in [SessionError::Destroyed, SessionError::Superseded] {
            let body = error.into_response().into_body();
            let body = axum::body::to_bytes(body, 100).await.expect("short");
            assert!(body.ends_with(b"Please load the page again."));
        }
    }
}
