//! The tests and hooks of a recipe and of the operator's overlay: found, copied, run.
//!
//! They are copied before any checkout moves, so that what runs is what the head shipped. What runs them
//! knows nothing of tiers: it returns outcomes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outcome::{Stage, TestOutcome};
use crate::process::{ProcessError, Processes};
use crate::report::redact::Redactor;

mod execute;

use execute::{executable, run_executable, run_pytest};

/// How long one test file or hook may run.
const TEST_LIMIT: Duration = Duration::from_secs(600);

/// Why tests could not be found or run at all.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A directory of tests cannot be read.
    #[error("failed to read the tests in `{path}`")]
    Read {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There are Python tests and no pytest.
    #[error("`{file}` needs pytest, which is not on PATH")]
    NoPytest {
        /// The first file that needs it.
        file: String,
    },
    /// A test could not be started or followed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Where a test comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The recipe's own `tests/` at the head.
    Recipe,
    /// The operator's overlay.
    Overlay,
}

impl Origin {
    /// Returns the word that stands for it in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recipe => "recipe",
            Self::Overlay => "overlay",
        }
    }
}

/// A directory of tests, copied into the run directory.
#[derive(Debug, Clone)]
struct Source {
    origin: Origin,
    dir: PathBuf,
}

/// Every test and hook of a run.
#[derive(Debug, Clone, Default)]
pub struct Suite {
    sources: Vec<Source>,
}

/// With what tests and hooks are run.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The door that spawns.
    pub processes: &'a Processes,
    /// What they get in their environment.
    pub env: &'a [(String, String)],
    /// Where their full output goes.
    pub logs: &'a Path,
    /// What must not be shown.
    pub redactor: &'a Redactor,
}

/// The outcome of a hook that did not succeed.
#[derive(Debug, Clone)]
pub struct HookFailure {
    /// Which hook: `recipe ops/pre_backup`.
    pub name: String,
    /// How it ended.
    pub how: String,
    /// Its last lines.
    pub tail: Vec<String>,
}

impl Suite {
    /// Copies `dir` into `tests_dir` and adds it; a directory that does not exist adds nothing.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn add(&mut self, origin: Origin, dir: &Path, tests_dir: &Path) -> Result<(), SuiteError> {
        if !dir.is_dir() {
            return Ok(());
        }
        let copy = tests_dir.join(origin.name());
        copy_tree(dir, &copy).map_err(|source| SuiteError::Read {
            path: dir.to_owned(),
            source,
        })?;
        self.sources.push(Source { origin, dir: copy });
        Ok(())
    }

    /// Returns a line for each test and hook that will run, for the report's `customization`.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn describe(&self) -> Result<Vec<String>, SuiteError> {
        let mut lines = Vec::new();
        for source in &self.sources {
            lines.extend(describe(source.origin, &source.dir)?);
        }
        Ok(lines)
    }

    /// Returns whether there are tests of the custom tier.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn has_custom_tests(&self) -> Result<bool, SuiteError> {
        Ok(self
            .describe()?
            .iter()
            .any(|line| line.contains(": custom/")))
    }

    /// Returns the first Python test, if there is one: it needs pytest.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn first_python_test(&self) -> Result<Option<String>, SuiteError> {
        let lines = self.describe()?;
        Ok(lines
            .into_iter()
            .find(|line| line.ends_with(".py") && line.contains("test_")))
    }

    /// Runs the hook of this name wherever it exists, the overlay's after the recipe's.
    ///
    /// # Errors
    /// [`SuiteError`] when one cannot be run; a hook that fails is returned.
    pub async fn hook(
        &self,
        name: &str,
        means: Means<'_>,
    ) -> Result<(usize, Option<HookFailure>), SuiteError> {
        let mut ran = 0;
        for source in &self.sources {
            let (dir, label) = match name.split_once('/') {
                Some((dir, name)) => (source.dir.join(dir), name),
                None => (source.dir.clone(), name),
            };
            for file in list(&dir)? {
                if stem(&file) != label {
                    continue;
                }
                ran += 1;
                let shown = format!("{} {name}", source.origin.name());
                let cmd = executable(&dir.join(&file), &source.dir)
                    .envs(means.env.iter().cloned())
                    .label(shown.clone());
                let failure = match means.processes.run(&cmd, TEST_LIMIT).await {
                    Ok(finished) if finished.success() => continue,
                    Ok(finished) => HookFailure {
                        name: shown,
                        how: finished.how(),
                        tail: finished.tail,
                    },
                    Err(ProcessError::TimedOut { limit, tail, .. }) => HookFailure {
                        name: shown,
                        how: format!("not ended after {} s", limit.as_secs()),
                        tail,
                    },
                    Err(error) => return Err(error.into()),
                };
                return Ok((ran, Some(failure)));
            }
        }
        Ok((ran, None))
    }

    /// Runs every test of `stage`; outputs of failures are returned beside the outcomes.
    ///
    /// # Errors
    /// [`SuiteError`] when one cannot be run; a test that fails is an outcome.
    pub async fn run(&self, stage: Stage, means: Means<'_>) -> Result<Vec<Ran>, SuiteError> {
        let mut ran = Vec::new();
        for source in &self.sources {
            let dir = if stage == Stage::Custom {
                source.dir.join("custom")
            } else {
                source.dir.clone()
            };
            let names = list(&dir)?;
            let wanted = |name: &&String| match stage {
                Stage::Custom => is_custom_test(name),
                _ => is_test_of(name, stage),
            };
            let (python, others): (Vec<&String>, Vec<&String>) = names
                .iter()
                .filter(wanted)
                .partition(|name| name.ends_with(".py"));
            for name in others {
                ran.push(run_executable(means, &dir.join(name), source).await?);
            }
            if !python.is_empty() {
                let files: Vec<PathBuf> = python.into_iter().map(|name| dir.join(name)).collect();
                ran.extend(run_pytest(means, &files, source, stage).await?);
            }
        }
        Ok(ran)
    }
}

/// Returns a line for each test and hook in `dir`, whether or not they will run.
///
/// # Errors
/// [`SuiteError::Read`].
pub fn describe(origin: Origin, dir: &Path) -> Result<Vec<String>, SuiteError> {
    let mut lines = Vec::new();
    let mut add = |below: &str, wanted: &dyn Fn(&str) -> bool| {
        for name in list(&dir.join(below))? {
            if wanted(&name) {
                let path = if below.is_empty() {
                    name
                } else {
                    format!("{below}/{name}")
                };
                lines.push(format!("{}: {path}", origin.name()));
            }
        }
        Ok::<(), SuiteError>(())
    };
    add("", &|name| {
        Stage::ALL.iter().any(|stage| is_test_of(name, *stage))
            || stem(name) == "install_steps"
            || stem(name) == "setup_custom_tests"
    })?;
    add("ops", &|name| {
        stem(name).starts_with("pre_") || stem(name).starts_with("verify_")
    })?;
    add("custom", &is_custom_test)?;
    Ok(lines)
}

/// Returns the names of the files in `dir`, hidden ones and backups of editors left out.
///
/// # Errors
/// [`SuiteError::Read`].
pub fn files(dir: &Path) -> Result<Vec<String>, SuiteError> {
    list(dir)
}

/// A test that ran.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What came of it.
    pub outcome: TestOutcome,
    /// What it wrote last; empty when it passed.
    pub tail: Vec<String>,
}

fn is_test_of(name: &str, stage: Stage) -> bool {
    stem(name).strip_prefix("test_") == Some(stage.name())
}

/// Whether a file under `custom/` is a test; a lifecycle test there would run twice.
fn is_custom_test(name: &str) -> bool {
    stem(name).starts_with("test_") && !Stage::ALL.iter().any(|stage| is_test_of(name, *stage))
}

fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Lists the files of a directory by name; one that does not exist has none.
fn list(dir: &Path) -> Result<Vec<String>, SuiteError> {
    let failed = |source| SuiteError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.starts_with('.') && !name.ends_with('~') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a directory with modes; links are copied as links.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.map_err(std::io::Error::from)?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target)?;
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Status;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    fn processes() -> Processes {
        Processes::new(BTreeMap::from([(
            OsString::from("PATH"),
            OsString::from("/usr/local/bin:/usr/bin:/bin"),
        )]))
    }

    fn means<'a>(processes: &'a Processes, logs: &'a Path, redactor: &'a Redactor) -> Means<'a> {
        Means {
            processes,
            env: &[],
            logs,
            redactor,
        }
    }

    fn suite(files: &[(&str, &str)]) -> (tempfile::TempDir, Suite) {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        for (name, text) in files {
            let path = from.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let mut suite = Suite::default();
        suite
            .add(Origin::Recipe, &from, &root.path().join("run"))
            .unwrap();
        (root, suite)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn exit_codes_are_pass_skip_and_fail() {
        let (root, suite) = suite(&[
            ("custom/test_a.sh", "exit 0"),
            ("custom/test_b.sh", "echo 'needs a camera'; exit 77"),
            ("custom/test_c.sh", "echo boom; exit 3"),
            ("custom/test_install.sh", "exit 1"),
            ("custom/helper.sh", "exit 1"),
        ]);
        let ran = suite
            .run(
                Stage::Custom,
                means(&processes(), root.path(), &Redactor::default()),
            )
            .await
            .unwrap();
        let seen: Vec<_> = ran
            .iter()
            .map(|ran| {
                (
                    ran.outcome.name.as_str(),
                    ran.outcome.status,
                    ran.outcome.message.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("custom/test_a.sh", Status::Pass, None),
                ("custom/test_b.sh", Status::Skip, Some("needs a camera")),
                ("custom/test_c.sh", Status::Fail, Some("exit code 3")),
            ]
        );
        assert_eq!(ran[2].tail, ["boom"]);
    }

    /// Real pytest; `tests/run` installs it where it is missing.
    fn with_pytest() -> Processes {
        #[expect(
            clippy::disallowed_methods,
            reason = "pytest is wherever the developer has it"
        )]
        let vars = ["PATH", "HOME"].map(|name| {
            (
                OsString::from(name),
                std::env::var_os(name).unwrap_or_default(),
            )
        });
        Processes::new(BTreeMap::from(vars))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn pytest_has_a_row_per_test_and_an_empty_file_is_a_failure() {
        let (root, suite) = suite(&[
            (
                "custom/test_rows.py",
                "import pytest\ndef test_good(): pass\ndef test_bad(): assert 1 == 2\n\
                 @pytest.mark.skip(reason='no camera')\ndef test_later(): pass\n",
            ),
            ("test_upgrade.py", "import os\n"),
        ]);
        let (processes, redactor) = (with_pytest(), Redactor::default());
        let ran = suite
            .run(Stage::Custom, means(&processes, root.path(), &redactor))
            .await
            .unwrap();
        let mut seen: Vec<_> = ran
            .iter()
            .map(|ran| {
                (
                    ran.outcome.name.rsplit("::").next().unwrap(),
                    ran.outcome.status,
                )
            })
            .collect();
        seen.sort_by_key(|(name, _)| *name);
        assert_eq!(
            seen,
            [
                ("test_bad", Status::Fail),
                ("test_good", Status::Pass),
                ("test_later", Status::Skip)
            ]
        );
        let ran = suite
            .run(Stage::Upgrade, means(&processes, root.path(), &redactor))
            .await
            .unwrap();
        assert_eq!(ran.len(), 1);
        assert_eq!(ran[0].outcome.status, Status::Fail);
        assert!(
            ran[0]
                .outcome
                .message
                .as_deref()
                .unwrap()
                .contains("collected no test"),
            "{ran:?}"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_hook_that_fails_says_how_and_one_that_is_absent_is_none() {
        let (_root, suite) = suite(&[("ops/pre_backup.sh", "echo no disk >&2; exit 4")]);
        let (ran, failure) = suite
            .hook(
                "ops/pre_backup",
                means(&processes(), Path::new("/nowhere"), &Redactor::default()),
            )
            .await
            .unwrap();
        let failure = failure.unwrap();
        assert_eq!(
            (ran, failure.how.as_str(), failure.tail.as_slice()),
            (1, "exit code 4", &["no disk".to_owned()][..])
        );
        let (ran, failure) = suite
            .hook(
                "ops/pre_upgrade",
                means(&processes(), Path::new("/nowhere"), &Redactor::default()),
            )
            .await
            .unwrap();
        assert!(ran == 0 && failure.is_none());
    }

    #[test]
    fn what_will_run_is_listed() {
        let (_root, suite) = suite(&[
            ("test_install.py", ""),
            ("ops/verify_restore", ""),
            ("custom/test_x.py", ""),
            ("custom/conftest.py", ""),
            ("notes.txt", ""),
        ]);
        let lines = suite.describe().unwrap();
        assert_eq!(
            lines,
            [
                "recipe: test_install.py",
                "recipe: ops/verify_restore",
                "recipe: custom/test_x.py"
            ]
        );
        assert_eq!(
            suite.first_python_test().unwrap().as_deref(),
            Some("recipe: test_install.py")
        );
    }
}
