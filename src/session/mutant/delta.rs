//! What known-wrong variants do to deltas.

use std::sync::Arc;

use super::Mutant;
use crate::{
    config::Expiry,
    session::{CreatedMs, Delta, Origin, SessionMeta, SessionState, Stamp},
};

/// Lets a delta create a session of which it is only a part.
pub(crate) fn pass_for_whole(delta: &mut Delta) {
    // Of use alone, without a write, no session can be made at all.
    if !Mutant::CreatePartially.is_on() || delta.upto == Stamp::ZERO {
        return;
    }
    let recent_ms = u64::MAX >> 2;
    delta.meta.get_or_insert_with(|| {
        let meta = SessionMeta {
            context: "".into(),
            route: None,
            expiry: Expiry::default(),
        };
        (Arc::new(meta), CreatedMs(recent_ms))
    });
    delta.access.get_or_insert((delta.upto, recent_ms));
}

/// Merges the values of a delta that is refused.
pub(crate) fn merge_refused(state: &mut SessionState, delta: Delta, own: Origin) {
    if Mutant::MergeRefused.is_on() {
        for (name, register) in delta.registers {
            state.merge_register(name, register, own);
        }
    }
}
