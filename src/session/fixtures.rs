//! What tests of several folders begin with.

use std::sync::Arc;

use super::{
    BootId, Now, Origin, SessionKey, SessionMeta, SessionSecret, SessionState, Stamp, Tag,
};
use crate::config::Expiry;

/// An instant of a process that has run for long, so that ages can be subtracted.
pub(crate) const NOW: Now = Now {
    wall_ms: 1_700_000_000_000,
    mono_ms: 1 << 41,
};

/// Returns an instant so long after [`NOW`].
pub(crate) const fn after(ms: u64) -> Now {
    Now {
        wall_ms: NOW.wall_ms + ms,
        mono_ms: NOW.mono_ms + ms,
    }
}

pub(crate) const fn boot(byte: u8) -> BootId {
    BootId::from_bytes([byte; 8])
}

pub(crate) const fn origin(byte: u8) -> Origin {
    Origin {
        boot: boot(byte),
        epoch: 0,
    }
}

/// Returns the tag of the next write of a session.
pub(crate) fn next_tag(state: &SessionState, origin: Origin, now: Now) -> Tag {
    let stamp = state.next_stamp(now).expect("stamps are not used up");
    Tag { stamp, origin }
}

pub(crate) const fn key(byte: u8) -> SessionKey {
    SessionKey::from_bytes([byte; 16])
}

pub(crate) const fn secret(byte: u8) -> SessionSecret {
    SessionSecret::from_bytes([byte; 16])
}

pub(crate) fn meta(expiry: Expiry) -> Arc<SessionMeta> {
    Arc::new(SessionMeta {
        context: "".into(),
        route: None,
        expiry,
    })
}

/// Returns a session that `origin` creates, with the secret that belongs to byte 0.
pub(crate) fn session(origin: Origin, now: Now) -> SessionState {
    let stamp = Stamp::ZERO.next(now).expect("stamps are not used up");
    let meta = meta(Expiry::default());
    SessionState::new(meta, secret(0).hash(), Tag { stamp, origin }, now)
}
