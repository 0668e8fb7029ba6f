//! Numbers, sizes and times as people read them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment, by how long ago it was and by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Such as `2026-11-29T08:31:05Z`, for programs.
    pub(super) stamp: String,
    /// The same for people.
    pub(super) clock: String,
    /// Such as `4 min`.
    pub(super) distance: String,
}

impl Moment {
    /// Returns a moment of so long ago.
    pub(super) fn past(age_ms: u64, wall_ms: u64) -> Self {
        Self::of(wall_ms.saturating_sub(age_ms), age_ms)
    }

    /// Returns a moment that comes after so long.
    pub(super) fn future(left_ms: u64, wall_ms: u64) -> Self {
        Self::of(wall_ms.saturating_add(left_ms), left_ms)
    }

    fn of(at_ms: u64, distance_ms: u64) -> Self {
        let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
        let at = OffsetDateTime::from_unix_timestamp(seconds);
        let stamp = at.ok().and_then(|at| at.format(&Rfc3339).ok());
        // The far future of a session that lives for ever and a day.
        let stamp = stamp.unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned());
        let clock = stamp.replace('T', " ").replace('Z', " UTC");
        Self {
            stamp,
            clock,
            distance: duration(distance_ms),
        }
    }
}

/// Returns a number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text
}

/// Returns a number of things, with their name.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    let name = if number == 1 { one } else { many };
    format!("{}{NO_BREAK}{name}", grouped(number))
}

/// Returns a number of bytes with three digits.
pub(super) fn bytes(number: u64) -> String {
    let (value, unit) = scaled(number as f64, &["B", "KiB", "MiB", "GiB", "TiB"], 1024.0);
    if unit == "B" {
        return format!("{number}{NO_BREAK}B");
    }
    format!("{}{NO_BREAK}{unit}", three_digits(value))
}

/// Returns a rate of bytes.
pub(super) fn byte_rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second.round() as u64))
}

/// Returns a rate of events.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 999.5 {
        grouped(per_second.round() as u64)
    } else {
        three_digits(per_second)
    }
}

/// Returns a time in the one or two units that matter.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{NO_BREAK}{unit}"),
        _ => format!("{large}{NO_BREAK}{unit} {small}{NO_BREAK}{small_unit}"),
    };
    match seconds {
        0 if ms > 0 => format!("{ms}{NO_BREAK}ms"),
        0..60 => format!("{seconds}{NO_BREAK}s"),
        60..600 => pair(minutes, "min", seconds % 60, "s"),
        600..3600 => format!("{minutes}{NO_BREAK}min"),
        3600..36_000 => pair(hours, "h", minutes % 60, "min"),
        36_000..86_400 => format!("{hours}{NO_BREAK}h"),
        86_400..864_000 => pair(days, "d", hours % 24, "h"),
        _ => format!("{}{NO_BREAK}d", grouped(days)),
    }
}

/// Returns how much of a whole a part is, from 0 to 100, a part that is something at least 1.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let percent = part.saturating_mul(100) / whole.max(1);
    percent.max(u64::from(part > 0)).min(100)
}

fn three_digits(value: f64) -> String {
    match value {
        ..0.05 => "0".to_owned(),
        ..9.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn scaled<'a>(mut value: f64, units: &[&'a str], base: f64) -> (f64, &'a str) {
    let mut unit = "";
    for next in units {
        if !unit.is_empty() {
            if value < base {
                break;
            }
            value /= base;
        }
        unit = next;
    }
    (value, unit)
}

/// Between digits.
const THIN_SPACE: char = '\u{202f}';
/// Between a number and its unit.
const NO_BREAK: char = '\u{a0}';

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace([THIN_SPACE, NO_BREAK], " ")
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(plain(&grouped(number)), text);
        }
        assert_eq!(plain(&counted(1, "session", "sessions")), "1 session");
        assert_eq!(
            plain(&counted(1200, "session", "sessions")),
            "1 200 sessions"
        );
    }

    #[test]
    fn sizes_have_the_unit_that_makes_them_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (20_000, "20 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(plain(&bytes(number)), text);
        }
        assert_eq!(plain(&byte_rate(2048.2)), "2.0 KiB/s");
    }

    #[test]
    fn rates_have_two_or_three_digits() {
        for (per_second, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (9.94, "9.9"),
            (12.4, "12"),
            (999.6, "1 000"),
            (20_000.0, "20 000"),
        ] {
            assert_eq!(plain(&rate(per_second)), text);
        }
    }

    #[test]
    fn times_have_the_units_that_matter() {
        for (ms, text) in [
            (0, "0 s"),
            (250, "250 ms"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (1_234_000, "20 min"),
            (3_600_000, "1 h"),
            (5_400_000, "1 h 30 min"),
            (50_000_000, "13 h"),
            (100_000_000, "1 d 3 h"),
            (8_640_000_000, "100 d"),
        ] {
            assert_eq!(plain(&duration(ms)), text);
        }
    }

    #[test]
    fn moments_are_told_by_the_clock_too() {
        let wall_ms = 1_764_405_065_999;
        let moment = Moment::past(5_000, wall_ms);
        assert_eq!(moment.stamp, "2025-11-29T08:31:00Z");
        assert_eq!(moment.clock, "2025-11-29 08:31:00 UTC");
        assert_eq!(plain(&moment.distance), "5 s");
        let later = Moment::future(60_000, wall_ms);
        assert_eq!(later.clock, "2025-11-29 08:32:05 UTC");
        assert_eq!(
            Moment::future(u64::MAX, wall_ms).stamp,
            "9999-12-31T23:59:59Z"
        );
    }

    #[test]
    fn part_that_is_something_shows() {
        assert_eq!(percent(0, 100), 0);
        assert_eq!(percent(1, 1_000_000), 1);
        assert_eq!(percent(50, 100), 50);
        assert_eq!(percent(300, 100), 100);
        assert_eq!(percent(1, 0), 100);
    }
}
