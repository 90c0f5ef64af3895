//! The forms in which a secret turns up in text.

use std::fmt::Write;

use base64::Engine as _;
use base64::prelude::{
    BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD,
    BASE64_URL_SAFE as URL_SAFE, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
};

/// A line of a secret of several lines is a secret of its own from this length on; shorter ones (`}`,
/// `end`) are ordinary words.
const SHORTEST_LINE: usize = 8;

/// Returns `secret` as it is and as JSON, XML, base64 and URLs write it.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let trimmed = secret.trim_end_matches(['\r', '\n']);
    let mut all = Vec::new();
    for value in [secret, trimmed] {
        all.push(value.to_owned());
        all.push(json(value));
        all.push(xml(value));
        all.push(xml(value).replace('"', "&quot;"));
        all.push(percent(value, "%20", false));
        all.push(percent(value, "%20", true));
        all.push(percent(value, "+", false));
    }
    // `echo "$SECRET" | base64` encodes a newline that the value does not have.
    for value in [secret, trimmed, &format!("{trimmed}\n")] {
        for (padded, unpadded) in [(STANDARD, STANDARD_NO_PAD), (URL_SAFE, URL_SAFE_NO_PAD)] {
            all.push(padded.encode(value));
            all.push(unpadded.encode(value));
        }
    }
    if trimmed.contains('\n') {
        all.extend(
            trimmed
                .lines()
                .map(str::trim)
                .filter(|line| line.len() >= SHORTEST_LINE)
                .map(str::to_owned),
        );
    }
    // No form may stand for less than the shortest secret does.
    if trimmed.len() < super::SHORTEST {
        all.clear();
    }
    all
}

fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn xml(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn percent(value: &str, space: &str, lower: bool) -> String {
    let mut encoded = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push_str(space),
            _ if lower => write!(encoded, "%{byte:02x}").expect("writing to a string succeeds"),
            _ => write!(encoded, "%{byte:02X}").expect("writing to a string succeeds"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_secret_has_no_forms() {
        assert!(forms("abc\n").is_empty());
        assert!(forms("").is_empty());
    }
}
