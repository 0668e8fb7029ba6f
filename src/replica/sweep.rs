//! Looking at what is due: expired sessions, tombstones past their time, sessions still in use. The
//! cost is that of what is due, whatever is held and however often it is touched.

use std::sync::atomic::Ordering;

use super::{
    change::{Change, What},
    expiry::Verdict,
    shard::{Live, Shard},
    store::{Store, lock},
};
use crate::session::{Locator, Now};

impl Store {
    /// Drops what has expired and tells of what is still in use. Returns the keys to commit and,
    /// with `collect`, what was dropped.
    pub(super) fn sweep(&self, now: Now, collect: bool) -> (Vec<Locator>, Vec<Change>) {
        let (mut touched, mut expired) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            let mut shard = lock(shard);
            for (at, key) in shard.take_due(now) {
                self.look_at(&mut shard, at, key, now, |outcome| match outcome {
                    Look::Touched => touched.push(key),
                    Look::Dropped(live) if collect => {
                        expired.push(live.change(&key, What::Expired));
                    }
                    Look::Dropped(_) => {}
                });
            }
            shard.shrink();
        }
        (touched, expired)
    }

    fn look_at(
        &self,
        shard: &mut Shard,
        at: u64,
        key: Locator,
        now: Now,
        mut tell: impl FnMut(Look),
    ) {
        if let Some(grave) = shard.graves.get(&key) {
            let ends_ms = grave.tombstone.ends_ms();
            if grave.due != at {
                return;
            }
            if now.mono_ms >= ends_ms {
                shard.drop_grave(&key);
                self.graves.fetch_sub(1, Ordering::Relaxed);
            } else {
                shard.schedule(key, ends_ms);
            }
            return;
        }
        let Some(live) = shard.live.get_mut(&key).filter(|live| live.due == at) else {
            return;
        };
        match live.verdict(now) {
            Verdict::Drop => {
                if let Some(live) = shard.drop_live(&key) {
                    self.live.fetch_sub(1, Ordering::Relaxed);
                    tell(Look::Dropped(live));
                }
            }
            Verdict::Touch => {
                live.due = u64::MAX;
                live.use_at(now);
                shard.settle(&key, now);
                tell(Look::Touched);
            }
            Verdict::Later(at_ms) => {
                live.due = u64::MAX;
                shard.schedule(key, at_ms);
            }
        }
    }
}

/// What became of a session that was looked at.
enum Look {
    Touched,
    Dropped(Box<Live>),
}
