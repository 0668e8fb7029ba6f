//! The bounded log of a node's own changes, which links drain.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::session::{Now, SessionKey, Stamp};
pub(crate) use crate::wire::message::Position;

/// That a session changed, not how: the state is read when the record is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: SessionKey,
    /// Our own stamp in the session at the record before this one of the same session.
    pub(super) prev: Stamp,
    /// Whether the last access goes with it.
    pub(super) touch: bool,
    pub(super) at_ms: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    /// Guards the order of records. Taken inside a store shard's lock, never the reverse.
    ring: Mutex<VecDeque<Record>>,
    head: AtomicU64,
    capacity: usize,
}

/// Records asked for, or that they are gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slice {
    Records(Vec<Record>),
    /// The log starts later; it ends at this position.
    Overrun(Position),
}

impl Log {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::default(),
            head: AtomicU64::new(0),
            capacity,
        }
    }

    /// The position of the last record, 0 when there has been none.
    pub(super) fn head(&self) -> Position {
        self.head.load(Ordering::Acquire)
    }

    /// Appends, forgetting the oldest record when full: whoever has not read it must repair.
    pub(super) fn append(&self, key: SessionKey, prev: Stamp, touch: bool, now: Now) -> Position {
        if self.capacity == 0 {
            return self.head.fetch_add(1, Ordering::AcqRel) + 1;
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(Record {
            key,
            prev,
            touch,
            at_ms: now.mono_ms,
        });
        self.head.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Up to `most` records behind `from`.
    pub(super) fn after(&self, from: Position, most: usize) -> Slice {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let head = self.head();
        match skip(&ring, head, from) {
            Some(skip) => Slice::Records(ring.range(skip..).take(most).copied().collect()),
            None => Slice::Overrun(head),
        }
    }

    /// The last position appended before `at_ms`.
    pub(super) fn before(&self, at_ms: u64) -> Position {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let older = ring.partition_point(|record| record.at_ms < at_ms);
        self.head() - (ring.len() - older) as u64
    }

    /// When the record behind `position` was appended, `None` when there is none or it is gone.
    pub(super) fn time_after(&self, position: Position) -> Option<u64> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = skip(&ring, self.head(), position)?;
        ring.get(skip).map(|record| record.at_ms)
    }
}

/// How many records of the ring are not behind `from`.
fn skip(ring: &VecDeque<Record>, head: Position, from: Position) -> Option<usize> {
    let first_missing = head - ring.len() as u64;
    let skip = from.checked_sub(first_missing)?;
    usize::try_from(skip)
        .ok()
        .filter(|&skip| skip <= ring.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        wall_ms: 5,
        mono_ms: 7,
    };

    fn key(byte: u8) -> SessionKey {
        SessionKey::from_bytes([byte; 16])
    }

    fn keys(slice: Slice) -> Vec<SessionKey> {
        match slice {
            Slice::Records(records) => records.iter().map(|record| record.key).collect(),
            Slice::Overrun(head) => panic!("overrun, head {head}"),
        }
    }

    #[test]
    fn reader_gets_what_it_has_not_read() {
        let log = Log::new(8);
        for byte in 1..=3 {
            assert_eq!(
                log.append(key(byte), Stamp::ZERO, false, NOW),
                u64::from(byte)
            );
        }
        assert_eq!(keys(log.after(0, 2)), [key(1), key(2)]);
        assert_eq!(keys(log.after(2, 9)), [key(3)]);
        assert_eq!(keys(log.after(3, 9)), []);
        assert_eq!((log.time_after(2), log.time_after(3)), (Some(7), None));
    }

    #[test]
    fn log_that_nobody_reads_counts_and_keeps_nothing() {
        let log = Log::new(0);
        for position in 1..=3 {
            assert_eq!(log.append(key(1), Stamp::ZERO, false, NOW), position);
        }
        assert_eq!(log.head(), 3);
        assert_eq!(log.after(0, 9), Slice::Overrun(3));
        assert_eq!((log.before(9), log.time_after(0)), (3, None));
    }

    #[test]
    fn reader_that_fell_out_of_the_log_is_told_where_it_ends() {
        let log = Log::new(2);
        for byte in 1..=5 {
            log.append(key(byte), Stamp::ZERO, false, NOW);
        }
        assert_eq!(log.after(2, 9), Slice::Overrun(5));
        assert_eq!(keys(log.after(3, 9)), [key(4), key(5)]);
        assert_eq!(
            log.after(6, 9),
            Slice::Overrun(5),
            "a position of another log"
        );
    }
}
