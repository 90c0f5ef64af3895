//! What came of things: tiers, tests and the run, as data.
//!
//! A red result is an outcome and never an `Err`: an error means that the harness could not do its job.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stage of a run: one operation on the app and the assertions about it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A new app, its secrets, its deploy.
    Install,
    /// The in-place deploy of the head over the base.
    Upgrade,
    /// A snapshot by the backup convention.
    Backup,
    /// The wipe of seeded data and the restore of the snapshot.
    Restore,
    /// Whatever the recipe and the overlay ship.
    Custom,
}

impl Stage {
    /// Every stage, in the order of a run.
    pub const ALL: [Self; 5] = [
        Self::Install,
        Self::Upgrade,
        Self::Backup,
        Self::Restore,
        Self::Custom,
    ];

    /// Returns the stage's name as it is written in `STAGES`, file names and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A stage name that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("stage `{0}` does not exist; the stages are install, upgrade, backup, restore and custom")]
pub struct UnknownStage(pub String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<Self, UnknownStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == name)
            .ok_or_else(|| UnknownStage(name.to_owned()))
    }
}

/// How a tier, a test or a rung ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ran and every assertion held.
    Pass,
    /// It ran and something did not hold.
    Fail,
    /// It does not apply, for a declared or structural reason.
    Skip,
    /// It should have run and did not, or it could not verify anything.
    Unver,
    /// It failed, and passed when it was run again on request. It fails nothing and counts as no pass.
    Flaky,
}

impl Status {
    /// Returns the word that stands for the status in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Unver => "unver",
            Self::Flaky => "flaky",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who makes an assertion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// recipe-ci itself, for what `recipe-ci.yml` declares too.
    #[default]
    Generic,
    /// A test or hook that the recipe ships.
    Recipe,
    /// A test or hook of the operator's overlay.
    Overlay,
}

/// In which way a test failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It looked, and what it wanted does not hold.
    Assertion,
    /// It could not look: it cannot be started, or broke before its first assertion.
    Error,
    /// It did not end in the time that it has.
    Timeout,
}

/// One assertion within a tier, generic or the recipe's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name: `generic: serving`, `test_install.sh`, `test_notes.py::test_add`.
    pub name: String,
    /// Who makes it.
    pub owner: Owner,
    /// How it ended.
    pub status: Status,
    /// In which way it failed; `None` unless it did.
    pub failure: Option<Failure>,
    /// When it began, by the wall clock, for records only.
    pub began: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Why, when it did not pass; what it saw, when that is worth a line.
    pub message: Option<String>,
    /// The file that makes it, below the directory of tests.
    pub file: Option<String>,
    /// The name of its log, among the logs of the run.
    pub log: Option<String>,
}

impl TestOutcome {
    /// Returns an assertion of recipe-ci's own that ends now and took `duration`. What fails is an assertion that does
    /// not hold.
    #[must_use]
    pub fn ended(
        name: impl Into<String>,
        status: Status,
        duration: Duration,
        message: Option<String>,
    ) -> Self {
        Self {
            name: name.into(),
            owner: Owner::Generic,
            status,
            failure: (status == Status::Fail).then_some(Failure::Assertion),
            began: SystemTime::now() - duration,
            duration,
            message,
            file: None,
            log: None,
        }
    }
}

/// A tier that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierOutcome {
    /// Which stage it belongs to.
    pub stage: Stage,
    /// How it ended.
    pub status: Status,
    /// Why, whenever it did not simply pass.
    pub reason: Option<String>,
    /// How long operation and assertions took together.
    pub duration: Duration,
    /// Its assertions in the order in which they ran.
    pub tests: Vec<TestOutcome>,
    /// Whether it fails the run. An `unver` tier does so unless its cause is not the recipe's
    /// (`base-broken`), or an earlier failure already did.
    pub blames_recipe: bool,
}

/// A phase of a run, as timed in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Getting the recipe's repository.
    Fetch,
    /// Reading it and deciding what the run will do.
    Plan,
    /// The static checks.
    Lint,
    /// Waiting for another run of the same domain.
    LockWait,
    /// Bringing the warm app's data to where a quick run begins.
    Warm,
    /// Getting images that the engine does not have.
    Prepull,
    /// Secrets, env file and `docker stack deploy`.
    Deploy,
    /// Until every service is settled and serving.
    Converge,
    /// The upgrade tier.
    Upgrade,
    /// The backup tier.
    Backup,
    /// The restore tier.
    Restore,
    /// The custom tier.
    Custom,
    /// Teardown and leak audit.
    Teardown,
    /// Making the release the recipe's canonical, after a green run.
    Promote,
}

impl Phase {
    /// Every phase, in the order of a run.
    pub const ALL: [Self; 14] = [
        Self::Fetch,
        Self::Plan,
        Self::Lint,
        Self::LockWait,
        Self::Warm,
        Self::Prepull,
        Self::Deploy,
        Self::Converge,
        Self::Upgrade,
        Self::Backup,
        Self::Restore,
        Self::Custom,
        Self::Teardown,
        Self::Promote,
    ];

    /// Returns the phase's name as it stands in `results.json` before `_ms`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Plan => "plan",
            Self::Lint => "lint",
            Self::LockWait => "lock_wait",
            Self::Warm => "warm",
            Self::Prepull => "prepull",
            Self::Deploy => "deploy",
            Self::Converge => "converge",
            Self::Upgrade => "upgrade",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Custom => "custom",
            Self::Teardown => "teardown",
            Self::Promote => "promote",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every tier passed or was skipped for cause.
    Passed,
    /// A tier failed, or teardown left something behind in an otherwise green run.
    Failed,
    /// A signal ended it.
    Cancelled,
    /// The hard deadline ended it.
    Deadline,
    /// The harness or the host failed.
    Infra,
    /// The worker was killed and the supervisor reaped its app.
    Orphaned,
    /// The input was wrong; nothing was created.
    Usage,
    /// The policy of this host is against the recipe; nothing was created.
    Refused,
}

impl Verdict {
    /// Returns the word that stands for the verdict in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
            Self::Infra => "infra",
            Self::Orphaned => "orphaned",
            Self::Usage => "usage",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A dependency that was brought up, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependencyOutcome {
    /// The recipe.
    pub recipe: String,
    /// Its app's domain in this run.
    pub domain: String,
    /// The published version that was deployed; null where no version is published and the default branch was taken.
    pub version: Option<String>,
    /// Whether the run is red without it.
    pub required: bool,
    /// `pass` when it is up, else `fail`.
    pub status: Status,
    /// Why it is not up.
    pub reason: Option<String>,
}

/// What teardown found when it listed every kind again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Residual {
    /// Names of what is left, by kind (`services`, `tasks`, `containers`, `networks`, `volumes`,
    /// `secrets`, `configs`, `env_files`, `processes`); kinds with nothing left are absent.
    #[serde(flatten)]
    pub left: std::collections::BTreeMap<String, Vec<String>>,
}

impl Residual {
    /// Returns whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.values().all(Vec::is_empty)
    }

    /// Adds `names` under `kind`, if there are any.
    pub fn add(&mut self, kind: &str, names: Vec<String>) {
        if !names.is_empty() {
            self.left.entry(kind.to_owned()).or_default().extend(names);
        }
    }
}

impl fmt::Display for Residual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, names)) in self.left.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{kind}: {}", names.join(", "))?;
        }
        Ok(())
    }
}
