//! The time that a session and its persistent cookie have left.

use crate::session::SessionState;

/// Returns how long the session lives if nobody uses it from now on; `None` without a limit.
pub(crate) fn remaining_ms(state: &SessionState, now_ms: u64) -> Option<u64> {
    let expiry = state.expiry();
    let of_age = expiry.absolute_ms().map(|limit| {
        let end = state.created_ms().saturating_add(limit);
        end.saturating_sub(now_ms)
    });
    match (expiry.idle_ms(), of_age) {
        (Some(idle), Some(of_age)) => Some(idle.min(of_age)),
        (idle, of_age) => idle.or(of_age),
    }
}

/// Returns whether a persistent cookie must be sent again.
///
/// Nobody knows when the client got its cookie. So time since creation is cut into tenths of the
/// idle limit, and the first use in each tenth renews the cookie. It is then never older than a
/// tenth. A session that ends by its age first needs no later end.
pub(crate) fn needs_renewal(state: &SessionState, now_ms: u64) -> bool {
    let Some(idle) = state.expiry().idle_ms() else {
        return false;
    };
    let tenth = (idle / 10).max(1);
    let part = |at_ms: u64| at_ms.saturating_sub(state.created_ms()) / tenth;
    let ends_with_age = remaining_ms(state, state.accessed_ms()).is_some_and(|left| left < idle);
    part(now_ms) > part(state.accessed_ms()) && !ends_with_age
}
