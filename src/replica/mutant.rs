//! What known-wrong variants of a replica's rules do. Outside tests nothing of it happens.

use super::{
    link::coalesce::First,
    log::{Log, Slice},
    store::shard::Shard,
};
use crate::{
    session::{Delta, Mutant, Now, SessionKey, Stamp, Tombstone},
    wire::Position,
};

/// Leaves out the sessions that have a record behind the batch, too.
pub(super) fn coalesce_late(firsts: &mut Vec<First>, log: &Log, batch_end: Option<Position>) {
    if Mutant::CoalesceLate.is_on()
        && let Slice::Records(later) = log.after(batch_end, usize::MAX)
    {
        firsts.retain(|first| later.iter().all(|record| record.key != first.record.key));
    }
}

/// Forgets that a session was destroyed, so that a copy of it comes back.
pub(super) fn revive_destroyed(shard: &mut Shard, key: &SessionKey) {
    if Mutant::AliveBeatsDestroyed.is_on() {
        shard.drop_tombstone(key);
    }
}

/// Lets the age of a tombstone start anew.
pub(super) fn rejuvenate_tombstone(
    tombstone: &mut Tombstone,
    shard: &mut Shard,
    key: &SessionKey,
    now: Now,
) {
    if Mutant::RejuvenateTombstones.is_on() {
        tombstone.destroyed_ms = now.mono_ms;
        if let Some(held) = shard.tombstone_mut(key) {
            held.tombstone.destroyed_ms = now.mono_ms;
        }
    }
}

/// Leaves out what was written after the last commit, and claims it all the same.
pub(super) fn carry_committed_only(delta: &mut Delta, logged: Stamp) {
    if Mutant::CarryCommittedOnly.is_on() {
        delta
            .registers
            .retain(|(_, register)| register.tag.stamp <= logged);
    }
}
