//! `results.json`: the model, and how it is read, written and closed.
//!
//! The file is whole and true at any kill: it is only ever replaced by a rename, and until the run has
//! ended it says what would be so if the worker were killed now: `orphaned`, exit code 137, no end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::level::Rungs;
use super::redact::Redactor;
use crate::outcome::{Phase, Residual, Stage, Status, TestOutcome, TierOutcome, Verdict};

/// The version of the file's schema; it changes only when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The exit code that stands for a killed worker.
const ORPHANED: u8 = 137;

/// Why a planned tier has no result, while it does not run yet.
pub(super) const NOT_STARTED: &str = "has not started";

/// Why a tier has no result, while it runs.
pub(super) const RUNNING: &str = "is running";

/// Everything that `results.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The run's id.
    pub run_id: String,
    /// The recipe's name.
    pub recipe: String,
    /// The pull request, when there is one.
    pub pr: Option<String>,
    /// The ref asked for, when one was.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The commit under test; null until the plan is made.
    pub head_commit: Option<String>,
    /// Its version label, `+U` appended for uncommitted changes; null when it has none.
    pub head_version: Option<String>,
    /// The version that the upgrade started from; null when there was none.
    pub base_version: Option<String>,
    /// The app's domain.
    pub domain: String,
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
    /// Every tier that was planned or decided, in the order of a run.
    pub tiers: Vec<Tier>,
    /// How long each phase took.
    pub phases: Phases,
    /// How often an app was deployed, dependencies included; an upgrade's redeploy does not count.
    pub deploy_count: u32,
    /// What teardown left.
    pub teardown: Teardown,
    /// Every hook, test and overlay beyond the recipe as shipped.
    pub customization: Vec<String>,
    /// What the host forced the harness to deploy otherwise than the recipe has it.
    pub deviations: Vec<String>,
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
}

/// A tier in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its stage.
    pub name: Stage,
    /// How it ended; `unver` until it has.
    pub status: Status,
    /// Why, whenever it did not simply pass.
    pub reason: Option<String>,
    /// How long operation and assertions took together.
    pub duration_ms: u64,
    /// Its assertions in the order in which they ran.
    pub tests: Vec<Test>,
}

/// A test in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub duration_ms: u64,
    /// Why, when it did not pass; what it saw, when that is worth a line.
    pub message: Option<String>,
}

/// How long each phase took, in milliseconds; 0 when it did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is documented at its `Phase`")]
pub struct Phases {
    pub fetch_ms: u64,
    pub plan_ms: u64,
    pub lock_wait_ms: u64,
    pub prepull_ms: u64,
    pub deploy_ms: u64,
    pub converge_ms: u64,
    pub upgrade_ms: u64,
    pub backup_ms: u64,
    pub restore_ms: u64,
    pub custom_ms: u64,
    pub teardown_ms: u64,
}

/// What teardown left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// Whether nothing is left; null while no teardown has ended, so nobody knows.
    pub clean: Option<bool>,
    /// Names of what is left, by kind.
    pub residual: Residual,
}

/// What the run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Peak resident memory of the worker, in bytes; 0 until the run has ended.
    pub peak_rss_bytes: u64,
}

/// Why a results file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// It could not be read.
    #[error("cannot read results file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a results file of this schema.
    #[error("results file `{}` is malformed", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It could not be replaced.
    #[error("cannot write results file `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why; [`io::ErrorKind::StorageFull`] when the disk is full.
        #[source]
        source: io::Error,
    },
}

impl Default for Results {
    /// Returns the results of a run of which nothing is known.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run_id: String::new(),
            recipe: String::new(),
            pr: None,
            reference: None,
            head_commit: None,
            head_version: None,
            base_version: None,
            domain: String::new(),
            driver: None,
            driver_reason: None,
            verdict: Verdict::Orphaned,
            exit_code: ORPHANED,
            reason: Some("the run has not ended, or was killed before it could say how".to_owned()),
            hints: Vec::new(),
            level: 0,
            rungs: Rungs::default(),
            tiers: Vec::new(),
            phases: Phases::default(),
            deploy_count: 0,
            teardown: Teardown::default(),
            customization: Vec::new(),
            deviations: Vec::new(),
            warnings: Vec::new(),
            resources: Resources::default(),
            run_dir: PathBuf::new(),
            started_at: String::new(),
            finished_at: None,
        }
    }
}

impl Results {
    /// Returns the tier of `stage`, which is added in its place when it is not there yet.
    pub(super) fn tier_mut(&mut self, stage: Stage) -> &mut Tier {
        let at = self.tiers.partition_point(|tier| tier.name < stage);
        if self.tiers.get(at).is_none_or(|tier| tier.name != stage) {
            self.tiers.insert(at, Tier::waiting(stage));
        }
        &mut self.tiers[at]
    }

    /// Brings rungs and level up to date with the tiers.
    pub(super) fn climb(&mut self) {
        self.rungs = Rungs::from_tiers(
            self.tiers.iter().map(|tier| (tier.name, tier.status)),
            self.rungs.lint,
        );
        self.level = self.rungs.level();
    }

    /// Gives the tiers that have no result their final reason; `when` says what ended them.
    pub(super) fn settle_tiers(&mut self, when: &str) {
        for tier in &mut self.tiers {
            let was = match tier.reason.as_deref() {
                Some(NOT_STARTED) => "had not started",
                Some(RUNNING) => "was running",
                _ => continue,
            };
            tier.status = Status::Unver;
            tier.reason = Some(format!("{was} when {when}"));
        }
    }

    /// Returns a copy whose free text holds no secret; what has a grammar of its own (ids, commits, paths,
    /// times) is kept as it is, so that the file can always be read again.
    fn redacted(&self, redactor: &Redactor) -> Self {
        let text = |text: &mut String| {
            if let std::borrow::Cow::Owned(clean) = redactor.apply(text) {
                *text = clean;
            }
        };
        let mut clean = self.clone();
        let options = [
            &mut clean.pr,
            &mut clean.reference,
            &mut clean.head_version,
            &mut clean.base_version,
            &mut clean.driver_reason,
            &mut clean.reason,
        ];
        options.into_iter().flatten().for_each(text);
        let lists = [
            &mut clean.hints,
            &mut clean.customization,
            &mut clean.deviations,
            &mut clean.warnings,
        ];
        lists.into_iter().flatten().for_each(text);
        clean
            .teardown
            .residual
            .left
            .values_mut()
            .flatten()
            .for_each(text);
        for tier in &mut clean.tiers {
            tier.reason.iter_mut().for_each(text);
            for test in &mut tier.tests {
                text(&mut test.name);
                test.message.iter_mut().for_each(text);
            }
        }
        clean
    }

    /// Replaces the file at `path` by these results.
    pub(super) fn write(&self, path: &Path, redactor: &Redactor) -> Result<(), ResultsError> {
        let failed = |source| ResultsError::Write {
            path: path.to_owned(),
            source,
        };
        let mut text =
            serde_json::to_string_pretty(&self.redacted(redactor)).map_err(|e| failed(e.into()))?;
        text.push('\n');
        replace(path, text.as_bytes()).map_err(failed)
    }
}

impl Tier {
    /// Returns the tier of a stage that has not begun.
    fn waiting(stage: Stage) -> Self {
        let reason = Some(NOT_STARTED.to_owned());
        Self {
            name: stage,
            status: Status::Unver,
            reason,
            duration_ms: 0,
            tests: Vec::new(),
        }
    }
}

impl From<&TierOutcome> for Tier {
    fn from(tier: &TierOutcome) -> Self {
        Self {
            name: tier.stage,
            status: tier.status,
            reason: tier.reason.clone(),
            duration_ms: millis(tier.duration),
            tests: tier.tests.iter().map(Test::from).collect(),
        }
    }
}

impl From<&TestOutcome> for Test {
    fn from(test: &TestOutcome) -> Self {
        Self {
            name: test.name.clone(),
            status: test.status,
            duration_ms: millis(test.duration),
            message: test.message.clone(),
        }
    }
}

impl Phases {
    /// Adds `elapsed` to `phase`, because some phases run twice.
    pub fn add(&mut self, phase: Phase, elapsed: Duration) {
        let total = match phase {
            Phase::Fetch => &mut self.fetch_ms,
            Phase::Plan => &mut self.plan_ms,
            Phase::LockWait => &mut self.lock_wait_ms,
            Phase::Prepull => &mut self.prepull_ms,
            Phase::Deploy => &mut self.deploy_ms,
            Phase::Converge => &mut self.converge_ms,
            Phase::Upgrade => &mut self.upgrade_ms,
            Phase::Backup => &mut self.backup_ms,
            Phase::Restore => &mut self.restore_ms,
            Phase::Custom => &mut self.custom_ms,
            Phase::Teardown => &mut self.teardown_ms,
        };
        *total = total.saturating_add(millis(elapsed));
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

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the results file at `path`.
///
/// # Errors
/// [`ResultsError::Read`], or [`ResultsError::Parse`] when it is not a results file.
pub fn read(path: &Path) -> Result<Results, ResultsError> {
    let text = fs::read(path).map_err(|source| ResultsError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| ResultsError::Parse {
        path: path.to_owned(),
        source,
    })
}

/// How a supervisor ends the record of a worker that cannot do so itself.
#[derive(Debug, Clone)]
pub struct Closing {
    /// [`Verdict::Orphaned`], or [`Verdict::Deadline`] for a wedged worker.
    pub verdict: Verdict,
    /// The supervisor's own exit code.
    pub exit_code: u8,
    /// One line that says what happened.
    pub reason: String,
    /// What the reap left; `None` when it could not find out.
    pub residual: Option<Residual>,
    /// Wall-clock end, RFC 3339 in UTC.
    pub finished_at: String,
}

/// Ends the record of a run whose worker was killed, keeping everything that the worker wrote, and returns
/// it.
///
/// A record that the worker has ended already is returned as it is: the run was over, and the exit code to
/// use is the one that stands in it.
///
/// # Errors
/// When the file cannot be read (a worker killed before its run began leaves none) or replaced.
pub fn close_as_orphaned(path: &Path, closing: Closing) -> Result<Results, ResultsError> {
    let mut results = read(path)?;
    if results.finished_at.is_some() {
        return Ok(results);
    }
    results.verdict = closing.verdict;
    results.exit_code = closing.exit_code;
    results.reason = Some(closing.reason);
    results.finished_at = Some(closing.finished_at);
    if let Some(residual) = closing.residual {
        results.teardown = residual.into();
    }
    results.settle_tiers("the worker was killed");
    results.climb();
    // The supervisor knows no secrets; what is in the file was redacted by the worker.
    results.write(path, &Redactor::default())?;
    Ok(results)
}

/// Replaces the file at `path`, so that a reader, whenever it looks, sees the old text or the new one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".new");
    // A fixed name, so that a kill in between leaves no litter: the next write takes it.
    let beside = path.with_file_name(beside);
    fs::remove_file(&beside).ok();
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        fs::remove_file(&beside).ok();
        return written;
    }
    // Without this the rename may be lost with the power; not every file system can do it.
    if let Some(dir) = path.parent().and_then(|dir| File::open(dir).ok()) {
        dir.sync_all().ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends every key of `value`, as a path, in the order of the file.
    fn keys(value: &serde_json::Value, path: &str, all: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    all.push(path.clone());
                    keys(value, &path, all);
                }
            }
            serde_json::Value::Array(list) => list
                .iter()
                .for_each(|value| keys(value, &format!("{path}[]"), all)),
            _ => {}
        }
    }

    #[test]
    fn the_file_has_the_documented_fields() {
        let mut results = Results::default();
        let message = Some("seen".to_owned());
        let test = Test {
            name: "generic: serving".to_owned(),
            status: Status::Pass,
            duration_ms: 12,
            message,
        };
        results.tier_mut(Stage::Install).tests.push(test);
        let value = serde_json::to_value(&results).unwrap();
        let mut all = Vec::new();
        keys(&value, "", &mut all);
        assert_eq!(
            all.join(" "),
            "schema run_id recipe pr ref head_commit head_version base_version domain driver driver_reason \
             verdict exit_code reason hints level \
             rungs rungs.install rungs.upgrade rungs.backup_restore rungs.custom rungs.lint \
             tiers tiers[].name tiers[].status tiers[].reason tiers[].duration_ms \
             tiers[].tests tiers[].tests[].name tiers[].tests[].status tiers[].tests[].duration_ms tiers[].tests[].message \
             phases phases.fetch_ms phases.plan_ms phases.lock_wait_ms phases.prepull_ms phases.deploy_ms \
             phases.converge_ms phases.upgrade_ms phases.backup_ms phases.restore_ms phases.custom_ms \
             phases.teardown_ms deploy_count teardown teardown.clean teardown.residual \
             customization deviations warnings resources resources.peak_rss_bytes \
             run_dir started_at finished_at"
        );
        let page = include_str!("../../../docs/results.md");
        for key in &all {
            let name = key.rsplit('.').next().unwrap_or(key);
            assert!(
                page.contains(&format!("`{name}`")) || page.contains(&format!("`{key}`")),
                "docs/results.md lacks {key}"
            );
        }
        assert_eq!(serde_json::from_value::<Results>(value).unwrap(), results);
    }

    #[test]
    fn what_is_left_stands_by_kind() {
        let residual = Residual {
            left: [("volumes".to_owned(), vec!["x_data".to_owned()])].into(),
        };
        let text = serde_json::to_string(&Teardown::from(residual)).unwrap();
        assert_eq!(text, r#"{"clean":false,"residual":{"volumes":["x_data"]}}"#);
    }

    #[test]
    fn tiers_stand_in_the_order_of_a_run() {
        let mut results = Results::default();
        for stage in [
            Stage::Custom,
            Stage::Install,
            Stage::Restore,
            Stage::Install,
        ] {
            results.tier_mut(stage);
        }
        let names: Vec<Stage> = results.tiers.iter().map(|tier| tier.name).collect();
        assert_eq!(names, [Stage::Install, Stage::Restore, Stage::Custom]);
    }

    #[test]
    fn a_killed_workers_record_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let mut results = Results {
            run_id: "4711".to_owned(),
            ..Results::default()
        };
        let install = results.tier_mut(Stage::Install);
        (install.status, install.reason) = (Status::Pass, None);
        results.tier_mut(Stage::Upgrade).reason = Some(RUNNING.to_owned());
        results.tier_mut(Stage::Custom);
        results.write(&path, &Redactor::default()).unwrap();

        let closing = Closing {
            verdict: Verdict::Orphaned,
            exit_code: 137,
            reason: "the worker was killed (SIGKILL)".to_owned(),
            residual: Some(Residual::default()),
            finished_at: "2026-01-02T03:04:05Z".to_owned(),
        };
        let closed = close_as_orphaned(&path, closing.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), closed);
        assert_eq!(
            (closed.run_id.as_str(), closed.level, closed.teardown.clean),
            ("4711", 1, Some(true))
        );
        let reasons: Vec<Option<&str>> = closed
            .tiers
            .iter()
            .map(|tier| tier.reason.as_deref())
            .collect();
        assert_eq!(
            reasons,
            [
                None,
                Some("was running when the worker was killed"),
                Some("had not started when the worker was killed")
            ]
        );

        // What has ended is not ended again.
        let again = close_as_orphaned(
            &path,
            Closing {
                exit_code: 142,
                ..closing
            },
        )
        .unwrap();
        assert_eq!(again, closed);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        assert!(matches!(read(&path), Err(ResultsError::Read { .. })));
        fs::write(&path, "{\"schema\": 1").unwrap();
        assert!(matches!(read(&path), Err(ResultsError::Parse { .. })));
    }
}
