//! Durations in Go's notation, such as `1m30s` or `1.5h`.

use std::time::Duration;

/// Nanoseconds of the units.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Returns the duration, one below zero as zero; none for what Go does not take for one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c: char| !is_number(c))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(is_number).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        nanos += number * unit;
        rest = &rest[end..];
    }
    // Go counts nanoseconds in 63 bits.
    if nanos >= i64::MAX as f64 {
        return None;
    }
    if negative {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

/// Returns whether the text is a duration of nothing; one below zero is none.
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
