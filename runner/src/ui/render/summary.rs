//! The last lines of a run: its table, level and verdict.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use harness::dirs::LOGS;
use harness::event::{OtherApp, RunFinished};
use harness::outcome::{Stage, Status, TierOutcome, Verdict};
use harness::report::level::Rungs;
use harness::report::{as_overwritten, human};

use super::tier::{first_red, passed, ran};
use super::{Renderer, Shown};
use crate::ui::symbols::{BOLD, RED, paint, style};

/// How many outputs the end repeats the last line of.
const SAID: usize = 3;

impl Renderer {
    pub(super) fn finished(&mut self, run: &RunFinished) -> String {
        self.open.clear();
        let mut text = self.table();
        let ended = |(stage, tier): (&Stage, &Option<TierOutcome>)| {
            tier.as_ref().map(|tier| (*stage, tier.status))
        };
        let others = self.rows.iter().flat_map(|(_, tiers)| tiers);
        let rungs = Rungs::of_apps(
            self.tiers.iter().filter_map(ended),
            others.filter_map(ended),
            self.lint,
        );
        let ladder: Vec<String> = rungs
            .named()
            .iter()
            .map(|(name, status)| format!("{name} {status}"))
            .collect();
        let mut entry = |label: &str, said: &str| {
            writeln!(text, "  {label:8} {said}").expect("writing to a string succeeds");
        };
        // A run that planned nothing has no ladder to show.
        if !self.tiers.is_empty() {
            entry(
                "level",
                &format!("{} of 5 ({})", rungs.level(), ladder.join(", ")),
            );
        }
        let status = if run.verdict == Verdict::Passed {
            Status::Pass
        } else {
            Status::Fail
        };
        let verdict = paint(
            style(status),
            &format!("{} {}", self.charset.sign(status), run.verdict),
        );
        let failed = self.failed(run);
        // Why is said once.
        let reason = run.reason.as_ref().filter(|_| failed.is_empty());
        let reason = reason
            .map(|reason| format!(" — {}", self.clean(reason)))
            .unwrap_or_default();
        entry(
            "verdict",
            &format!(
                "{verdict}, exit code {}, after {}{reason}",
                run.exit_code,
                human(run.elapsed)
            ),
        );
        if !self.residual.is_empty() {
            entry("left", &paint(RED, &self.clean(&self.residual.to_string())));
        }
        if let Some(hold) = &self.hold {
            entry("held", &self.clean(&format!("until {}", hold.until)));
            if let Some(url) = &hold.url {
                entry("open", &self.clean(url));
            }
            entry("shell", &self.clean(&hold.shell));
            entry("let go", &self.clean(&hold.release));
        }
        // A run that never had a directory has no results either.
        if !self.run_dir.as_os_str().is_empty() {
            entry(
                "results",
                &self.run_dir.join("results.json").display().to_string(),
            );
        }
        for (label, said) in failed {
            entry(label, &said);
        }
        for hint in &run.hints {
            entry("hint", &self.clean(hint));
        }
        if let Some(repeat) = &run.repeat_tier {
            entry("again", &self.clean(repeat));
        }
        text
    }

    /// Returns what made a run red, and where there is more of it; nothing of one that is red without a tier.
    fn failed(&self, run: &RunFinished) -> Vec<(&'static str, String)> {
        let red = self.tiers.values().flatten().find(|tier| {
            run.verdict == Verdict::Failed && tier.blames_recipe && tier.status != Status::Pass
        });
        let Some(tier) = red else {
            return Vec::new();
        };
        let test = first_red(tier);
        let why = match test {
            Some(test) => test.message.as_ref(),
            None => tier.reason.as_ref(),
        };
        let mut said = self.clean(tier.stage.name());
        for part in test.map(|test| &test.name).into_iter().chain(why) {
            let line = part.lines().next().unwrap_or_default();
            said.push_str(&format!(": {}", self.clean(line)));
        }
        let mut rows = vec![("failed", paint(RED, &said))];
        let mut shown: Vec<&Shown> = (self.shown.iter())
            .filter(|shown| shown.tier.is_none_or(|stage| stage == tier.stage))
            .collect();
        // Of a test only its own output explains it; what services wrote explains what recipe-ci looked at itself.
        if let Some(test) = test.filter(|test| test.log.is_some()) {
            shown.retain(|shown| shown.log == test.log);
        }
        for shown in shown.iter().take(SAID) {
            if let Some(last) = &shown.last {
                let said = format!("{}: {}", shown.title, as_overwritten(last));
                rows.push(("said", self.clean(&said)));
            }
        }
        let logs: BTreeSet<PathBuf> = shown
            .iter()
            .filter_map(|shown| Some(self.run_dir.join(LOGS).join(shown.log.as_ref()?)))
            .collect();
        rows.extend(
            logs.iter()
                .map(|log| ("log", self.clean(&log.display().to_string()))),
        );
        rows
    }

    /// Returns the closing table, a row for each tier that was planned or decided.
    fn table(&self) -> String {
        if self.tiers.is_empty() {
            return "\n".to_owned();
        }
        let head = format!(
            "  {:8} {:7} {:>11} {:>6}  why",
            "tier", "status", "time", "passed"
        );
        let mut text = format!("\n{}\n", paint(BOLD, &head));
        let tested = self.tiers.iter().map(|(stage, tier)| (None, stage, tier));
        let others = self.rows.iter().flat_map(|(app, tiers)| {
            let tiers = tiers.iter();
            tiers.map(move |(stage, tier)| (Some(app), stage, tier))
        });
        for (app, stage, tier) in tested.chain(others) {
            text.push_str(&self.row(app, *stage, tier.as_ref()));
        }
        text.push('\n');
        text
    }

    /// Returns the row of a tier of the app under test, or of another one, whose name comes before the reason.
    fn row(&self, app: Option<&OtherApp>, stage: Stage, tier: Option<&TierOutcome>) -> String {
        let status = tier.map_or(Status::Unver, |tier| tier.status);
        let mark = paint(
            style(status),
            &format!("{} {:5}", self.charset.sign(status), status),
        );
        let none = || ("-".to_owned(), "-".to_owned());
        let ((time, tests), why) = match tier {
            Some(tier) => {
                let reason = first_red(tier).map(|test| &test.name);
                let reason = reason.or(tier.reason.as_ref());
                let why = reason.and_then(|reason| reason.lines().next());
                let numbers = match ran(tier) {
                    true => (
                        human(tier.duration),
                        format!("{}/{}", passed(tier), tier.tests.len()),
                    ),
                    false => none(),
                };
                (numbers, why.map(|line| self.clean(line)))
            }
            None if self.running == Some(stage) => {
                (none(), Some("did not get to its end".to_owned()))
            }
            None => (none(), Some("did not start".to_owned())),
        };
        let app = app.map(|app| self.clean(&app.to_string()));
        let why: Vec<String> = app.into_iter().chain(why).collect();
        let row = format!(
            "  {:8} {mark} {time:>11} {tests:>6}  {}",
            stage.name(),
            why.join(": ")
        );
        format!("{}\n", row.trim_end())
    }
}
