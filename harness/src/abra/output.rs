//! What abra prints, read: control codes off, errors found, listings parsed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Returns the lines without control codes; of what a progress display overwrote only the last is left.
#[must_use]
pub fn clean(bytes: &[u8]) -> Vec<String> {
    let plain = anstream::adapter::strip_bytes(bytes).into_vec();
    String::from_utf8_lossy(&plain)
        .split('\n')
        .map(|line| {
            let line = line.trim_end_matches('\r');
            line.rsplit('\r').next().unwrap_or(line).trim_end()
        })
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns why abra gave up: behind `FATA` (`FATA[0001]`) of its log, or behind `Error:` of its command line.
pub(super) fn fatal(lines: &[String]) -> Option<String> {
    lines.iter().find_map(|line| {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Error: ") {
            return Some(rest.trim().to_owned());
        }
        let rest = line.strip_prefix("FATA")?;
        let rest = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(_, rest)| rest),
            None => rest.strip_prefix([' ', ':'])?,
        };
        Some(rest.trim_start_matches([':', ' ']).trim().to_owned())
    })
}

/// Words of messages that are about the host, its network or its backup bot, and not about the recipe.
const HOST: [&str; 9] = [
    "authentication required",
    "docker daemon",
    "dial tcp",
    "dial unix",
    "no such host",
    "connection refused",
    "unable to fetch",
    "backupbot",
    "inappropriate ioctl",
];

/// Words of messages that are about a command that is not there.
const CALL: [&str; 5] = [
    "unknown command",
    "unknown flag",
    "unknown shorthand flag",
    "arg(s), received",
    "flag provided but not defined",
];

pub(super) fn blames_host(line: &str) -> bool {
    let line = line.to_lowercase();
    HOST.iter().any(|word| line.contains(word)) || blames_call(&line)
}

pub(super) fn blames_call(line: &str) -> bool {
    let line = line.to_lowercase();
    CALL.iter().any(|word| line.contains(word))
}

#[derive(Deserialize)]
struct Server {
    apps: Vec<App>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    app_name: String,
}

/// Returns the names of the apps of `app ls -m`, which are their domains; `None` for anything else.
pub(super) fn apps(stdout: &[u8]) -> Option<Vec<String>> {
    let servers: BTreeMap<String, Server> = serde_json::from_slice(stdout).ok()?;
    let apps = servers.into_values().flat_map(|server| server.apps);
    Some(apps.map(|app| app.app_name).collect())
}

/// Returns the secrets of `app secret generate -m`: a list of rows with a name and a value, in whatever case
/// the columns are called, or an object of names and values. The error tells the form and shows no value.
pub(super) fn secrets(stdout: &[u8]) -> Result<Vec<super::Made>, String> {
    let shape = |what: &str| {
        format!("its output is {what}, so the secrets cannot be kept out of the report")
    };
    let text = stdout.trim_ascii();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|_| shape("not JSON in spite of `-m`"))?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    match value {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::Array(rows) => rows
            .iter()
            .map(|row| {
                let column = |wanted: &str| {
                    let row = row.as_object()?;
                    let found = row.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted));
                    found.and_then(|(_, value)| text(value))
                };
                Some(super::Made {
                    name: column("name")?,
                    value: column("value")?,
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| shape("a list of something else than names and values")),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                Some(super::Made {
                    name: name.clone(),
                    value: text(value)?,
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| shape("an object of something else than values")),
        _ => Err(shape("JSON of another form")),
    }
}

/// Returns the ids of a listing of snapshots, as restic prints it: a line each that begins with the id. `None`
/// when there is none and the listing does not say that there is none.
pub(super) fn snapshots(lines: &[String]) -> Option<Vec<String>> {
    let id = |line: &String| {
        let word = line
            .split(|c: char| c.is_whitespace() || "│┃|".contains(c))
            .find(|word| !word.is_empty())?;
        let hex = (8..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| word.to_owned())
    };
    let ids: Vec<String> = lines.iter().filter_map(id).collect();
    let none = |line: &String| {
        let line = line.trim().to_lowercase();
        line == "0 snapshots" || line.starts_with("no snapshots")
    };
    (!ids.is_empty() || lines.iter().any(none)).then_some(ids)
}

/// Returns the first line of the bot's that reports an error: it goes on after a hook that failed, and ends
/// with 0.
pub(crate) fn bot_error(lines: &[String]) -> Option<&str> {
    let lines = lines.iter().map(|line| line.trim());
    let mut lines = lines.filter(|line| {
        let upper = line.to_uppercase();
        ["ERROR", "CRITICAL", "FATA"]
            .iter()
            .any(|word| upper.starts_with(word))
            || line.contains("Failed to run command")
    });
    lines.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        clean(text.as_bytes())
    }

    #[test]
    fn control_codes_and_overwritten_progress_are_gone() {
        let text = "\x1b[1;31mFATA\x1b[0m no\r\n\x1b]0;title\x07\x1b[2K\rprogress 1%\rprogress 99%\r\n\r\n\x1b[?25hdone";
        assert_eq!(lines(text), ["FATA no", "progress 99%", "done"]);
    }

    #[test]
    fn the_reason_is_what_stands_behind_fata_or_error() {
        for (text, reason) in [
            (
                "INFO x\nFATA deploy timed out\nusage",
                Some("deploy timed out"),
            ),
            ("FATA[0001] no such app", Some("no such app")),
            (
                "\x1b[1mFATA\x1b[0m <pkg/x.go:1> broken",
                Some("<pkg/x.go:1> broken"),
            ),
            ("Error: unknown flag: -o", Some("unknown flag: -o")),
            ("FATAL attraction\nINFO FATA is a word", None),
        ] {
            assert_eq!(fatal(&lines(text)).as_deref(), reason, "{text}");
        }
    }

    #[test]
    fn the_host_is_told_from_the_recipe() {
        for line in [
            "unable to fetch tags in /x: authentication required: Unauthorized",
            "Cannot connect to the Docker daemon at unix:///x",
            "unknown flag: -o",
            "no backupbot discovered, is it deployed?",
        ] {
            assert!(blames_host(line), "{line}");
        }
        for line in [
            "notes has locally unstaged changes?",
            "secret not generated: admin_token",
            "services.app.ports must be a list",
        ] {
            assert!(!blames_host(line), "{line}");
        }
    }

    #[test]
    fn apps_come_from_the_documented_json_and_from_nothing_else() {
        let listing = br#"{"default":{"apps":[{"server":"default","recipe":"notes","appName":"a.example","domain":"a.example","status":""}],"appCount":1},"far":{"apps":[]}}"#;
        assert_eq!(apps(listing), Some(vec!["a.example".to_owned()]));
        assert_eq!(apps(b"{}"), Some(Vec::new()));
        for other in [
            &b""[..],
            b"[]",
            b"{\"default\":{}}",
            b"{\"default\":{\"apps\":[{}]}}",
        ] {
            assert_eq!(apps(other), None);
        }
    }

    #[test]
    fn secrets_come_in_two_forms_and_an_error_shows_none() {
        for form in [
            &br#"[{"NAME":"db","VALUE":"x1"}]"#[..],
            br#"{"db":"x1"}"#,
            br#"[{"name":"db","value":"x1"}]"#,
        ] {
            let made = secrets(form).unwrap();
            assert_eq!(
                (made[0].name.as_str(), made[0].value.as_str()),
                ("db", "x1")
            );
            assert!(!format!("{made:?}").contains("x1"));
        }
        for form in [
            &b"| db | x1 |"[..],
            br#"[["db","x1"]]"#,
            br#"{"db":["x1"]}"#,
            b"7",
        ] {
            let error = secrets(form).unwrap_err();
            assert!(!error.contains("x1"), "{error}");
        }
    }

    #[test]
    fn no_snapshots_are_not_the_same_as_an_unknown_listing() {
        let listing = "ID        Time\n-----\n06a57de1  2026\n│ 16a57de1 │ x │\n2 snapshots";
        assert_eq!(
            snapshots(&lines(listing)).unwrap(),
            ["06a57de1", "16a57de1"]
        );
        assert_eq!(snapshots(&lines("0 snapshots")), Some(Vec::new()));
        assert_eq!(snapshots(&lines("no idea")), None);
        assert_eq!(snapshots(&[]), None);
    }

    #[test]
    fn a_bot_that_goes_on_after_a_failed_hook_is_caught() {
        let said =
            lines("INFO: x\nERROR: Failed to run command /pg_backup.sh in db\nbackup finished");
        assert!(bot_error(&said).unwrap().contains("/pg_backup.sh"));
        assert_eq!(bot_error(&lines("INFO: 0 errors\nbackup finished")), None);
    }
}
