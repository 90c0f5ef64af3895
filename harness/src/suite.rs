//! The tests and hooks of a recipe and of the operator's overlay: found, copied, run.
//!
//! They are copied before any checkout moves, so that what runs is what the head shipped. What runs them
//! knows nothing of tiers: it returns outcomes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::report::redact::Redactor;
use engine::process::{ProcessError, Processes};
use ground::outcome::{Failure, Owner, Stage, TestOutcome};
use ground::source_tree::SourceFileError;

mod again;
mod execute;
mod hooked;
pub(crate) mod layer;
mod name;
mod needs;
mod tree;

pub use hooked::{HookFailure, HookRun, Hooked};
pub use layer::Layer;
pub use needs::Needs;

use again::repeated;
use execute::{
    below, can_start, executable, how_it_failed, is_the_files, run_executable, run_pytest,
    unstartable,
};
use layer::files_in;
use name::{is_custom_test, is_ignored, is_ops_hook, is_test_of, is_test_of_a_tier, stem};

/// The hooks that are not of a tier.
const TOP_HOOKS: [&str; 3] = ["install_steps", "setup_custom_tests", "provide"];

/// The directory of the tests of variants, each in a directory of the variant's name that is laid out as the one above.
pub const VARIANTS: &str = "variants";

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
    /// A link in a directory of tests cannot be followed.
    #[error("`{}` is a link that {what}", path.display())]
    Link {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A repository may not have such a file among its recipe's tests.
    #[error(transparent)]
    File(#[from] SourceFileError),
    /// The tests of a recipe are more than is copied of a repository.
    #[error(
        "the recipe's `tests/` holds more than {} files and directories or {} MiB, or is too deep",
        tree::ENTRIES,
        tree::BYTES >> 20
    )]
    TooLarge,
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

    /// Returns whose its tests are in reports.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self {
            Self::Recipe => Owner::Recipe,
            Self::Overlay => Owner::Overlay,
        }
    }
}

/// A directory of tests, copied into the run directory.
#[derive(Debug, Clone)]
struct Source {
    origin: Origin,
    dir: PathBuf,
}

impl Source {
    fn layer(&self) -> Layer<'_> {
        Layer::Dir(self.origin, &self.dir)
    }
}

/// Every test and hook of a run.
#[derive(Debug, Clone, Default)]
pub struct Suite {
    sources: Vec<Source>,
}

/// With what tests and hooks are run.
#[derive(Debug, Clone, Copy)]
pub struct TestSetup<'a> {
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
    /// How often a test that failed is run again.
    pub retries: u32,
}

impl Suite {
    /// Copies `layer`, which exists, into `tests_dir` and adds it; returns where the copy is. What links lead to is
    /// copied, of a recipe's only what is inside its repository.
    ///
    /// # Errors
    /// [`SuiteError::File`], [`SuiteError::TooLarge`], [`SuiteError::Link`], [`SuiteError::Read`].
    pub fn add(&mut self, layer: Layer<'_>, tests_dir: &Path) -> Result<PathBuf, SuiteError> {
        let origin = layer.origin();
        let copy = tests_dir.join(origin.name());
        match layer {
            Layer::Tree(tree) => tree::copy_of_recipe(tree, &copy)?,
            Layer::Dir(_, dir) => tree::copy(dir, &copy)?,
        }
        self.sources.push(Source {
            origin,
            dir: copy.clone(),
        });
        Ok(copy)
    }

    /// Returns the suite of the app of a variant: with what is there for that one alone, after the rest.
    #[must_use]
    pub fn of_variant(&self, variant: &str) -> Self {
        let own = self.sources.iter().map(|source| Source {
            origin: source.origin,
            dir: source.dir.join(VARIANTS).join(variant),
        });
        let own = own.filter(|source| source.dir.is_dir());
        let sources = self.sources.iter().cloned().chain(own);
        Self {
            sources: sources.collect(),
        }
    }

    /// Returns a line for each test and hook that will run, for the report's `customization`.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn describe(&self) -> Result<Vec<String>, SuiteError> {
        let mut lines = Vec::new();
        for source in &self.sources {
            lines.extend(describe(source.layer())?);
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

    /// Returns whether there is anything that the custom tier runs, a hook included: one that fails is red.
    ///
    /// # Errors
    /// [`SuiteError::Read`].
    pub fn has_custom_tier(&self) -> Result<bool, SuiteError> {
        let parts = [
            ": custom/",
            ": setup_custom_tests",
            ": ops/pre_custom",
            ": ops/verify_custom",
        ];
        let lines = self.describe()?;
        let mut lines = lines.iter();
        Ok(lines.any(|line| parts.iter().any(|part| line.contains(part))))
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
            for line in describe(source.layer())? {
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
        means: TestSetup<'_>,
    ) -> Result<Result<serde_json::Map<String, serde_json::Value>, HookFailure>, SuiteError> {
        let mut provided = serde_json::Map::new();
        for source in &self.sources {
            for file in files_in(&source.dir)? {
                if stem(&file) != "provide" {
                    continue;
                }
                let name = format!("{} {file}", source.origin.name());
                let path = source.dir.join(&file);
                let cmd = executable(&path, &source.dir)
                    .envs(means.env.iter().cloned())
                    .label(name.clone());
                let failed = |how: String, tail| HookFailure {
                    name: name.clone(),
                    how,
                    kind: Failure::Error,
                    tail,
                };
                let finished = match means.processes.run(&cmd, TEST_LIMIT).await {
                    Ok(finished) => finished,
                    Err(ProcessError::TimedOut { limit, .. }) => {
                        let how = format!("not ended after {} s", limit.as_secs());
                        return Ok(Err(failed(how, Vec::new())));
                    }
                    Err(ProcessError::Spawn { source, .. }) if is_the_files(&source) => {
                        return Ok(Err(failed(unstartable(&path, &source), Vec::new())));
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

    /// Runs the hook of this name wherever it exists, the overlay's after the recipe's. What each wrote is kept beside
    /// the logs of tests.
    ///
    /// # Errors
    /// [`SuiteError`] when one cannot be run; a hook that fails is returned.
    pub async fn hook(&self, name: &str, means: TestSetup<'_>) -> Result<Hooked, SuiteError> {
        let mut hooked = Hooked::default();
        for source in &self.sources {
            let (dir, label) = match name.split_once('/') {
                Some((dir, name)) => (source.dir.join(dir), name),
                None => (source.dir.clone(), name),
            };
            for file in files_in(&dir)? {
                if stem(&file) != label || means.needs.unmet_by(&dir.join(&file)).is_some() {
                    continue;
                }
                hooked.ran += 1;
                let shown = format!("{} {name}", source.origin.name());
                let log = format!(
                    "hook-{}-{}.log",
                    source.origin.name(),
                    name.replace('/', "-")
                );
                let cmd = executable(&dir.join(&file), &source.dir)
                    .envs(means.env.iter().cloned())
                    .label(shown.clone())
                    .log_to(&means.logs.join(&log));
                hooked.last = Some(HookRun {
                    origin: source.origin,
                    file: below(&dir.join(&file), source),
                    log,
                });
                let failure = match means.processes.run(&cmd, TEST_LIMIT).await {
                    Ok(finished) if finished.success() => {
                        hooked.said.push((shown, finished.tail));
                        continue;
                    }
                    Ok(finished) => HookFailure {
                        name: shown,
                        how: how_it_failed(&finished),
                        kind: Failure::Assertion,
                        tail: finished.tail,
                    },
                    Err(ProcessError::TimedOut { limit, tail, .. }) => HookFailure {
                        name: shown,
                        how: format!("not ended after {} s", limit.as_secs()),
                        kind: Failure::Timeout,
                        tail,
                    },
                    // As of a test: no interpreter or not executable is the fault of who wrote it.
                    Err(ProcessError::Spawn { source, .. }) if is_the_files(&source) => {
                        HookFailure {
                            name: shown,
                            how: unstartable(&dir.join(&file), &source),
                            kind: Failure::Error,
                            tail: Vec::new(),
                        }
                    }
                    Err(error) => return Err(error.into()),
                };
                hooked.failure = Some(failure);
                return Ok(hooked);
            }
        }
        Ok(hooked)
    }

    /// Runs every test of `stage`; outputs of failures are returned beside the outcomes.
    ///
    /// # Errors
    /// [`SuiteError`] when one cannot be run; a test that fails is an outcome.
    pub async fn run(&self, stage: Stage, means: TestSetup<'_>) -> Result<Vec<Ran>, SuiteError> {
        let mut ran = Vec::new();
        for source in &self.sources {
            let dir = if stage == Stage::Custom {
                source.dir.join("custom")
            } else {
                source.dir.clone()
            };
            let names = files_in(&dir)?;
            let wanted = |name: &&String| match stage {
                Stage::Custom => is_custom_test(name),
                _ => is_test_of(name, stage),
            };
            let (python, others): (Vec<&String>, Vec<&String>) = names
                .iter()
                .filter(wanted)
                .partition(|name| name.ends_with(".py"));
            for name in others {
                let file = dir.join(name);
                let once = async || Ok(vec![run_executable(means, &file, source).await?]);
                ran.append(&mut repeated(means.retries, once).await?);
            }
            if !python.is_empty() {
                let files: Vec<PathBuf> = python.into_iter().map(|name| dir.join(name)).collect();
                let once = async || run_pytest(means, &files, source, stage).await;
                ran.append(&mut repeated(means.retries, once).await?);
            }
        }
        Ok(ran)
    }
}

/// Returns a line for each test and hook in `layer`, whether or not they will run.
///
/// # Errors
/// [`SuiteError::File`], [`SuiteError::Read`].
pub fn describe(layer: Layer<'_>) -> Result<Vec<String>, SuiteError> {
    let origin = layer.origin();
    let mut lines = Vec::new();
    let mut add = |below: &str, wanted: &dyn Fn(&str) -> bool| {
        for name in layer.files(below)? {
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
        is_test_of_a_tier(name) || TOP_HOOKS.contains(&stem(name))
    })?;
    add("ops", &is_ops_hook)?;
    add("custom", &is_custom_test)?;
    Ok(lines)
}

/// Returns a line for each file in `dir` that is called like a test or a hook and that nothing runs, or that
/// cannot be started.
///
/// # Errors
/// [`SuiteError::Read`].
pub fn misfits(origin: Origin, dir: &Path) -> Result<Vec<String>, SuiteError> {
    let mut lines = Vec::new();
    let runs = describe(Layer::Dir(origin, dir))?;
    for below in ["", "ops", "custom"] {
        for name in files_in(&dir.join(below))? {
            let path = Path::new(below).join(&name);
            let shown = format!("{}: {}", origin.name(), path.display());
            let beginning = |beginnings: &[&str]| {
                let mut beginnings = beginnings.iter();
                beginnings.any(|beginning| name.starts_with(beginning))
            };
            if runs.contains(&shown) {
                if !can_start(&dir.join(&path)) {
                    lines.push(format!("{shown} is not executable: it cannot be started"));
                }
            } else if below.is_empty() && beginning(&["test_"]) {
                lines.push(format!("{shown} is no test of a tier: nothing runs it"));
            } else if below == "ops" && beginning(&["pre_", "verify_"]) {
                lines.push(format!("{shown} is no hook: nothing runs it"));
            } else if below == "custom" && beginning(&["test_"]) {
                lines.push(format!(
                    "{shown} is a test of a tier, whose place is beside `custom/`: nothing runs it"
                ));
            }
        }
    }
    Ok(lines)
}

/// Says what adding `dir` would say of the links in it.
///
/// # Errors
/// [`SuiteError::Read`], [`SuiteError::Link`].
pub fn check_links(dir: &Path) -> Result<(), SuiteError> {
    tree::check(dir)
}

/// Returns the names of the files in `dir`, hidden ones and backups of editors left out.
///
/// # Errors
/// [`SuiteError::Read`].
pub fn files(dir: &Path) -> Result<Vec<String>, SuiteError> {
    files_in(dir)
}

/// A test that ran.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What came of it.
    pub outcome: TestOutcome,
    /// What it wrote last; empty when it passed.
    pub tail: Vec<String>,
}

#[cfg(test)]
mod tests;
