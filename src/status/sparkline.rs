//! Rates over the last minutes, as numbers and as a small picture.

use std::fmt::Write as _;

use crate::node::Sample;

/// A curve in a picture of `WIDTH` times `HEIGHT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sparkline {
    /// The curve, as the path of an SVG; empty without two samples.
    pub(super) line: String,
    /// The same with the area below it.
    pub(super) area: String,
}

/// How fast something grows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rate {
    /// In a second, over the last ten; `None` without two samples.
    pub(super) now: Option<f64>,
    pub(super) spark: Sparkline,
}

impl Rate {
    /// Returns the rate of a count, which may be missing in old samples.
    pub(super) fn of(samples: &[Sample], count: impl Fn(&Sample) -> Option<u64>) -> Self {
        let points: Vec<(u64, u64)> = samples
            .iter()
            .filter_map(|sample| Some((sample.at_ms, count(sample)?)))
            .collect();
        let steps: Vec<f64> = points.windows(2).filter_map(step).collect();
        let last = points.len().saturating_sub(RECENT + 1);
        Self {
            now: points.get(last..).and_then(whole),
            spark: Sparkline::of(&steps),
        }
    }
}

impl Sparkline {
    /// Returns the curve of values that are not negative. The latest is at the right edge.
    pub(super) fn of(values: &[f64]) -> Self {
        if values.len() < 2 {
            return Self::default();
        }
        let values = values
            .get(values.len().saturating_sub(STEPS)..)
            .unwrap_or(values);
        let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let begin = WIDTH - (values.len() - 1) as f64 * STEP;
        let mut line = String::new();
        for (at, value) in values.iter().enumerate() {
            let x = begin + at as f64 * STEP;
            let y = HEIGHT - MARGIN - value / highest * (HEIGHT - 2.0 * MARGIN);
            let command = if at == 0 { 'M' } else { 'L' };
            // Writing to a string never fails.
            let _ = write!(line, "{command}{x:.1} {y:.1}");
        }
        let area = format!("{line}L{WIDTH:.1} {HEIGHT:.1}L{begin:.1} {HEIGHT:.1}Z");
        Self { line, area }
    }
}

fn step(pair: &[(u64, u64)]) -> Option<f64> {
    whole(pair)
}

/// Returns the rate from the first point to the last.
fn whole(points: &[(u64, u64)]) -> Option<f64> {
    let ((from_ms, before), (to_ms, after)) = (points.first()?, points.last()?);
    let ms = to_ms.checked_sub(*from_ms).filter(|ms| *ms > 0)?;
    // A member that came back as another process begins at zero.
    Some(after.saturating_sub(*before) as f64 * 1000.0 / ms as f64)
}

pub(super) const WIDTH: f64 = 180.0;
pub(super) const HEIGHT: f64 = 28.0;
const MARGIN: f64 = 2.0;
/// Of three minutes, in samples of two seconds.
const STEPS: usize = 91;
const STEP: f64 = WIDTH / 90.0;
/// Samples that the present rate is taken of.
const RECENT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(counts: &[(u64, u64)]) -> Vec<Sample> {
        let sample = |(at_ms, changes): &(u64, u64)| Sample {
            at_ms: *at_ms,
            sessions: 0,
            loads: 0,
            created: 0,
            changes: *changes,
            members: Vec::new(),
        };
        counts.iter().map(sample).collect()
    }

    #[test]
    fn rate_is_that_of_the_last_ten_seconds() {
        let counts: Vec<(u64, u64)> = (0..20).map(|at| (at * 2000, at * at)).collect();
        let rate = Rate::of(&samples(&counts), |sample| Some(sample.changes));
        assert_eq!(rate.now, Some((19.0 * 19.0 - 14.0 * 14.0) / 10.0));
        assert_eq!(rate.spark.line.matches('L').count(), 18);
    }

    #[test]
    fn without_two_samples_there_is_no_rate() {
        for counts in [&[][..], &[(0, 5)], &[(7, 5), (7, 9)]] {
            let rate = Rate::of(&samples(counts), |sample| Some(sample.changes));
            assert_eq!(rate, Rate::default());
        }
        let none = Rate::of(&samples(&[(0, 1), (10, 2)]), |_| None);
        assert_eq!(none, Rate::default());
    }

    #[test]
    fn count_that_begins_anew_is_no_negative_rate() {
        let rate = Rate::of(&samples(&[(0, 90), (2000, 4)]), |sample| {
            Some(sample.changes)
        });
        assert_eq!(rate.now, Some(0.0));
    }

    #[test]
    fn curve_ends_at_the_right_and_stays_in_its_picture() {
        let spark = Sparkline::of(&[0.0, 1.0, 4.0]);
        assert_eq!(spark.line, "M176.0 26.0L178.0 20.0L180.0 2.0");
        assert_eq!(
            spark.area,
            "M176.0 26.0L178.0 20.0L180.0 2.0L180.0 28.0L176.0 28.0Z"
        );
        let flat = Sparkline::of(&[0.0, 0.0]);
        assert_eq!(flat.line, "M178.0 26.0L180.0 26.0");
        assert_eq!(Sparkline::of(&[1.0]), Sparkline::default());
    }
}
