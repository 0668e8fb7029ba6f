//! The bounded log of a node's own changes, which links drain.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    session::{Mutant, SessionKey, Stamp},
    wire::Position,
};

/// The note that a session changed, not how: the state is read when the record is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: SessionKey,
    /// Our own stamp in the session at the record before this one of the same session.
    pub(super) prev: Stamp,
    /// Whether the last access goes with it, too.
    pub(super) touch: bool,
    pub(super) at_ms: u64,
}

/// A bounded ring of records. Those who fall behind its beginning must repair.
#[derive(Debug)]
pub(crate) struct Log {
    /// Guards the order of records. Taken inside a store shard's lock, never the reverse.
    ring: Mutex<VecDeque<Record>>,
    /// How many records there have been.
    head: AtomicU64,
    capacity: usize,
}

/// Records asked for, or the news that they are gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slice {
    Records(Vec<Record>),
    /// The log starts later; it ends at this position.
    Overrun(Option<Position>),
}

impl Log {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::default(),
            head: AtomicU64::new(0),
            capacity,
        }
    }

    /// Returns the position of the last record, `None` when there has been none.
    pub(super) fn head(&self) -> Option<Position> {
        Position::new(self.appended())
    }

    /// Appends a record, and forgets the oldest one when the ring is full. Returns its position.
    pub(super) fn append(&self, record: Record) -> Position {
        // Nobody reads the ring of a node without peers.
        if self.capacity == 0 {
            return Position::following(self.head.fetch_add(1, Ordering::AcqRel));
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(record);
        Position::following(self.head.fetch_add(1, Ordering::AcqRel))
    }

    /// Returns up to `most` records behind `from`.
    pub(super) fn after(&self, from: Option<Position>, most: usize) -> Slice {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = self.appended();
        match skip(&ring, appended, from) {
            Some(skip) => Slice::Records(ring.range(skip..).take(most).copied().collect()),
            None => Slice::Overrun(Position::new(appended)),
        }
    }

    /// Returns the last position appended before `at_ms`.
    pub(super) fn before(&self, at_ms: u64) -> Option<Position> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let older = ring.partition_point(|record| record.at_ms < at_ms);
        Position::new(self.appended() - (ring.len() - older) as u64)
    }

    /// Returns when the record behind `position` was appended, `None` when there is none. Of one that
    /// left the ring it is not known any more: it was no later than the oldest one in it.
    pub(super) fn time_after(&self, position: Option<Position>) -> Option<u64> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = self.appended();
        let record = match skip(&ring, appended, position) {
            Some(skip) => ring.get(skip),
            None if Mutant::ForgetOverrun.is_on() => None,
            None if Position::number(position) < appended => ring.front(),
            None => None,
        };
        record.map(|record| record.at_ms)
    }

    /// Returns how many records there have been.
    fn appended(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }
}

/// Returns how many records of the ring are not behind `from`, `None` when some behind it are gone
/// or `from` is of another log.
fn skip(ring: &VecDeque<Record>, appended: u64, from: Option<Position>) -> Option<usize> {
    let first_missing = appended - ring.len() as u64;
    let skip = Position::number(from).checked_sub(first_missing)?;
    usize::try_from(skip)
        .ok()
        .filter(|&skip| skip <= ring.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::key;

    fn record(byte: u8) -> Record {
        Record {
            key: key(byte),
            prev: Stamp::ZERO,
            touch: false,
            at_ms: 7,
        }
    }

    fn keys(slice: Slice) -> Vec<SessionKey> {
        match slice {
            Slice::Records(records) => records.iter().map(|record| record.key).collect(),
            Slice::Overrun(head) => panic!("overrun, head {head:?}"),
        }
    }

    #[test]
    fn reader_gets_what_it_has_not_read() {
        let log = Log::new(8);
        for byte in 1..=3 {
            assert_eq!(
                log.append(record(byte)),
                Position::following(u64::from(byte) - 1)
            );
        }
        assert_eq!(keys(log.after(Position::new(0), 2)), [key(1), key(2)]);
        assert_eq!(keys(log.after(Position::new(2), 9)), [key(3)]);
        assert_eq!(keys(log.after(Position::new(3), 9)), []);
        assert_eq!(
            (
                log.time_after(Position::new(2)),
                log.time_after(Position::new(3))
            ),
            (Some(7), None)
        );
    }

    #[test]
    fn record_that_left_the_log_is_as_old_as_the_oldest_in_it() {
        let log = Log::new(2);
        for at_ms in 1..=5 {
            log.append(Record { at_ms, ..record(1) });
        }
        let times = [0, 2, 3, 4, 5, 6].map(|number| log.time_after(Position::new(number)));
        assert_eq!(times, [Some(4), Some(4), Some(4), Some(5), None, None]);
    }

    #[test]
    fn log_that_nobody_reads_counts_and_keeps_nothing() {
        let log = Log::new(0);
        for position in 1..=3 {
            assert_eq!(log.append(record(1)), Position::following(position - 1));
        }
        assert_eq!(log.head(), Position::new(3));
        assert_eq!(
            log.after(Position::new(0), 9),
            Slice::Overrun(Position::new(3))
        );
        assert_eq!(
            (log.before(9), log.time_after(Position::new(0))),
            (Position::new(3), None)
        );
    }

    #[test]
    fn reader_that_fell_out_of_the_log_is_told_where_it_ends() {
        let log = Log::new(2);
        for byte in 1..=5 {
            log.append(record(byte));
        }
        assert_eq!(
            log.after(Position::new(2), 9),
            Slice::Overrun(Position::new(5))
        );
        assert_eq!(keys(log.after(Position::new(3), 9)), [key(4), key(5)]);
        assert_eq!(
            log.after(Position::new(6), 9),
            Slice::Overrun(Position::new(5)),
            "a position of another log"
        );
    }
}
