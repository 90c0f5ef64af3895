//! The verdict, from how a run ended and what came of its tiers.

use std::time::Duration;

use super::context::{Missing, Resources};
use super::error::RunError;
use super::resolved;
use super::step::End;
use super::teardown::TornDown;
use crate::lifetime::worker::EndSignal;
use crate::tier::assertion;
use engine::swarm::teardown::DeployerState;
use ground::error::chain;
use ground::outcome::{Stage, Status, TierOutcome, Verdict};

/// How the steps of a run ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// By themselves.
    Walked(Result<End, RunError>),
    /// From outside.
    Stopped(Stopped),
}

/// What ended a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    Signal(EndSignal),
    Deadline,
}

impl Stopped {
    /// Returns what it was.
    pub(super) fn in_words(self) -> String {
        match self {
            Self::Signal(signal) => format!("{} received", signal.name()),
            Self::Deadline => "the hard deadline passed".to_owned(),
        }
    }
}

/// Returns why a run is torn down that ended so, for people.
pub(super) fn why(ending: &Ending, deadline: Duration) -> String {
    match ending {
        Ending::Stopped(Stopped::Signal(signal)) => {
            format!("{} received (cancel / parent death)", signal.name())
        }
        Ending::Stopped(Stopped::Deadline) => {
            let limit = match deadline.as_secs() {
                seconds @ 0..60 => format!("{seconds}-second"),
                seconds => format!("{}-minute", seconds / 60),
            };
            format!("run exceeded {limit} hard deadline")
        }
        Ending::Walked(_) => "finished".to_owned(),
    }
}

/// Returns whether every request to the engine was answered. A red run may be one whose `docker stack deploy` ran
/// into its limit and was killed in the middle of one; so may a green one be that does not need what was deployed.
pub(super) fn maker(verdict: Verdict, held: &Resources) -> DeployerState {
    if verdict == Verdict::Passed && !held.dependency_failed {
        DeployerState::Done
    } else {
        DeployerState::CutOff
    }
}

/// The verdict as it forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) exit_code: u8,
    pub(super) reason: Option<String>,
    pub(super) hints: Vec<String>,
    /// The tier that is red.
    pub(super) red: Option<Stage>,
}

/// Returns the verdict of a run that ended so and holds this, before its teardown.
pub(super) fn decide(ending: &Ending, held: &Resources) -> Decision {
    let decision = |verdict, exit_code, reason: Option<String>, hints: &[String]| Decision {
        verdict,
        exit_code,
        reason,
        hints: hints.to_vec(),
        red: None,
    };
    match ending {
        Ending::Stopped(stopped @ Stopped::Signal(signal)) => decision(
            Verdict::Cancelled,
            signal.exit_code(),
            Some(stopped.in_words()),
            &[],
        ),
        Ending::Stopped(stopped @ Stopped::Deadline) => decision(
            Verdict::Deadline,
            142,
            Some(stopped.in_words()),
            &[
                "raise it with `--deadline 90m` or CCCI_DEADLINE if the recipe really needs longer"
                    .to_owned(),
            ],
        ),
        Ending::Walked(Err(RunError::Usage { error, hints })) => {
            decision(Verdict::Usage, 2, Some(chain(&**error)), hints)
        }
        Ending::Walked(Err(RunError::Refused { found, hints, .. })) => {
            decision(Verdict::Refused, 2, resolved::in_words(found), hints)
        }
        Ending::Walked(Err(RunError::Infra { error, hints })) => {
            decision(Verdict::Infra, 3, Some(chain(&**error)), hints)
        }
        Ending::Walked(Ok(_)) => {
            let tested = held.tiers.iter().map(|tier| (None, tier));
            let others = held.others.iter().map(|(app, tier)| (Some(app), tier));
            let mut tiers = tested.chain(others);
            let red = tiers.find(|(_, tier)| tier.blames_recipe && tier.status != Status::Pass);
            match red {
                Some((app, tier)) => {
                    let stage = tier.stage;
                    let what = app.map_or_else(|| stage.to_string(), |app| app.tier(stage));
                    let why = tier.reason.clone();
                    let why = why.unwrap_or_else(|| tier.status.to_string());
                    let reason = Some(format!("{what}: {why}"));
                    Decision {
                        // What is of another app has no stage of its own.
                        red: app.is_none().then_some(stage),
                        ..decision(Verdict::Failed, 1, reason, &advice(tier))
                    }
                }
                None => match &held.missing {
                    Some(Missing { recipe, reason }) => decision(
                        Verdict::Failed,
                        1,
                        Some(format!("required dependency `{recipe}` failed: {reason}")),
                        &[format!(
                            "the recipe under test need not be to blame: `recipe-ci run {recipe}` shows what is wrong with `{recipe}` itself"
                        )],
                    ),
                    None => decision(Verdict::Passed, 0, None, &[]),
                },
            }
        }
    }
}

/// Returns what to do about a red tier, as far as its first failure says.
fn advice(tier: &TierOutcome) -> Vec<String> {
    let failed = tier.tests.iter().find(|test| test.status == Status::Fail);
    let known = failed.and_then(|test| assertion::of(&test.name));
    known
        .map(|known| known.fix.to_owned())
        .into_iter()
        .collect()
}

impl Decision {
    /// What teardown came to changes only a green run; a first failure is never lost to a later one.
    pub(super) fn after(&mut self, torn_down: TornDown) {
        match torn_down {
            TornDown::Clean | TornDown::Kept => {}
            TornDown::Left(residual) if self.verdict == Verdict::Passed => {
                self.verdict = Verdict::Failed;
                self.exit_code = 4;
                self.reason = Some(format!("teardown left something behind: {residual}"));
                self.hints =
                    vec!["run `recipe-ci janitor`; it removes what a dead run left".to_owned()];
            }
            TornDown::Unknown(error) if self.verdict == Verdict::Passed => {
                self.verdict = Verdict::Infra;
                self.exit_code = 3;
                self.reason = Some(format!("teardown could not be verified: {error}"));
                self.hints =
                    vec!["run `recipe-ci janitor` once the engine answers again".to_owned()];
            }
            TornDown::Left(_) | TornDown::Unknown(_) => {
                self.hints
                    .push("teardown was not clean: run `recipe-ci janitor`".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests;
