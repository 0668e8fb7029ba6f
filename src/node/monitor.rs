//! What can be watched of a node: events, counters, and log lines of which there may be too many.

use std::{sync::atomic::AtomicU64, time::Duration};

#[cfg(feature = "status")]
use super::history::History;
use super::{event_log::EventLog, events::EventHub, log_throttle::LogThrottle, metrics::Metrics};
use crate::{config::Settings, session::Now};

/// Where a node's observations go.
#[derive(Debug)]
pub(super) struct Monitor {
    /// When the node was started, and when it ticked last, in monotonic milliseconds.
    pub(super) started_ms: u64,
    pub(super) ticked_ms: AtomicU64,
    pub(super) events: EventHub,
    pub(super) event_log: EventLog,
    #[cfg(feature = "status")]
    pub(super) history: History,
    pub(super) counters: Counters,
    pub(super) metrics: Metrics,
    /// Lines about unauthenticated peers.
    pub(super) refusal_log: LogThrottle,
    /// Lines about nodes that do not fit.
    pub(super) misfit_log: LogThrottle,
    /// Lines about nodes of another cluster, which a discovery may lead here for ever.
    pub(super) foreign_log: LogThrottle,
    pub(super) over_limit_log: LogThrottle,
    pub(super) full_log: LogThrottle,
    /// Lines about limits that are near.
    pub(super) nearly_full_log: LogThrottle,
    pub(super) too_large_log: LogThrottle,
    /// Lines about destroyed sessions for which there is hardly room.
    pub(super) tombstone_log: LogThrottle,
    /// Lines about a disk that fails.
    #[cfg_attr(
        not(feature = "durable"),
        expect(dead_code, reason = "there is no disk")
    )]
    pub(super) disk_log: LogThrottle,
    /// Lines about tasks that panicked.
    pub(super) panic_log: LogThrottle,
}

/// What has happened since the start, by number.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) refused: AtomicU64,
    pub(super) violations: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) too_large: AtomicU64,
    pub(super) lookups: AtomicU64,
    pub(super) stale_reads: AtomicU64,
    pub(super) task_panics: AtomicU64,
}

impl Monitor {
    pub(super) fn new(settings: &Settings, now: Now) -> Self {
        Self {
            started_ms: now.mono_ms,
            ticked_ms: AtomicU64::new(now.mono_ms),
            events: EventHub::new(),
            event_log: EventLog::default(),
            #[cfg(feature = "status")]
            history: History::default(),
            counters: Counters::default(),
            metrics: Metrics::new(settings),
            refusal_log: LogThrottle::default(),
            misfit_log: LogThrottle::default(),
            foreign_log: LogThrottle::slowing(Duration::from_secs(10), Duration::from_secs(600)),
            over_limit_log: LogThrottle::default(),
            full_log: LogThrottle::default(),
            nearly_full_log: LogThrottle::default(),
            too_large_log: LogThrottle::default(),
            tombstone_log: LogThrottle::default(),
            disk_log: LogThrottle::default(),
            panic_log: LogThrottle::default(),
        }
    }
}
