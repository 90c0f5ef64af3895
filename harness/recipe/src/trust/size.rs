//! Sizes as Docker writes them: `512m`, `2g`, `1.5` CPUs.

use serde::Serializer;

/// Returns the bytes that a text such as `512m`, `2gb` or `1048576` means; the units are powers of 1024.
///
/// # Errors
/// A sentence when it means none, or zero.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it as Docker does: `512m`, `2g`");
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = lower.split_at(split.unwrap_or(lower.len()));
    let unit = unit.trim_start();
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let factor: u64 = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    scaled(number, factor).ok_or_else(wrong)
}

/// Returns the billionths of a CPU that a text such as `1.5` means.
///
/// # Errors
/// A sentence when it means none, or zero.
pub fn nano_cpus(text: &str) -> Result<u64, String> {
    scaled(text.trim(), 1_000_000_000)
        .ok_or_else(|| format!("`{text}` is not a number of CPUs; write it as Docker does: `1.5`"))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is held against the limits before it is cut"
)]
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let value = number.parse::<f64>().ok()? * factor as f64;
    (1.0..9e15).contains(&value).then_some(value as u64)
}

/// Writes bytes with the largest unit that needs no fraction.
#[expect(clippy::ref_option, reason = "serde's form")]
pub(super) fn shown<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&bytes.map(in_words).unwrap_or_default())
}

/// Writes CPUs.
#[expect(clippy::ref_option, reason = "serde's form")]
pub(super) fn shown_cpus<S: Serializer>(nano: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&nano.map(cpus_in_words).unwrap_or_default())
}

/// Returns bytes as Docker writes them: `512m`.
pub fn in_words(bytes: u64) -> String {
    let unit = [(40, 't'), (30, 'g'), (20, 'm'), (10, 'k')]
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.is_multiple_of(1_u64 << shift));
    match unit {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Returns billionths of a CPU as Docker writes CPUs: `1.5`.
pub(crate) fn cpus_in_words(nano: u64) -> String {
    let fraction = format!("{:09}", nano % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let whole = nano / 1_000_000_000;
    if fraction.is_empty() {
        whole.to_string()
    } else {
        format!("{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_docker_does() {
        for (text, value, shown) in [
            ("512m", 512 << 20, "512m"),
            ("2GB", 2 << 30, "2g"),
            ("1.5GiB", 3 << 29, "1536m"),
            ("1048576", 1 << 20, "1m"),
            ("10 k", 10 << 10, "10k"),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
            assert_eq!(in_words(value), shown);
        }
        for text in [
            "",
            "m",
            "0",
            "-1",
            "1x",
            "1.2.3m",
            "nan",
            "1e9",
            "99999999t",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus_in_words(1_500_000_000), "1.5");
        assert_eq!(cpus_in_words(2_000_000_000), "2");
        assert!(nano_cpus("0").is_err() && nano_cpus("two").is_err());
    }
}
