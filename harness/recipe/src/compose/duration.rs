//! Durations in Go's notation, such as `1m30s` or `1.5h`.

use std::time::Duration;

/// Nanoseconds of the units.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Returns the duration, one below zero as zero; none for what Go does not take for one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let nanoseconds = nanoseconds(text)?;
    Some(Duration::from_nanos(
        u64::try_from(nanoseconds).unwrap_or(0),
    ))
}

/// Returns the nanoseconds that Go counts of the text: whole numbers exactly, fractions cut.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c: char| !is_number(c))?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(is_number).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(part(number, *unit)?)?;
        rest = behind;
    }
    Some(if negative { -sum } else { sum })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a fraction of a unit is less than the unit, and Go computes it in floats too"
)]
fn part(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = match whole {
        "" => 0,
        digits => digits.parse::<i64>().ok()?.checked_mul(unit)?,
    };
    let fraction: f64 = match fraction {
        "" => 0.0,
        digits if digits.contains('.') => return None,
        digits => format!("0.{digits}").parse().ok()?,
    };
    whole.checked_add((fraction * unit as f64) as i64)
}

/// Returns whether the text is a duration of zero; a negative one is not.
pub(super) fn is_zero(text: &str) -> bool {
    parse(text.trim_start_matches('-')) == Some(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_gos_notation() {
        for (text, millis) in [
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            (".5s", 500),
            ("+5s", 5000),
            ("-5s", 0),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for (text, expected) in [
            ("1h0.5m.5s100ms10us5ns", 3_630_600_010_005),
            ("-5s", -5_000_000_000),
            ("1.9ns", 1),
            ("2562047h", 9_223_369_200_000_000_000),
        ] {
            assert_eq!(nanoseconds(text), Some(expected), "{text}");
        }
        assert!(is_zero("0s") && is_zero("-0") && !is_zero("-5s") && !is_zero("x"));
        for bad in [
            "",
            "5",
            "s",
            "1d",
            "1m3",
            "5 s",
            ".s",
            "1..5s",
            "-",
            "9999999999h",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
