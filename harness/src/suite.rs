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
mod needs;

pub use needs::Needs;

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
    /// The dependencies; what needs one that is not up does not run.
    pub needs: &'a Needs,
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

    /// Returns the hooks that will not run, each with the reason: they need a dependency that is not up.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn left_out(&self, needs: &Needs) -> Result<Vec<(String, String)>, SuiteError> {
        let mut left_out = Vec::new();
        for source in &self.sources {
            for line in describe(source.origin, &source.dir)? {
                let (_, path) = line.split_once(": ").unwrap_or(("", &line));
                let name = path.rsplit('/').next().unwrap_or(path);
                if !name.starts_with("test_")
                    && let Some(reason) = needs.unmet_by(&source.dir.join(path))
                {
                    left_out.push((format!("{} {path}", source.origin.name()), reason));
                }
            }
        }
        Ok(left_out)
    }

    /// Runs the hook `provide` wherever it exists; returns the JSON object that it prints, the overlay's laid
    /// over the recipe's. What it prints may be secret, so no failure shows any of it.
    ///
    /// # Errors
    /// [`SuiteError`] when one cannot be run; a hook that fails is returned.
    pub async fn provide(
        &self,
        means: Means<'_>,
    ) -> Result<Result<serde_json::Map<String, serde_json::Value>, HookFailure>, SuiteError> {
        let mut provided = serde_json::Map::new();
        for source in &self.sources {
            for file in list(&source.dir)? {
                if stem(&file) != "provide" {
                    continue;
                }
                let name = format!("{} {file}", source.origin.name());
                let cmd = executable(&source.dir.join(&file), &source.dir)
                    .envs(means.env.iter().cloned())
                    .label(name.clone());
                let failed = |how: String, tail| HookFailure {
                    name: name.clone(),
                    how,
                    tail,
                };
                let finished = match means.processes.run(&cmd, TEST_LIMIT).await {
                    Ok(finished) => finished,
                    Err(ProcessError::TimedOut { limit, .. }) => {
                        let how = format!("not ended after {} s", limit.as_secs());
                        return Ok(Err(failed(how, Vec::new())));
                    }
                    Err(error) => return Err(error.into()),
                };
                if !finished.success() {
                    let printed = String::from_utf8_lossy(&finished.stdout);
                    let mut tail = finished.tail.clone();
                    tail.retain(|line| !printed.lines().any(|own| own == line));
                    return Ok(Err(failed(finished.how(), tail)));
                }
                match serde_json::from_slice(&finished.stdout) {
                    Ok(serde_json::Value::Object(more)) => provided.extend(more),
                    _ => {
                        let how = "it printed something that is no JSON object".to_owned();
                        return Ok(Err(failed(how, Vec::new())));
                    }
                }
            }
        }
        Ok(Ok(provided))
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
                if stem(&file) != label || means.needs.unmet_by(&dir.join(&file)).is_some() {
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
            || ["install_steps", "setup_custom_tests", "provide"].contains(&stem(name))
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
            needs: no_needs(),
        }
    }

    fn no_needs() -> &'static Needs {
        static NONE: std::sync::LazyLock<Needs> = std::sync::LazyLock::new(Needs::default);
        &NONE
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
    async fn what_needs_a_dependency_that_is_not_up_is_unverified_and_the_rest_runs() {
        let (root, suite) = suite(&[
            ("custom/test_a.sh", "# requires: deps\nexit 1"),
            ("custom/test_b.sh", "# requires: deps gitea\nexit 0"),
            (
                "custom/test_c.py",
                "import pytest\n@pytest.mark.requires_deps\ndef test_all(): assert 0\n\
                 @pytest.mark.requires_deps('gitea')\ndef test_gitea(): pass\n\
                 def test_none(): pass\n",
            ),
            // The recipe's own markers must stay its own.
            (
                "pytest.ini",
                "[pytest]\naddopts = --strict-markers\nmarkers = slow\n",
            ),
            ("install_steps.sh", "# requires: deps keycloak\nexit 1"),
        ]);
        let mut needs = Needs::default();
        needs.note("gitea", None);
        needs.note("keycloak", Some("no".to_owned()));
        let (processes, redactor) = (with_pytest(), Redactor::default());
        let means = Means {
            needs: &needs,
            ..means(&processes, root.path(), &redactor)
        };
        let ran = suite.run(Stage::Custom, means).await.unwrap();
        let mut seen: Vec<_> = ran
            .iter()
            .map(|ran| (ran.outcome.name.as_str(), ran.outcome.status))
            .collect();
        seen.sort_by_key(|(name, _)| *name);
        assert_eq!(
            seen,
            [
                ("custom.test_c::test_all", Status::Unver),
                ("custom.test_c::test_gitea", Status::Pass),
                ("custom.test_c::test_none", Status::Pass),
                ("custom/test_a.sh", Status::Unver),
                ("custom/test_b.sh", Status::Pass),
            ]
        );
        let reason = Some("dependency `keycloak` failed: no");
        for ran in ran.iter().filter(|ran| ran.outcome.status == Status::Unver) {
            assert_eq!(ran.outcome.message.as_deref(), reason);
        }
        let (ran, failure) = suite.hook("install_steps", means).await.unwrap();
        assert!(ran == 0 && failure.is_none());
        assert_eq!(
            suite.left_out(&needs).unwrap()[0].0,
            "recipe install_steps.sh"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_provide_prints_is_never_shown() {
        for (text, how) in [
            ("echo sesame; echo why >&2; exit 4", "exit code 4"),
            ("echo sesame", "it printed something that is no JSON object"),
            ("echo '[1]'", "it printed something that is no JSON object"),
        ] {
            let (root, suite) = suite(&[("provide.sh", text)]);
            let (processes, redactor) = (processes(), Redactor::default());
            let means = means(&processes, root.path(), &redactor);
            let failure = suite.provide(means).await.unwrap().unwrap_err();
            assert_eq!(
                (failure.name.as_str(), failure.how.as_str()),
                ("recipe provide.sh", how)
            );
            assert!(!failure.tail.join("").contains("sesame"), "{failure:?}");
        }
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
