//! Both ways in, for one line of tower-sessions, which is `core` of the module around.

mod layer;
mod note;
mod request_store;
mod store;

use std::time::Duration;

use time::OffsetDateTime;
use tower_cluster_sessions::SessionError;

pub use self::{
    layer::{ResponseFuture, SessionLayer, SessionService},
    store::ClusterStore,
};
use super::core::{self, session_store};

/// Returns the time until a date; none is left of one that is over.
fn time_until(date: OffsetDateTime) -> Duration {
    let left = date - OffsetDateTime::now_utc();
    left.try_into().unwrap_or_default()
}

fn store_error(error: &SessionError) -> session_store::Error {
    match error {
        SessionError::Encode { .. } | SessionError::InvalidName { .. } => {
            session_store::Error::Encode(error.to_string())
        }
        _ => session_store::Error::Backend(error.to_string()),
    }
}
