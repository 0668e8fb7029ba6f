//! The bytes of a session that stays on its node: the language of items, but for what is the same
//! in many sessions, with instants in place of ages, and stamps that count from the oldest one.
//!
//! They never leave the process, so another release may write them otherwise.

use std::sync::Arc;

pub(crate) use super::bytes::{Reader, Writer};
use super::{
    attributes::{Foreign, put_slots, take_slots},
    message::Malformed,
    parts::{put_expiry, put_secrets, put_vector, take_expiry, take_secrets, take_vector},
    scale::{Author, Scale, stamp},
};
use crate::session::{Birth, CreatedMs, SessionParts, SessionState, Stamp};

/// Everything but the birth.
pub(crate) fn put_resting(state: &SessionState, to: &mut Writer<'_>) {
    let since = state.oldest_stamp().before();
    let scale = Scale {
        origins: state.vector().entries(),
        since,
        floor: Stamp::ZERO,
        author: Author::This,
    };
    to.u64(since.get());
    to.u64(state.created_ms());
    to.u64(state.access().get().saturating_sub(since.get()));
    to.i64(
        state
            .accessed_ms()
            .wrapping_sub(state.created_ms())
            .cast_signed(),
    );
    put_vector(state.vector(), since, to);
    put_slots(state.slots(), &scale, to);
    put_secrets(state.secrets(), &scale, LAST_INSTANT, to);
    put_expiry(state.expiry_register(), &scale, to);
}

/// # Errors
///
/// For bytes that [`put_resting`] did not write.
pub(crate) fn take_resting(
    from: &mut Reader<'_>,
    birth: Arc<Birth>,
) -> Result<SessionState, Malformed> {
    let since = stamp(from.u64()?)?;
    let created_ms = from.u64()?;
    let access = stamp(since.get().saturating_add(from.u64()?))?;
    let accessed_ms = created_ms.wrapping_add(from.i64()?.cast_unsigned());
    let vector = take_vector(from, since, usize::MAX)?;
    let scale = Scale {
        origins: vector.entries(),
        since,
        floor: Stamp::ZERO,
        author: Author::This,
    };
    let slots = take_slots(from, &scale, usize::MAX, Foreign::No)?;
    let secrets = take_secrets(from, &scale, LAST_INSTANT, usize::MAX)?;
    let expiry = take_expiry(from, &scale)?;
    Ok(SessionState::from_parts(SessionParts {
        birth,
        created: CreatedMs(created_ms),
        access,
        accessed_ms,
        slots,
        secrets,
        expiry,
        vector,
    }))
}

/// Ages are reckoned from here, so that every instant has one.
const LAST_INSTANT: u64 = u64::MAX;
