//! How often something took how long.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of times up to each bound, in microseconds.
#[derive(Debug)]
pub(in crate::node) struct Histogram {
    bounds_us: &'static [u64],
    /// One for each bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
    #[cfg(feature = "metrics")]
    facade: metrics::Histogram,
}

/// What a histogram holds at one time.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    /// The bounds in seconds, with how much was up to each.
    pub(super) up_to: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn new(
        bounds_us: &'static [u64],
        #[cfg(feature = "metrics")] facade: metrics::Histogram,
    ) -> Self {
        Self {
            bounds_us,
            counts: (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            facade,
        }
    }

    pub(in crate::node) fn record_us(&self, us: u64) {
        let at = self.bounds_us.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.facade.record(seconds(us));
    }

    pub(in crate::node) fn record_ms(&self, ms: u64) {
        self.record_us(ms.saturating_mul(1000));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut up_to = Vec::with_capacity(self.bounds_us.len());
        for (at, counted) in self.counts.iter().enumerate() {
            count += counted.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds_us.get(at) {
                up_to.push((seconds(*bound), count));
            }
        }
        Snapshot {
            up_to,
            count,
            sum: seconds(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads the last digit")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_up_to_each_bound_that_it_reaches() {
        let histogram = Histogram::new(
            &[1000, 2_000_000],
            #[cfg(feature = "metrics")]
            metrics::Histogram::noop(),
        );
        histogram.record_us(1000);
        histogram.record_us(1001);
        histogram.record_ms(2500);
        let expected = Snapshot {
            up_to: vec![(0.001, 1), (2.0, 2)],
            count: 3,
            sum: 2.502_001,
        };
        assert_eq!(histogram.snapshot(), expected);
    }
}
