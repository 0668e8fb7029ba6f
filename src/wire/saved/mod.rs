//! What a node writes into its directory: the bytes of its records, both ways, side by side.
//!
//! A record begins with the version of this format. The bytes come from a disk, which may have lost
//! or changed some. So they are checked as those of a peer are, before anything of them is kept.
//!
//! Instants are those of the directory's own [clock](SavedClock). Sessions age by lived time. What
//! is remembered of destroyed ones ages by ran time: as long as no node runs, nobody has the
//! occasion to learn of it.
//!
//! A record may be newer than the facts by which it is dated, and the time of day may have gone back
//! since then. So what is to come by its instants is now.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
    metadata::{read_meta, write_meta},
    order::{read_order, write_order},
    packed_session::{Checks, end_deaths_by, walk},
};
use crate::session::{
    Mutant, Now, Order, PackedHead, PackedSession, PackedSummary, Retention, SavedClock,
    SessionMeta, Tombstone,
};

/// A record of a session or order, as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Session {
        state: Box<PackedSession>,
        summary: PackedSummary,
    },
    Destroyed(Tombstone),
    Order(SavedOrder),
}

/// An order, and what the node has yet to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedOrder {
    pub(crate) order: Arc<Order>,
    /// It is a search of another node, and still to be carried out here.
    pub(crate) is_pending: bool,
}

/// What a node knows of itself. Instants are of the directory's lived time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The time of day when this was so.
    pub(crate) wall_ms: u64,
    pub(crate) lived_ms: u64,
    /// For how long no process has run, in all.
    pub(crate) down_ms: u64,
    /// The last time at which the node and a peer had told each other all they held.
    pub(crate) contact_ms: u64,
    /// That was longer ago than it seems.
    pub(crate) is_lost_in_time: bool,
    /// Since when its data goes back.
    pub(crate) since_ms: u64,
    /// What was destroyed before may be forgotten.
    pub(crate) forgotten_ms: u64,
    /// How long there was room to remember what was destroyed.
    pub(crate) retention: Retention,
    /// The latest stops of the node, the first one first: from when on it was down, and until when.
    pub(crate) stops: Vec<(u64, u64)>,
}

/// Returns the record of a session. `body` is its packed form.
pub(crate) fn session_record(
    head: &PackedHead,
    clock: SavedClock,
    write_body: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    record(SESSION, |to| {
        let created_ms = clock.lived_ms(head.created_ms);
        let accessed_ms = clock.lived_ms(head.accessed_ms);
        to.u64(created_ms);
        to.i64(accessed_ms.wrapping_sub(created_ms).cast_signed());
        write_meta(&head.meta, to);
        write_body(to);
    })
}

pub(crate) fn tombstone_record(tombstone: &Tombstone, clock: SavedClock) -> Vec<u8> {
    record(DESTROYED, |to| {
        to.u64(clock.ran_ms(tombstone.destroyed_ms));
        to.u64(tombstone.keep_ms);
    })
}

pub(crate) fn order_record(saved: &SavedOrder, clock: SavedClock) -> Vec<u8> {
    record(ORDER, |to| {
        to.bool(saved.is_pending);
        to.u64(clock.ran_ms(saved.order.issued_ms));
        write_order(&saved.order, saved.order.issued_ms, to);
    })
}

pub(crate) fn facts_record(facts: &Facts) -> Vec<u8> {
    record(FACTS, |to| {
        to.u64(facts.wall_ms);
        to.u64(facts.lived_ms);
        to.u64(facts.down_ms);
        to.u64(facts.contact_ms);
        to.bool(facts.is_lost_in_time);
        to.u64(facts.since_ms);
        to.u64(facts.forgotten_ms);
        to.byte(facts.retention.doublings());
        to.list(facts.stops.iter(), |to, (from_ms, until_ms)| {
            to.u64(*from_ms);
            to.u64(*until_ms);
        });
    })
}

/// Reads a record of a session or order. `last_meta` is that of another session, which is nearly
/// always the same.
///
/// # Errors
///
/// For bytes that no record has.
pub(crate) fn read_record(
    bytes: &[u8],
    clock: SavedClock,
    mut last_meta: Option<Arc<SessionMeta>>,
    now: Now,
) -> Result<Record, Malformed> {
    let from = &mut Reader::new(bytes);
    let record = match read_kind(from)? {
        SESSION => {
            let created_ms = from.u64()?;
            let accessed_ms = created_ms.saturating_add_signed(from.i64()?);
            let head = PackedHead {
                meta: read_meta(from, &mut last_meta)?,
                created_ms: clock.of_lived(created_ms, now),
                accessed_ms: clock.of_lived(accessed_ms, now),
            };
            let checks = Checks::of_disk();
            let (walked, body) = from.with_bytes(|from| walk(from, &head, &checks))?;
            let is_to_come = walked.latest_death_ms > now.mono_ms;
            let body = match is_to_come && !Mutant::KeepDeathsToCome.is_on() {
                true => end_deaths_by(now.mono_ms, body, &head)?,
                false => body.into(),
            };
            Record::Session {
                state: Box::new(PackedSession {
                    head,
                    body,
                    summary: None,
                }),
                summary: walked.summary,
            }
        }
        DESTROYED => {
            let destroyed_ms = clock.of_ran(from.u64()?, now);
            let keep_ms = from.u64()?;
            if keep_ms > Tombstone::MAX_KEEP_MS {
                return Err(Malformed("a tombstone that is kept for too long"));
            }
            Record::Destroyed(Tombstone {
                destroyed_ms,
                keep_ms,
            })
        }
        ORDER => {
            let is_pending = from.bool()?;
            let issued_ms = clock.of_ran(from.u64()?, now);
            let order = Arc::new(read_order(from, issued_ms)?);
            Record::Order(SavedOrder { order, is_pending })
        }
        _ => return Err(UNKNOWN),
    };
    end(from)?;
    Ok(record)
}

/// Reads the facts.
///
/// # Errors
///
/// For bytes that no facts have.
pub(crate) fn read_facts(bytes: &[u8]) -> Result<Facts, Malformed> {
    let from = &mut Reader::new(bytes);
    if read_kind(from)? != FACTS {
        return Err(Malformed("no facts about a node"));
    }
    let facts = Facts {
        wall_ms: from.u64()?,
        lived_ms: from.u64()?,
        down_ms: from.u64()?,
        contact_ms: from.u64()?,
        is_lost_in_time: from.bool()?,
        since_ms: from.u64()?,
        forgotten_ms: from.u64()?,
        retention: Retention::from_doublings(from.byte()?)
            .ok_or(Malformed("a retention beyond all"))?,
        stops: from.list(2, |from| Ok((from.u64()?, from.u64()?)))?,
    };
    if facts.lived_ms > LATEST_MS || facts.down_ms > facts.lived_ms {
        return Err(Malformed("a time that no directory has lived"));
    }
    end(from)?;
    Ok(facts)
}

fn record(kind: u8, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let to = &mut Writer(&mut bytes);
    to.byte(VERSION);
    to.byte(kind);
    write(to);
    bytes
}

fn read_kind(from: &mut Reader<'_>) -> Result<u8, Malformed> {
    match from.byte()? {
        VERSION => from.byte(),
        _ => Err(Malformed("a record of another version")),
    }
}

fn end(from: &Reader<'_>) -> Result<(), Malformed> {
    match from.remaining().is_empty() {
        true => Ok(()),
        false => Err(Malformed("bytes behind the record")),
    }
}

/// Of this format. Another one gets another number, and this one is still read.
const VERSION: u8 = 1;
const FACTS: u8 = 0;
const SESSION: u8 = 1;
const DESTROYED: u8 = 2;
const ORDER: u8 = 3;
/// Later than any process counts, and far from where sums end.
const LATEST_MS: u64 = 1 << 60;
const USUAL_BYTES: usize = 512;
