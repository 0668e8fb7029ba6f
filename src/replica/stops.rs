//! The times during which no process ran for a node's directory.
//!
//! What is remembered of destroyed sessions does not grow older meanwhile. So a node that was down
//! remembers what was destroyed longer ago than one that was not.

/// The latest stops, the first one first, in monotonic milliseconds of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stops(Vec<Stop>);

/// A time during which no process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

impl Stops {
    /// Makes them of what was saved, in any order. Those that overlap another one count for nothing.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn new(stops: impl Iterator<Item = Stop>) -> Self {
        let mut sorted: Vec<Stop> = stops.collect();
        sorted.sort_unstable_by_key(|stop| stop.from_ms);
        let mut made = Self::default();
        for stop in sorted {
            let last_ms = made.0.last().map_or(0, |last| last.until_ms);
            if stop.from_ms >= last_ms {
                made.add(stop);
            }
        }
        made
    }

    /// Adds the latest one. Short ones count as if the node had run, and of very many the first ones.
    #[cfg(any(test, feature = "durable"))]
    pub(super) fn add(&mut self, stop: Stop) {
        if stop.length_ms() < SHORT_MS {
            return;
        }
        if self.0.len() >= MAX_STOPS {
            self.0.remove(0);
        }
        self.0.push(stop);
    }

    #[cfg(any(test, feature = "durable"))]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Stop> {
        self.0.iter().copied()
    }

    /// Returns the instant since which the node has run for so long until now.
    pub(super) fn ran_since(&self, now_ms: u64, ran_ms: u64) -> u64 {
        let mut since_ms = now_ms.saturating_sub(ran_ms);
        for stop in self.0.iter().rev() {
            if since_ms >= stop.until_ms {
                break;
            }
            since_ms = since_ms.saturating_sub(stop.length_ms());
        }
        since_ms
    }
}

impl Stop {
    const fn length_ms(self) -> u64 {
        self.until_ms.saturating_sub(self.from_ms)
    }
}

#[cfg(any(test, feature = "durable"))]
const SHORT_MS: u64 = 60_000;
#[cfg(any(test, feature = "durable"))]
const MAX_STOPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn stops(hours: &[(u64, u64)]) -> Stops {
        Stops::new(hours.iter().map(|(from, until)| Stop {
            from_ms: from * HOUR_MS,
            until_ms: until * HOUR_MS,
        }))
    }

    #[test]
    fn time_in_which_nobody_ran_does_not_count() {
        let stops = stops(&[(100, 110), (120, 200)]);
        let since = |ran| stops.ran_since(210 * HOUR_MS, ran * HOUR_MS) / HOUR_MS;
        assert_eq!(since(10), 200, "all the time since the last start");
        assert_eq!(since(11), 119);
        assert_eq!(since(20), 110);
        assert_eq!(since(21), 99);
        assert_eq!(since(1_000), 0);
    }

    #[test]
    fn stops_are_few_and_of_some_length_and_in_order() {
        assert_eq!(stops(&[(5, 9), (1, 3), (2, 4)]), stops(&[(1, 3), (5, 9)]));
        let mut many = stops(&[(1, 2)]);
        many.add(Stop {
            from_ms: 3 * HOUR_MS,
            until_ms: 3 * HOUR_MS + SHORT_MS - 1,
        });
        assert_eq!(many, stops(&[(1, 2)]));
        for hour in 2..200 {
            many.add(stops(&[(2 * hour, 2 * hour + 1)]).0[0]);
        }
        assert_eq!(many.iter().len(), MAX_STOPS);
        assert_eq!(
            many.iter().last().map(|stop| stop.from_ms),
            Some(398 * HOUR_MS)
        );
    }
}
