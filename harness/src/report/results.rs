//! The model of `results.json`.
//!
//! It is true at any kill: until the run has ended it says what would be so if the worker were killed now:
//! `orphaned`, exit code 137, no end.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::level::Rungs;
pub use super::tiers::{AppResults, Phases, Test, Tier};
use super::tiers::{NOT_STARTED, RUNNING, millis, tier_among};
use crate::event::PlannedOther;
use crate::hold::Hold;
use engine::process::Usage;
use ground::finding::Finding;
use ground::git::commit::CommitId;
use ground::outcome::{DependencyOutcome, Residual, Stage, Status, Verdict};
use recipe::lint::Lint;
use recipe::policy::Violation;
use recipe::trust::TrustView;

/// The version of the file's schema; it changes only when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 2;

/// The exit code that stands for a killed worker.
const ORPHANED: u8 = 137;

/// Everything that `results.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// The version of this schema: 2.
    pub schema: u32,
    /// The version of recipe-ci; empty in a file of schema 1.
    #[serde(default)]
    pub version: String,
    /// The host's name.
    #[serde(default)]
    pub host: String,
    /// The page of the build that the run is a step of, where the CI says it.
    #[serde(default)]
    pub build_url: Option<String>,
    /// What makes the same run again, typed into a shell.
    #[serde(default)]
    pub repeat: String,
    /// What makes just the tier again that failed, typed into a shell; null where none did.
    #[serde(default)]
    pub repeat_tier: Option<String>,
    /// The run's id.
    pub run_id: String,
    /// The recipe's name.
    pub recipe: String,
    /// The pull request, when there is one.
    pub pr: Option<String>,
    /// The ref asked for, when one was.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// How far the source is trusted, and why; null until it is fetched.
    #[serde(default)]
    pub trust: Option<TrustView>,
    /// The commit under test; null until the plan is made.
    pub head_commit: Option<CommitId>,
    /// Its version label, `+U` appended for uncommitted changes; null when it has none.
    pub head_version: Option<String>,
    /// The version that the upgrade started from; null when there was none.
    pub base_version: Option<String>,
    /// How it was chosen: `declared`, `canonical`, `tag` or `ref`; null when there was none.
    #[serde(default)]
    pub base_kind: Option<String>,
    /// Whether it was a quick run, on the recipe's warm app.
    #[serde(default)]
    pub quick: bool,
    /// What came of the promotion of the release: `promoted …`, `skipped: …`, `failed: …`; null when there
    /// was none.
    #[serde(default)]
    pub promotion: Option<String>,
    /// The app's domain.
    pub domain: String,
    /// The fresh install of the head in a run that upgrades a base; null where there is none.
    #[serde(default)]
    pub fresh: Option<PlannedOther>,
    /// The driver; null until the plan is made.
    pub driver: Option<String>,
    /// Why that driver.
    pub driver_reason: Option<String>,
    /// How the run ended; `orphaned` until it has.
    pub verdict: Verdict,
    /// The process's exit code; 137 until the run has ended.
    pub exit_code: u8,
    /// One line that says why, when the run did not pass.
    pub reason: Option<String>,
    /// What to do about it, where the harness knows.
    pub hints: Vec<String>,
    /// How far up the recipe got, 0 to 5.
    pub level: u8,
    /// What the level is made of.
    pub rungs: Rungs,
    /// What the static checks found.
    #[serde(default)]
    pub lint: Lint,
    /// Every tier that was planned or decided, in the order of a run.
    pub tiers: Vec<Tier>,
    /// The other apps of the recipe that the run makes, in the order in which they are judged.
    #[serde(default)]
    pub apps: Vec<AppResults>,
    /// What failed and was tried again, in the order in which it happened.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Output that explains what failed, in the order in which it was shown.
    #[serde(default)]
    pub output: Vec<Output>,
    /// The dependencies that were brought up or failed, in the order of their deploys.
    #[serde(default)]
    pub dependencies: Vec<DependencyOutcome>,
    /// How long each phase took, added up over all apps.
    pub phases: Phases,
    /// How often an app was deployed, dependencies included; an upgrade's redeploy does not count.
    pub deploy_count: u32,
    /// What teardown left.
    pub teardown: Teardown,
    /// The app that is held for a look at it, or was; null where none is.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// Every hook, test and overlay beyond the recipe as shipped.
    pub customization: Vec<String>,
    /// What the host forced the harness to deploy otherwise than the recipe has it.
    pub deviations: Vec<String>,
    /// What the host's policy has against the recipe.
    #[serde(default)]
    pub policy: Vec<Violation>,
    /// What the run teaches about the recipe; it never changes the verdict.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What a person should look at though the run went on.
    pub warnings: Vec<String>,
    /// What the run used.
    pub resources: Resources,
    /// Where the run's files are.
    pub run_dir: PathBuf,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started_at: String,
    /// Wall-clock end, RFC 3339 in UTC; null until the run has ended.
    pub finished_at: Option<String>,
    /// The tier that runs, or has run last.
    #[serde(skip)]
    pub(super) running: Option<Stage>,
}

/// Output that explains what failed: the end of a log, of a healthcheck or of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The tier that ran, or had run last; null before the first.
    pub tier: Option<Stage>,
    /// The app, as it is called in the report; null of the app under test, and of the run.
    #[serde(default)]
    pub app: Option<String>,
    /// Whose it is: ``log of service `app` ``, `custom/test_login.sh`.
    pub title: String,
    /// Its lines, oldest first.
    pub lines: Vec<String>,
    /// The file that has more of it, below `run_dir`; null where none has.
    #[serde(default)]
    pub log: Option<String>,
}

impl Output {
    /// Returns how many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.title.len() + self.lines.iter().map(|line| line.len() + 1).sum::<usize>()
    }
}

/// Something that failed and was tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// What: `all tiers`, `pull of image …`.
    pub what: String,
    /// Why it failed.
    pub reason: String,
    /// What came of the tiers, where those were repeated.
    pub tiers: Vec<Tier>,
}

/// What teardown left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Teardown {
    /// Whether nothing is left; null before a teardown has ended.
    pub clean: Option<bool>,
    /// Names of what is left, by kind.
    pub residual: Residual,
}

/// What the run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// Peak resident memory of the worker, in bytes; 0 until the run has ended.
    pub peak_rss_bytes: u64,
    /// CPU time of the worker.
    pub cpu_ms: u64,
    /// CPU time of all that the worker started. Without a control group, of that which it has waited for.
    pub children_cpu_ms: u64,
    /// The most memory that the worker and all that it started had at once, with the pages of files that they were the
    /// first to read or write; null without a control group that counts memory.
    pub peak_memory_bytes: Option<u64>,
}

impl From<&Usage> for Resources {
    fn from(used: &Usage) -> Self {
        Self {
            peak_rss_bytes: used.peak_rss,
            cpu_ms: millis(used.cpu),
            children_cpu_ms: millis(used.children_cpu),
            peak_memory_bytes: used.peak_memory,
        }
    }
}

impl Default for Results {
    /// Returns the results of a run of which nothing is known.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            version: String::new(),
            host: String::new(),
            build_url: None,
            repeat: String::new(),
            repeat_tier: None,
            run_id: String::new(),
            recipe: String::new(),
            pr: None,
            reference: None,
            trust: None,
            head_commit: None,
            head_version: None,
            base_version: None,
            base_kind: None,
            quick: false,
            promotion: None,
            domain: String::new(),
            driver: None,
            driver_reason: None,
            verdict: Verdict::Orphaned,
            exit_code: ORPHANED,
            reason: Some("the run has not ended, or was killed before it could say how".to_owned()),
            hints: Vec::new(),
            level: 0,
            rungs: Rungs::default(),
            lint: Lint::default(),
            tiers: Vec::new(),
            apps: Vec::new(),
            attempts: Vec::new(),
            fresh: None,
            output: Vec::new(),
            dependencies: Vec::new(),
            phases: Phases::default(),
            deploy_count: 0,
            teardown: Teardown::default(),
            hold: None,
            customization: Vec::new(),
            deviations: Vec::new(),
            policy: Vec::new(),
            findings: Vec::new(),
            warnings: Vec::new(),
            resources: Resources::default(),
            run_dir: PathBuf::new(),
            started_at: String::new(),
            finished_at: None,
            running: None,
        }
    }
}

impl Results {
    /// Returns the tier of `stage`, which is added in its place when it is not there yet.
    pub(super) fn tier_mut(&mut self, stage: Stage) -> &mut Tier {
        tier_among(&mut self.tiers, stage)
    }

    /// Brings rungs and level up to date with the tiers.
    pub(super) fn climb(&mut self) {
        let tested = self.tiers.iter().map(|tier| (tier.name, tier.status));
        self.rungs = Rungs::of_apps(tested, self.of_others(), self.lint.status);
        self.level = self.rungs.level();
    }

    /// Gives the tiers that have no result their final reason; `when` says what ended them.
    pub(super) fn settle_tiers(&mut self, when: &str) {
        let others = self.apps.iter_mut().flat_map(|app| &mut app.tiers);
        for tier in self.tiers.iter_mut().chain(others) {
            let was = match tier.reason.as_deref() {
                Some(NOT_STARTED) => "had not started",
                Some(RUNNING) => "was running",
                _ => continue,
            };
            tier.status = Status::Unver;
            tier.reason = Some(format!("{was} when {when}"));
        }
    }
}

impl From<Residual> for Teardown {
    fn from(residual: Residual) -> Self {
        Self {
            clean: Some(residual.is_empty()),
            residual,
        }
    }
}

#[cfg(test)]
mod tests;
