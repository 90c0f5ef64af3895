//! The run's own log: every event as a plain line, whatever becomes of the console.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::redact::Redactor;
use super::{as_overwritten, human, printable};
use crate::event::{Consumer, Event};
use engine::wait::Stopwatch;
use ground::outcome::{Status, TestOutcome};
use recipe::lint::Lint;

/// Appends events to `run.log`; what cannot be written is dropped.
#[derive(Debug)]
pub struct RunLog {
    file: File,
    redactor: Redactor,
    watch: Stopwatch,
}

impl RunLog {
    /// Opens the log at `path` for appending, so that a supervisor can go on where its worker stopped.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, redactor: Redactor) -> io::Result<Self> {
        let file = ground::host_file::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            file,
            redactor,
            watch: Stopwatch::start(),
        })
    }

    /// Appends `event`, each of its lines with the time in UTC and the seconds since the log was opened.
    pub fn observe(&mut self, event: &Event) {
        let now = jiff::Timestamp::now();
        let seconds = self.watch.elapsed().as_secs_f64();
        let text = lines(event);
        // Before control characters go: they may be part of a secret.
        let text = self.redactor.apply(&text);
        let mut entry = String::new();
        for line in text.lines() {
            let line = printable(line);
            writeln!(entry, "{now:.3} {seconds:9.3}s  {line}")
                .expect("writing to a string succeeds");
        }
        // One write, so that lines of two processes do not mix; the record of last resort has no other.
        self.file.write_all(entry.as_bytes()).ok();
    }

    /// Returns the consumer that this log is.
    #[must_use]
    pub fn consumer(mut self) -> Consumer {
        Box::new(move |event| self.observe(event))
    }
}

/// Returns what the log says of `event`: a word to look for, then its facts.
fn lines(event: &Event) -> String {
    match event {
        Event::Of(app, event) => format!("[{app}] {}", lines(event)),
        Event::RunStarted(run) => {
            let mut line = format!("run {} of {}", run.run_id, run.recipe);
            for (name, value) in [("pr", &run.pr), ("ref", &run.reference)] {
                if let Some(value) = value {
                    write!(line, " {name} {value}").expect("writing to a string succeeds");
                }
            }
            format!("{line} as {} in {}", run.domain, run.run_dir.display())
        }
        Event::Planned(plan) => {
            let stages: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
            let none = || "none".to_owned();
            let mut text = format!(
                "plan head {} version {} base {}{} driver {} ({}) stages {} deploys {}",
                plan.head_commit,
                plan.head_version.clone().unwrap_or_else(none),
                plan.base_version.clone().unwrap_or_else(none),
                plan.base_kind
                    .as_ref()
                    .map(|kind| format!(" ({kind})"))
                    .unwrap_or_default(),
                plan.driver,
                plan.driver_reason,
                stages.join(","),
                plan.deploys_expected,
            );
            for other in plan.fresh.iter().chain(&plan.others) {
                write!(text, "\n{} {other}", other.app).expect("writing to a string succeeds");
            }
            for item in &plan.customization {
                write!(text, "\ncustomization {item}").expect("writing to a string succeeds");
            }
            text
        }
        Event::Moved { quick, domain } => {
            let lane = if *quick { "quick" } else { "cold" };
            format!("lane {lane} as {domain}")
        }
        Event::Trusted(trust) => {
            format!("trust {} of {}: {}", trust.level, trust.source, trust.why)
        }
        Event::Promotion(promotion) => format!("promotion {promotion}"),
        Event::Notice(text) => text.clone(),
        Event::Warning(text) => format!("warning {text}"),
        Event::Deviation(text) => format!("deviation {text}"),
        Event::Retried { what, reason } => format!("again {what}: {reason}"),
        Event::Repeated { reason } => format!("again all tiers, as shipped: {reason}"),
        Event::Found(found) => format!("finding {found}; {}", found.fix),
        Event::PolicyFound(found) => {
            let word = if found.refused { "refused" } else { "policy" };
            format!("{word} {found}")
        }
        Event::PhaseStarted { phase, detail } => format!("phase {phase} started: {detail}"),
        Event::Progress(text) => format!("waiting {text}"),
        Event::PhaseFinished { phase, elapsed } => {
            format!("phase {phase} ended after {}", human(*elapsed))
        }
        Event::LintFinished(lint) => lint_lines(lint),
        Event::DependencyFinished(one) => {
            let reason = one.reason.as_ref().map(|reason| format!(": {reason}"));
            format!(
                "dependency {} {} at {}{}",
                one.recipe,
                one.status,
                one.domain,
                reason.unwrap_or_default()
            )
        }
        Event::TierStarted(stage) => format!("tier {stage} started"),
        Event::TestFinished { stage, test } => {
            let what = format!(
                "test {stage} {} {} in {}",
                test.status,
                test.name,
                human(test.duration)
            );
            with_message(what, test)
        }
        Event::TierFinished(tier) => {
            let passed = tier
                .tests
                .iter()
                .filter(|test| test.status == Status::Pass)
                .count();
            let reason = tier
                .reason
                .as_ref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!(
                "tier {} {} in {}, {passed} of {} tests passed{reason}",
                tier.stage,
                tier.status,
                human(tier.duration),
                tier.tests.len(),
            )
        }
        Event::HeadFetched(commit) => format!("head {commit}"),
        Event::DeployCounted(count) => format!("deploy count {count}"),
        Event::FailureOutput {
            title,
            lines,
            log: _,
        } => {
            let mut text = format!("output of {title}, {} lines:", lines.len());
            for line in lines {
                let line = as_overwritten(line);
                write!(text, "\n  | {line}").expect("writing to a string succeeds");
            }
            text
        }
        Event::TeardownStarted { why } => format!("teardown started: {why}"),
        Event::TeardownFinished { residual } if residual.is_empty() => {
            "teardown ended, nothing is left".to_owned()
        }
        Event::TeardownFinished { residual } => format!("teardown ended, left behind: {residual}"),
        Event::Held { hold, .. } => format!("{} is held until {}", hold.domain, hold.until),
        Event::RunFinished(run) => {
            let reason = run
                .reason
                .as_ref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            let mut text = format!(
                "run {} with exit code {} after {}{reason}",
                run.verdict,
                run.exit_code,
                human(run.elapsed)
            );
            for hint in &run.hints {
                write!(text, "\nhint {hint}").expect("writing to a string succeeds");
            }
            text
        }
    }
}

fn lint_lines(lint: &Lint) -> String {
    let mut text = String::new();
    for found in &lint.findings {
        let (severity, id, place) = (found.severity, &found.id, found.place());
        let (message, fix) = (&found.message, &found.fix);
        writeln!(text, "lint {severity} {id} {place} {message}; {fix}")
            .expect("writing to a string succeeds");
    }
    for skipped in &lint.skipped {
        let (id, reason) = (&skipped.id, &skipped.reason);
        writeln!(text, "lint skipped {id}: {reason}").expect("writing to a string succeeds");
    }
    let reason = lint.reason.as_ref().map(|reason| format!(": {reason}"));
    let (status, summary) = (lint.status, lint.summary());
    format!(
        "{text}lint {status}, {summary}{}",
        reason.unwrap_or_default()
    )
}

fn with_message(mut line: String, test: &TestOutcome) -> String {
    for part in test.message.iter().flat_map(|message| message.lines()) {
        write!(line, "\n  | {part}").expect("writing to a string succeeds");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_line_carries_its_time_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        let redactor = Redactor::default();
        redactor.add("hunter22");
        let mut log = RunLog::open(&path, redactor).unwrap();
        log.observe(&Event::Notice("== app lock: acquired ==".to_owned()));
        log.observe(&Event::FailureOutput {
            title: "service app".to_owned(),
            lines: vec![
                "\u{1b}[31mpassword is hunter22\u{1b}[0m".to_owned(),
                "bye".to_owned(),
            ],
            log: None,
        });
        let took = Duration::from_millis(5);
        let test = TestOutcome::ended("a.sh", Status::Fail, took, Some("one\ntwo".to_owned()));
        log.observe(&Event::TestFinished {
            stage: ground::outcome::Stage::Install,
            test,
        });
        let text = ground::host_file::text(&path).unwrap();
        let time = regex::Regex::new(r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z +\d+\.\d{3}s  ")
            .unwrap();
        assert_eq!(time.find_iter(&text).count(), text.lines().count());
        assert_eq!(
            time.replace_all(&text, ""),
            "== app lock: acquired ==\n\
             output of service app, 2 lines:\n  | password is [redacted]\n  | bye\n\
             test install fail a.sh in 5 ms\n  | one\n  | two\n"
        );
    }

    #[test]
    fn a_full_disk_fails_nothing() {
        let mut log = RunLog::open(Path::new("/dev/full"), Redactor::default()).unwrap();
        log.observe(&Event::Notice("nobody reads this".to_owned()));
    }
}
