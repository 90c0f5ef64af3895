//! What the healthcheck of a container said, and what that is worth.
//!
//! Swarm says `starting` of a task until its check passes, and `unhealthy container` of one that it killed. Why a check
//! fails is in the container only: the engine keeps the last five results.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, HealthcheckResult};
use jiff::Timestamp;
use regex::Regex;

use super::ending::{self, Outcome, Patience};
use super::{Engine, EngineError};

/// From how long on a probe may be what slows its app down, where it runs every two seconds: a quarter of the time.
const COSTLY: Duration = Duration::from_millis(500);

/// What a failed probe says when it was asked too often, or had to wait: another pace may change that.
const BUSY: [&str; 5] = [
    "timeout",
    "timed out",
    "too many",
    "rate limit",
    "Try again",
];

/// The exit code of a process that SIGKILL ended: 128 + 9.
const KILLED: i64 = 137;

/// How long any container may take to begin: some wait for a lock, a remote or a clock, and do nothing meanwhile.
const BEGINNING: Duration = Duration::from_secs(60);

/// How long before the end of its patience an app without a `start_period` may be found at rest, which takes 25 s: what
/// it says then Swarm would take for its answer, too.
const LAST: Duration = Duration::from_secs(30);

/// How many of a log's lines are compared with those of the task before.
const LINES: usize = 200;

/// One run of a healthcheck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its exit code; -1 where it could not be started or took longer than its `timeout`.
    pub code: i64,
    /// What it wrote, as far as the engine keeps it: 4 KiB.
    pub output: String,
    /// How long it took, by the engine's clock.
    pub took: Duration,
    /// Whether it began after the `start_period`, in which a failure counts for nothing.
    pub counts: bool,
    /// Whether what starts may be expected to have begun: after the `start_period`, where there is none shortly before
    /// Swarm would kill it, and never within the first minute.
    pub is_late: bool,
}

impl Probe {
    /// Returns what is the same for two probes that saw the same: numbers change with every try, except the status of
    /// an HTTP answer.
    #[must_use]
    pub fn words(&self) -> String {
        let status = self.status().map(|status| status.to_string());
        format!(
            "{} {} {}",
            self.code,
            status.unwrap_or_default(),
            without_numbers(&self.output)
        )
    }

    /// Returns why no waiting changes what this probe says: its program is not there, or the app's answer is a refusal.
    /// Within the `start_period` it may change all the same.
    #[must_use]
    pub fn final_reason(&self) -> Option<&'static str> {
        if self.code == 0 {
            return None;
        }
        if self.cannot_run() {
            return Some("its command cannot be run in the container");
        }
        // As `tier::serving` has it: 404 is also said by an app that has begun and has no pages yet.
        let refuses =
            |status: u16| (400..500).contains(&status) && !matches!(status, 404 | 408 | 425 | 429);
        self.status()
            .is_some_and(refuses)
            .then_some("the app answers, and refuses it")
    }

    fn cannot_run(&self) -> bool {
        // `sh: 1: curl: not found`, also behind `|| exit 1`; runc's words where there is no shell.
        static NOT_FOUND: LazyLock<Regex> = LazyLock::new(|| {
            let shell = r"(?m)^(/[\w/]*/)?\w*sh: (line )?(\d+: )?[^\s:]+: ((command )?not found|Permission denied)$";
            Regex::new(&format!(
                "{shell}|OCI runtime exec failed|executable file not found"
            ))
            .expect("it is a pattern")
        });
        matches!(self.code, 126 | 127) || NOT_FOUND.is_match(&self.output)
    }

    /// Returns the status of the HTTP answer that the probe got, as curl and both kinds of wget write it.
    fn status(&self) -> Option<u16> {
        static STATUS: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(
                r"(?:returned error: (?:HTTP/\d(?:\.\d)? )?|HTTP/\d(?:\.\d)? |ERROR )(\d{3})\b",
            )
            .expect("it is a pattern")
        });
        STATUS.captures(&self.output)?.get(1)?.as_str().parse().ok()
    }

    /// Returns whether this may be what the check of an app says that has come to rest: not that it is asked too often or
    /// has to wait, and not that what is behind it is not there yet.
    #[must_use]
    pub fn may_be_final(&self) -> bool {
        let waits = |status: u16| matches!(status, 408 | 425 | 429 | 502..=504);
        self.code != 0 && self.is_late && !self.is_busy() && !self.status().is_some_and(waits)
    }

    fn is_busy(&self) -> bool {
        self.status() == Some(429) || BUSY.iter().any(|word| self.output.contains(word))
    }

    /// Returns the failure in one line.
    #[must_use]
    pub fn said(&self) -> String {
        let lines = self.output.lines().map(str::trim);
        // curl draws its progress before it says what is wrong.
        let last = lines.rev().find(|line| !line.is_empty());
        match last {
            Some(line) => format!("exit code {}: `{}`", self.code, clipped(line)),
            None => format!("exit code {}, and it writes nothing", self.code),
        }
    }
}

/// Returns whether probes as often as every two seconds may be why they fail: they take long, or were refused for coming
/// too often, or do not say what is wrong. What says the same at little cost each time says it at any pace.
#[must_use]
pub fn may_be_pace(probes: &[Probe]) -> bool {
    let Some(last) = probes.last() else {
        return true;
    };
    // The machine holds up any of them; the quickest says what it costs.
    let quickest = probes.iter().map(|probe| probe.took).min();
    let names_a_cause = !last.output.trim().is_empty() || last.cannot_run();
    last.code == 0
        || !names_a_cause
        || probes.iter().any(|probe| probe.words() != last.words())
        || probes.iter().any(Probe::is_busy)
        || quickest.is_none_or(|took| took >= COSTLY)
}

/// What a container's healthcheck said, and what the container wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Whether so many probes in a row failed that the engine called it unhealthy: then Swarm kills it ([`super::ending`]).
    /// The word itself says nothing of a container that has ended: the engine has it for all of them
    /// (`CloseMonitorChannel` in moby's `container/health.go`).
    pub is_unhealthy: bool,
    /// The last probes, oldest first.
    pub probes: Vec<Probe>,
    /// For how long it may fail until it is unhealthy.
    pub patience: Duration,
    /// The lines of its log, without numbers.
    pub lines: BTreeSet<String>,
}

impl Checked {
    /// Returns whether this container came no further than the one `before` it: its check ends with the same words, and
    /// its log has nothing new.
    #[must_use]
    pub fn is_as_far_as(&self, before: &Self) -> bool {
        let words = |checked: &Self| checked.probes.last().map(Probe::words);
        words(self).is_some() && words(self) == words(before) && self.lines.is_subset(&before.lines)
    }
}

fn clipped(line: &str) -> String {
    const SHOWN: usize = 160;
    line.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

/// Returns `text` without its words that hold a digit, such as times and ids.
fn without_numbers(text: &str) -> String {
    let words = text.split_whitespace();
    let plain = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    plain.collect::<Vec<_>>().join(" ")
}

fn checked_of(inspected: ContainerInspectResponse) -> Checked {
    let lived = ending::lived(&inspected);
    let state = inspected.state.unwrap_or_default();
    let health = state.health.unwrap_or_default();
    let check = inspected.config.and_then(|config| config.healthcheck);
    let patience = Patience::of(&check.unwrap_or_default());
    let beginning = match patience.period.is_zero() {
        // `interval` × `retries` is all that the recipe says of how long it may take.
        true => {
            let all = patience.interval.saturating_mul(patience.retries);
            all.saturating_sub(LAST)
        }
        false => patience.period,
    };
    let beginning = beginning.max(BEGINNING);
    let moment = |text: Option<String>| text?.parse::<Timestamp>().ok();
    let started = moment(state.started_at);
    let probe = |result: HealthcheckResult| {
        let (start, end) = (moment(result.start), moment(result.end));
        let since = |earlier: Option<Timestamp>, later: Option<Timestamp>| {
            Duration::try_from(later?.duration_since(earlier?)).ok()
        };
        let after = since(started, start);
        Probe {
            code: result.exit_code.unwrap_or(0),
            output: result.output.unwrap_or_default(),
            // Not known is long.
            took: since(start, end).unwrap_or(COSTLY),
            counts: after.is_some_and(|after| after >= patience.period),
            is_late: after.is_some_and(|after| after >= beginning),
        }
    };
    let log = health.log.unwrap_or_default().into_iter();
    let mut probes: Vec<Probe> = log.map(probe).collect();
    let outcome = |probe: &Probe| Outcome {
        passed: probe.code == 0,
        counts: probe.counts,
    };
    let outcomes: Vec<Outcome> = probes.iter().map(outcome).collect();
    let is_unhealthy = patience.is_over(health.failing_streak.unwrap_or(0), &outcomes, lived);
    // The one that ran when its container was killed was killed with it, and says nothing.
    if let [.., _, last] = &probes[..]
        && last.code == KILLED
        && last.output.is_empty()
    {
        probes.pop();
    }
    Checked {
        is_unhealthy,
        probes,
        patience: patience.interval.saturating_mul(patience.retries),
        lines: BTreeSet::new(),
    }
}

impl Engine {
    /// Returns the last probes of a container, oldest first; none where it has no healthcheck, has not been checked, or
    /// is gone.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn probes(&self, container: &str) -> Result<Vec<Probe>, EngineError> {
        Ok(self.health(container).await?.probes)
    }

    /// Returns what a container's healthcheck said; nothing of one that has none or is gone.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn health(&self, container: &str) -> Result<Checked, EngineError> {
        Ok(self.health_of(container).await?.unwrap_or_default())
    }

    /// Returns the same; `None` of a container that is gone.
    ///
    /// # Errors
    /// As [`Engine::health`].
    pub async fn health_of(&self, container: &str) -> Result<Option<Checked>, EngineError> {
        let inspected = match self.inspected(container).await {
            Ok(inspected) => inspected,
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
        let has_ended = ending::lived(&inspected).is_some();
        let mut checked = checked_of(inspected);
        // Without a probe there was nothing to say.
        if has_ended && !checked.probes.is_empty() && !checked.is_unhealthy {
            checked.is_unhealthy = self.was_called_unhealthy(container).await?;
        }
        Ok(Some(checked))
    }

    /// Returns what a container's healthcheck said and what the container wrote; nothing of one that is gone.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked.
    pub async fn checked(&self, container: &str) -> Result<Checked, EngineError> {
        let checked = self.health(container).await?;
        let lines = match self.container_log(container, LINES).await {
            Ok(lines) => lines,
            Err(error) if error.is_gone() => Vec::new(),
            Err(error) => return Err(error),
        };
        let lines = lines.iter().map(|line| without_numbers(line)).collect();
        Ok(Checked { lines, ..checked })
    }
}

/// Probes for tests.
#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// One that took 60 ms, after the `start_period`.
    pub(in super::super) fn probe(code: i64, output: &str) -> Probe {
        Probe {
            code,
            output: output.to_owned(),
            took: Duration::from_millis(60),
            counts: true,
            is_late: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::probe;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_probe_that_was_killed_with_its_container_says_nothing() {
        let said = |codes: &[i64]| {
            let log: Vec<_> = codes
                .iter()
                .map(|code| json!({"ExitCode": code, "Output": if *code == 1 { "no queue" } else { "" }}))
                .collect();
            let inspected = json!({"State": {"Health": {"FailingStreak": 3, "Log": log}}});
            let checked = checked_of(serde_json::from_value(inspected).unwrap());
            checked
                .probes
                .iter()
                .map(|probe| probe.code)
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&[1, 1, 137]), [1, 1]);
        assert_eq!(
            said(&[137]),
            [137],
            "a check of which nothing else is known"
        );
        assert_eq!(said(&[0, 1]), [0, 1]);
    }

    #[test]
    fn what_waits_or_is_asked_too_often_is_not_what_an_app_at_rest_says() {
        let late = |code, output| probe(code, output).may_be_final();
        for (code, output) in [
            (
                7,
                "curl: (7) Failed to connect to localhost port 80: Connection refused",
            ),
            (22, "curl: (22) The requested URL returned error: 500"),
            (22, "curl: (22) The requested URL returned error: 404"),
            (1, ""),
        ] {
            assert!(late(code, output), "{code} {output}");
        }
        for (code, output) in [
            (0, "fine"),
            (22, "curl: (22) The requested URL returned error: 503"),
            (22, "curl: (22) The requested URL returned error: 429"),
            (28, "curl: (28) Operation timed out after 5000 milliseconds"),
            (1, "too many requests"),
        ] {
            assert!(!late(code, output), "{code} {output}");
        }
    }

    /// A container that sleeps, for a lock or a remote, looks like one that is broken.
    #[test]
    fn a_container_may_sleep_for_a_minute_for_its_start_period_and_else_for_the_patience_of_its_check()
     {
        let late = |check: serde_json::Value| -> Vec<u32> {
            let at = |second: u32| json!({"Start": format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60), "End": "2026-01-01T00:09:00Z", "ExitCode": 1});
            let seconds = [5, 59, 60, 89, 90, 269, 270];
            let inspected = json!({
                "State": {"StartedAt": "2026-01-01T00:00:00Z", "Health": {"Log": seconds.map(at)}},
                "Config": {"Healthcheck": check},
            });
            let checked = checked_of(serde_json::from_value(inspected).unwrap());
            let late = seconds
                .iter()
                .zip(&checked.probes)
                .filter(|(_, probe)| probe.is_late);
            late.map(|(second, _)| *second).collect()
        };
        let second = 1_000_000_000_u64;
        let period = |seconds: u64| json!({"StartPeriod": seconds * second, "Interval": 30 * second, "Retries": 10});
        for (check, first) in [
            // Docker's own: killed after 90 s.
            (json!({}), 60),
            (json!({"Interval": 5 * second, "Retries": 3}), 60),
            // As a recipe has it, and as a run checks it.
            (json!({"Interval": 30 * second, "Retries": 10}), 270),
            (json!({"Interval": 2 * second, "Retries": 150}), 270),
            (period(5), 60),
            (period(90), 90),
        ] {
            assert_eq!(late(check.clone()).first(), Some(&first), "{check}");
        }
    }

    #[test]
    fn what_no_waiting_changes_is_told_from_what_an_app_says_that_starts() {
        for (code, output, is_final) in [
            (127, "", true),
            (126, "", true),
            (1, "/bin/sh: curl: not found\n", true),
            (1, "/bin/sh: 1: curl: not found", true),
            (1, "bash: line 1: nc: command not found", true),
            (1, "sh: /check.sh: Permission denied", true),
            (
                -1,
                "OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: \
                 \"curl\": executable file not found in $PATH: unknown",
                true,
            ),
            (22, "curl: (22) The requested URL returned error: 401", true),
            (
                22,
                "curl: (22) The requested URL returned error: 403 Forbidden",
                true,
            ),
            (
                1,
                "wget: server returned error: HTTP/1.1 400 Bad Request",
                true,
            ),
            (8, "2026-01-01 10:00:00 ERROR 401: Unauthorized.", true),
            // An app that starts says these as well.
            (
                22,
                "curl: (22) The requested URL returned error: 404",
                false,
            ),
            (
                22,
                "curl: (22) The requested URL returned error: 429",
                false,
            ),
            (
                22,
                "curl: (22) The requested URL returned error: 502",
                false,
            ),
            (
                1,
                "wget: server returned error: HTTP/1.1 404 Not Found",
                false,
            ),
            (
                7,
                "curl: (7) Failed to connect to localhost port 80: Connection refused",
                false,
            ),
            (1, "", false),
            (1, "page not found", false),
            (1, "app: user 401: not found", false),
            (-1, "Health check exceeded timeout (10s)", false),
            (0, "sh: x: not found", false),
        ] {
            let found = probe(code, output);
            assert_eq!(found.final_reason().is_some(), is_final, "{code} {output}");
        }
    }

    #[test]
    fn two_that_saw_the_same_have_the_same_words_and_another_status_is_another() {
        let refused = |ms| {
            format!(
                "  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0curl: (7) Failed to \
                 connect to localhost port 80 after {ms} ms: Connection refused"
            )
        };
        assert_eq!(
            probe(7, &refused(0)).words(),
            probe(7, &refused(12)).words()
        );
        let status = |status| format!("curl: (22) The requested URL returned error: {status}");
        assert_ne!(
            probe(22, &status(502)).words(),
            probe(22, &status(404)).words()
        );
        assert_ne!(probe(1, "x").words(), probe(2, "x").words());
    }

    #[test]
    fn only_what_says_the_same_at_little_cost_is_no_matter_of_pace() {
        let refused = || probe(7, "curl: (7) Connection refused");
        assert!(!may_be_pace(&[refused(), refused()]));
        assert!(!may_be_pace(&[probe(127, ""), probe(127, "")]));
        let slow = || Probe {
            took: Duration::from_secs(1),
            ..refused()
        };
        for (what, probes) in [
            ("nothing known", vec![]),
            ("silent", vec![probe(1, ""), probe(1, " \n")]),
            (
                "another cause",
                vec![probe(22, "error: HTTP/1.1 502"), refused()],
            ),
            ("healthy", vec![probe(0, "fine")]),
            ("costly", vec![slow(), slow(), slow()]),
            (
                "hangs",
                vec![probe(-1, "Health check exceeded timeout (10s)")],
            ),
            (
                "too often",
                vec![probe(
                    22,
                    "curl: (22) The requested URL returned error: 429",
                )],
            ),
        ] {
            assert!(may_be_pace(&probes), "{what}");
        }
        // One that the machine held up says nothing.
        assert!(!may_be_pace(&[slow(), slow(), refused(), slow()]));
    }

    #[test]
    fn a_container_that_came_further_has_new_lines_or_other_words() {
        let checked = |lines: &[&str], said: &str| Checked {
            is_unhealthy: true,
            probes: vec![probe(1, said)],
            patience: Duration::ZERO,
            lines: lines.iter().map(|line| without_numbers(line)).collect(),
        };
        let first = checked(&["12:01 starting pid=7", "12:02 waiting"], "refused");
        let same = checked(&["12:31 starting pid=9"], "refused");
        assert!(same.is_as_far_as(&first));
        assert!(!checked(&["12:31 migrated"], "refused").is_as_far_as(&first));
        assert!(!checked(&["12:31 starting pid=9"], "error").is_as_far_as(&first));
        // A container that is gone tells nothing.
        assert!(!Checked::default().is_as_far_as(&Checked::default()));
    }

    #[test]
    fn what_the_engine_says_is_read_with_the_start_period_of_spec_and_image() {
        let mut inspected = json!({
            "State": {"StartedAt": "2026-01-01T00:00:00.5Z", "Health": {"Status": "unhealthy", "FailingStreak": 2, "Log": [
                {"Start": "2026-01-01T00:00:05Z", "End": "2026-01-01T00:00:05.25Z", "ExitCode": 1, "Output": "x"},
                {"Start": "2026-01-01T00:00:11+00:00", "End": "2026-01-01T00:00:12Z", "ExitCode": 2, "Output": "y\n"},
            ]}},
            "Config": {"Healthcheck": {"Test": ["CMD", "x"], "StartPeriod": 10_000_000_000_u64}},
        });
        let read = |inspected: &serde_json::Value| {
            checked_of(serde_json::from_value(inspected.clone()).unwrap())
        };
        let checked = read(&inspected);
        // The engine says so of each that has ended.
        assert!(!checked.is_unhealthy);
        inspected["State"]["Health"]["FailingStreak"] = json!(3);
        assert!(read(&inspected).is_unhealthy);
        // The last one began while the container ended.
        let mut ended = inspected.clone();
        ended["State"]["Health"]["FailingStreak"] = json!(0);
        let log = ended["State"]["Health"]["Log"].as_array_mut().unwrap();
        let failed = log[1].clone();
        log.extend([failed.clone(), failed]);
        log.push(json!({"Start": "2026-01-01T00:00:13Z", "End": "2026-01-01T00:00:13Z", "ExitCode": 0, "Output": ""}));
        assert!(read(&ended).is_unhealthy);
        inspected["Config"]["Healthcheck"]["Retries"] = json!(45);
        assert!(!read(&inspected).is_unhealthy);
        let probes = checked.probes;
        let expected = |code, output: &str, took, counts| Probe {
            is_late: false,
            code,
            output: output.to_owned(),
            took: Duration::from_millis(took),
            counts,
        };
        assert_eq!(
            probes,
            [expected(1, "x", 250, false), expected(2, "y\n", 1000, true)]
        );
        assert_eq!(probes[1].said(), "exit code 2: `y`");
    }
}
