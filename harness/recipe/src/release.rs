//! One version of a recipe with everything that its deploy needs, read from a work tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::compose::{COPY_PREFIX, ComposeError, Project, compose_files};
use super::env::{EnvError, EnvFile, abra_sh};
use ground::git::commit::CommitId;
use ground::name::{Domain, RecipeName};
use ground::source_tree::{SourceFileError, SourceTree};

/// Why a version of a recipe cannot be read. All of it is the recipe's text, so all of it is usage.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The recipe has a file that a recipe may not have.
    #[error(transparent)]
    File(#[from] SourceFileError),
    /// `.env.sample` or the app's env file is malformed.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The compose files cannot be used.
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

/// Variables that the run sets, whatever the recipe's files say: what the app is, where it is, and which certificates it
/// has.
const RUNS_OWN: [&str; 4] = ["DOMAIN", "STACK_NAME", "TYPE", "LETS_ENCRYPT_ENV"];

/// A version of a recipe, ready to be deployed.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its work tree, which does not move while the run lasts.
    pub root: PathBuf,
    /// Its commit.
    pub commit: CommitId,
    /// Whether the work tree has uncommitted changes over that commit.
    pub dirty: bool,
    /// The app's environment as it would be for a new app of this version.
    pub env: EnvFile,
    /// What the compose files are interpolated with.
    pub vars: BTreeMap<String, String>,
    /// The compose files, merged and interpolated.
    pub project: Project,
    /// Remarks on what was read, for the report.
    pub remarks: Vec<String>,
}

/// What an app is called, for reading a release.
#[derive(Debug, Clone, Copy)]
pub struct AppName<'a> {
    /// The recipe's name.
    pub recipe: &'a RecipeName,
    /// The app's domain.
    pub domain: &'a Domain,
}

/// What an overlay adds to a version as the recipe ships it.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Variables of the env file.
    pub env: BTreeMap<String, String>,
    /// Compose files in the work tree, behind the recipe's own; what `with_env` finds of earlier ones goes.
    pub compose: Vec<String>,
}

/// Where a work tree is and what it holds.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The directory.
    pub root: PathBuf,
    /// The commit.
    pub commit: CommitId,
    /// Whether there are uncommitted changes.
    pub dirty: bool,
}

impl Release {
    /// Reads the version in `tree` as a new app of it would be deployed.
    ///
    /// # Errors
    /// [`ReleaseError`] for what Docker would refuse as well.
    pub fn read(
        tree: &Tree,
        app: AppName<'_>,
        additions: &Additions,
    ) -> Result<Self, ReleaseError> {
        let mut remarks = Vec::new();
        let sample = match SourceTree::open(&tree.root)?.text(".env.sample")? {
            Some(text) => text,
            None => {
                remarks.push(
                    "the recipe has no .env.sample; the app gets only DOMAIN and TYPE".to_owned(),
                );
                String::new()
            }
        };
        let mut env = EnvFile::parse(&sample, ".env.sample")?;
        env.set("TYPE", app.recipe.as_str());
        env.set("DOMAIN", app.domain.as_str());
        // Empty means: no certificate resolver, so a gateway never asks ACME for a run app.
        env.set("LETS_ENCRYPT_ENV", "");
        Self::with_env(tree, app, env, additions, remarks)
    }

    /// Reads the version in `tree` as an existing app would be upgraded to it: with the env file that the
    /// app has, which an upgrade does not touch.
    ///
    /// # Errors
    /// As [`Release::read`].
    pub fn with_env(
        tree: &Tree,
        app: AppName<'_>,
        mut env: EnvFile,
        additions: &Additions,
        mut remarks: Vec<String>,
    ) -> Result<Self, ReleaseError> {
        let stack = app.domain.stack();
        let base = BTreeMap::from([("STACK_NAME".to_owned(), stack.to_string())]);
        for (name, value) in &additions.env {
            env.set(name, value);
        }
        let mut vars = env.resolve(&base)?;
        if let Some(text) = SourceTree::open(&tree.root)?.text("abra.sh")? {
            let exports = abra_sh::exports(&text)?;
            for (name, value) in exports.vars {
                if RUNS_OWN.contains(&name.as_str()) {
                    remarks.push(format!(
                        "abra.sh exports `{name}`, which the run sets itself: passed over"
                    ));
                } else {
                    vars.insert(name, value);
                }
            }
            remarks.extend(
                exports
                    .unevaluated
                    .iter()
                    .map(|line| format!("abra.sh:{}: not evaluated, {}", line.line, line.reason)),
            );
        }
        vars.extend(base);
        vars.insert("DOMAIN".to_owned(), app.domain.to_string());
        let mut files = compose_files(&vars);
        let ours = |file: &String| file.starts_with(COPY_PREFIX);
        if files.iter().any(ours) || !additions.compose.is_empty() {
            files.retain(|file| !ours(file));
            files.extend(additions.compose.iter().cloned());
            // abra and people who look at the app read it from the env file.
            env.set("COMPOSE_FILE", &files.join(":"));
            vars.insert("COMPOSE_FILE".to_owned(), files.join(":"));
        }
        let mut project = Project::load(&tree.root, &files, &vars)?;
        project.check_deployable(|_, _| false)?;
        project.read_contents(&tree.root)?;
        remarks.extend(
            project
                .unset
                .iter()
                .map(|name| format!("variable `{name}` is not set and taken as empty")),
        );
        remarks.extend(project.warnings.iter().map(|warning| {
            format!(
                "{}: {}: {}",
                warning.location, warning.path, warning.message
            )
        }));
        Ok(Self {
            root: tree.root.clone(),
            commit: tree.commit,
            dirty: tree.dirty,
            env,
            vars,
            project,
            remarks,
        })
    }

    /// Returns the value of the version label, if the recipe has one that is not empty.
    #[must_use]
    pub fn version_label(&self, app: &Domain) -> Option<String> {
        let label = self.project.version_label(app.stack().as_str())?;
        (!label.value.is_empty()).then(|| label.value.to_owned())
    }

    /// Returns whether a chaos-version label means this commit: its first digits, at least seven, whatever
    /// stands behind a `+` (`+U` for uncommitted changes).
    #[must_use]
    pub fn is_chaos_version(&self, label: &str) -> bool {
        let digits = label.split('+').next().unwrap_or_default();
        self.commit.begins_with(digits)
    }

    /// Returns what identifies the commit in labels: eight digits, with `+U` for uncommitted changes.
    #[must_use]
    pub fn chaos_version(&self) -> String {
        let short = self.commit.short();
        if self.dirty {
            format!("{short}+U")
        } else {
            short
        }
    }
}
