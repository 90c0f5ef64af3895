//! The consumer that keeps `results.json`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::file::ResultsError;
use super::printable;
use super::redact::Redactor;
use super::results::{AppResults, Attempt, Output, Resources, Results, Tier};
use super::tiers::below_run_dir;
use crate::event::{Consumer, Event, OtherApp, Planned, RunFinished, RunStarted};
use ground::finding::KINDS;

/// How much output that explains failures a report keeps, in bytes; `run.log` has all of it.
const OUTPUT_LIMIT: usize = 512 << 10;

/// Folds events into [`Results`] and keeps the file up to date; cheap to clone, all clones are one record.
///
/// It never fails: what could not be written is at [`Recorder::last_error`].
#[derive(Debug, Clone)]
pub struct Recorder(Rc<RefCell<Record>>);

#[derive(Debug)]
struct Record {
    path: PathBuf,
    redactor: Redactor,
    results: Results,
    last_error: Option<Rc<ResultsError>>,
}

impl Recorder {
    /// Returns the recorder of a run that is about to start; the file at `path` appears when it does.
    #[must_use]
    pub fn new(path: PathBuf, redactor: Redactor) -> Self {
        let record = Record {
            path,
            redactor,
            results: Results::default(),
            last_error: None,
        };
        Self(Rc::new(RefCell::new(record)))
    }

    /// Folds `event` into the record and rewrites the file when a kill must not lose it.
    pub fn observe(&self, event: &Event) {
        self.0.borrow_mut().observe(event);
    }

    /// Returns a consumer that observes for this recorder.
    #[must_use]
    pub fn consumer(&self) -> Consumer {
        let recorder = self.clone();
        Box::new(move |event| recorder.observe(event))
    }

    /// Returns the record as it stands, secrets included.
    #[must_use]
    pub fn results(&self) -> Results {
        self.0.borrow().results.clone()
    }

    /// Returns why the file was not written the last time that it was not; a later success does not clear
    /// it.
    #[must_use]
    pub fn last_error(&self) -> Option<Rc<ResultsError>> {
        self.0.borrow().last_error.clone()
    }
}

impl Record {
    fn observe(&mut self, event: &Event) {
        if self.results.fold(event) {
            self.results.climb();
            if let Err(error) = self.results.write(&self.path, &self.redactor) {
                self.last_error = Some(Rc::new(error));
            }
        }
    }
}

impl Results {
    /// Folds `event` in and returns whether the file must be written now.
    pub(super) fn fold(&mut self, event: &Event) -> bool {
        match event {
            Event::Of(app, event) => return self.fold_of(app, event),
            Event::RunStarted(started) => self.start(started),
            Event::Planned(planned) => self.plan(planned),
            Event::Moved { quick, domain } => {
                self.quick = *quick;
                self.domain.clone_from(domain);
            }
            Event::Trusted(trust) => self.trust = Some((**trust).clone()),
            Event::Promotion(promotion) => self.promotion = Some(promotion.to_string()),
            Event::LintFinished(lint) => self.lint = (**lint).clone(),
            // Written, though no tier has ended, so that a kill leaves on record which one it hit.
            Event::TierStarted(stage) => {
                self.running = Some(*stage);
                self.tier_mut(*stage).run();
            }
            Event::TierFinished(tier) => *self.tier_mut(tier.stage) = Tier::ended(tier, None),
            Event::DependencyFinished(dependency) => self.dependencies.push((**dependency).clone()),
            Event::TeardownFinished { residual } => self.teardown = residual.clone().into(),
            Event::Held { hold, .. } => self.hold = Some((**hold).clone()),
            Event::RunFinished(finished) => self.finish(finished),
            Event::TestFinished { stage, test } => {
                self.tier_mut(*stage).add(test, None);
                return false;
            }
            Event::PhaseFinished { phase, elapsed } => {
                self.phases.add(*phase, *elapsed);
                return false;
            }
            Event::Warning(text) => {
                self.warnings.push(text.clone());
                return false;
            }
            Event::Deviation(text) => {
                self.deviations.push(text.clone());
                return false;
            }
            Event::Found(found) => {
                debug_assert!(
                    KINDS.iter().any(|kind| kind.id == found.id),
                    "{found} is not explained"
                );
                if !self.findings.iter().any(|known| known.is_same(found)) {
                    self.findings.push((**found).clone());
                }
                return false;
            }
            Event::Retried { what, reason } => {
                self.attempts.push(Attempt {
                    what: what.clone(),
                    reason: reason.clone(),
                    tiers: Vec::new(),
                });
                return false;
            }
            Event::Repeated { reason } => self.repeat(reason),
            Event::PolicyFound(found) => {
                self.policy.push((**found).clone());
                return false;
            }
            Event::FailureOutput { title, lines, log } => {
                self.show(title, lines, log.as_deref(), None);
                return false;
            }
            Event::HeadFetched(commit) => {
                self.head_commit = Some(*commit);
                return false;
            }
            Event::DeployCounted(count) => {
                self.deploy_count = *count;
                return false;
            }
            Event::Notice(_)
            | Event::PhaseStarted { .. }
            | Event::Progress(_)
            | Event::TeardownStarted { .. } => return false,
        }
        true
    }

    /// Keeps output that explains a failure, as far as there is room for it.
    pub(super) fn show(
        &mut self,
        title: &str,
        lines: &[String],
        log: Option<&str>,
        of: Option<&OtherApp>,
    ) {
        let kept: usize = self.output.iter().map(Output::size).sum();
        let mut shown = Output {
            tier: self.running,
            app: of.map(OtherApp::to_string),
            title: title.to_owned(),
            lines: lines.iter().map(|line| printable(line)).collect(),
            log: log.map(below_run_dir),
        };
        if kept + shown.size() > OUTPUT_LIMIT {
            shown.lines = vec!["(there is more in `run.log`)".to_owned()];
            if self.output.iter().any(|other| other.lines == shown.lines) {
                return;
            }
        }
        self.output.push(shown);
    }

    /// Puts the tiers aside and begins them again.
    fn repeat(&mut self, reason: &str) {
        let tiers = std::mem::take(&mut self.tiers);
        for tier in &tiers {
            self.tier_mut(tier.name);
        }
        self.apps.iter_mut().for_each(|app| app.tiers.clear());
        self.running = None;
        self.attempts.push(Attempt {
            what: "all tiers".to_owned(),
            reason: reason.to_owned(),
            tiers,
        });
    }

    fn start(&mut self, started: &RunStarted) {
        self.version = env!("CARGO_PKG_VERSION").to_owned();
        self.host.clone_from(&started.host);
        self.build_url.clone_from(&started.build_url);
        self.repeat.clone_from(&started.repeat);
        self.run_id.clone_from(&started.run_id);
        self.recipe.clone_from(&started.recipe);
        self.pr.clone_from(&started.pr);
        self.reference.clone_from(&started.reference);
        self.domain.clone_from(&started.domain);
        self.run_dir.clone_from(&started.run_dir);
        self.started_at.clone_from(&started.started_at);
    }

    fn plan(&mut self, planned: &Planned) {
        self.head_commit = Some(planned.head_commit);
        self.head_version.clone_from(&planned.head_version);
        self.base_version.clone_from(&planned.base_version);
        self.base_kind.clone_from(&planned.base_kind);
        self.fresh.clone_from(&planned.fresh);
        let others = planned.fresh.iter().chain(&planned.others);
        self.apps = others.map(AppResults::of).collect();
        self.driver = Some(planned.driver.clone());
        self.driver_reason = Some(planned.driver_reason.clone());
        self.customization.clone_from(&planned.customization);
        for stage in &planned.stages {
            self.tier_mut(*stage);
        }
    }

    fn finish(&mut self, finished: &RunFinished) {
        self.verdict = finished.verdict;
        self.exit_code = finished.exit_code;
        self.reason.clone_from(&finished.reason);
        self.hints.clone_from(&finished.hints);
        self.repeat_tier.clone_from(&finished.repeat_tier);
        self.finished_at = Some(finished.finished_at.clone());
        self.resources = Resources::from(&finished.used);
        self.settle_tiers("the run ended");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::event::Events;
    use crate::report::file::read;
    use engine::process::Usage;
    use ground::finding::Finding;
    use ground::outcome::{Phase, Residual, Stage, Status, TestOutcome, TierOutcome, Verdict};
    use recipe::lint::Lint;

    fn started(dir: &Path) -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run_id: "4711".to_owned(),
            recipe: "notes".to_owned(),
            pr: Some("7".to_owned()),
            reference: None,
            domain: "note-0a1b2c.ci.localhost".to_owned(),
            host: "ci1".to_owned(),
            build_url: None,
            repeat: "recipe-ci run notes".to_owned(),
            run_dir: dir.to_owned(),
            started_at: "2026-01-02T03:04:05Z".to_owned(),
        }))
    }

    fn planned() -> Event {
        Event::Planned(Box::new(Planned {
            head_commit: "1a2b3c4d".repeat(5).parse().unwrap(),
            driver: "stack".to_owned(),
            stages: vec![Stage::Install, Stage::Custom],
            ..Planned::default()
        }))
    }

    fn tier(stage: Stage, status: Status, reason: &str) -> Event {
        Event::TierFinished(TierOutcome {
            stage,
            status,
            reason: Some(reason.to_owned()),
            duration: Duration::from_millis(1500),
            tests: Vec::new(),
            blames_recipe: true,
        })
    }

    fn test(message: &str) -> TestOutcome {
        let took = Duration::from_millis(3);
        TestOutcome::ended("test_install.sh", Status::Fail, took, Some(message.into()))
    }

    #[test]
    fn the_file_is_honest_at_any_kill() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let recorder = Recorder::new(path.clone(), Redactor::default());
        let events = Events::default();
        events.add(recorder.consumer());

        events.warn("said before the start");
        assert!(!path.exists());
        for event in [
            started(dir.path()),
            planned(),
            Event::TierStarted(Stage::Install),
        ] {
            events.emit(&event);
            let now = read(&path).unwrap();
            assert_eq!(
                (now.verdict, now.exit_code, now.finished_at),
                (Verdict::Orphaned, 137, None)
            );
            assert_eq!((now.warnings.len(), now.teardown.clean), (1, None));
        }
        assert_eq!(read(&path).unwrap().rungs.lint, Status::Unver);
        let lint = Lint {
            status: Status::Pass,
            reason: None,
            ..Lint::default()
        };
        events.emit(&Event::LintFinished(Box::new(lint)));
        assert_eq!(read(&path).unwrap().rungs.lint, Status::Pass);
        let statuses: Vec<Status> = read(&path)
            .unwrap()
            .tiers
            .iter()
            .map(|tier| tier.status)
            .collect();
        assert_eq!(statuses, [Status::Unver, Status::Unver]);
        events.emit(&Event::TestFinished {
            stage: Stage::Install,
            test: test("no"),
        });
        events.emit(&Event::PhaseFinished {
            phase: Phase::Deploy,
            elapsed: Duration::from_millis(20),
        });
        events.emit(&Event::PhaseFinished {
            phase: Phase::Deploy,
            elapsed: Duration::from_millis(22),
        });
        events.emit(&Event::DeployCounted(1));
        events.emit(&Event::TeardownFinished {
            residual: Residual::default(),
        });
        let torn_down = read(&path).unwrap();
        assert_eq!(
            (torn_down.verdict, torn_down.teardown.clean),
            (Verdict::Orphaned, Some(true))
        );
        events.emit(&Event::RunFinished(Box::new(RunFinished {
            verdict: Verdict::Cancelled,
            exit_code: 143,
            reason: Some("SIGTERM received".to_owned()),
            hints: Vec::new(),
            repeat_tier: None,
            finished_at: "2026-01-02T03:05:05Z".to_owned(),
            elapsed: Duration::from_secs(60),
            used: Usage {
                peak_rss: 9,
                ..Usage::default()
            },
        })));

        let results = read(&path).unwrap();
        assert_eq!(
            (results.verdict, results.exit_code, results.deploy_count),
            (Verdict::Cancelled, 143, 1)
        );
        assert_eq!(
            (results.phases.deploy_ms, results.resources.peak_rss_bytes),
            (42, 9)
        );
        // A tier that was cut short keeps the tests that it got to.
        assert_eq!(results.tiers[0].tests.len(), 1);
        assert_eq!(
            results.tiers[0].reason.as_deref(),
            Some("was running when the run ended")
        );
        assert_eq!(
            results.tiers[1].reason.as_deref(),
            Some("had not started when the run ended")
        );
        let mut names: Vec<_> = ground::host_file::entries(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "badge.json",
                "badge.svg",
                "junit.xml",
                "report.html",
                "results.json"
            ],
            "a temporary file was left, or a form of the report is missing"
        );
    }

    #[test]
    fn a_finding_is_kept_once_for_each_service_and_changes_nothing_else() {
        let mut results = Results::default();
        let found = |service: &str, message: &str| {
            Event::Found(Box::new(Finding {
                id: "F001".to_owned(),
                service: Some(service.to_owned()),
                message: message.to_owned(),
                fix: "exec".to_owned(),
            }))
        };
        for event in [
            found("app", "10 s"),
            found("app", "11 s"),
            found("db", "10 s"),
        ] {
            results.fold(&event);
        }
        let said: Vec<String> = results.findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["F001 service `app`: 10 s", "F001 service `db`: 10 s"]
        );
        results.findings.clear();
        assert_eq!(results, Results::default());
    }

    #[test]
    fn secrets_stay_out_though_words_of_the_schema_are_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let redactor = Redactor::default();
        let recorder = Recorder::new(path.clone(), redactor.clone());
        recorder.observe(&started(dir.path()));
        recorder.observe(&Event::TestFinished {
            stage: Stage::Install,
            test: test("got hunter22"),
        });
        let mut outcome = tier(Stage::Install, Status::Fail, "got \"hunter22\"");
        if let Event::TierFinished(tier) = &mut outcome {
            tier.tests.push(test("got hunter22"));
        }
        // Registered late, and still in time.
        for secret in ["hunter22", "status", "fail", "orphaned"] {
            redactor.add(secret);
        }
        recorder.observe(&outcome);
        let text = ground::host_file::text(&path).unwrap();
        assert!(!text.contains("hunter22"), "{text}");
        let results = read(&path).unwrap();
        assert_eq!(
            results.tiers[0].reason.as_deref(),
            Some("got \"[redacted]\"")
        );
        assert_eq!(results.rungs.install, Status::Fail);
    }

    #[test]
    fn what_cannot_be_written_is_kept_and_fails_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone/results.json");
        let recorder = Recorder::new(path.clone(), Redactor::default());
        recorder.observe(&started(dir.path()));
        let error = recorder.last_error().unwrap();
        assert!(
            matches!(&*error, ResultsError::Write { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
        );
        fs::create_dir(dir.path().join("gone")).unwrap();
        recorder.observe(&tier(Stage::Upgrade, Status::Skip, "no older version"));
        assert_eq!(read(&path).unwrap().tiers[0].status, Status::Skip);
        assert!(recorder.last_error().is_some());
    }
}
