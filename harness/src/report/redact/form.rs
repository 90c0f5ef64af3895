//! The forms in which a secret turns up in text.

use std::fmt::Write;

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
        for alphabet in [STANDARD, URL_SAFE] {
            let unpadded = base64(value.as_bytes(), alphabet);
            let padding = "=".repeat((4 - unpadded.len() % 4) % 4);
            all.push(format!("{unpadded}{padding}"));
            all.push(unpadded);
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

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns `bytes` in base64 without padding. (Fifteen lines are less than a dependency.)
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for sextet in 0..=group.len() {
            let index = bits >> (18 - 6 * sextet) & 0b11_1111;
            encoded.push(char::from(alphabet[index as usize]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_rfc_4648_has_it() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes(), STANDARD), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff], URL_SAFE), "-_8");
    }

    #[test]
    fn a_value_that_is_no_secret_has_no_forms() {
        assert!(forms("abc\n").is_empty());
        assert!(forms("").is_empty());
    }
}
