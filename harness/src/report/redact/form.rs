//! The forms in which a secret turns up in text.

use base64::Engine as _;
use base64::prelude::{
    BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD,
    BASE64_URL_SAFE as URL_SAFE, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Shorter values are no secrets, and replacing them would make every text unreadable.
pub(super) const SHORTEST: usize = 4;

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
        all.push(percent(value, str::to_owned));
        all.push(percent(value, str::to_lowercase));
        // As a form has it.
        all.push(percent(value, |piece| piece.replace("%20", "+")));
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
    if trimmed.len() < SHORTEST {
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

/// Returns `value` as a URL has it, the digits of what is encoded as `case` makes them.
fn percent(value: &str, case: fn(&str) -> String) -> String {
    let pieces = utf8_percent_encode(value, ENCODED);
    let written = |piece: &str| match piece.starts_with('%') {
        true => case(piece),
        false => piece.to_owned(),
    };
    pieces.map(written).collect()
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
