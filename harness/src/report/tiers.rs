//! Tiers, their tests, and how long phases took: of the app under test, and of each other app of a run.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::test::Test;
pub(super) use super::test::{below_run_dir, millis};
use crate::event::{OtherApp, PlannedOther};
use ground::outcome::{Phase, Stage, Status, TestOutcome, TierOutcome};

/// Why a planned tier has no result, while it does not run yet.
pub(super) const NOT_STARTED: &str = "has not started";

/// Why a tier has no result, while it runs.
pub(super) const RUNNING: &str = "is running";

/// A tier in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tier {
    /// Its stage.
    pub name: Stage,
    /// How it ended; `unver` until it has.
    pub status: Status,
    /// Why, whenever it did not simply pass.
    pub reason: Option<String>,
    /// Whether it is why the run did not pass: it failed, or could not verify what it should.
    #[serde(default)]
    pub blames_recipe: bool,
    /// How long operation and assertions took together.
    pub duration_ms: u64,
    /// Its assertions in the order in which they ran.
    pub tests: Vec<Test>,
}

/// How long each phase took, in milliseconds; 0 when it did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "each is documented at its `Phase`")]
pub struct Phases {
    pub fetch_ms: u64,
    pub plan_ms: u64,
    pub lint_ms: u64,
    pub lock_wait_ms: u64,
    pub warm_ms: u64,
    pub prepull_ms: u64,
    pub deploy_ms: u64,
    pub converge_ms: u64,
    pub upgrade_ms: u64,
    pub backup_ms: u64,
    pub restore_ms: u64,
    pub custom_ms: u64,
    pub teardown_ms: u64,
    pub promote_ms: u64,
}

/// Another app of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppResults {
    /// Which, where and when.
    #[serde(flatten)]
    pub planned: PlannedOther,
    /// What came of its tiers; none of a fresh install, whose install is the run's own.
    pub tiers: Vec<Tier>,
    /// How long each phase took of it.
    pub phases: Phases,
}

impl AppResults {
    /// Returns one of which nothing has come yet.
    pub(super) fn of(planned: &PlannedOther) -> Self {
        Self {
            planned: planned.clone(),
            tiers: Vec::new(),
            phases: Phases::default(),
        }
    }
}

/// Returns the tier of `stage` among `tiers`, which is added in its place when it is not there yet.
pub(super) fn tier_among(tiers: &mut Vec<Tier>, stage: Stage) -> &mut Tier {
    let at = tiers.partition_point(|tier| tier.name < stage);
    if tiers.get(at).is_none_or(|tier| tier.name != stage) {
        tiers.insert(at, Tier::waiting(stage));
    }
    &mut tiers[at]
}

/// Returns what a tier is called in a report that has those of several apps.
pub(super) fn called(stage: Stage, app: Option<&OtherApp>) -> String {
    app.map_or_else(|| stage.to_string(), |app| app.tier(stage))
}

impl Tier {
    /// Returns the tier of a stage that has not begun.
    pub(super) fn waiting(stage: Stage) -> Self {
        let reason = Some(NOT_STARTED.to_owned());
        Self {
            name: stage,
            status: Status::Unver,
            reason,
            blames_recipe: false,
            duration_ms: 0,
            tests: Vec::new(),
        }
    }
}

impl Tier {
    /// Notes that it runs.
    pub(super) fn run(&mut self) {
        self.reason = Some(RUNNING.to_owned());
    }

    /// Returns a tier that has ended, of the app under test or another one.
    pub(super) fn ended(tier: &TierOutcome, of: Option<&OtherApp>) -> Self {
        let mut new = Self {
            name: tier.stage,
            status: tier.status,
            reason: tier.reason.clone(),
            blames_recipe: tier.blames_recipe,
            duration_ms: millis(tier.duration),
            tests: Vec::new(),
        };
        tier.tests.iter().for_each(|test| new.add(test, of));
        new
    }

    /// Adds a test that has ended.
    pub(super) fn add(&mut self, test: &TestOutcome, of: Option<&OtherApp>) {
        let twins = self.tests.iter().filter(|other| other.name == test.name);
        let id = format!("{}/{}", called(self.name, of), test.name);
        let id = match twins.count() {
            0 => id,
            twins => format!("{id}#{}", twins + 1),
        };
        self.tests.push(Test::of(id, test));
    }
}

impl Phases {
    /// Returns every phase with its name and its milliseconds, in the order of a run.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("fetch", self.fetch_ms),
            ("plan", self.plan_ms),
            ("lint", self.lint_ms),
            ("wait for a lock", self.lock_wait_ms),
            ("warm app", self.warm_ms),
            ("images", self.prepull_ms),
            ("deploy", self.deploy_ms),
            ("converge", self.converge_ms),
            ("upgrade", self.upgrade_ms),
            ("backup", self.backup_ms),
            ("restore", self.restore_ms),
            ("custom", self.custom_ms),
            ("teardown", self.teardown_ms),
            ("promote", self.promote_ms),
        ]
    }

    /// Adds `elapsed` to `phase`, because some phases run twice.
    pub fn add(&mut self, phase: Phase, elapsed: Duration) {
        let total = match phase {
            Phase::Fetch => &mut self.fetch_ms,
            Phase::Plan => &mut self.plan_ms,
            Phase::Lint => &mut self.lint_ms,
            Phase::LockWait => &mut self.lock_wait_ms,
            Phase::Warm => &mut self.warm_ms,
            Phase::Prepull => &mut self.prepull_ms,
            Phase::Deploy => &mut self.deploy_ms,
            Phase::Converge => &mut self.converge_ms,
            Phase::Upgrade => &mut self.upgrade_ms,
            Phase::Backup => &mut self.backup_ms,
            Phase::Restore => &mut self.restore_ms,
            Phase::Custom => &mut self.custom_ms,
            Phase::Teardown => &mut self.teardown_ms,
            Phase::Promote => &mut self.promote_ms,
        };
        *total = total.saturating_add(millis(elapsed));
    }
}
