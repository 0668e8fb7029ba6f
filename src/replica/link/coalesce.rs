//! The sessions that a batch of records is about.

use std::collections::{HashMap, hash_map::Entry};

use crate::replica::{key_hasher::SessionKeyHash, log::Record};

/// The first record of a session in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Its place in the batch.
    pub(crate) at: usize,
    /// It tells of use when any record of the session does.
    pub(crate) record: Record,
}

/// Returns the first record of each session, in order.
///
/// A session's state is read when the batch is made, so one item serves all its records. It goes
/// at the first of them, whose `prev` reaches back farthest. At a later one, a batch that ends
/// between the two would have the peer acknowledge the first without what it stands for.
pub(super) fn firsts_of(records: &[Record]) -> Vec<First> {
    let mut firsts: Vec<First> = Vec::with_capacity(records.len());
    // To look through a few is quicker than to keep a table of them.
    let mut table = (records.len() > FEW_RECORDS)
        .then(|| HashMap::with_capacity_and_hasher(records.len(), SessionKeyHash));
    for (at, record) in records.iter().enumerate() {
        let known = match &mut table {
            None => firsts
                .iter()
                .position(|first| first.record.key == record.key),
            Some(table) => match table.entry(record.key) {
                Entry::Occupied(known) => Some(*known.get()),
                Entry::Vacant(new) => {
                    new.insert(firsts.len());
                    None
                }
            },
        };
        match known {
            Some(first) => firsts[first].record.touch |= record.touch,
            None => firsts.push(First {
                at,
                record: *record,
            }),
        }
    }
    firsts
}

/// Records that are looked through one by one. Tests want both ways.
const FEW_RECORDS: usize = if cfg!(test) { 2 } else { 16 };
