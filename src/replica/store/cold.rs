//! Cold sessions: those that nobody has used for a moment, which are nearly all. Each is one short
//! piece of memory, a third of what it takes while it is hot.

use std::sync::Arc;

use super::hot::{HotSession, memory};
use crate::{
    session::{BootId, Origin, PackedHead, PackedSession, SessionMeta},
    wire::{
        Position,
        packed_session::{Reader, Writer, read_own, write_body},
    },
};

#[derive(Debug)]
pub(crate) struct ColdSession {
    meta: Arc<SessionMeta>,
    /// A [`ColdHead`], and then the body as it travels.
    bytes: Box<[u8]>,
}

/// What stands before the body: what only this node knows of the session, and its instants.
struct ColdHead {
    /// From when on the session is no longer offered to peers.
    stale_ms: u64,
    /// Of this node's origin in the session.
    epoch: u32,
    position: Option<Position>,
    /// The last use here, which peers need not have heard of.
    used_ms: u64,
    created_ms: u64,
    accessed_ms: u64,
}

impl ColdSession {
    /// Packs a session. `None` while a request uses it, or peers are still to be told of it.
    pub(crate) fn of(hot: &HotSession) -> Option<Self> {
        let own = hot.state.vector().of(hot.own);
        let is_told = !hot.dirty && !hot.touched && hot.logged == own && hot.written == own;
        if !is_told || hot.pins > 0 || hot.lost > own {
            return None;
        }
        let head = ColdHead {
            stale_ms: hot.stale_ms(),
            epoch: hot.own.epoch,
            position: hot.position,
            used_ms: hot.used_ms,
            created_ms: hot.state.created_ms(),
            accessed_ms: hot.state.accessed_ms(),
        };
        let body = |to: &mut Writer<'_>| write_body(&hot.state, to);
        Some(Self::new(hot.state.meta(), &head, body))
    }

    /// Keeps a session that this node takes in as `own`, and has not written.
    pub(crate) fn taken_in(state: &PackedSession, stale_ms: u64, own: Origin) -> Self {
        let head = ColdHead {
            stale_ms,
            epoch: own.epoch,
            position: None,
            used_ms: state.head.accessed_ms,
            created_ms: state.head.created_ms,
            accessed_ms: state.head.accessed_ms,
        };
        Self::new(&state.head.meta, &head, |to| to.array(&state.body))
    }

    fn new(
        meta: &Arc<SessionMeta>,
        head: &ColdHead,
        write_body: impl FnOnce(&mut Writer<'_>),
    ) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let to = &mut Writer(&mut bytes);
        head.write(to);
        write_body(to);
        Self {
            meta: Arc::clone(meta),
            bytes: bytes.as_slice().into(),
        }
    }

    /// Returns all that is to be saved of the session: what stands beside its body, and that.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn parts(&self) -> (PackedHead, &[u8]) {
        let from = &mut Reader::new(&self.bytes);
        let head = ColdHead::read(from);
        (head.packed(&self.meta), from.remaining())
    }

    /// Returns all that peers may have of the session.
    pub(crate) fn packed(&self) -> PackedSession {
        let from = &mut Reader::new(&self.bytes);
        let head = ColdHead::read(from);
        PackedSession {
            head: head.packed(&self.meta),
            body: from.remaining().into(),
            summary: None,
        }
    }

    /// Returns the body as it travels.
    pub(crate) fn body(&self) -> &[u8] {
        let from = &mut Reader::new(&self.bytes);
        ColdHead::read(from);
        from.remaining()
    }

    pub(crate) const fn meta(&self) -> &Arc<SessionMeta> {
        &self.meta
    }

    /// Returns how many bytes it takes.
    pub(crate) const fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Returns from when on the session is no longer offered to peers.
    pub(crate) fn stale_ms(&self) -> u64 {
        Reader::new(&self.bytes).u64().expect(OWN_BYTES)
    }

    pub(crate) fn created_ms(&self) -> u64 {
        ColdHead::read(&mut Reader::new(&self.bytes)).created_ms
    }

    /// Returns the session as it was. Which writes of this node have been beaten is forgotten. So
    /// all are taken for beaten, and records of them that still wait bring the full state.
    pub(crate) fn to_hot(&self, boot: BootId, unconfirmed_ms: u64) -> HotSession {
        let from = &mut Reader::new(&self.bytes);
        let head = ColdHead::read(from);
        let state = read_own(from, head.packed(&self.meta)).expect(OWN_BYTES);
        let own = Origin {
            boot,
            epoch: head.epoch,
        };
        let logged = state.vector().of(own);
        HotSession {
            memory: memory(&state),
            unconfirmed_ms,
            own,
            logged,
            lost: logged,
            written: logged,
            position: head.position,
            dirty: false,
            touched: false,
            pins: 0,
            used_ms: head.used_ms,
            changed_ms: LONG_AGO,
            places: Box::default(),
            state,
        }
    }
}

impl ColdHead {
    /// Instants that are close together are written as differences, which are short.
    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.stale_ms);
        to.u64(self.epoch.into());
        to.u64(Position::number(self.position));
        to.u64(self.used_ms.saturating_sub(self.accessed_ms));
        to.u64(self.created_ms);
        to.i64(self.accessed_ms.wrapping_sub(self.created_ms).cast_signed());
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut number = || from.u64().expect(OWN_BYTES);
        let (stale_ms, epoch, position) = (number(), number(), number());
        let (used_later_ms, created_ms) = (number(), number());
        let accessed_later_ms = from.i64().expect(OWN_BYTES);
        let accessed_ms = created_ms.wrapping_add(accessed_later_ms.cast_unsigned());
        Self {
            stale_ms,
            epoch: u32::try_from(epoch).expect(OWN_BYTES),
            position: Position::new(position),
            used_ms: accessed_ms.saturating_add(used_later_ms),
            created_ms,
            accessed_ms,
        }
    }

    fn packed(&self, meta: &Arc<SessionMeta>) -> PackedHead {
        PackedHead {
            meta: Arc::clone(meta),
            created_ms: self.created_ms,
            accessed_ms: self.accessed_ms,
        }
    }
}

const LONG_AGO: u64 = 0;
const USUAL_BYTES: usize = 512;
const OWN_BYTES: &str = "the bytes were written by this node and never left it";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Expiry,
        session::{Now, SessionSecret, SessionState, Stamp, Tag},
    };

    const NOW: Now = Now {
        wall_ms: 1_700_000_000_000,
        mono_ms: 1 << 41,
    };

    fn origin(byte: u8, epoch: u32) -> Origin {
        let boot = BootId::from_bytes([byte; 8]);
        Origin { boot, epoch }
    }

    fn tag(state: &SessionState, origin: Origin) -> Tag {
        let stamp = state.next_stamp(NOW).expect("far from the end");
        Tag { stamp, origin }
    }

    fn hot() -> HotSession {
        let (own, other) = (origin(1, 3), origin(2, 0));
        let meta = Arc::new(SessionMeta {
            context: "shop".into(),
            route: None,
            expiry: Expiry::default(),
        });
        let stamp = Stamp::ZERO.next(NOW).expect("far from the end");
        let secret = SessionSecret::from_bytes([1; 16]).hash();
        let mut state = SessionState::new(meta, secret, Tag { stamp, origin: own }, NOW);
        state.set("cart", b"[1]".as_slice().into(), tag(&state, other));
        state.add("hits", -7, own, tag(&state, own).stamp);
        state.remove("gone", tag(&state, own));
        state.cycle(
            SessionSecret::from_bytes([2; 16]).hash(),
            tag(&state, other),
            NOW,
        );
        state.set_expiry(Expiry::from_millis(Some(5), None), tag(&state, own));
        let written = state.vector().of(own);
        HotSession {
            memory: memory(&state),
            unconfirmed_ms: u64::MAX,
            own,
            logged: written,
            lost: written,
            written,
            position: Position::new(77),
            dirty: false,
            touched: false,
            pins: 0,
            used_ms: NOW.mono_ms + 500,
            changed_ms: LONG_AGO,
            places: Box::default(),
            state,
        }
    }

    #[test]
    fn cold_session_becomes_hot_as_what_it_was() {
        let hot = hot();
        let cold = ColdSession::of(&hot).expect("nothing is under way");
        assert_eq!(cold.to_hot(hot.own.boot, u64::MAX), hot);
        assert_eq!(cold.stale_ms(), NOW.mono_ms + 5);
    }

    #[test]
    fn session_that_is_used_or_has_something_to_tell_stays_hot() {
        let changes: [fn(&mut HotSession); 6] = [
            |hot| hot.pins = 1,
            |hot| hot.dirty = true,
            |hot| hot.touched = true,
            |hot| hot.logged = Stamp::ZERO,
            |hot| hot.written = Stamp::ZERO,
            |hot| hot.lost = Stamp::MAX,
        ];
        for change in changes {
            let mut hot = hot();
            change(&mut hot);
            assert!(ColdSession::of(&hot).is_none(), "{hot:?}");
        }
    }
}
