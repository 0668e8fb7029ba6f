//! The sweep looks at what is due: expired sessions, tombstones past their time, sessions still in
//! use. The cost is that of what is due, whatever is held and however often it is touched.
//!
//! A million sessions may be due at once. So a sweep goes in steps, and a shard is locked for a few
//! entries at a time: who sweeps lets others have their turn between two steps.

use std::{borrow::Cow, sync::atomic::Ordering};

use super::{Store, expiry::Verdict, hot::HotSession, lock, place::Place, shard::Shard};
use crate::replica::{
    change::{Change, ChangeKind},
    observer::Observer,
};
use crate::session::{Now, SessionKey};

/// How far a sweep has come. It begins anew once it is over.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    is_under_way: bool,
    /// The shard it is at.
    shard: usize,
    place: Place,
}

impl Sweep {
    /// Returns whether it has begun and is not over.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.is_under_way
    }
}

impl Store {
    /// Takes the next step of a sweep: drops what has expired, and tells the observer. Returns the
    /// sessions whose use is to be committed.
    pub(crate) fn sweep_some(
        &self,
        sweep: &mut Sweep,
        now: Now,
        observer: &mut Observer,
    ) -> Vec<SessionKey> {
        let mut touched = Vec::new();
        let mut work = 0;
        if !sweep.is_under_way {
            self.keep_room(now, observer);
        }
        sweep.is_under_way = true;
        while work < STEP {
            let Some(shard) = self.shards.get(sweep.shard) else {
                *sweep = Sweep::default();
                break;
            };
            let held = sweep_shard(&mut lock(shard), &mut sweep.place, now, observer);
            work += held.entries;
            touched.extend(held.touched);
            if held.is_over {
                sweep.shard += 1;
                sweep.place = Place::default();
            }
        }
        touched
    }

    /// Notes that a request has asked for a session, or created one.
    pub(crate) fn note_use(&self) {
        // All requests read this, so that it is written once for each tick only.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a tick has passed.
    pub(crate) fn note_tick(&self) {
        self.note_tick_of_limits();
        let used = self.used.swap(false, Ordering::Relaxed);
        self.in_use.store(used, Ordering::Relaxed);
    }
}

/// What was done while a shard was locked.
#[derive(Debug)]
struct Held {
    touched: Vec<SessionKey>,
    /// How many entries were dealt with, those weighted less that were only looked at.
    entries: usize,
    /// Whether the sweep is through with the shard.
    is_over: bool,
}

/// Sweeps the next entries of a shard.
fn sweep_shard(shard: &mut Shard, place: &mut Place, now: Now, observer: &mut Observer) -> Held {
    let due = shard.due_from(place, now);
    let mut held = Held {
        entries: due.keys.len() + due.looked / LOOKS_OF_ONE,
        touched: Vec::new(),
        is_over: false,
    };
    for key in due.keys {
        if sweep_one(shard, &key, now, observer) {
            held.touched.push(key);
        }
    }
    if due.is_last {
        let cooled = shard.cool_idle(now);
        held.entries += cooled.sessions;
        shard.forget_unconfirmed(now);
        held.is_over = cooled.is_last;
    }
    held
}

/// Looks at one session or tombstone. Returns whether peers are to hear that it is in use.
fn sweep_one(shard: &mut Shard, key: &SessionKey, now: Now, observer: &mut Observer) -> bool {
    if let Some(held) = shard.tombstone(key) {
        let ends_ms = held.tombstone.ends_ms(shard.retention());
        if now.mono_ms >= ends_ms {
            shard.drop_tombstone(key);
        } else {
            shard.schedule(key, ends_ms);
        }
        return false;
    }
    let look = |hot: Cow<'_, HotSession>| (hot.verdict(now), hot.state.created_ms());
    let Some((verdict, created_ms)) = shard.view(key).map(look) else {
        return false;
    };
    match verdict {
        Verdict::Drop => {
            if let Some(meta) = shard.drop_session(key) {
                observer.note_expired(now.mono_ms.saturating_sub(created_ms));
                observer.tell(|| [Change::of(key, &meta, ChangeKind::Expired)]);
            }
        }
        Verdict::Touch => {
            shard.schedule(key, u64::MAX);
            if let Some(entry) = shard.entry(key) {
                entry.hot.use_at(now);
                entry.reindex(key, now);
            }
        }
        Verdict::Later(at_ms) => shard.schedule(key, at_ms),
    }
    verdict == Verdict::Touch
}

/// Entries that are dealt with in one step, or a few more. A step takes a quarter of a millisecond.
const STEP: usize = if cfg!(test) { 4 } else { 64 };
/// To look at so many entries that are not due takes as long as to drop one.
const LOOKS_OF_ONE: usize = 64;

#[cfg(test)]
mod tests {
    use super::{super::shard::MAX_DUE, *};
    use crate::{
        config::{Expiry, Limits, Shape},
        replica::{Replica, Replicate},
        session::{
            SessionKey,
            fixtures::{self, NOW, after, boot, meta, secret},
        },
    };

    const MINUTE: u64 = 60_000;
    const SESSIONS: u8 = 100;

    /// Returns the key of a session. Both shards have half of them.
    const fn key(number: u8) -> SessionKey {
        fixtures::key(number.wrapping_mul(37))
    }

    /// Returns a replica whose sessions end after five minutes, all at once.
    fn replica() -> Replica {
        let shape = Shape {
            lock_shards: 2,
            digests_per_lock: 2,
            log_records: 64,
        };
        let replica = Replica::new(boot(1), Limits::default(), &shape, NOW);
        replica.store.meet_peer();
        let expiry = Expiry::from_millis(None, Some(5 * MINUTE));
        for number in 0..SESSIONS {
            let created = replica.create(meta(expiry), key(number), secret(1).hash(), 0, NOW);
            created.expect("there is room");
            replica.release(&key(number), Replicate::Now, NOW);
        }
        replica
    }

    /// Sweeps a shard as often as it takes. Returns the most that was dealt with while it was locked.
    fn most_while_locked(replica: &Replica, now: Now) -> usize {
        let mut most = 0;
        for shard in &replica.store.shards {
            let mut place = Place::default();
            loop {
                let observer = &mut Observer::new(false);
                let held = sweep_shard(&mut lock(shard), &mut place, now, observer);
                most = most.max(held.entries);
                if held.is_over {
                    break;
                }
            }
        }
        most
    }

    #[test]
    fn shard_is_locked_for_a_few_entries_at_a_time_however_many_are_due() {
        let replica = replica();
        let few = 1..=2 * MAX_DUE;
        assert!(few.contains(&most_while_locked(&replica, after(2_000))));
        assert_eq!(replica.store.hot_count(), 0, "all are packed");
        assert!(few.contains(&most_while_locked(&replica, after(5 * MINUTE + 300))));
        assert_eq!(replica.sessions(), 0);

        let replica = self::replica();
        for number in 0..SESSIONS {
            replica.destroy(&key(number), NOW);
        }
        let forgotten = after(25 * 60 * MINUTE);
        assert!(few.contains(&most_while_locked(&replica, forgotten)));
        assert_eq!(replica.tombstones(), 0);
    }

    #[test]
    fn sweep_that_has_much_to_drop_takes_many_steps_and_drops_all() {
        let replica = replica();
        let mut sweep = Sweep::default();
        let mut steps = 0;
        let mut held = replica.sessions();
        loop {
            let changes = &mut Observer::new(false);
            replica.sweep_some(&mut sweep, after(5 * MINUTE + 300), changes);
            steps += 1;
            let dropped = held - replica.sessions();
            assert!(dropped < STEP + MAX_DUE, "{dropped} in one step");
            held = replica.sessions();
            if !sweep.is_under_way() {
                break;
            }
        }
        assert_eq!(held, 0);
        assert!(
            steps >= usize::from(SESSIONS) / (STEP + MAX_DUE),
            "{steps} steps"
        );
    }

    #[test]
    fn session_that_comes_behind_a_sweep_under_way_is_found_by_the_next() {
        let replica = replica();
        let now = after(5 * MINUTE + 300);
        let mut sweep = Sweep::default();
        while sweep.shard == 0 {
            replica.sweep_some(&mut sweep, now, &mut Observer::new(false));
        }
        let late = key(0);
        let created = replica.create(
            meta(Expiry::from_millis(None, Some(1_000))),
            late,
            secret(1).hash(),
            0,
            now,
        );
        created.expect("there is room");
        replica.release(&late, Replicate::Now, now);
        while sweep.is_under_way() {
            replica.sweep_some(&mut sweep, now, &mut Observer::new(false));
        }
        assert_eq!(replica.sessions(), 1);
        replica.sweep(after(5 * MINUTE + 2_000), &mut Observer::new(false));
        assert_eq!(replica.sessions(), 0);
    }
}
