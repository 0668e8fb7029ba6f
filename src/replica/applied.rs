//! How far the logs of peers are applied.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    session::{BootId, Now},
    wire::Position,
};

/// The progress in the logs of all peers. It outlives links, so that a new one resumes where the
/// last one was.
#[derive(Debug, Default)]
pub(super) struct AppliedLogs(Mutex<HashMap<BootId, Remembered>>);

/// The progress in one peer's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) position: Option<Position>,
    /// The peer's log skipped something and no complete round has followed yet.
    pub(super) owes_round: bool,
}

/// The progress in one peer's log, and when it changed last.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    applied: Applied,
    at_ms: u64,
}

impl AppliedLogs {
    pub(super) fn of(&self, peer: BootId) -> Applied {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = all.get(&peer);
        remembered.map_or_else(Applied::default, |peer| peer.applied)
    }

    pub(super) fn set(&self, peer: BootId, applied: Applied, now: Now) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_BOOTS && !all.contains_key(&peer) {
            let oldest = all.iter().min_by_key(|(_, peer)| peer.at_ms);
            if let Some(oldest) = oldest.map(|(boot, _)| *boot) {
                all.remove(&oldest);
            }
        }
        let at_ms = now.mono_ms;
        all.insert(peer, Remembered { applied, at_ms });
    }
}

/// Boots of peers that are remembered; the one not heard of for longest is forgotten first and
/// would have to repair.
const MAX_BOOTS: usize = 1024;
