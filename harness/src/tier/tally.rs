//! The assertions of a tier, and what comes of them.

use std::time::Duration;

use super::assertion;
use crate::event::{Event, Events};
use crate::suite::{HookRun, Hooked, Ran};
use engine::wait::Stopwatch;
use ground::outcome::{Owner, Stage, Status, TestOutcome, TierOutcome};

/// Collects the assertions of a tier as they are made.
#[derive(Debug)]
pub struct Tally<'a> {
    events: &'a Events,
    pub(super) stage: Stage,
    watch: Stopwatch,
    lap: Stopwatch,
    tests: Vec<TestOutcome>,
}

impl<'a> Tally<'a> {
    /// Starts the tier.
    #[must_use]
    pub fn start(events: &'a Events, stage: Stage) -> Self {
        events.emit(&Event::TierStarted(stage));
        Self {
            events,
            stage,
            watch: Stopwatch::start(),
            lap: Stopwatch::start(),
            tests: Vec::new(),
        }
    }

    /// Notes an assertion: `Ok` with what was seen, `Err` with what did not hold. Returns whether it held.
    pub fn check(&mut self, name: &str, result: Result<Option<String>, String>) -> bool {
        self.took(name, self.lap.elapsed(), result)
    }

    /// Notes an assertion that took `duration`, because it was made before the tier began.
    pub fn took(
        &mut self,
        name: &str,
        duration: Duration,
        result: Result<Option<String>, String>,
    ) -> bool {
        let (status, message) = match result {
            Ok(seen) => (Status::Pass, seen),
            Err(reason) => (Status::Fail, Some(reason)),
        };
        self.note(TestOutcome::ended(name, status, duration, message));
        status == Status::Pass
    }

    /// Notes the hooks of one name, if there are any, and shows what the one wrote that failed. Returns whether none did.
    pub fn hooked(&mut self, name: &str, hooked: Hooked) -> bool {
        let Some(HookRun { origin, file, log }) = hooked.last else {
            return true;
        };
        let held = hooked.failure.is_none();
        let (status, kind, message) = match hooked.failure {
            None => (Status::Pass, None, None),
            Some(failure) => {
                self.show_with(failure.name, failure.tail, Some(log.clone()));
                (Status::Fail, Some(failure.kind), Some(failure.how))
            }
        };
        self.note(TestOutcome {
            owner: origin.owner(),
            file: Some(file),
            log: Some(log),
            failure: kind,
            ..TestOutcome::ended(name, status, self.lap.elapsed(), message)
        });
        held
    }

    /// Notes an assertion that could not be made, and why.
    pub fn skip(&mut self, name: &str, why: String) {
        self.note(TestOutcome::ended(
            name,
            Status::Skip,
            self.lap.elapsed(),
            Some(why),
        ));
    }

    /// Notes an assertion that should have been made and could not be, and why. The tier proves less then.
    pub fn unver(&mut self, name: &str, why: String) {
        self.note(TestOutcome::ended(
            name,
            Status::Unver,
            self.lap.elapsed(),
            Some(why),
        ));
    }

    /// Returns whether an assertion that is called so, or so and of what, held.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let mut held = self.tests.iter().filter(|test| test.status == Status::Pass);
        held.any(|test| {
            let rest = test.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" — "))
        })
    }

    /// Notes tests of the recipe or the overlay, and shows the output of those that failed.
    pub fn add(&mut self, ran: Vec<Ran>) {
        for Ran { outcome, tail } in ran {
            let failed = outcome.status == Status::Fail;
            let (title, log) = (outcome.name.clone(), outcome.log.clone());
            self.note(outcome);
            if failed && !tail.is_empty() {
                self.events.emit(&Event::FailureOutput {
                    title,
                    lines: tail,
                    log,
                });
            }
        }
    }

    /// Shows output that explains a failure.
    pub fn show(&self, title: impl Into<String>, lines: Vec<String>) {
        self.show_with(title, lines, None);
    }

    /// The same, of which a log has all.
    pub fn show_with(&self, title: impl Into<String>, lines: Vec<String>, log: Option<String>) {
        if !lines.is_empty() {
            self.events.emit(&Event::FailureOutput {
                title: title.into(),
                lines,
                log,
            });
        }
    }

    fn note(&mut self, test: TestOutcome) {
        debug_assert!(
            test.owner != Owner::Generic || assertion::of(&test.name).is_some(),
            "`{}` is not explained",
            test.name
        );
        self.lap = Stopwatch::start();
        self.events.emit(&Event::TestFinished {
            stage: self.stage,
            test: test.clone(),
        });
        self.tests.push(test);
    }

    /// Returns whether an assertion has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.tests.iter().any(|test| test.status == Status::Fail)
    }

    /// Ends the tier: failed if an assertion failed, else passed.
    ///
    /// Skipped tests do not fail a tier; a tier whose own tests were all skipped is judged by its caller.
    #[must_use]
    pub fn end(self) -> TierOutcome {
        let failed = self.tests.iter().find(|test| test.status == Status::Fail);
        let reason = failed.map(|test| match &test.message {
            Some(message) => format!(
                "{}: {}",
                test.name,
                message.lines().next().unwrap_or_default()
            ),
            None => test.name.clone(),
        });
        let unverified: Vec<_> = (self.tests.iter())
            .filter(|test| test.status == Status::Unver)
            .collect();
        let flaky: Vec<&str> = (self.tests.iter())
            .filter(|test| test.status == Status::Flaky)
            .map(|test| test.name.as_str())
            .collect();
        let (status, reason) = match unverified.first() {
            _ if failed.is_some() => (Status::Fail, reason),
            // They should have run. Who is to blame is said where the dependency failed.
            Some(first) => {
                let why = first.message.as_deref().unwrap_or("no reason given");
                let count = unverified.len();
                (
                    Status::Unver,
                    Some(match count {
                        1 => format!("{}: {why}", first.name),
                        _ => format!("{count} tests not verified: {why}"),
                    }),
                )
            }
            None if !flaky.is_empty() => (
                Status::Flaky,
                Some(format!(
                    "`{}` failed and passed when run again",
                    flaky.join("`, `")
                )),
            ),
            None => (Status::Pass, None),
        };
        TierOutcome {
            stage: self.stage,
            status,
            reason,
            duration: self.watch.elapsed(),
            tests: self.tests,
            blames_recipe: status == Status::Fail,
        }
    }
}

/// Returns the outcome of a tier that does not run.
#[must_use]
pub fn without(stage: Stage, status: Status, reason: impl Into<String>) -> TierOutcome {
    TierOutcome {
        stage,
        status,
        reason: Some(reason.into()),
        duration: Duration::ZERO,
        tests: Vec::new(),
        blames_recipe: false,
    }
}
