//! The last lines of a run: its table, level and verdict.

use std::fmt::Write;

use harness::event::RunFinished;
use harness::outcome::{Status, Verdict};
use harness::report::human;
use harness::report::level::Rungs;

use super::{Renderer, passed, ran};
use crate::ui::symbols::{BOLD, RED, paint, style};

impl Renderer {
    pub(super) fn finished(&mut self, run: &RunFinished) -> String {
        self.open.clear();
        let mut text = self.table();
        let rungs = Rungs::from_tiers(
            self.tiers
                .iter()
                .filter_map(|(stage, tier)| tier.as_ref().map(|tier| (*stage, tier.status))),
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
        let reason = run
            .reason
            .as_ref()
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
        for hint in &run.hints {
            entry("hint", &self.clean(hint));
        }
        text
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
        for (stage, tier) in &self.tiers {
            let status = tier.as_ref().map_or(Status::Unver, |tier| tier.status);
            let mark = paint(
                style(status),
                &format!("{} {:5}", self.charset.sign(status), status),
            );
            let none = || "-".to_owned();
            let (time, tests, why) = match tier {
                Some(tier) => (
                    if ran(tier) {
                        human(tier.duration)
                    } else {
                        none()
                    },
                    if ran(tier) {
                        format!("{}/{}", passed(tier), tier.tests.len())
                    } else {
                        none()
                    },
                    tier.reason
                        .as_deref()
                        .and_then(|reason| reason.lines().next())
                        .map(|line| self.clean(line)),
                ),
                None if self.running == Some(*stage) => {
                    (none(), none(), Some("did not get to its end".to_owned()))
                }
                None => (none(), none(), Some("did not start".to_owned())),
            };
            let row = format!(
                "  {:8} {mark} {time:>11} {tests:>6}  {}",
                stage.name(),
                why.unwrap_or_default()
            );
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text.push('\n');
        text
    }
}
