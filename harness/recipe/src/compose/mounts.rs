//! The short syntax of mounts: `[source:]target[:options]`, and paths of Windows, whose drive has a colon.

use serde_json::{Value, json};

/// What Docker takes for the propagation of a bind mount, whatever is mounted.
const PROPAGATIONS: [&str; 6] = [
    "rprivate", "private", "rshared", "shared", "rslave", "slave",
];

/// Returns the mount in the long syntax.
///
/// # Errors
/// What Docker does not understand, as a sentence.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() <= 2 {
        return Ok(json!({"type": "volume", "target": text}));
    }
    let parts = split(text);
    if parts.iter().any(String::is_empty) {
        return Err(format!("`{text}` has an empty part"));
    }
    let (source, target, options) = match &parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options.as_str()),
        _ => return Err(format!("`{text}` has too many parts")),
    };
    let bind = source.is_some_and(|source| is_path(source));
    let mut mount = json!({"type": if bind { "bind" } else { "volume" }, "target": target});
    if let Some(source) = source {
        mount["source"] = source.as_str().into();
    }
    for option in options.split(',') {
        match option {
            "ro" => mount["read_only"] = true.into(),
            "rw" => mount["read_only"] = false.into(),
            "nocopy" => mount["volume"] = json!({"nocopy": true}),
            option if PROPAGATIONS.contains(&option) => {
                mount["bind"] = json!({"propagation": option});
            }
            _ => {}
        }
    }
    Ok(mount)
}

/// Splits at every colon but that behind a single letter.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in text.chars() {
        let last = parts.last_mut().expect("there is one from the start");
        if c == ':' && !is_drive(last) {
            parts.push(String::new());
        } else {
            last.push(c);
        }
    }
    parts
}

fn is_drive(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    let (first, second) = (chars.next(), chars.next());
    source.starts_with(['.', '/', '~'])
        || source.starts_with(r"\\")
        || (first.is_some_and(char::is_alphabetic) && second == Some(':'))
}

/// Returns whether Docker takes a path for absolute on Windows.
pub(super) fn is_windows(path: &str) -> bool {
    let rest = path
        .get(1..)
        .filter(|_| path.starts_with(|c: char| c.is_ascii_alphabetic()));
    path.starts_with(r"\\")
        || rest.is_some_and(|rest| rest.starts_with(r":\") || rest.starts_with(":/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_docker_reads_them() {
        for (text, expected) in [
            (
                "data:/d",
                json!({"type": "volume", "target": "/d", "source": "data"}),
            ),
            ("/d", json!({"type": "volume", "target": "/d"})),
            (
                "./a:/d:ro",
                json!({"type": "bind", "target": "/d", "source": "./a", "read_only": true}),
            ),
            (
                "a1:/d:ro,rw",
                json!({"type": "volume", "target": "/d", "source": "a1", "read_only": false}),
            ),
            (
                "a1:/d:shared",
                json!({"type": "volume", "target": "/d", "source": "a1", "bind": {"propagation": "shared"}}),
            ),
            // A name of one letter is a drive.
            ("a:/d", json!({"type": "volume", "target": "a:/d"})),
            (
                r"C:\x:/d",
                json!({"type": "bind", "target": "/d", "source": r"C:\x"}),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for bad in ["", "data:", ":/d", "data:/d:ro:c", "data:/d:"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
