//! The present time.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the rule is for the library")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
