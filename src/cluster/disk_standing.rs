//! Up to where this node's changes are on its own disk, as far as responses wait for that.
//!
//! A disk is one more party that must hold a change, also where no peer does. As a peer, it has
//! `ack_timeout`. One that misses it, or fails, is not waited for until it has caught up.

#![cfg_attr(
    not(any(test, feature = "durable")),
    expect(
        dead_code,
        unused_imports,
        reason = "without a disk nothing of it changes"
    )
)]

use std::collections::VecDeque;

use crate::{
    cluster::time::{TICK, millis},
    session::Now,
    wire::Position,
};

/// Whether responses wait for the disk, and how far it has come.
#[derive(Debug, Default)]
pub(super) struct DiskStanding(Option<Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    saved: Option<Position>,
    /// The head of the log at the last tick.
    head: Option<Position>,
    /// Heads at ticks that are not saved, the first one first, by this node's own time.
    owed: VecDeque<(Position, u64)>,
    /// The time that ticks have counted, without that in which the process was stopped.
    elapsed_ms: u64,
    ticked_ms: Option<u64>,
    /// It has missed its time, or fails.
    is_behind: bool,
}

impl DiskStanding {
    /// Returns up to which position nobody waits for the disk.
    pub(super) fn watermark(&self) -> Option<Position> {
        match &self.0 {
            Some(awaited) if !awaited.is_behind => awaited.saved,
            Some(_) | None => Some(Position::MAX),
        }
    }

    #[cfg(test)]
    pub(super) fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Has responses wait for the disk.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn await_it(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Notes that the changes up to a position cannot be lost any more.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn save(&mut self, position: Option<Position>) {
        let Some(awaited) = &mut self.0 else {
            return;
        };
        awaited.saved = awaited.saved.max(position);
        while (awaited.owed.front()).is_some_and(|(owed, _)| Some(*owed) <= awaited.saved) {
            awaited.owed.pop_front();
        }
        awaited.is_behind &= awaited.saved < awaited.head;
    }

    /// Notes that the disk fails.
    #[cfg(any(test, feature = "durable"))]
    pub(super) const fn fail(&mut self) {
        if let Some(awaited) = &mut self.0 {
            awaited.is_behind = true;
        }
    }

    /// Lets a tick pass. `head` is that of the log.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn tick(&mut self, head: Option<Position>, ack_timeout_ms: u64, now: Now) {
        let Some(awaited) = &mut self.0 else {
            return;
        };
        let before_ms = awaited.ticked_ms.replace(now.mono_ms);
        let passed_ms = before_ms.map_or(0, |before_ms| now.mono_ms.saturating_sub(before_ms));
        awaited.elapsed_ms += passed_ms.min(2 * millis(TICK));
        let is_late = |(_, at_ms): &(Position, u64)| awaited.elapsed_ms - at_ms >= ack_timeout_ms;
        awaited.is_behind |= awaited.owed.front().is_some_and(is_late);
        if head > awaited.head && head > awaited.saved {
            let owed = head.map(|head| (head, awaited.elapsed_ms));
            awaited.owed.extend(owed);
        }
        awaited.head = head;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT_MS: u64 = 1_000;

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    const fn position(number: u64) -> Option<Position> {
        Position::new(number)
    }

    /// Returns a disk whose first tick was at 0, with these records in the log.
    fn disk(head: u64) -> DiskStanding {
        let mut disk = DiskStanding::default();
        disk.await_it();
        disk.tick(position(head), TIMEOUT_MS, at(0));
        disk
    }

    fn tick_until(disk: &mut DiskStanding, head: u64, from_ms: u64, until_ms: u64) {
        for mono_ms in (from_ms..=until_ms).step_by(100) {
            disk.tick(position(head), TIMEOUT_MS, at(mono_ms));
        }
    }

    #[test]
    fn nobody_waits_for_a_disk_that_is_not_there() {
        let mut disk = DiskStanding::default();
        disk.save(position(3));
        disk.fail();
        disk.tick(position(5), TIMEOUT_MS, at(0));
        assert_eq!(disk.watermark(), Some(Position::MAX));
        assert!(!disk.is_awaited());
    }

    #[test]
    fn disk_that_misses_its_time_is_not_waited_for_until_it_has_caught_up() {
        let mut disk = disk(4);
        disk.save(position(3));
        tick_until(&mut disk, 6, 100, TIMEOUT_MS - 100);
        assert_eq!(disk.watermark(), position(3));
        tick_until(&mut disk, 6, TIMEOUT_MS, TIMEOUT_MS);
        assert_eq!(disk.watermark(), Some(Position::MAX));
        disk.save(position(5));
        assert_eq!(disk.watermark(), Some(Position::MAX), "it is still behind");
        disk.save(position(6));
        assert_eq!(disk.watermark(), position(6));
    }

    /// However it gets on, a change is not waited for longer than `ack_timeout`.
    #[test]
    fn disk_that_is_always_late_is_not_waited_for() {
        let mut disk = disk(0);
        for tick in 1..=11 {
            disk.tick(position(tick * 10), TIMEOUT_MS, at(tick * 100));
            assert!(disk.watermark() < Some(Position::MAX), "tick {tick}");
            disk.save(position(tick));
        }
        disk.tick(position(120), TIMEOUT_MS, at(1_200));
        assert_eq!(disk.watermark(), Some(Position::MAX));
    }

    #[test]
    fn disk_that_fails_is_not_waited_for_until_it_has_caught_up() {
        let mut disk = disk(4);
        disk.fail();
        assert_eq!(disk.watermark(), Some(Position::MAX));
        disk.save(position(4));
        assert_eq!(disk.watermark(), position(4));
    }

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count() {
        let mut disk = disk(4);
        disk.tick(position(4), TIMEOUT_MS, at(60_000));
        assert_eq!(disk.watermark(), None);
    }
}
