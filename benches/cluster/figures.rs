//! Medians, and how far the rounds lie apart.

use std::fmt;

/// The median of several rounds and their middle half.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// `None` without a figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: at(&sorted, 0.5)?,
            low: at(&sorted, 0.25)?,
            high: at(&sorted, 0.75)?,
        })
    }
}

/// As `1.35 (1.31-1.40)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high } = self;
        let digits = f.precision().unwrap_or(2);
        write!(f, "{median:.digits$} ({low:.digits$}-{high:.digits$})")
    }
}

/// The latency in microseconds that this part of the requests stays below.
pub(crate) fn percentile_us(sorted: &[u64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part) as usize;
    let rank = rank.min(sorted.len().saturating_sub(1));
    sorted.get(rank).map_or(f64::NAN, |ns| *ns as f64 / 1e3)
}

/// Between two neighbours where it falls between them.
fn at(sorted: &[f64], part: f64) -> Option<f64> {
    let place = sorted.len().checked_sub(1)? as f64 * part;
    let (below, above) = (place.floor(), place.ceil());
    let (low, high) = (sorted.get(below as usize)?, sorted.get(above as usize)?);
    Some(low + (high - low) * (place - below))
}
