//! What is laid over a recipe: the operator's overlay and the recipe's own `tests/`, found, trusted, listed.
//!
//! Both have the same layout. This module says what of it counts in a run; [`crate::suite`] runs it.
//! Everything that it finds is in the manifest, also what will not run.

pub mod environment;
pub mod import;
pub mod manifest;
pub mod previous;

use std::path::{Path, PathBuf};

use crate::declared::file::DeclaredFile;
use crate::declared::read::{self, DeclaredError, Read};
use crate::declared::{self, Declared};
use crate::name::RecipeName;
use crate::recipe::compose::ComposeError;
use crate::suite::{self, Origin, Suite, SuiteError};
use environment::Tuning;
use previous::Repair;

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
    /// A file leads out of the recipe.
    #[error("`{}` is not a file inside the recipe", path.display())]
    Outside {
        /// Which.
        path: PathBuf,
    },
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
                "mend the overlay; docs/recipe-tests.md says what compose.ccci.yml and previous/ may do"
            }
            Self::Read { .. } => "make the file a readable text in UTF-8, or remove it",
            Self::Outside { .. } | Self::Suite(SuiteError::Link { .. }) => {
                "put the file itself there instead of a link"
            }
            Self::Taken { .. } => "rename that file in the recipe",
            Self::Write { .. } | Self::Suite(_) => {
                "`recipe-ci doctor` says what is wrong with this host"
            }
        }
    }

    /// Returns whether the host is at fault, not what somebody wrote.
    #[must_use]
    pub fn is_the_hosts(&self) -> bool {
        match self {
            Self::Suite(error) => !matches!(error, SuiteError::Link { .. }),
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
    /// Whether what it ships may run.
    pub trusted: bool,
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
    /// Values that nobody may see.
    pub secrets: Vec<String>,
}

/// Finds what is laid over a recipe, the operator's over the recipe's own.
///
/// # Errors
/// [`OverlayError`].
pub fn find(places: Places<'_>) -> Result<Found, OverlayError> {
    let mut found = Found::default();
    let own = places.tree.join("tests");
    if own.is_dir() {
        let inside = |path: &Path| is_inside(path, places.tree);
        if places.trusted {
            found.add(Origin::Recipe, &own, places, &inside)?;
        } else {
            found.add_data_of_a_stranger(&own, places, &inside)?;
        }
    }
    if places.tree.join(declared::FILE_NAME).exists() {
        found.warnings.push(format!(
            "`{0}` in the root of the recipe is not read; its place is `tests/{0}`",
            declared::FILE_NAME
        ));
    }
    if let Some(overlays) = places.overlays {
        let dir = overlays.join(places.recipe.as_str());
        if dir.is_dir() {
            found.add(Origin::Overlay, &dir, places, &|_| true)?;
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
    found.add_settings(Origin::Overlay, dir, name, &|_| true)?;
    suite::check_links(dir)?;
    let files = suite::describe(Origin::Overlay, dir)?;
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

fn is_inside(path: &Path, tree: &Path) -> bool {
    match (path.canonicalize(), tree.canonicalize()) {
        (Ok(path), Ok(tree)) => path.starts_with(tree),
        _ => false,
    }
}

/// Returns the path of a file in `dir`, if there is one and it is where it seems to be: a recipe's link to a
/// file of the host would have its text in error messages.
fn file_in(
    dir: &Path,
    name: &str,
    inside: &dyn Fn(&Path) -> bool,
) -> Result<Option<PathBuf>, OverlayError> {
    let path = dir.join(name);
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    if inside(&path) {
        Ok(Some(path))
    } else {
        Err(OverlayError::Outside { path })
    }
}

/// Returns how errors call a file: an overlay's by its path, a recipe's by the path in its repository.
fn shown(origin: Origin, dir: &Path, name: &str) -> String {
    match origin {
        Origin::Recipe => format!("tests/{name}"),
        Origin::Overlay => dir.join(name).display().to_string(),
    }
}

impl Found {
    fn add(
        &mut self,
        origin: Origin,
        dir: &Path,
        places: Places<'_>,
        inside: &dyn Fn(&Path) -> bool,
    ) -> Result<(), OverlayError> {
        self.add_settings(origin, dir, Some(places.recipe.as_str()), inside)?;
        let files = suite::describe(origin, dir)?;
        if !files.is_empty() {
            self.manifest.push(counts(origin, &files));
        }
        self.manifest.extend(files);
        self.warnings.extend(suite::misfits(origin, dir)?);
        self.suite.add(origin, dir, places.tests, inside)?;
        Ok(())
    }

    /// Adds everything that is not a test or a hook.
    fn add_settings(
        &mut self,
        origin: Origin,
        dir: &Path,
        recipe: Option<&str>,
        inside: &dyn Fn(&Path) -> bool,
    ) -> Result<(), OverlayError> {
        let whose = origin.name();
        if let Some(read) = read_declared(origin, dir, recipe, inside)? {
            let lines = manifest::lines(&read.file);
            self.list(origin, lines);
            self.secrets.extend(manifest::secrets(&read.file));
            self.declared.lay_over(read)?;
        }
        if let Some(path) = file_in(dir, environment::FILE_NAME, inside)? {
            let name = shown(origin, dir, environment::FILE_NAME);
            self.tunings.push(Tuning::read(origin, &path, &name)?);
            self.manifest
                .push(format!("{whose}: {}", environment::FILE_NAME));
        }
        if let Some(path) = file_in(dir, previous::DIR_NAME, inside)? {
            let name = shown(origin, dir, previous::DIR_NAME);
            let repair = Repair::read(origin, &path, &name)?;
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

    /// Of a recipe that nobody approved, only what adds demands on its own app counts: checks and readiness
    /// probes. Everything else either runs its code or could make the run easier to pass.
    fn add_data_of_a_stranger(
        &mut self,
        dir: &Path,
        places: Places<'_>,
        inside: &dyn Fn(&Path) -> bool,
    ) -> Result<(), OverlayError> {
        let origin = Origin::Recipe;
        let whose = origin.name();
        let mut left_out = 0;
        if let Some(read) = read_declared(origin, dir, Some(places.recipe.as_str()), inside)? {
            self.secrets.extend(manifest::secrets(&read.file));
            let Read { file, marks } = read;
            let demands = DeclaredFile {
                ready: file.ready.clone(),
                checks: file.checks.clone(),
                ..DeclaredFile::default()
            };
            let rest = DeclaredFile {
                recipe: None,
                ready: Vec::new(),
                checks: Vec::new(),
                ..file
            };
            self.list(origin, manifest::lines(&demands));
            let ignored = manifest::lines(&rest);
            left_out += ignored.len();
            let ignored = ignored
                .into_iter()
                .map(|line| format!("{line} (not applied: {NOT_APPROVED})"));
            self.list(origin, ignored.collect());
            let file = demands;
            self.declared.lay_over(Read { file, marks })?;
        }
        for name in [environment::FILE_NAME, previous::DIR_NAME] {
            if std::fs::symlink_metadata(dir.join(name)).is_ok() {
                left_out += 1;
                self.manifest
                    .push(format!("{whose}: {name} (not applied: {NOT_APPROVED})"));
            }
        }
        let files = suite::describe(origin, dir)?;
        left_out += files.len();
        let files = files
            .into_iter()
            .map(|line| format!("{line} (not run: {NOT_APPROVED})"));
        self.manifest.extend(files);
        if left_out > 0 {
            self.warnings.push(format!(
                "what the recipe ships in `tests/` was not run or applied, checks aside, because `{}` is not on this host's list of approved recipes",
                places.recipe
            ));
        }
        Ok(())
    }
}

const NOT_APPROVED: &str = "not on the allow-list";

fn read_declared(
    origin: Origin,
    dir: &Path,
    recipe: Option<&str>,
    inside: &dyn Fn(&Path) -> bool,
) -> Result<Option<Read>, OverlayError> {
    let Some(path) = file_in(dir, declared::FILE_NAME, inside)? else {
        return Ok(None);
    };
    let name = shown(origin, dir, declared::FILE_NAME);
    let read = read::read(&path, &name, recipe)?;
    Ok(Some(read))
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
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            entry.path().is_file() && beginnings.iter().any(|b| name.starts_with(b))
        })
    })
}

#[cfg(test)]
mod tests;
