//! The limits of what peers may make of a session.
//!
//! What a node holds it must be able to send, or an honest peer would close the link. So what is
//! merged stays within what every decoder takes, and this node's own writes still fit.

use super::hot::HotSession;
use crate::{
    config::Limits,
    session::{MAX_REMOVED_BYTES, Origin, SecretSet, SessionSize, SessionState, Stamp},
    wire::{MAX_ORIGINS, MAX_SECRETS},
};

/// The error of replicated state beyond the hard limits. Nothing was merged, and the store is as it
/// was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    /// That of which there would be too much.
    pub(crate) what: &'static str,
    needs: Needs,
    /// The version of the copy that was not merged, if it was all of a session.
    version: Option<u64>,
}

/// A peer's copy of a session that was not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) version: u64,
    pub(crate) needs: Needs,
}

/// That without which a copy is not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Room for a session of so many bytes.
    Session(usize),
    /// Room for so many bytes.
    Bytes(usize),
    Tombstone,
    /// A change, since it is itself too large.
    Change,
}

/// The quota of what is yet taken from peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerQuota {
    pub(super) sessions: usize,
    pub(super) bytes: usize,
    pub(super) tombstones: usize,
}

impl OverLimit {
    pub(super) const fn new(what: &'static str, needs: Needs) -> Self {
        Self {
            what,
            needs,
            version: None,
        }
    }

    pub(super) const fn of(self, version: u64) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// Returns the copy that was not merged, if it was all of a session.
    pub(crate) fn refused(self) -> Option<Refused> {
        let needs = self.needs;
        self.version.map(|version| Refused { version, needs })
    }
}

impl PeerQuota {
    /// Takes what a copy needs. Returns whether it was there.
    pub(crate) fn takes(&mut self, needs: Needs) -> bool {
        let (sessions, bytes, tombstones) = match needs {
            Needs::Session(bytes) => (1, bytes, 0),
            Needs::Bytes(bytes) => (0, bytes, 0),
            Needs::Tombstone => (0, 0, 1),
            Needs::Change => return false,
        };
        let left = || {
            Some(Self {
                sessions: self.sessions.checked_sub(sessions)?,
                bytes: self.bytes.checked_sub(bytes)?,
                tombstones: self.tombstones.checked_sub(tombstones)?,
            })
        };
        let left = left();
        *self = left.unwrap_or(*self);
        left.is_some()
    }
}

/// Checks that what arrives is within the hard limits, and that the session has room for its
/// writers and secrets. What it has of attributes is cut when both are joined, see
/// [`trim`].
pub(crate) fn check(
    limits: &Limits,
    held: &SessionState,
    size: SessionSize,
    origins: &[(Origin, Stamp)],
    secrets: &SecretSet,
) -> Result<(), OverLimit> {
    check_whole(limits, size)?;
    let writers = held.vector().entries().len();
    let new_writer = |entry: &&(Origin, Stamp)| held.vector().of(entry.0) == Stamp::ZERO;
    let more_writers = || origins.iter().filter(new_writer).count();
    if writers + origins.len() > WRITERS && writers + more_writers() > WRITERS {
        return Err(WRITERS_OVER);
    }
    let known = held.secrets().states();
    let is_known = |hash| known.iter().any(|state| state.hash == hash);
    let secrets = secrets.states();
    let more_ids = || secrets.iter().filter(|one| !is_known(one.hash)).count();
    if known.len() + secrets.len() > IDS && known.len() + more_ids() > IDS {
        return Err(IDS_OVER);
    }
    Ok(())
}

/// Checks that a session that arrives is within the hard limits.
pub(crate) fn check_whole(limits: &Limits, size: SessionSize) -> Result<(), OverLimit> {
    let SessionSize {
        attributes,
        removed,
        writers,
        secrets,
        weight,
    } = size;
    let over = [
        (attributes > hard(limits.max_attributes), ATTRIBUTES_OVER),
        (removed > hard(MAX_REMOVED_BYTES), REMOVED_OVER),
        (writers > WRITERS, WRITERS_OVER),
        (secrets > IDS, IDS_OVER),
        (weight > hard(limits.max_session_bytes), BYTES_OVER),
    ];
    match over.into_iter().find(|(is_over, _)| *is_over) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// Brings a session back within the hard limits after copies were joined: the attributes written
/// longest ago are dropped, and so on every node. Each copy was within its limits, so it takes
/// three sides of a cut to get there.
///
/// # Errors
///
/// When something was dropped.
pub(crate) fn trim(limits: &Limits, hot: &mut HotSession) -> Result<(), OverLimit> {
    let (bytes, attributes) = (hard(limits.max_session_bytes), hard(limits.max_attributes));
    match hot.state.trim(bytes, attributes, hot.own) {
        None => Ok(()),
        Some(lost) => {
            hot.lost = hot.lost.max(lost);
            Err(BYTES_OVER)
        }
    }
}

const fn of_session(what: &'static str) -> OverLimit {
    OverLimit::new(what, Needs::Change)
}

const fn hard(limit: usize) -> usize {
    limit.saturating_mul(Limits::HARD)
}

const ATTRIBUTES_OVER: OverLimit = of_session("attributes of a session");
const REMOVED_OVER: OverLimit = of_session("removed attributes of a session");
const WRITERS_OVER: OverLimit = of_session("writers of a session");
const IDS_OVER: OverLimit = of_session("secrets of a session");
const BYTES_OVER: OverLimit = of_session("bytes of a session");

/// Half of what is decoded: this node's own writes come on top.
const WRITERS: usize = MAX_ORIGINS / 2;
const IDS: usize = MAX_SECRETS / 2;
