//! The limits of what peers may make of a session.
//!
//! What a node holds it must be able to send, or an honest peer would close the link. So what is
//! merged stays within what every decoder takes, and this node's own writes still fit.

use std::sync::Arc;

use crate::{
    config::Limits,
    session::{Content, Origin, Register, SecretSet, SessionSize, SessionState, Stamp},
    wire::{MAX_ORIGINS, MAX_SECRETS},
};

/// The error of replicated state beyond the hard limits. Nothing was merged, and the store is as it
/// was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit(pub(crate) &'static str);

/// The parts of a session that may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) registers: &'a [(Arc<str>, Register)],
    pub(crate) origins: &'a [(Origin, Stamp)],
    pub(crate) secrets: &'a SecretSet,
}

impl<'a> Incoming<'a> {
    pub(crate) fn of(state: &'a SessionState) -> Self {
        Self {
            registers: state.registers(),
            origins: state.vector().entries(),
            secrets: state.secrets(),
        }
    }
}

/// Checks that a session stays within the hard limits with `incoming` merged into `held`. The sums
/// are looked at first, since they are nearly always small enough.
pub(crate) fn check(
    limits: &Limits,
    held: Option<&SessionState>,
    incoming: Incoming<'_>,
) -> Result<(), OverLimit> {
    let Incoming {
        registers,
        origins,
        secrets,
    } = incoming;
    let secrets = secrets.states();
    let (names, writers, ids) = held.map_or((0, 0, 0), |held| {
        let writers = held.vector().entries().len();
        let ids = held.secrets().states().len();
        (held.remembered_names(), writers, ids)
    });
    let new_name = |register: &&(Arc<str>, Register)| {
        held.is_none_or(|held| held.register(&register.0).is_none())
    };
    let max_names = limits.max_names().saturating_mul(Limits::HARD);
    let more_names = || registers.iter().filter(new_name).count();
    if names + registers.len() > max_names && names + more_names() > max_names {
        return Err(NAMES_OVER);
    }
    let new_writer =
        |entry: &&(Origin, Stamp)| held.is_none_or(|held| held.vector().of(entry.0) == Stamp::ZERO);
    let more_writers = || origins.iter().filter(new_writer).count();
    if writers + origins.len() > WRITERS && writers + more_writers() > WRITERS {
        return Err(WRITERS_OVER);
    }
    let is_held = |hash| {
        let mut states = held.iter().flat_map(|held| held.secrets().states());
        states.any(|state| state.hash == hash)
    };
    let more_ids = || secrets.iter().filter(|one| !is_held(one.hash)).count();
    if ids + secrets.len() > IDS && ids + more_ids() > IDS {
        return Err(IDS_OVER);
    }
    let bytes = held.map_or(0, SessionState::weight);
    let max_bytes = limits.max_session_bytes.saturating_mul(Limits::HARD);
    let most: usize = registers
        .iter()
        .map(|(name, register)| register.weight_as(name))
        .sum();
    if bytes + most > max_bytes && bytes + growth(held, registers) > max_bytes {
        return Err(BYTES_OVER);
    }
    Ok(())
}

/// Checks that a session that is new here is within the hard limits.
pub(crate) fn check_whole(limits: &Limits, extent: SessionSize) -> Result<(), OverLimit> {
    let SessionSize {
        names,
        writers,
        secrets,
        weight,
    } = extent;
    let hard = |limit: usize| limit.saturating_mul(Limits::HARD);
    let over = [
        (names > hard(limits.max_names()), NAMES_OVER),
        (writers > WRITERS, WRITERS_OVER),
        (secrets > IDS, IDS_OVER),
        (weight > hard(limits.max_session_bytes), BYTES_OVER),
    ];
    match over.into_iter().find(|(is_over, _)| *is_over) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// Returns how much heavier the session becomes at most.
fn growth(held: Option<&SessionState>, registers: &[(Arc<str>, Register)]) -> usize {
    let of = |(name, register): &(Arc<str>, Register)| {
        let before = held.and_then(|held| held.register(name));
        match before.map(|before| (&before.content, before.weight())) {
            // What origins added is kept apart, so two counters may add up.
            Some((Content::Counter(_), _)) => register.weight(),
            Some((Content::Json(_) | Content::Removed, weight)) => {
                register.weight().saturating_sub(weight)
            }
            None => register.weight_as(name),
        }
    };
    registers.iter().map(of).sum()
}

const NAMES_OVER: OverLimit = OverLimit("attribute names of a session");
const WRITERS_OVER: OverLimit = OverLimit("writers of a session");
const IDS_OVER: OverLimit = OverLimit("secrets of a session");
const BYTES_OVER: OverLimit = OverLimit("bytes of a session");

/// Half of what is decoded: this node's own writes come on top.
const WRITERS: usize = MAX_ORIGINS / 2;
const IDS: usize = MAX_SECRETS / 2;
