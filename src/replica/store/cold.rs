//! Sessions at rest: those that nobody has used for a moment, which are nearly all. Each is one
//! short piece of memory, a third of what it takes while in use.

use std::sync::Arc;

use super::{expiry::stale_ms, hot::HotSession};
use crate::{
    session::{BootId, Origin, PackedSession, SessionMeta},
    wire::{
        Position,
        packed_session::{Reader, Writer, packed, read_resting, write_resting},
    },
};

#[derive(Debug)]
pub(in crate::replica) struct ColdSession {
    meta: Arc<SessionMeta>,
    /// What `of` writes: what only this node knows of the session, and then its state.
    bytes: Box<[u8]>,
}

impl ColdSession {
    /// `None` while a request uses the session, or peers are still to be told of it.
    pub(in crate::replica) fn of(live: &HotSession) -> Option<Self> {
        let own = live.state.vector().of(live.own);
        let is_told = !live.dirty && !live.touched && live.logged == own && live.written == own;
        if !is_told || live.pins > 0 || live.lost > own {
            return None;
        }
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let to = &mut Writer(&mut bytes);
        let used = live.used_ms.saturating_sub(live.state.accessed_ms());
        let epoch = live.own.epoch.into();
        let position = Position::number(live.position);
        write_head([stale_ms(&live.state), epoch, position, used], to);
        write_resting(&live.state, to);
        Some(Self {
            meta: Arc::clone(live.state.meta()),
            bytes: bytes.as_slice().into(),
        })
    }

    /// A session that this node takes in as `own`, and has not written.
    pub(in crate::replica) fn taken_in(state: &PackedSession, stale_ms: u64, own: Origin) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        write_head([stale_ms, own.epoch.into(), 0, 0], &mut Writer(&mut bytes));
        bytes.extend_from_slice(&state.bytes);
        Self {
            meta: Arc::clone(&state.meta),
            bytes: bytes.as_slice().into(),
        }
    }

    /// All that peers may have of the session.
    pub(in crate::replica) fn packed(&self) -> PackedSession {
        let from = &mut Reader::new(&self.bytes);
        read_head(from);
        packed(from.remaining(), &self.meta).expect(OWN_BYTES)
    }

    pub(in crate::replica) const fn meta(&self) -> &Arc<SessionMeta> {
        &self.meta
    }

    /// From when on the session is no longer offered to peers.
    pub(in crate::replica) fn stale_ms(&self) -> u64 {
        Reader::new(&self.bytes).u64().expect(OWN_BYTES)
    }

    /// The session as it was. That some write of this node has been beaten is forgotten; so all are
    /// taken for beaten, and records of them that still wait bring the full state.
    pub(in crate::replica) fn to_hot(&self, boot: BootId) -> HotSession {
        let from = &mut Reader::new(&self.bytes);
        let [_stale_ms, epoch, position, used] = read_head(from);
        let state = read_resting(from, Arc::clone(&self.meta)).expect(OWN_BYTES);
        let epoch = u32::try_from(epoch).expect(OWN_BYTES);
        let own = Origin { boot, epoch };
        let logged = state.vector().of(own);
        HotSession {
            own,
            logged,
            lost: logged,
            written: logged,
            position: Position::new(position),
            dirty: false,
            touched: false,
            pins: 0,
            used_ms: state.accessed_ms().saturating_add(used),
            changed_ms: LONG_AGO,
            state,
        }
    }
}

/// Stale from when on, own epoch, position, and how long after the last use that peers know of it
/// was used here.
fn write_head(numbers: [u64; 4], to: &mut Writer<'_>) {
    numbers.into_iter().for_each(|number| to.u64(number));
}

fn read_head(from: &mut Reader<'_>) -> [u64; 4] {
    [(); 4].map(|()| from.u64().expect(OWN_BYTES))
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

    fn live() -> HotSession {
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
            state,
        }
    }

    #[test]
    fn session_wakes_as_what_it_was() {
        let live = live();
        let cold = ColdSession::of(&live).expect("nothing is under way");
        assert_eq!(cold.to_hot(live.own.boot), live);
        assert_eq!(cold.stale_ms(), NOW.mono_ms + 5);
    }

    #[test]
    fn session_that_is_used_or_has_something_to_tell_does_not_rest() {
        let changes: [fn(&mut HotSession); 6] = [
            |live| live.pins = 1,
            |live| live.dirty = true,
            |live| live.touched = true,
            |live| live.logged = Stamp::ZERO,
            |live| live.written = Stamp::ZERO,
            |live| live.lost = Stamp::MAX,
        ];
        for change in changes {
            let mut live = live();
            change(&mut live);
            assert!(ColdSession::of(&live).is_none(), "{live:?}");
        }
    }
}
