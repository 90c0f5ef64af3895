//! What is laid over a recipe: the operator's overlay and the recipe's own `tests/`, found, trusted, listed.
//!
//! Both have the same layout. This module says what of it counts in a run; [`crate::suite`] runs it.
//! Everything that it finds is in the manifest, also what will not run.

pub mod environment;
pub mod manifest;
pub mod previous;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::suite::{self, Layer, Origin, Suite, SuiteError};
use environment::Tuning;
use ground::host_file;
use ground::name::RecipeName;
use ground::source_tree::{Kind, SourceFileError, SourceTree};
use previous::Repair;
use recipe::compose::ComposeError;
use recipe::declared::error::DeclaredError;
use recipe::declared::file::DeclaredFile;
use recipe::declared::read::{self, Read};
use recipe::declared::{self, Declared};
use recipe::trust::{Level, Trust};

/// Why an overlay cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// `recipe-ci.yml` is wrong.
    #[error(transparent)]
    Declared(#[from] DeclaredError),
    /// A compose file of it is no YAML.
    #[error(transparent)]
    Yaml(ComposeError),
    /// A compose file of it does what it may not.
    #[error("{place}: {path}: {reason}")]
    Compose {
        /// Where: file, line and column.
        place: String,
        /// The keys that lead to it.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of it cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A repository may not have such a file.
    #[error(transparent)]
    File(#[from] SourceFileError),
    /// The recipe has a file where a copy of the overlay has to go.
    #[error("the recipe has a file `{name}`, which is where recipe-ci puts a copy of an overlay")]
    Taken {
        /// Its name.
        name: String,
    },
    /// A copy cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Tests cannot be found or copied.
    #[error(transparent)]
    Suite(#[from] SuiteError),
}

impl OverlayError {
    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Declared(error) => error.advice(),
            Self::Yaml(_) | Self::Compose { .. } => {
                "correct the overlay; docs/recipe-tests.md says what compose.ccci.yml and previous/ may do"
            }
            Self::Read { .. } => "make the file a readable text in UTF-8, or remove it",
            Self::File(error) | Self::Suite(SuiteError::File(error)) => error.advice(),
            Self::Suite(SuiteError::Link { .. }) => "put the file itself there instead of a link",
            Self::Suite(SuiteError::TooLarge) => {
                "fetch large data in a hook instead; docs/operating.md says what a recipe's repository may hold"
            }
            Self::Taken { .. } => "rename that file in the recipe",
            Self::Write { .. } | Self::Suite(_) => {
                "`recipe-ci doctor` says what is wrong with this host"
            }
        }
    }

    /// Returns whether the host is at fault, not the files.
    #[must_use]
    pub fn is_the_hosts(&self) -> bool {
        match self {
            Self::Suite(error) => !matches!(
                error,
                SuiteError::Link { .. } | SuiteError::File(_) | SuiteError::TooLarge
            ),
            _ => matches!(self, Self::Write { .. }),
        }
    }
}

/// Where to look, and what may run.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The recipe's name.
    pub recipe: &'a RecipeName,
    /// The recipe's work tree at the head.
    pub tree: &'a Path,
    /// How far its source is trusted: whether what it ships may run.
    pub trust: &'a Trust,
    /// The operator's directory of overlays.
    pub overlays: Option<&'a Path>,
    /// Where tests are copied to.
    pub tests: &'a Path,
}

/// Everything that is laid over a recipe.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What is declared.
    pub declared: Declared,
    /// The tests and hooks that will run.
    pub suite: Suite,
    /// Compose files that tune the environment.
    pub tunings: Vec<Tuning>,
    /// Repairs of the base.
    pub repairs: Vec<Repair>,
    /// A line for everything that was found, for the report.
    pub manifest: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Values that no output may show.
    pub secrets: Vec<String>,
}

/// Finds what is laid over a recipe, the operator's over the recipe's own.
///
/// # Errors
/// [`OverlayError`].
pub fn find(places: Places<'_>) -> Result<Found, OverlayError> {
    let mut found = Found::default();
    let tree = SourceTree::open(places.tree)?;
    if tree.kind(recipe::TESTS)? == Some(Kind::Directory) {
        if places.trust.may_run_code() {
            found.add(Layer::Tree(&tree), places)?;
        } else {
            found.add_data_of_a_stranger(Layer::Tree(&tree), places)?;
        }
    }
    if tree.kind(declared::FILE_NAME)?.is_some() {
        found.warnings.push(format!(
            "`{0}` in the root of the recipe is not read; its place is `tests/{0}`",
            declared::FILE_NAME
        ));
    }
    if let Some(overlays) = places.overlays {
        let dir = overlays.join(places.recipe.as_str());
        if dir.is_dir() {
            found.add(Layer::Dir(Origin::Overlay, &dir), places)?;
        }
    }
    Ok(found)
}

/// What is in one overlay, looked at without its recipe.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// A line for everything that counts.
    pub lines: Vec<String>,
    /// Files at the top that nothing uses.
    pub unused: Vec<String>,
    /// Files that are called like tests or hooks and cannot be.
    pub misfits: Vec<String>,
}

/// Looks at the overlay in `dir`, for the recipe `name` where that is known.
///
/// # Errors
/// [`OverlayError`] as a run would have it.
pub fn survey(dir: &Path, name: Option<&str>) -> Result<Survey, OverlayError> {
    let mut found = Found::default();
    let layer = Layer::Dir(Origin::Overlay, dir);
    found.add_settings(layer, name)?;
    suite::check_links(dir)?;
    let files = suite::describe(layer)?;
    let misfits = suite::misfits(Origin::Overlay, dir)?;
    let is_used = |file: &str| {
        [
            declared::FILE_NAME,
            environment::FILE_NAME,
            "conftest.py",
            "README.md",
        ]
        .contains(&file)
            || files
                .iter()
                .any(|line| line.ends_with(&format!(": {file}")))
            || file.starts_with("test_")
    };
    let unused = suite::files(dir)?
        .into_iter()
        .filter(|file| !is_used(file))
        .collect();
    let mut lines = found.manifest;
    lines.extend(files);
    Ok(Survey {
        lines,
        unused,
        misfits,
    })
}

/// Returns the text of a file of `layer`, if there is one.
fn text(layer: Layer<'_>, name: &str) -> Result<Option<String>, OverlayError> {
    let dir = match layer {
        Layer::Tree(tree) => return Ok(tree.text(Path::new(recipe::TESTS).join(name))?),
        Layer::Dir(_, dir) => dir,
    };
    if !is_there(layer, name)? {
        return Ok(None);
    }
    let path = dir.join(name);
    match host_file::text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(source) => Err(OverlayError::Read { path, source }),
    }
}

/// Returns whether `layer` has something of this name.
fn is_there(layer: Layer<'_>, name: &str) -> Result<bool, OverlayError> {
    Ok(match layer {
        Layer::Tree(tree) => tree.kind(Path::new(recipe::TESTS).join(name))?.is_some(),
        Layer::Dir(_, dir) => std::fs::symlink_metadata(dir.join(name)).is_ok(),
    })
}

/// Returns how errors call a file: an overlay's by its path, a recipe's by the path in its repository.
fn shown(layer: Layer<'_>, name: &str) -> String {
    match layer {
        Layer::Tree(_) => format!("{}/{name}", recipe::TESTS),
        Layer::Dir(_, dir) => dir.join(name).display().to_string(),
    }
}

impl Found {
    fn add(&mut self, layer: Layer<'_>, places: Places<'_>) -> Result<(), OverlayError> {
        let origin = layer.origin();
        self.add_settings(layer, Some(places.recipe.as_str()))?;
        let copy = self.suite.add(layer, places.tests)?;
        let files = suite::describe(layer)?;
        if !files.is_empty() {
            self.manifest.push(counts(origin, &files));
        }
        self.manifest.extend(files);
        self.warnings.extend(suite::misfits(origin, &copy)?);
        Ok(())
    }

    /// Adds everything that is not a test or a hook.
    fn add_settings(&mut self, layer: Layer<'_>, recipe: Option<&str>) -> Result<(), OverlayError> {
        let origin = layer.origin();
        let whose = origin.name();
        if let Some(read) = read_declared(layer, recipe)? {
            let lines = manifest::lines(&read.file);
            self.list(origin, lines);
            self.secrets.extend(manifest::secrets(&read.file));
            self.declared.lay_over(read)?;
        }
        if let Some(text) = text(layer, environment::FILE_NAME)? {
            let name = shown(layer, environment::FILE_NAME);
            self.tunings.push(Tuning::parse(origin, &text, &name)?);
            self.manifest
                .push(format!("{whose}: {}", environment::FILE_NAME));
        }
        if is_there(layer, previous::DIR_NAME)? {
            let repair = Repair::read(layer)?;
            self.manifest.push(format!(
                "{whose}: {}/ for version {}",
                previous::DIR_NAME,
                repair.version
            ));
            self.repairs.push(repair);
        }
        Ok(())
    }

    fn list(&mut self, origin: Origin, lines: Vec<String>) {
        let whose = origin.name();
        let lines = lines
            .into_iter()
            .map(|line| format!("{whose}: {}: {line}", declared::FILE_NAME));
        self.manifest.extend(lines);
    }

    /// Of a source that is not granted to run code, only what adds demands on its own app counts, checks, readiness
    /// probes and the requests of its first run, and where it is asked. Everything else either runs its code or could
    /// make the run easier to pass.
    fn add_data_of_a_stranger(
        &mut self,
        layer: Layer<'_>,
        places: Places<'_>,
    ) -> Result<(), OverlayError> {
        let origin = layer.origin();
        let whose = origin.name();
        let mut left_out = 0;
        if let Some(read) = read_declared(layer, Some(places.recipe.as_str()))? {
            self.secrets.extend(manifest::secrets(&read.file));
            let Read { file, marks } = read;
            let (health, loose) = file.health.clone().of_a_stranger();
            let demands = DeclaredFile {
                health,
                ready: file.ready.clone(),
                checks: file.checks.clone(),
                first_run: file.first_run.clone(),
                variants: file.variants.clone(),
                ..DeclaredFile::default()
            };
            let rest = DeclaredFile {
                recipe: None,
                health: loose,
                ready: Vec::new(),
                checks: Vec::new(),
                first_run: Vec::new(),
                variants: BTreeMap::new(),
                ..file
            };
            self.list(origin, manifest::lines(&demands));
            let ignored = manifest::lines(&rest);
            left_out += ignored.len();
            let ignored = ignored
                .into_iter()
                .map(|line| format!("{line} (not applied: {NOT_GRANTED})"));
            self.list(origin, ignored.collect());
            let file = demands;
            self.declared.lay_over(Read { file, marks })?;
        }
        for name in [environment::FILE_NAME, previous::DIR_NAME] {
            if is_there(layer, name)? {
                left_out += 1;
                self.manifest
                    .push(format!("{whose}: {name} (not applied: {NOT_GRANTED})"));
            }
        }
        let files = suite::describe(layer)?;
        left_out += files.len();
        if files.iter().any(|line| line.contains(": custom/")) {
            self.declared.withhold_custom();
        }
        let files = files
            .into_iter()
            .map(|line| format!("{line} (not run: {NOT_GRANTED})"));
        self.manifest.extend(files);
        if left_out > 0 {
            let why = &places.trust.why;
            let why = match places.trust.level {
                Level::Granted(_) => format!(", though {why}"),
                Level::Stranger | Level::ByHand => format!(": {why}"),
            };
            self.warnings.push(format!(
                "what the recipe ships in `tests/` was not run or applied, checks aside, because {NOT_GRANTED}{why}"
            ));
        }
        Ok(())
    }
}

const NOT_GRANTED: &str = "its source is not granted `run_code`";

fn read_declared(layer: Layer<'_>, recipe: Option<&str>) -> Result<Option<Read>, OverlayError> {
    let Some(text) = text(layer, declared::FILE_NAME)? else {
        return Ok(None);
    };
    let name = shown(layer, declared::FILE_NAME);
    Ok(Some(read::parse(&text, &name, recipe)?))
}

fn counts(origin: Origin, files: &[String]) -> String {
    let of = |what: &str| {
        files
            .iter()
            .filter(|line| line.contains(&format!(": {what}")))
            .count()
    };
    let (tests, custom) = (of("test_"), of("custom/"));
    format!(
        "{}: {tests} tests of tiers, {custom} custom tests, {} hooks",
        origin.name(),
        files.len() - tests - custom
    )
}

/// Returns what in `dir` says that it is the overlay of one recipe, and not the directory of all overlays.
#[must_use]
pub fn looks_like_one_recipe(dir: &Path) -> Option<&'static str> {
    [
        declared::FILE_NAME,
        environment::FILE_NAME,
        previous::MARKER,
        "ops",
        "custom",
        "recipe_meta.py",
    ]
    .into_iter()
    .find(|name| {
        let path = dir.join(name);
        // A recipe may be called `ops`; its overlay is then a directory of such files, not of hooks.
        match *name {
            "ops" => has_file_beginning(&path, &["pre_", "verify_"]),
            "custom" => has_file_beginning(&path, &["test_"]),
            _ => path.is_file(),
        }
    })
}

fn has_file_beginning(dir: &Path, beginnings: &[&str]) -> bool {
    host_file::entries(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            entry.path().is_file() && beginnings.iter().any(|b| name.starts_with(b))
        })
    })
}

#[cfg(test)]
mod tests;
