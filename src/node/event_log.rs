//! The last events of a node, for whoever looks after they happened.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Event;
use crate::session::Now;

/// An event that is over, from [`Cluster::recent_events`](crate::Cluster::recent_events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecentEvent {
    /// The event.
    pub event: Event,
    /// The time since.
    pub age: Duration,
}

/// The last events but those of sessions, of which there may be thousands in a second.
#[derive(Debug, Default)]
pub(super) struct EventLog(Mutex<VecDeque<(u64, Event)>>);

impl EventLog {
    pub(super) fn add(&self, event: Event, now: Now) {
        let mut events = self.lock();
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back((now.mono_ms, event));
    }

    /// Returns all of them, the latest first.
    pub(super) fn recent(&self, now: Now) -> Vec<RecentEvent> {
        let events = self.lock();
        let recent = events.iter().rev().map(|(at_ms, event)| RecentEvent {
            event: event.clone(),
            age: Duration::from_millis(now.mono_ms.saturating_sub(*at_ms)),
        });
        recent.collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Event)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KEPT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Readiness,
        session::fixtures::{NOW, after},
    };

    #[test]
    fn latest_events_are_kept_with_their_age() {
        let log = EventLog::default();
        assert_eq!(log.recent(NOW), []);
        for missed in 0..KEPT as u64 + 2 {
            log.add(Event::Missed(missed), after(missed));
        }
        log.add(Event::Ready(Readiness::Synced), after(1000));
        let recent = log.recent(after(1500));
        assert_eq!(recent.len(), KEPT);
        assert_eq!(recent[0].event, Event::Ready(Readiness::Synced));
        assert_eq!(recent[0].age, Duration::from_millis(500));
        assert_eq!(recent[KEPT - 1].event, Event::Missed(3));
    }
}
