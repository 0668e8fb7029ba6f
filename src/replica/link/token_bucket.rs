//! A limit of how fast bytes leave.

use crate::session::Now;

/// The bytes that may leave by now: so many more with each millisecond, and never more than a
/// while's worth at once.
#[derive(Debug)]
pub(super) struct TokenBucket {
    bytes_per_ms: u64,
    most: u64,
    left: u64,
    /// What left beyond what was allowed, since messages are not cut.
    owed: u64,
    filled_ms: u64,
}

impl TokenBucket {
    pub(super) const fn new(bytes_per_ms: u64, most_ms: u64) -> Self {
        let most = bytes_per_ms * most_ms;
        Self {
            bytes_per_ms,
            most,
            left: most,
            owed: 0,
            filled_ms: 0,
        }
    }

    /// Returns whether something may leave, which may be more than what is left.
    pub(super) fn allows(&mut self, now: Now) -> bool {
        let passed_ms = now.mono_ms.saturating_sub(self.filled_ms);
        if passed_ms > 0 {
            let more = passed_ms.saturating_mul(self.bytes_per_ms);
            let paid = more.min(self.owed);
            self.owed -= paid;
            self.left = self.left.saturating_add(more - paid).min(self.most);
            self.filled_ms = now.mono_ms;
        }
        self.left > 0
    }

    pub(super) const fn spend(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_add(bytes.saturating_sub(self.left));
        self.left = self.left.saturating_sub(bytes);
    }
}
