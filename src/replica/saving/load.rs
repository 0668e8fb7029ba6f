//! What a node was when an earlier process of it stopped.
//!
//! What is loaded is what a peer might have sent: its vectors say what it holds, whoever wrote that.
//! This process is another writer and has written nothing of it.

use crate::{
    replica::{
        Replica,
        lineage::SavedLineage,
        stops::{Stop, Stops},
        store::{expiry, quota},
    },
    session::{
        Mutant, Now, Order, OrderContent, PackedSession, PackedSummary, SavedClock, SavedKey,
        SessionKey, Tombstone,
    },
    wire::{
        Malformed,
        saved::{Facts, Record, read_facts, read_record},
    },
};

/// What has become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    Taken,
    /// It is past its time. The next batch deletes it.
    Ended,
    /// There is too much of this, by limits that have been others. It stays on disk.
    OverLimit(&'static str),
}

impl Replica {
    /// Goes on with what an earlier process knew of this node. Call it before anything else is
    /// loaded, and not for a directory that is new.
    ///
    /// Sessions grow older by the time of day that has passed. By a clock that has gone back no time
    /// has, and where that is by half a day, the node counts as one that was away for long.
    ///
    /// # Errors
    ///
    /// For bytes that are no facts, and when they are loaded twice.
    pub(crate) fn load_facts(&self, bytes: &[u8], now: Now) -> Result<(), Malformed> {
        let Facts {
            wall_ms,
            lived_ms,
            down_ms,
            contact_ms,
            is_lost_in_time,
            since_ms,
            forgotten_ms,
            retention,
            stops,
        } = read_facts(bytes)?;
        let stopped_for_ms = now.wall_ms.saturating_sub(wall_ms);
        let clock = SavedClock::resume(lived_ms, down_ms, stopped_for_ms, now);
        let is_first = self.saving.clock.set(clock).is_ok();
        if !is_first {
            return Err(Malformed("facts of a node that has some"));
        }
        self.saving.progress().lineage = None;
        let instant = |lived_ms| clock.of_lived(lived_ms, now);
        let mut stops = Stops::new(stops.into_iter().map(|(from_ms, until_ms)| Stop {
            from_ms: instant(from_ms),
            until_ms: instant(until_ms),
        }));
        if !Mutant::ForgetStops.is_on() {
            stops.add(Stop {
                from_ms: instant(lived_ms),
                until_ms: now.mono_ms,
            });
        }
        let set_back_ms = wall_ms.saturating_sub(now.wall_ms);
        let is_set_back = set_back_ms >= SET_BACK_MS && !Mutant::TrustClockSetBack.is_on();
        let saved = SavedLineage {
            is_lost_in_time: is_lost_in_time || is_set_back,
            contact_ms: match Mutant::ForgetAbsence.is_on() {
                true => now.mono_ms,
                false => instant(contact_ms),
            },
            since_ms: instant(since_ms),
            forgotten_ms: instant(forgotten_ms),
            stops,
        };
        self.lineage.restore(saved);
        self.retention.restore(retention, now);
        Ok(())
    }

    /// Takes in a record of a session or an order, as it was when it was saved. Any threads may load
    /// at once, before the first link is made.
    ///
    /// # Errors
    ///
    /// For bytes that no record has, and before the [facts](Self::load_facts).
    pub(crate) fn load(&self, key: SavedKey, bytes: &[u8], now: Now) -> Result<Loaded, Malformed> {
        let clock = *self.saving.clock.get().ok_or(NO_FACTS)?;
        let record = read_record(bytes, clock, self.store.last_meta(), now)?;
        match (key, record) {
            (SavedKey::Session(key), Record::Session { state, summary }) => {
                self.load_session(&key, *state, &summary, now)
            }
            (SavedKey::Session(key), Record::Destroyed(tombstone)) => {
                self.load_tombstone(key, tombstone, clock, now)
            }
            (SavedKey::Order(id), Record::Order(saved)) if saved.order.id == id => {
                if !self.orders.load(&saved, now) {
                    return Ok(Loaded::Ended);
                }
                self.carry_out_again(&saved.order, now);
                Ok(Loaded::Taken)
            }
            _ => Err(Malformed("a record under the key of another")),
        }
    }

    fn load_session(
        &self,
        key: &SessionKey,
        mut state: PackedSession,
        summary: &PackedSummary,
        now: Now,
    ) -> Result<Loaded, Malformed> {
        let mut shard = self.store.shard(key);
        if shard.version(key).is_some() {
            return Err(TWICE);
        }
        let head = &mut state.head;
        let unconfirmed_ms = self.store.limits.unconfirmed_ms;
        let limits = expiry::limits_at(summary.expiry, summary.access, unconfirmed_ms);
        if expiry::is_over(limits, head.created_ms, head.accessed_ms, now) {
            shard.unsaved.note_unknown(key);
            return Ok(Loaded::Ended);
        }
        let within = self
            .store
            .check_quota(&shard, key, state.body.len())
            .and_then(|()| quota::check_whole(&self.store.limits, summary.size));
        if let Err(over) = within {
            return Ok(Loaded::OverLimit(over.what));
        }
        head.meta = self.store.shared_meta(head.meta.clone());
        shard.without_saving(|shard| shard.insert_packed(*key, &state, summary, now));
        drop(shard);
        // An order may have been saved before it was carried out.
        self.destroy_arrived(key, now);
        Ok(Loaded::Taken)
    }

    fn load_tombstone(
        &self,
        key: SessionKey,
        mut tombstone: Tombstone,
        clock: SavedClock,
        now: Now,
    ) -> Result<Loaded, Malformed> {
        if Mutant::AgeWhileDown.is_on() {
            tombstone.destroyed_ms = tombstone.destroyed_ms.saturating_sub(clock.down_ms());
        }
        let mut shard = self.store.shard(&key);
        if shard.version(&key).is_some() {
            return Err(TWICE);
        }
        if now.mono_ms >= tombstone.ends_ms(shard.retention()) {
            shard.unsaved.note_unknown(&key);
            return Ok(Loaded::Ended);
        }
        shard.without_saving(|shard| shard.delete(key, tombstone));
        Ok(Loaded::Taken)
    }

    /// Destroys the session of an order if it was loaded before.
    fn carry_out_again(&self, order: &Order, now: Now) {
        if let OrderContent::Session { key, proof } = &order.content {
            self.destroy_as_ordered(key, proof, now);
        }
    }
}

/// A clock that is set right goes back by less.
const SET_BACK_MS: u64 = 12 * 60 * 60 * 1000;
const NO_FACTS: Malformed = Malformed("a record of a directory without facts");
const TWICE: Malformed = Malformed("a record that is there already");
