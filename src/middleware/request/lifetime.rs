//! The time that a session's persistent cookie has.

use crate::{
    middleware::cookie::CookieEnd,
    session::{Now, SessionState},
};

/// Returns when a persistent cookie ends that is sent now: with the session's limit of age.
///
/// It does not end with the idle limit. A stream may use the session for longer than that, and
/// cannot renew the cookie.
pub(crate) fn cookie_end(state: &SessionState, now: Now) -> CookieEnd {
    let left_ms = state
        .end_of_age_ms()
        .map_or(CookieEnd::LONGEST_MS, |end_ms| {
            end_ms.saturating_sub(now.mono_ms)
        });
    CookieEnd::after(left_ms, now.wall_ms)
}

/// Returns whether a persistent cookie must be sent again.
///
/// Nobody knows when the client got its cookie. So time since creation is cut into tenths of the
/// longest life of a cookie, and the first use in each tenth renews the cookie. It is then never
/// older than a tenth. A session that ends by its age first needs no later end.
pub(crate) fn needs_renewal(state: &SessionState, now: Now) -> bool {
    let part = |at_ms: u64| at_ms.saturating_sub(state.created_ms()) / (CookieEnd::LONGEST_MS / 10);
    let ends_with_age = state
        .end_of_age_ms()
        .is_some_and(|end_ms| end_ms.saturating_sub(state.accessed_ms()) < CookieEnd::LONGEST_MS);
    part(now.mono_ms) > part(state.accessed_ms()) && !ends_with_age
}
