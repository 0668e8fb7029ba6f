//! What monitoring systems read of a node.

#[cfg(feature = "metrics")]
mod facade;
mod family;
mod histogram;
mod prometheus;
mod report;

use std::sync::atomic::{AtomicU64, Ordering};

use self::family::{ACK_WAITS, AGES, COMMITS, DISK_WRITES, Family, Labels, TRANSFERS};
pub(in crate::node) use self::histogram::Histogram;
use crate::{
    config::{Ack, Settings},
    session::Access,
};

/// Figures that [`Stats`](super::Stats) does not have.
#[derive(Debug)]
pub(in crate::node) struct Metrics {
    pub(in crate::node) created: AtomicU64,
    pub(in crate::node) destroyed: AtomicU64,
    pub(in crate::node) destroyed_by_order: AtomicU64,
    pub(in crate::node) destroyed_by_limit: AtomicU64,
    pub(in crate::node) expired: AtomicU64,
    pub(in crate::node) ids_cycled: AtomicU64,
    pub(in crate::node) loads_alive: AtomicU64,
    pub(in crate::node) loads_superseded: AtomicU64,
    pub(in crate::node) loads_replaced: AtomicU64,
    pub(in crate::node) loads_forged: AtomicU64,
    pub(in crate::node) loads_unknown: AtomicU64,
    pub(in crate::node) loads_unreadable: AtomicU64,
    pub(in crate::node) leaving: AtomicU64,
    pub(in crate::node) ack_timeouts: AtomicU64,
    pub(in crate::node) repair_rounds: AtomicU64,
    pub(in crate::node) reconnects: AtomicU64,
    pub(in crate::node) discovery_failures: AtomicU64,
    pub(in crate::node) commits: [Histogram; 3],
    pub(in crate::node) ack_waits: Histogram,
    pub(in crate::node) transfers: Histogram,
    pub(in crate::node) disk_writes: Histogram,
    pub(in crate::node) ages: Histogram,
}

/// From a tenth of a millisecond, which is a link on one machine, to more than most set as
/// `ack_timeout`.
const WAITS_US: &[u64] = &[
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];
const TRANSFERS_US: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// From a second to 30 days.
const AGES_US: &[u64] = &[
    1_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
    14_400_000_000,
    43_200_000_000,
    86_400_000_000,
    604_800_000_000,
    2_592_000_000_000,
];

impl Metrics {
    pub(in crate::node) fn new(settings: &Settings) -> Self {
        let labels = own_labels(&settings.cluster, &settings.node);
        let histogram = |family: &'static Family, bounds_us, more: Labels<'_>| {
            let labels = [&labels[..], more].concat();
            // Without the feature nothing reads them.
            let _ = (family, &labels);
            Histogram::new(
                bounds_us,
                #[cfg(feature = "metrics")]
                facade::histogram(family, &labels),
            )
        };
        Self {
            created: AtomicU64::new(0),
            destroyed: AtomicU64::new(0),
            destroyed_by_order: AtomicU64::new(0),
            destroyed_by_limit: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            ids_cycled: AtomicU64::new(0),
            loads_alive: AtomicU64::new(0),
            loads_superseded: AtomicU64::new(0),
            loads_replaced: AtomicU64::new(0),
            loads_forged: AtomicU64::new(0),
            loads_unknown: AtomicU64::new(0),
            loads_unreadable: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            ack_timeouts: AtomicU64::new(0),
            repair_rounds: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            discovery_failures: AtomicU64::new(0),
            commits: ACKS.map(|ack| histogram(&COMMITS, WAITS_US, &[("ack", name_of(ack))])),
            ack_waits: histogram(&ACK_WAITS, WAITS_US, &[]),
            transfers: histogram(&TRANSFERS, TRANSFERS_US, &[]),
            disk_writes: histogram(&DISK_WRITES, WAITS_US, &[]),
            ages: histogram(&AGES, AGES_US, &[]),
        }
    }

    /// Counts a commit, and how long its response had to wait, if it had to.
    pub(in crate::node) fn note_commit(&self, ack: Ack, waited_us: Option<u64>) {
        self.commits(ack).record_us(waited_us.unwrap_or(0));
        if let Some(us) = waited_us {
            self.ack_waits.record_us(us);
        }
    }

    /// Returns the histogram of commits that wait so.
    const fn commits(&self, ack: Ack) -> &Histogram {
        let [none, one, all] = &self.commits;
        match ack {
            Ack::None => none,
            Ack::One => one,
            Ack::All => all,
        }
    }

    /// Returns how many ids requests have presented.
    #[cfg(feature = "status")]
    pub(in crate::node) fn loads(&self) -> u64 {
        [
            &self.loads_alive,
            &self.loads_superseded,
            &self.loads_replaced,
            &self.loads_forged,
            &self.loads_unknown,
        ]
        .map(|count| count.load(Ordering::Relaxed))
        .iter()
        .sum()
    }

    pub(in crate::node) fn note_load(&self, access: Access) {
        let count = match access {
            Access::Alive => &self.loads_alive,
            Access::Superseded => &self.loads_superseded,
            Access::Replaced => &self.loads_replaced,
            Access::Forged => &self.loads_forged,
            Access::Unknown => &self.loads_unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

const ACKS: [Ack; 3] = [Ack::None, Ack::One, Ack::All];

const fn name_of(ack: Ack) -> &'static str {
    match ack {
        Ack::None => "none",
        Ack::One => "one",
        Ack::All => "all",
    }
}

const fn own_labels<'a>(cluster: &'a str, node: &'a str) -> [(&'static str, &'a str); 2] {
    [("cluster", cluster), ("node", node)]
}
