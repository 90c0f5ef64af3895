//! What a run looks like: events in, lines out. Nothing here prints or knows the time.

mod apps;
mod plan;
mod recipe;
mod summary;
mod tier;

use std::path::PathBuf;
use std::time::Duration;

use harness::event::{Event, OtherApp, Promotion, RunStarted};
use harness::finding::Finding;
use harness::hold::Hold;
use harness::lint::{Lint, Severity};
use harness::outcome::{Phase, Residual, Stage, Status};
use harness::report::{as_overwritten, human, printable};
use harness::trust::TrustView;

use super::Mode;
use super::symbols::{BOLD, Charset, DIM, GREEN, RED, YELLOW, paint, style};
use apps::Tiers;

/// Where text begins behind the time of a line.
const INDENT: &str = "           ";

/// How long a plain log may be silent before it says what the run waits for.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a phase lasts before a plain log says that it has ended.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// How many findings of the lint are shown; the report has all.
const LINT_LINES: usize = 12;

/// Turns events into lines and remembers what the closing table needs.
#[derive(Debug)]
pub(crate) struct Renderer {
    mode: Mode,
    charset: Charset,
    run_dir: PathBuf,
    /// Phases that go on, the innermost last.
    open: Vec<Open>,
    running: Option<Stage>,
    tearing_down: bool,
    /// Every tier that was planned, and what came of it.
    tiers: Tiers,
    /// The same of each other app that has a row of its own.
    rows: Vec<(OtherApp, Tiers)>,
    /// The app that is spoken of, where it is not the one under test.
    app: Option<OtherApp>,
    lint: Status,
    residual: Residual,
    /// The app that is held.
    hold: Option<Hold>,
    /// What was said of the recipe already.
    findings: Vec<Finding>,
    /// The output that explains what failed.
    shown: Vec<Shown>,
    /// Whether the source is a path, to which `grants.yml` grants nothing.
    is_path: bool,
    last_line: Duration,
}

/// Output that was shown.
#[derive(Debug)]
struct Shown {
    /// The tier that ran.
    tier: Option<Stage>,
    title: String,
    /// Its last line.
    last: Option<String>,
    /// The file that has all of it.
    log: Option<String>,
}

/// A phase that goes on.
#[derive(Debug)]
struct Open {
    app: Option<OtherApp>,
    phase: Phase,
    detail: String,
    since: Duration,
    waits_for: Option<String>,
}

impl Renderer {
    pub(crate) fn new(mode: Mode, charset: Charset) -> Self {
        Self {
            mode,
            charset,
            run_dir: PathBuf::new(),
            open: Vec::new(),
            running: None,
            tearing_down: false,
            tiers: Tiers::new(),
            rows: Vec::new(),
            app: None,
            lint: Status::Unver,
            residual: Residual::default(),
            hold: None,
            findings: Vec::new(),
            shown: Vec::new(),
            is_path: false,
            last_line: Duration::ZERO,
        }
    }

    pub(crate) fn charset(&self) -> Charset {
        self.charset
    }

    /// Returns the lines for an event that happened `at` into the run; none for many events.
    pub(crate) fn event(&mut self, event: &Event, at: Duration) -> String {
        let text = match event {
            Event::Of(app, event) => return self.of(app, event, at),
            Event::RunStarted(run) => self.started(run),
            Event::Moved { quick, domain } => self.moved(*quick, domain, at),
            Event::Trusted(trust) => self.trusted(trust),
            // A promotion that failed is a warning as well.
            Event::Promotion(Promotion::Failed(_)) => String::new(),
            Event::Promotion(said) => self.line(at, "promotion", &self.clean(&said.to_string())),
            Event::Planned(plan) => self.planned(plan),
            Event::Notice(text) => format!("{}{}\n", clock(at), self.clean(text)),
            Event::Warning(text) => self.line(at, "warning", &paint(YELLOW, &self.clean(text))),
            Event::Deviation(text) => self.line(at, "deviation", &paint(YELLOW, &self.clean(text))),
            Event::Retried { what, reason } => self.again(&format!("{what}: {reason}"), at),
            Event::Repeated { reason } => {
                let rows = self.rows.iter_mut().map(|(_, tiers)| tiers);
                let all = rows.chain([&mut self.tiers]);
                all.for_each(|tiers| tiers.values_mut().for_each(|tier| *tier = None));
                self.shown.clear();
                let what = "all tiers, with the recipe's health checks as shipped";
                self.again(&format!("{what}: {reason}"), at)
            }
            Event::Found(found) => self.finding(found, at),
            Event::PolicyFound(found) => self.policy(found, at),
            Event::PhaseStarted { phase, detail } => self.phase_started(*phase, detail, at),
            Event::Progress(text) => self.progress(text, at),
            Event::PhaseFinished { phase, elapsed } => self.phase_finished(*phase, *elapsed, at),
            Event::LintFinished(lint) => self.linted(lint, at),
            // A failed one is a warning as well, with the reason.
            Event::DependencyFinished(one) => {
                let text = format!("{} {} at {}", one.recipe, one.status, one.domain);
                self.line(at, "dependency", &self.clean(&text))
            }
            Event::TierStarted(stage) => {
                self.running = Some(*stage);
                self.tiers_of_app().entry(*stage).or_default();
                String::new()
            }
            Event::TestFinished { stage, test } => self.test(*stage, test, at),
            Event::TierFinished(tier) => self.tier(tier, at),
            Event::DeployCounted(_) | Event::HeadFetched(_) => String::new(),
            Event::FailureOutput { title, lines, log } => {
                self.shown.push(Shown {
                    tier: self.running,
                    title: title.clone(),
                    last: lines.iter().rfind(|line| !line.trim().is_empty()).cloned(),
                    log: log.clone(),
                });
                self.output(title, lines)
            }
            Event::TeardownStarted { why } => self.teardown_started(why, at),
            Event::TeardownFinished { residual } => self.teardown_finished(residual, at),
            Event::Held { hold, .. } => self.held(hold, at),
            Event::RunFinished(run) => self.finished(run),
        };
        if !text.is_empty() {
            self.last_line = at;
        }
        self.charset.spell(&text)
    }

    /// Returns what goes on right now, as label and detail; `None` when nothing does.
    pub(crate) fn live(&self) -> Option<(String, String)> {
        if self.mode == Mode::Plain {
            return None;
        }
        if let Some(open) = self.open.last() {
            // What is waited for comes first: the line is cut at its end.
            let detail = match &open.waits_for {
                Some(waits_for) if open.detail.is_empty() => waits_for.clone(),
                Some(waits_for) => format!("{waits_for} ({})", open.detail),
                None => open.detail.clone(),
            };
            let detail = match &open.app {
                Some(app) => format!("{app}: {detail}"),
                None => detail,
            };
            return Some((open.phase.name().to_owned(), self.charset.spell(&detail)));
        }
        if self.tearing_down {
            return Some(("teardown".to_owned(), String::new()));
        }
        self.running
            .map(|stage| (stage.name().to_owned(), "assertions".to_owned()))
    }

    fn clean(&self, text: &str) -> String {
        self.charset.spell(&printable(text))
    }

    /// Returns one line with the time, a label and a text.
    fn line(&self, at: Duration, label: &str, text: &str) -> String {
        format!("{}{label:10} {}\n", clock(at), self.with_app(text))
    }

    fn started(&mut self, run: &RunStarted) -> String {
        self.run_dir.clone_from(&run.run_dir);
        let pr = run
            .pr
            .as_ref()
            .map(|pr| format!(" (PR {pr})"))
            .unwrap_or_default();
        let reference = run
            .reference
            .as_ref()
            .map(|reference| format!(" at {reference}"))
            .unwrap_or_default();
        let head = format!(
            "recipe-ci run {}: {}{pr}{reference} → {}",
            run.run_id, run.recipe, run.domain
        );
        format!(
            "{}\n  {:10} {}\n",
            paint(BOLD, &self.clean(&head)),
            "files",
            run.run_dir.display()
        )
    }

    fn trusted(&mut self, trust: &TrustView) -> String {
        self.is_path = trust.source.starts_with('/');
        let said = format!("{}: {}, {}", trust.level, trust.source, trust.why);
        format!("  {:10} {}\n", "trust", self.clean(&said))
    }

    fn moved(&self, quick: bool, domain: &str, at: Duration) -> String {
        let (label, what) = if quick {
            ("quick", "the head over the warm app")
        } else {
            ("cold", "a new app")
        };
        self.line(at, label, &format!("{what}: {}", self.clean(domain)))
    }

    fn phase_started(&mut self, phase: Phase, detail: &str, at: Duration) -> String {
        let detail = self.clean(detail);
        let text = match self.mode {
            Mode::Plain if !detail.is_empty() => self.line(at, phase.name(), &detail),
            Mode::Plain | Mode::Progress => String::new(),
        };
        self.open.push(Open {
            app: self.app.clone(),
            phase,
            detail,
            since: at,
            waits_for: None,
        });
        text
    }

    fn progress(&mut self, text: &str, at: Duration) -> String {
        let text = self.clean(text);
        let mut open = self.open.iter_mut().rev();
        let Some(open) = open.find(|open| open.app == self.app) else {
            return String::new();
        };
        let label = open.phase.name();
        open.waits_for = Some(text.clone());
        if self.mode == Mode::Plain && at.saturating_sub(self.last_line) >= SILENCE {
            return self.line(at, label, &format!("still waiting: {text}"));
        }
        String::new()
    }

    fn phase_finished(&mut self, phase: Phase, elapsed: Duration, at: Duration) -> String {
        let open = self
            .open
            .iter()
            .rposition(|open| open.phase == phase && open.app == self.app)
            .map(|index| self.open.remove(index));
        // The ends of the lint, of a tier and of the teardown have better lines of their own.
        if matches!(
            phase,
            Phase::Lint
                | Phase::Upgrade
                | Phase::Backup
                | Phase::Restore
                | Phase::Custom
                | Phase::Teardown
        ) {
            return String::new();
        }
        match self.mode {
            Mode::Plain if elapsed < WORTH_A_LINE => String::new(),
            Mode::Plain => self.line(at, phase.name(), &format!("took {}", human(elapsed))),
            Mode::Progress => {
                let detail = open
                    .map(|open| open.detail)
                    .filter(|detail| !detail.is_empty());
                let took = paint(DIM, &format!("({})", human(elapsed)));
                self.line(
                    at,
                    phase.name(),
                    &format!("{} {took}", detail.as_deref().unwrap_or("done")),
                )
            }
        }
    }

    fn linted(&mut self, lint: &Lint, at: Duration) -> String {
        self.lint = lint.status;
        let mut text = String::new();
        for found in lint.findings.iter().take(LINT_LINES) {
            let said = super::lint::line(found);
            let colour = match found.severity {
                Severity::Error => RED,
                Severity::Warning => YELLOW,
            };
            text += &self.line(at, "lint", &paint(colour, &self.clean(&said)));
        }
        let more = lint.findings.len().saturating_sub(LINT_LINES);
        if more > 0 {
            text += &self.line(at, "lint", &format!("and {more} more, see results.json"));
        }
        let status = paint(
            style(lint.status),
            &format!("{} {}", self.charset.sign(lint.status), lint.status),
        );
        let said = match &lint.reason {
            // Where the reason is not one of our rules there is nothing to count.
            Some(reason) if lint.count(Severity::Error) == 0 => reason.clone(),
            _ => lint.summary(),
        };
        text + &self.line(at, "lint", &format!("{status} — {}", self.clean(&said)))
    }

    fn output(&self, title: &str, lines: &[String]) -> String {
        if lines.is_empty() {
            return format!("{INDENT}{}: no output\n", self.with_app(&self.clean(title)));
        }
        let lines = lines.iter().map(|line| self.clean(as_overwritten(line)));
        let lines: Vec<String> = lines.collect();
        format!(
            "{INDENT}{}:\n{}",
            paint(BOLD, &self.with_app(&self.clean(title))),
            self.quote(&lines)
        )
    }

    /// Returns other programs' lines, marked as such.
    fn quote(&self, lines: &[String]) -> String {
        let gutter = paint(DIM, self.charset.gutter());
        lines.iter().fold(String::new(), |text, line| {
            text + format!("{INDENT}{gutter} {line}").trim_end() + "\n"
        })
    }

    fn teardown_started(&mut self, why: &str, at: Duration) -> String {
        let mut text = String::new();
        if let Some(open) = self.open.last() {
            let waits_for = open
                .waits_for
                .as_ref()
                .map(|what| format!(", while {what}"))
                .unwrap_or_default();
            let stopped = format!(
                "stopped after {}{waits_for}",
                human(at.saturating_sub(open.since))
            );
            text = self.line(at, open.phase.name(), &stopped);
        }
        self.open.clear();
        self.tearing_down = true;
        if why == "finished" {
            return text + &self.line(at, "teardown", "removing the app");
        }
        let why = format!("== {} — tearing down ==", self.clean(why));
        text + &format!("{}{}\n", clock(at), paint(YELLOW, &why))
    }

    fn teardown_finished(&mut self, residual: &Residual, at: Duration) -> String {
        // Where nothing was made there was nothing to remove.
        let silent = !std::mem::take(&mut self.tearing_down) && residual.is_empty();
        self.open.clear();
        self.residual = residual.clone();
        if silent {
            return String::new();
        }
        if residual.is_empty() {
            let sign = paint(GREEN, self.charset.sign(Status::Pass));
            return self.line(at, "teardown", &format!("{sign} nothing is left"));
        }
        let sign = paint(RED, self.charset.sign(Status::Fail));
        let lines: Vec<String> = residual
            .left
            .iter()
            .map(|(kind, names)| self.clean(&format!("{kind}: {}", names.join(", "))))
            .collect();
        self.line(at, "teardown", &format!("{sign} left behind")) + &self.quote(&lines)
    }

    fn held(&mut self, hold: &Hold, at: Duration) -> String {
        self.tearing_down = false;
        self.open.clear();
        self.hold = Some(hold.clone());
        let text = format!("{} until {}", hold.domain, hold.until);
        self.line(at, "held", &paint(YELLOW, &self.clean(&text)))
    }

    /// Returns the sign of `status`, with its word unless it passed.
    fn mark(&self, status: Status) -> String {
        match status {
            Status::Pass => self.charset.sign(status).to_owned(),
            _ => format!("{} {status}", self.charset.sign(status)),
        }
    }
}

/// Returns the time of a line.
fn clock(at: Duration) -> String {
    format!("{}[{:6.1}s]{:#} ", DIM, at.as_secs_f64(), DIM)
}

#[cfg(test)]
pub(crate) mod tests;
