//! The sweep looks at what is due: expired sessions, tombstones past their time, sessions still in
//! use. The cost is that of what is due, whatever is held and however often it is touched.

use std::sync::atomic::Ordering;

use super::{Store, expiry::Verdict, lock, shard::Shard};
use crate::replica::{
    change::{Change, ChangeKind},
    observer::Observer,
};
use crate::session::{Now, SessionKey};

impl Store {
    /// Drops what has expired, and tells the observer. Returns the sessions whose use is to be
    /// committed.
    pub(crate) fn sweep(&self, now: Now, observer: &mut Observer) -> Vec<SessionKey> {
        let mut touched = Vec::new();
        let mut in_use = false;
        for shard in &self.shards {
            let mut shard = lock(shard);
            for key in shard.due(now) {
                if sweep_one(&mut shard, &key, now, observer) {
                    touched.push(key);
                }
            }
            shard.cool_idle(now);
            in_use |= std::mem::take(&mut shard.in_use);
        }
        self.in_use.store(in_use, Ordering::Relaxed);
        touched
    }
}

/// Looks at one session or tombstone. Returns whether peers are to hear that it is in use.
fn sweep_one(shard: &mut Shard, key: &SessionKey, now: Now, observer: &mut Observer) -> bool {
    if let Some(held) = shard.tombstone(key) {
        let ends_ms = held.tombstone.ends_ms();
        if now.mono_ms >= ends_ms {
            shard.drop_tombstone(key);
        } else {
            shard.schedule(key, ends_ms);
        }
        return false;
    }
    let Some(verdict) = shard.view(key).map(|hot| hot.verdict(now)) else {
        return false;
    };
    match verdict {
        Verdict::Drop => {
            if let Some(meta) = shard.drop_session(key) {
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
