//! Looking at what is due: expired sessions, tombstones past their time, sessions still in use. The
//! cost is that of what is due, whatever is held and however often it is touched.

use std::sync::{Arc, atomic::Ordering};

use super::{Store, expiry::Verdict, lock, shard::Shard};
use crate::replica::change::{Change, ChangeKind};
use crate::session::{Now, SessionKey, SessionMeta};

impl Store {
    /// Drops what has expired and tells of what is still in use. Returns the keys to commit and,
    /// with `collect`, what was dropped.
    pub(in crate::replica) fn sweep(
        &self,
        now: Now,
        collect: bool,
    ) -> (Vec<SessionKey>, Vec<Change>) {
        let (mut touched, mut expired) = (Vec::new(), Vec::new());
        let mut in_use = false;
        for shard in &self.shards {
            let mut shard = lock(shard);
            for key in shard.due(now) {
                self.sweep_one(&mut shard, key, now, |outcome| match outcome {
                    SweepOutcome::Touched => touched.push(key),
                    SweepOutcome::Dropped(meta) if collect => {
                        expired.push(Change::of(&key, &meta, ChangeKind::Expired));
                    }
                    SweepOutcome::Dropped(_) => {}
                });
            }
            shard.cool_idle(now);
            in_use |= std::mem::take(&mut shard.in_use);
        }
        self.in_use.store(in_use, Ordering::Relaxed);
        (touched, expired)
    }

    fn sweep_one(
        &self,
        shard: &mut Shard,
        key: SessionKey,
        now: Now,
        mut tell: impl FnMut(SweepOutcome),
    ) {
        if let Some(grave) = shard.grave(&key) {
            let ends_ms = grave.tombstone.ends_ms();
            if now.mono_ms >= ends_ms {
                shard.drop_tombstone(&key);
            } else {
                shard.schedule(&key, ends_ms);
            }
            return;
        }
        let Some(verdict) = shard.view(&key).map(|live| live.verdict(now)) else {
            return;
        };
        match verdict {
            Verdict::Drop => {
                if let Some(meta) = shard.drop_live(&key) {
                    tell(SweepOutcome::Dropped(meta));
                }
            }
            Verdict::Touch => {
                shard.schedule(&key, u64::MAX);
                if let Some(entry) = shard.entry(&key) {
                    entry.live.use_at(now);
                    entry.reindex(&key, now);
                }
                tell(SweepOutcome::Touched);
            }
            Verdict::Later(at_ms) => shard.schedule(&key, at_ms),
        }
    }
}

/// What became of a session that was looked at.
enum SweepOutcome {
    Touched,
    Dropped(Arc<SessionMeta>),
}
